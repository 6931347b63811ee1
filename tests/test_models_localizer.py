"""The localizer: boxes in the picture's own pixels, whatever it was shrunk to; a whole folder."""

import json
import shutil
from urllib.error import URLError

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import noise as read_only_noise
from pictures import one_line
from torchvision.models import detection

from data.views import IMAGENET_MEAN, IMAGENET_STD
from models.backbones import BackboneError
from models.boxes import FILES, LocalizerCard
from models.card import CheckpointError
from models.checkpoint import CARD as CHECKPOINT_CARD
from models.localizer import (
    ARCHITECTURES,
    Localizer,
    build_detector,
    load_localizer,
    save_localizer,
)
from models.weights import round_weights

OURS, COCO = ARCHITECTURES
WEIGHTS, CARD = FILES
SOME = settings(max_examples=50, deadline=None, derandomize=True)


def described(architecture=OURS, long_side=100, threshold=0.5):
    metrics = {"split": "val", "Größe": {"ap50": 0.5}}
    return LocalizerCard("test", "0.1", architecture, long_side, threshold, metrics, {"seed": 0})


def black(width, height):
    return np.zeros((height, width, 3), np.uint8)


def noise(width, height):
    return read_only_noise(width, height).copy()


class Fixed(torch.nn.Module):
    """A detector that finds the same in every picture, and remembers what it was shown."""

    def __init__(self, boxes, scores=None, labels=None):
        super().__init__()
        self.boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
        self.scores = torch.tensor(scores or [0.9] * len(self.boxes))
        self.labels = torch.tensor(labels or [0] * len(self.boxes))
        self.shown = []

    def forward(self, pictures):
        self.shown += pictures
        found = {"boxes": self.boxes, "scores": self.scores, "labels": self.labels}
        return [found for _ in pictures]


@pytest.fixture
def folder(tiny_localizer, tmp_path):
    """A copy of the tiny localizer to damage."""
    return shutil.copytree(tiny_localizer, tmp_path / "localizer")


@pytest.fixture(scope="module")
def localizer(tiny_localizer):
    return load_localizer(tiny_localizer)


