"""Datasets: evaluation sees what inference sees; training sees every picture anew each time."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from pictures import picture
from PIL import Image
from torch.utils.data import DataLoader

from data.dataset import EvalDataset, TrainDataset
from data.images import open_still
from data.manifest import Sample, read_manifest
from data.taxonomy import Taxonomy
from data.transforms import eval_transform
from data.views import InputSpec, pixels

SPEC = InputSpec(32, 48)


@pytest.fixture
def drawn(drawn_set):
    """(samples, allowed): six drawn samples, each with a row of its own."""
    samples = read_manifest(drawn_set, Taxonomy.load())[::4]
    return samples, np.eye(len(samples), dtype=bool)


def train_dataset(samples, *, seed=5, strength=1.0, **options):
    allowed = np.eye(len(samples), dtype=bool)
    return TrainDataset(samples, allowed, SPEC, strength=strength, seed=seed, **options)


def test_an_eval_item_is_what_inference_sees(drawn):
    samples, allowed = drawn
    samples[0] = replace(samples[0], boxes=())  # the whole frame
    dataset = EvalDataset(samples, allowed, SPEC)
    assert len(dataset) == 6
    assert all(sample.boxes for sample in samples[1:])
    for index, sample in enumerate(samples):
        item = dataset[index]
        rgb = open_still(sample.path).rgb
        box = pixels(sample.boxes[0], rgb) if sample.boxes else None
        assert torch.equal(item.image, eval_transform(rgb, SPEC, box))
        assert item.allowed.tolist() == allowed[index].tolist()
        assert item.position == index


def test_a_loader_keeps_order_names_and_dtypes(drawn):
    samples, allowed = drawn
    batches = list(DataLoader(EvalDataset(samples, allowed, SPEC), 4))
    assert [batch.image.shape for batch in batches] == [(4, 3, 32, 48), (2, 3, 32, 48)]
    assert torch.cat([batch.position for batch in batches]).tolist() == [0, 1, 2, 3, 4, 5]
    assert batches[0].allowed.dtype == torch.bool


def test_two_draws_of_one_index_differ_and_the_seed_repeats_them(drawn):
    samples, _ = drawn

    def views(seed):
        dataset = train_dataset(samples, seed=seed)
        return [dataset[index].image for index in (0, 0, 3)]

    first, again, other = views(5), views(5), views(6)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[0], other[0])


def test_what_a_teacher_sees_is_the_same_view_before_footage_spoils_it(drawn):
    samples, _ = drawn

    def views(strength):
        dataset = train_dataset(samples, strength=strength, taught=True)
        return [dataset[index] for index in range(6)]

    clear, spoiled = views(0.0), views(2.0)
    assert all(torch.equal(view.image, view.plain) for view in clear)
    assert all(torch.equal(a.plain, b.plain) for a, b in zip(clear, spoiled, strict=True))
    assert not any(torch.equal(view.image, view.plain) for view in spoiled)
    untaught = train_dataset(samples, strength=2.0)
    assert all(torch.equal(view.image, untaught[i].image) for i, view in enumerate(spoiled))


def test_two_samples_are_not_augmented_alike(drawn):
    # The same picture twice in the manifest: the index is part of the seed, as is the draw.
    sample = drawn[0][0]
    assert not torch.equal(
        train_dataset([sample, sample])[0].image, train_dataset([sample] * 2)[1].image
    )


def test_a_train_item_has_the_networks_shape_and_its_own_label(drawn):
    samples, _ = drawn
    item = train_dataset(samples)[4]
    assert item.image.shape == (3, 32, 48)
    assert item.image.dtype == torch.float32
    assert item.allowed.tolist() == [False] * 4 + [True, False]
    assert item.position == 4


def test_the_cached_picture_is_not_painted_on(drawn):
    samples, _ = drawn
    dataset = train_dataset(samples, strength=2.0)
    before = dataset._picture(0, 0).copy()
    for _ in range(25):
        dataset[0]
    assert np.array_equal(dataset._picture(0, 0), before)


@pytest.fixture
def cut_out(tmp_path):
    """A sample of kind `render`: a red square on nothing."""
    rgba = np.zeros((40, 40, 4), np.uint8)
    rgba[10:30, 10:30] = (255, 0, 0, 255)
    Image.fromarray(rgba).save(tmp_path / "cut.png")
    return Sample(tmp_path / "cut.png", "type:Su-24", "render", "cut", None, (), "cut.png")


def reds(image):
    """How many pixels of a normalised picture (3, H, W) are clearly red."""
    rgb = image * torch.tensor(SPEC.std).view(3, 1, 1) + torch.tensor(SPEC.mean).view(3, 1, 1)
    return int(((rgb[0] - rgb[1] > 0.25) & (rgb[0] - rgb[2] > 0.25)).sum())


def test_cut_outs_are_pasted_on_a_new_background_every_time(cut_out):
    dataset = train_dataset([cut_out], strength=0.0, cutout_kinds=["render"])
    views = [dataset[0].image for _ in range(12)]
    assert all(reds(view) > 5 for view in views)
    corners = {tuple(np.round(view[:, 2, 2].tolist(), 3)) for view in views}
    assert len(corners) > 6  # a sky each time, not the one grey that hides behind alpha
    assert len({dataset[0].image.numpy().tobytes() for _ in range(12)}) == 12


def test_without_cutout_kinds_a_picture_with_alpha_stays_on_grey(cut_out):
    dataset = train_dataset([cut_out], strength=0.0)
    image = dataset[0].image
    assert reds(image) > 5
    # Mid-grey (128) behind alpha, the fill outside: nothing is dark or bright.
    rest = image[:, image[0] < 1]
    assert rest.numel()
    assert rest.abs().max() < 1


def test_backdrops_are_used_whole_and_for_cut_outs_only(cut_out, tmp_path):
    blue = np.zeros((32, 48, 3), np.uint8)
    blue[..., 2] = 250
    Image.fromarray(blue).save(tmp_path / "blue.png")
    backdrop = Sample(tmp_path / "blue.png", None, "other", "blue", None, (), "blue.png")
    dataset = train_dataset(
        [cut_out, backdrop], strength=0.0, cutout_kinds=["render"], backdrop_kinds=["other"]
    )
    red, green, blue_ = SPEC.mean
    wanted = torch.tensor(
        [-red / SPEC.std[0], -green / SPEC.std[1], (250 / 255 - blue_) / SPEC.std[2]]
    )
    found = []
    for _ in range(60):
        image = dataset[0].image.flatten(1)
        found.append(bool((image - wanted[:, None]).abs().max(dim=0).values.lt(0.1).sum() > 100))
    # Three in ten are meant to be: 18 of 60, and 3.5 is one standard deviation.
    assert 7 <= sum(found) <= 29


def test_a_crop_of_the_picture_keeps_its_colours(tmp_path):
    Image.fromarray(picture(60, 40)).save(tmp_path / "a.png")
    sample = Sample(tmp_path / "a.png", "type:Su-24", "photo", "a", None, (), "a.png")
    dataset = train_dataset([sample], strength=0.0)
    # Red is in the picture's upper left quarter alone: a view that mixed up channels has none.
    assert all(reds(dataset[0].image) > 20 for _ in range(10))


@pytest.fixture
def boxed(tmp_path):
    """A sample of a blue aircraft in its box, far from the red edges of the frame."""
    rgb = np.zeros((128, 192, 3), np.uint8)
    rgb[:] = (220, 0, 0)
    rgb[32:96, 48:144] = (0, 0, 220)  # more than a box's surroundings that training keeps
    Image.fromarray(rgb).save(tmp_path / "a.png")
    boxes = ((0.45, 0.45, 0.55, 0.55), (0.4, 0.45, 0.5, 0.55))
    return Sample(tmp_path / "a.png", "type:Su-24", "photo", "a", None, boxes, "a.png")


@pytest.mark.parametrize(
    ("share", "least", "most"),
    # 20 of 40 are meant to be; 3.2 is one standard deviation. Of 0.25, 10 and 2.7.
    [(0.0, 0, 0), (1.0, 40, 40), (0.5, 8, 32), (0.25, 1, 19)],
)
def test_a_share_of_the_views_of_a_boxed_sample_shows_the_whole_frame(boxed, share, least, most):
    dataset = train_dataset([boxed], strength=0.0, frame_share=share)
    whole = [reds(dataset[0].image) > 0 for _ in range(40)]
    assert least <= sum(whole) <= most


def test_unless_asked_for_boxed_samples_are_never_seen_whole(boxed):
    dataset = train_dataset([boxed], strength=0.0)
    assert not any(reds(dataset[0].image) for _ in range(40))


def drawn_views(sample, share, **options):
    dataset = train_dataset([sample], strength=0.0, frame_share=share, **options)
    return [dataset[0].image for _ in range(40)]


def test_a_share_of_the_cut_outs_is_shown_as_loosely_as_a_whole_frame(cut_out):
    boxed, whole, either = (
        drawn_views(cut_out, share, cutout_kinds=["render"]) for share in (0.0, 1.0, 0.5)
    )
    # The same draws but for the zoom: about a box 1.1 to 1.6, of a whole frame from 0.75.
    sizes = [(reds(b), reds(w)) for b, w in zip(boxed, whole, strict=True)]
    assert all(w > 5 for _, w in sizes)
    assert sum(w < b for b, w in sizes) > 20
    assert all(w <= 1.05 * b for b, w in sizes)
    as_boxed = [torch.equal(e, b) for e, b in zip(either, boxed, strict=True)]
    as_whole = [torch.equal(e, w) for e, w in zip(either, whole, strict=True)]
    assert all(b or w for b, w in zip(as_boxed, as_whole, strict=True))
    assert sum(as_boxed) > 5
    assert sum(as_whole) > 5


def test_a_sample_without_a_box_is_seen_whole_at_any_share(boxed):
    frame = replace(boxed, boxes=())
    never, always = drawn_views(frame, 0.0), drawn_views(frame, 1.0)
    assert all(torch.equal(a, b) for a, b in zip(never, always, strict=True))
    assert all(reds(view) for view in never)