@pytest.fixture(scope="module", params=ARCHITECTURES)
def untrained(request):
    """Each architecture with random weights, and its name."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return request.param, build_detector(request.param).eval()


# --- on disk --------------------------------------------------------------------------------------


def test_the_round_trip_keeps_card_and_boxes(localizer, tmp_path):
    pictures = [noise(96, 64), noise(150, 210)]
    saved = save_localizer(tmp_path / "new" / "localizer", localizer.card, localizer.detector)
    again = load_localizer(tmp_path / "new" / "localizer")
    assert again.card == saved == localizer.card
    before, after = localizer.locate(pictures), again.locate(pictures)
    assert before == after
    assert all(before)


def test_a_rounded_detector_ships_as_it_was_measured(tmp_path):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        detector = build_detector(OURS)
        torch.nn.init.normal_(detector.head.classification_head.cls_logits.weight, std=0.5)
    round_weights(detector)
    card = save_localizer(tmp_path, described(), detector)
    before = Localizer(card, detector).locate([noise(96, 64)], threshold=0.0)
    assert before == load_localizer(tmp_path).locate([noise(96, 64)], threshold=0.0)
    assert len(before[0]) > 10


def test_the_card_comes_back_word_for_word(tmp_path, untrained):
    name, detector = untrained
    saved = save_localizer(tmp_path, described(name), detector)
    card = load_localizer(tmp_path).card
    assert card == saved
    assert {**vars(card), "sha256": ""} == vars(described(name))
    assert len(card.sha256) == 64


def test_ours_is_small_on_disk(tiny_localizer):
    # 2.2 million weights of MobileNetV2, and under 2 million of pyramid and head, 8 bits each.
    assert 2e6 < (tiny_localizer / WEIGHTS).stat().st_size < 12e6


def refused(folder, *words):
    with pytest.raises(CheckpointError) as caught:
        load_localizer(folder)
    one_line(caught, str(folder), *words)


def test_a_flipped_bit_in_the_weights_is_refused(folder):
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / WEIGHTS).write_bytes(data)
    refused(folder, WEIGHTS, "damaged")


def test_another_localizers_weights_are_refused(folder, tmp_path):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        save_localizer(tmp_path / "other", described(), build_detector(OURS))
    load_localizer(tmp_path / "other")
    shutil.copy(tmp_path / "other" / WEIGHTS, folder / WEIGHTS)
    refused(folder, WEIGHTS, "exchanged")


@pytest.mark.parametrize(
    "change",
    [
        lambda card: card.update(threshold=0.01),
        lambda card: card.update(long_side=640),
        lambda card: card.update(remark="added"),
        lambda card: card.pop("metrics"),
    ],
    ids=["threshold", "size", "added", "removed"],
)
def test_an_edited_card_is_refused(folder, change):
    card = json.loads((folder / CARD).read_text("utf-8"))
    change(card)
    (folder / CARD).write_text(json.dumps(card), "utf-8")
    refused(folder, CARD, "changed after it was written")


def test_a_classifiers_folder_is_refused(tiny_checkpoint, tmp_path):
    refused(tiny_checkpoint, f"no {CARD} there")
    shutil.copy(tiny_checkpoint / CHECKPOINT_CARD, tmp_path / CARD)
    refused(tmp_path, "not an Airframe localizer")


def test_what_is_missing_is_named(folder, tmp_path):
    (folder / WEIGHTS).unlink()
    refused(folder, WEIGHTS, "cannot be read")
    refused(tmp_path / "none", f"no {CARD} there")


@pytest.mark.parametrize(("named", "said"), [(COCO, "Missing key"), ("yolo", "no localizer")])
def test_weights_of_another_architecture_than_the_cards_are_refused(tmp_path, named, said):
    detector = torch.nn.Linear(2, 2)
    save_localizer(tmp_path, described(named), detector)
    refused(tmp_path, "does not fit together", said)


# --- architectures --------------------------------------------------------------------------------


def test_an_unknown_architecture_is_refused_with_the_known_ones():
    with pytest.raises(BackboneError) as caught:
        build_detector("yolo")
    one_line(caught, "yolo", OURS, COCO)


@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
def test_no_picture_is_resized_on_its_way_to_the_backbone(untrained, training):
    # torchvision resizes to 800 pixels by itself; its option against that holds in training only.
    name, detector = untrained
    seen = []
    hook = detector.backbone.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    picture = torch.rand(3, 64, 96, generator=torch.Generator().manual_seed(0))
    target = {
        "boxes": torch.tensor([[8.0, 8.0, 60.0, 40.0]]),
        "labels": torch.tensor([ARCHITECTURES[name].label]),
    }
    try:
        with torch.no_grad():
            if training:
                detector.train()([picture, picture], [target, target])
            else:
                detector([picture])
    finally:
        detector.eval()
        hook.remove()
    [batch] = seen
    assert batch.shape == (1 + training, 3, 64, 96)
    mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
    expected = (picture - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    torch.testing.assert_close(batch[0], expected)


@pytest.mark.parametrize("size", [(1, 1), (300, 1), (96, 64), (65, 97)])
def test_a_picture_of_any_shape_is_looked_at(untrained, size):
    name, detector = untrained
    [boxes] = Localizer(described(name), detector).locate([noise(*size)], threshold=0.0)
    assert all(box.score >= 0 and box.x0 < box.x1 and box.y0 < box.y1 for box in boxes)


@pytest.mark.parametrize("error", [URLError("no route"), RuntimeError("invalid hash\nvalue")])
def test_a_failed_download_says_what_to_do_instead(monkeypatch, error):
    def build(**_):
        raise error

    monkeypatch.setattr(detection, COCO, build)
    with pytest.raises(BackboneError) as caught:
        build_detector(COCO, "coco")
    one_line(caught, "COCO", "configs/localizer.yaml")


@pytest.mark.parametrize("weights", ["imagenet", "some.safetensors"])
def test_the_coco_detector_takes_no_other_weights(weights):
    with pytest.raises(BackboneError) as caught:
        build_detector(COCO, weights)
    one_line(caught, weights, "coco")


def test_the_coco_detector_comes_back_as_it_was_downloaded(monkeypatch, tmp_path):
    # torchvision builds it with frozen batch norms around its weights and without them otherwise.
    kinds = detection.FasterRCNN_MobileNet_V3_Large_FPN_Weights
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        state = build_detector(COCO).state_dict()
        # Among 91 classes an untrained head calls nothing an airplane.
        state["roi_heads.box_predictor.cls_score.bias"][ARCHITECTURES[COCO].label] = 4
        state["roi_heads.box_predictor.cls_score.weight"].normal_(std=0.02)
    state = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    for name, value in state.items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 2.0, generator=torch.Generator().manual_seed(len(name)))
    monkeypatch.setattr(kinds, "get_state_dict", lambda *_, **__: state)
    downloaded = build_detector(COCO, "coco")
    assert torch.equal(downloaded.backbone.body["0"][0].weight, state["backbone.body.0.0.weight"])
    round_weights(downloaded)
    card = save_localizer(tmp_path, described(COCO, threshold=0.0), downloaded)
    [before] = Localizer(card, downloaded).locate([noise(96, 64)])
    [after] = load_localizer(tmp_path).locate([noise(96, 64)])
    assert len(before) > 3
    # The two kinds of batch norm round differently in the last place.
    np.testing.assert_allclose(after, before, rtol=1e-3, atol=1e-3)


# --- boxes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "small", "expected"),
    [
        # As large as the localizer looks at, or smaller: as they are.
        ((100, 60), (100, 60), (10, 20, 30, 50)),
        ((40, 80), (40, 80), (10, 20, 30, 50)),
        ((400, 240), (100, 60), (40, 80, 120, 200)),
        ((120, 200), (60, 100), (20, 40, 60, 100)),
        # 301 x 100 / 301 = 100 and 200 x 100 / 301 = 66.4, so that x is 3.01 times and y 200 / 66.
        ((301, 200), (100, 66), (30.1, 20 * 200 / 66, 90.3, 50 * 200 / 66)),
    ],
    ids=["same", "smaller", "landscape", "portrait", "uneven"],
)
def test_boxes_are_in_pixels_of_the_picture_as_given(size, small, expected):
    detector = Fixed([[10, 20, 30, 50]])
    [[box]] = Localizer(described(), detector).locate([black(*size)])
    assert detector.shown[0].shape == (3, small[1], small[0])
    np.testing.assert_allclose(box, (*expected, 0.9), rtol=1e-6)


def test_a_shrunk_picture_still_shows_the_same_in_its_place():
    picture = black(400, 200)
    picture[:100, 200:] = (255, 102, 0)
    detector = Fixed([])
    assert Localizer(described(), detector).locate([picture]) == [[]]
    [seen] = detector.shown
    assert seen.shape == (3, 50, 100)
    # away from the edge, where the filter mixes
    torch.testing.assert_close(seen[:, 10, 90], torch.tensor([1.0, 0.4, 0.0]))
    assert not seen[:, 40, 90].any()
    assert not seen[:, 10, 10].any()


# 482: float32 makes 480 x (482 / 480) = 482.00003
@pytest.mark.parametrize("size", [(482, 300), (300, 482)])
def test_no_box_reaches_beyond_the_picture(size):
    scale = 480 / max(size)
    whole = [0, 0, round(size[0] * scale), round(size[1] * scale)]
    [[box]] = Localizer(described(long_side=480), Fixed([whole])).locate([black(*size)])
    assert box.x1 <= size[0]
    assert box.y1 <= size[1]


@SOME
@given(st.tuples(st.integers(1, 900), st.integers(1, 900)), st.integers(32, 500))
def test_a_box_of_the_whole_picture_stays_one(size, long_side):
    scale = min(1, long_side / max(size))
    whole = [0, 0, max(1, round(size[0] * scale)), max(1, round(size[1] * scale))]
    [[box]] = Localizer(described(long_side=long_side), Fixed([whole])).locate([black(*size)])
    np.testing.assert_allclose(box[:4], (0, 0, *size), atol=1e-3)


def test_the_threshold_is_the_cards_unless_another_is_given():
    boxes = [[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]]
    looker = Localizer(described(threshold=0.5), Fixed(boxes, [0.75, 0.5, 0.25]))

    def scores(**options):
        return [box.score for box in looker.locate([black(90, 60)], **options)[0]]

    assert scores() == [0.75, 0.5]  # a score that is just the threshold counts
    assert scores(threshold=0.6) == [0.75]
    assert scores(threshold=0.0) == [0.75, 0.5, 0.25]
    assert scores(threshold=1.0) == []


def test_a_real_detectors_boxes_come_surest_first_and_inside(localizer):
    [boxes] = localizer.locate([noise(150, 210)])
    assert len(boxes) > 3
    scores = [box.score for box in boxes]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) > 3
    for box in boxes:
        assert -1e-3 <= box.x0 < box.x1 <= 150 + 1e-3
        assert -1e-3 <= box.y0 < box.y1 <= 210 + 1e-3
        assert localizer.card.threshold <= box.score <= 1


def test_a_box_of_less_than_a_pixel_is_dropped():
    boxes = [[10, 10, 10, 30], [10, 10, 30, 10], [10, 10, 10.5, 30], [10, 10, 11, 30]]
    [found] = Localizer(described(), Fixed(boxes)).locate([black(90, 60)])
    assert [box[:4] for box in found] == [(10, 10, 11, 30)]
    # Half a pixel of the shrunk picture is two of the picture itself.
    [found] = Localizer(described(), Fixed(boxes)).locate([black(400, 240)])
    assert [box[:4] for box in found] == [(40, 40, 42, 120), (40, 40, 44, 120)]


@pytest.mark.parametrize(("architecture", "kept"), [(OURS, [0.9]), (COCO, [0.7])])
def test_only_the_label_of_aircraft_counts(architecture, kept):
    # COCO: 1 is a person, 5 an airplane, 16 a bird
    detector = Fixed([[10, 10, 30, 30]] * 4, [0.9, 0.8, 0.7, 0.6], [0, 1, 5, 16])
    [found] = Localizer(described(architecture), detector).locate([black(90, 60)])
    assert [box.score for box in found] == pytest.approx(kept)


def test_cocos_label_is_its_airplane():
    weights = detection.FasterRCNN_MobileNet_V3_Large_FPN_Weights.DEFAULT
    assert weights.meta["categories"][ARCHITECTURES[COCO].label] == "airplane"


def test_a_pictures_boxes_do_not_depend_on_what_else_is_looked_at(localizer):
    # sizes that padding to a common one would change
    pictures = [noise(96, 64), noise(64, 96), noise(40, 30)]
    alone = [localizer.locate([picture])[0] for picture in pictures]
    assert localizer.locate(pictures) == alone
    assert localizer.locate(pictures[::-1]) == alone[::-1]
    assert localizer.locate([]) == []
    assert alone[0] != alone[1]


def test_looking_leaves_the_picture_alone(localizer):
    picture = noise(96, 64)
    before = picture.copy()
    localizer.locate([picture])
    assert np.array_equal(picture, before)
