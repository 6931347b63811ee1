"""A clip's records: its frames in order, one summary an aircraft, and no picture kept."""

import dataclasses
import json
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
from clips import write

from airframe.batch import Task, answer_all
from airframe.calibration import softmax
from airframe.clips import _Seen, clip_records
from airframe.decision import decide
from airframe.looking import Sighting
from airframe.predictor import Outputs, Predictor, Settings
from airframe.tracks import contributions, effective_frames, pool
from data.images import Still, open_still
from data.video import Sampling, open_clip
from models.boxes import Box

ALL = Sampling("all")
BOLD = Settings(confidence=0.25)  # at which the tiny checkpoint names something


class Found:
    """A localizer that gives out the boxes it was made with, those of a picture at a time."""

    def __init__(self, *scenes):
        self.scenes = iter(scenes)
        self.card = SimpleNamespace(threshold=0.0, long_side=4096)

    def locate(self, pictures, threshold=None):
        return [next(self.scenes) for _ in pictures]


@pytest.fixture(scope="module")
def predictor(cropping_checkpoint):
    return Predictor(cropping_checkpoint, "cpu")


@pytest.fixture(scope="module")
def pictures(drawn_set):
    """Six frames, 96 x 64 px: a drawn aircraft moves eight pixels a frame to the right, at dusk."""
    rgb = open_still(sorted(drawn_set.parent.rglob("*.jpg"))[0]).rgb
    return [(np.roll(rgb, 8 * i, axis=1) * 0.9**i).astype(np.uint8) for i in range(6)]


@pytest.fixture(scope="module")
def path(tmp_path_factory, pictures):
    """The clip of these frames, two a second."""
    folder = tmp_path_factory.mktemp("clip")
    return write(folder / "six.mp4", pictures, stamps=[50 * i for i in range(6)])


def moving(frame, score=0.9):
    """Where a box of 40 x 24 px is that goes along."""
    return Box(4 + 8 * frame, 20, 44 + 8 * frame, 44, score)


@pytest.fixture
def records_of(predictor, path, monkeypatch):
    """The records of the clip where the localizer finds, frame by frame, these boxes."""

    def answer(*scenes, settings=BOLD, sampling=ALL, batch_size=4, path=path, **calibration):
        changed = dataclasses.replace(predictor.calibration, **calibration)
        monkeypatch.setattr(predictor, "calibration", changed)
        monkeypatch.setattr(predictor, "localizer", Found(*scenes))
        return list(clip_records(open_clip(path), predictor, settings, sampling, batch_size))

    return answer


def parted(records):
    """(records of frames, those that sum up), which come in this order."""
    frames = [r for r in records if r["source"]["frame"]]
    rest = records[len(frames) :]
    assert not any(r["source"]["frame"] for r in rest)
    return frames, rest


def rows_of(predictor, path, boxes):
    """Logits (T, C) of the frames of a clip at these boxes, by the road of a still."""
    views = []
    for frame, box in zip(open_clip(path).frames(ALL), boxes, strict=True):
        still = Still(frame.rgb, "", "", 0, frame.rgb.shape[1], frame.rgb.shape[0], "", None)
        views.append((still, Sighting(box[:4], box.score)))
    return predictor.outputs(views).logits


def test_each_frame_has_a_record_and_the_aircraft_one_more(records_of, path):
    frames, [summary] = parted(records_of(*([moving(i)] for i in range(6))))
    assert [r["source"]["frame"] for r in frames] == [
        {"index": i, "time_s": 0.5 * i} for i in range(6)
    ]
    assert [r["track"] for r in frames] == [{"id": 1}] * 6
    assert [r["box"] for r in frames] == [[4 + 8 * i, 20, 44 + 8 * i, 44] for i in range(6)]
    assert all(r["located"] == {"by": "localizer", "score": 0.9} for r in frames)
    assert summary["source"]["frame"] is None
    assert summary["box"] is None  # what moves has no one box
    track = summary["track"]
    assert list(track) == ["id", "frames", "effective_frames", "first_s", "last_s", "carried_by"]
    # The fixture's correlation is 0.5: 6 / (1 + 5 x 0.5).
    assert (track["id"], track["frames"], track["effective_frames"]) == (1, 6, 1.714)
    assert (track["first_s"], track["last_s"]) == (0.0, 2.5)
    assert summary["reason"].startswith("Over 6 frame(s): ")
    info = open_clip(path).info
    for record in (*frames, summary):
        source = record["source"]
        assert (source["path"], source["sha256"]) == (str(path), info.sha256)
        assert (source["width"], source["height"], source["format"]) == (96, 64, "MP4")


@pytest.mark.parametrize(("correlation", "worth"), [(0.5, 6 / 3.5), (1.0, 1.0), (0.0, 6.0)])
def test_the_summary_is_the_decision_on_the_pooled_frames(
    records_of, predictor, path, correlation, worth
):
    boxes = [moving(i) for i in range(6)]
    scenes = [[box] for box in boxes]
    frames, [summary] = parted(records_of(*scenes, frame_correlation=correlation))
    assert summary["track"]["effective_frames"] == pytest.approx(worth, abs=1e-3)
    logits = rows_of(predictor, path, boxes)
    calibration, classes = predictor.calibration, predictor.classes
    tempered = logits / calibration.temperature
    for record, row in zip(frames, softmax(tempered), strict=True):
        assert record["candidates"][0]["probability"] == pytest.approx(row.max(), abs=1e-5)
    probs = softmax(pool(tempered, correlation)[None])[0]
    verdict = decide(probs, predictor.checkpoint.taxonomy, classes, 0.25)
    assert verdict.node is not None
    assert (summary["status"], summary["answer"]["node"]) == (verdict.status, verdict.node)
    assert summary["answer"]["probability"] == pytest.approx(verdict.probability, abs=1e-5)
    assert summary["reason"] == f"Over 6 frame(s): {verdict.reason}"
    said = {c["type"]: c["probability"] for c in summary["candidates"]}
    assert said == {
        name: pytest.approx(p, abs=1e-5)
        for name, p in zip(classes, probs, strict=True)
        if name in said
    }
    # Its height would grow with the frames, so the unknown score is the mean of theirs.
    scores = [r["uncertainty"]["unknown_score"] for r in frames]
    assert summary["uncertainty"]["unknown_score"] == pytest.approx(np.mean(scores), abs=1e-5)


def test_frames_are_judged_as_stills_and_what_they_say_together_as_clips_are(
    records_of, predictor, path
):
    boxes = [moving(i) for i in range(6)]
    shipped = predictor.calibration
    sharper = dataclasses.replace(shipped, temperature=shipped.temperature / 3, clip=None)
    scenes = [[box] for box in boxes]
    before, _ = parted(records_of(*scenes, frame_correlation=0.5))
    frames, [summary] = parted(records_of(*scenes, frame_correlation=0.5, clip=sharper))
    assert [r["candidates"] for r in frames] == [r["candidates"] for r in before]
    logits = rows_of(predictor, path, boxes)
    probs = softmax(3 * pool(logits / shipped.temperature, 0.5)[None])[0]
    assert summary["candidates"][0]["probability"] == pytest.approx(probs.max(), abs=1e-5)


def test_the_frames_that_carried_the_answer_are_named_loudest_first(records_of, predictor, path):
    boxes = [moving(i) for i in range(6)]
    _, [summary] = parted(records_of(*([box] for box in boxes)))
    node = summary["answer"]["node"]
    members = predictor.checkpoint.taxonomy.members(node, predictor.classes)
    tempered = rows_of(predictor, path, boxes) / predictor.calibration.temperature
    spoke = contributions(tempered, members)
    order = [int(i) for i in np.argsort(-spoke) if spoke[i] > 0][:5]
    carried = summary["track"]["carried_by"]
    assert carried
    assert [frame["index"] for frame in carried] == order
    for frame in carried:
        assert frame["time_s"] == 0.5 * frame["index"]
        assert frame["weight"] == pytest.approx(spoke[frame["index"]], abs=2e-3)


def test_a_frame_that_spoke_against_the_answer_did_not_carry_it(records_of, predictor, monkeypatch):
    # Of five types the first has these probabilities: by chance it would have 0.2.
    first = np.array([0.9, 0.1, 0.6, 0.19, 0.1, 0.8])
    logits = np.full((6, 5), 0.0)
    logits[:, 0] = np.log(first / ((1 - first) / 4)) * predictor.calibration.temperature
    outputs = predictor.outputs
    monkeypatch.setattr(
        predictor, "outputs", lambda views: Outputs(logits[:, None], outputs(views).features)
    )
    *_, summary = records_of(*([moving(i)] for i in range(6)), batch_size=6)
    assert summary["answer"]["node"] == f"type:{predictor.classes[0]}"
    carried = {c["index"]: c["weight"] for c in summary["track"]["carried_by"]}
    # log(0.9 / 0.1) - log(0.2 / 0.8), and so on
    assert list(carried.items()) == [(0, 3.584), (5, 2.773), (2, 1.792)]


def test_two_aircraft_have_a_summary_each(records_of):
    # A second one, of another size, is there from the third frame on.
    other = Box(60, 48, 72, 56, 0.8)
    scenes = [[moving(i)] if i < 2 else [other, moving(i)] for i in range(6)]
    frames, summaries = parted(records_of(*scenes))
    assert [r["track"]["id"] for r in frames] == [1, 1] + [1, 2] * 4  # the largest first
    assert [(s["track"]["id"], s["track"]["frames"]) for s in summaries] == [(1, 6), (2, 4)]
    assert [s["track"]["first_s"] for s in summaries] == [0.0, 1.0]
    counted = [effective_frames(n, 0.5) for n in (6, 4)]
    worth = [s["track"]["effective_frames"] for s in summaries]
    assert worth == pytest.approx(counted, abs=1e-3)


def test_a_clip_without_an_aircraft_says_so_once_more_at_its_end(records_of):
    # Nothing located, and every score is that of an empty frame.
    frames, [summary] = parted(records_of(*[[]] * 6, absence=-1e9))
    assert len(frames) == 6
    for record in (*frames, summary):
        assert record["status"] == "no_aircraft"
        assert record["answer"] is record["candidates"] is record["prediction_set"] is None
        assert record["track"] is record["box"] is None
        assert record["located"] == {"by": None, "score": None}
    assert summary["source"]["sha256"] == frames[0]["source"]["sha256"]
    assert "6 frame(s)" in summary["reason"]


def test_an_empty_frame_on_the_way_costs_only_itself(records_of):
    scenes = [[moving(i)] if i != 2 else [] for i in range(6)]
    frames, [summary] = parted(records_of(*scenes, absence=-1e9))
    assert [r["status"] == "no_aircraft" for r in frames] == [i == 2 for i in range(6)]
    assert [r["track"] for r in frames] == [None if i == 2 else {"id": 1} for i in range(6)]
    assert summary["track"]["frames"] == 5


def test_a_clip_seen_whole_is_one_aircraft(records_of):
    # Nothing located, yet the whole frame shows one.
    frames, [summary] = parted(records_of(*[[]] * 6, absence=1e9))
    assert [r["track"] for r in frames] == [{"id": 1}] * 6
    assert summary["answer"] is not None
    assert summary["reason"].endswith("this is read from the whole frame.")


def test_without_a_measured_absence_a_clip_with_nothing_located_is_unknown(records_of):
    frames, [summary] = parted(records_of(*[[]] * 6, absence=None))
    assert {r["status"] for r in (*frames, summary)} == {"unknown"}


def test_what_was_located_in_one_frame_of_an_aircraft_was_located(records_of):
    # A box nearly as large as the frame, missed at first.
    large = Box(2, 2, 94, 62, 0.6)
    frames, [summary] = parted(records_of(*[[]] * 2, *[[large]] * 4, absence=1e9))
    assert [r["track"]["id"] for r in frames] == [1] * 6
    assert summary["located"] == {"by": "localizer", "score": 0.6}
    assert "No aircraft was located" not in summary["reason"]


def test_one_frame_is_enough_for_a_summary_that_says_the_same(records_of, pictures, tmp_path):
    short = write(tmp_path / "one.mp4", pictures[:1])
    frame, summary = records_of([moving(0)], path=short)
    track = summary["track"]
    assert (track["frames"], track["effective_frames"]) == (1, 1.0)
    assert track["first_s"] == track["last_s"] == 0.0
    assert (summary["status"], summary["answer"]) == (frame["status"], frame["answer"])
    assert summary["candidates"] == frame["candidates"]
    assert summary["uncertainty"] == frame["uncertainty"]


@pytest.mark.parametrize(
    ("text", "taken"), [("all", [0, 1, 2, 3, 4, 5]), ("1", [0, 2, 4]), ("1.5", [0, 3]), ("9", [0])]
)
def test_only_the_frames_asked_for_are_answered(records_of, text, taken):
    scenes = [[moving(i)] for i in taken]
    frames, [summary] = parted(records_of(*scenes, sampling=Sampling.parse(text)))
    assert [r["source"]["frame"]["index"] for r in frames] == taken
    assert summary["track"]["frames"] == len(taken)


def undated(value):
    if isinstance(value, dict):
        return {key: undated(v) for key, v in value.items() if key != "created_utc"}
    return [undated(item) for item in value] if isinstance(value, list) else value


def nearly(value, digits=5):
    """Equal to what has the same numbers but for what another batch does to the last digit."""
    if isinstance(value, dict):
        return {key: nearly(v, 3 if key == "weight" else 5) for key, v in value.items()}
    if isinstance(value, list):
        return [nearly(item) for item in value]
    return pytest.approx(value, abs=1.01 * 10**-digits) if isinstance(value, float) else value


def test_the_batch_size_changes_no_record(records_of):
    scenes = [[moving(i), Box(70, 2, 84, 12, 0.7)] if i % 2 else [moving(i)] for i in range(6)]
    one, three, many = (undated(records_of(*scenes, batch_size=size)) for size in (1, 3, 100))
    assert len(one) == 9 + 2
    assert three == nearly(one)
    assert many == nearly(one)


def test_every_record_has_a_stills_fields_in_their_order_and_round_trips(
    records_of, predictor, drawn_set, monkeypatch
):
    named = records_of(*([moving(i)] for i in range(6)))
    empty = records_of(*[[]] * 6, absence=-1e9)
    monkeypatch.setattr(predictor, "localizer", Found([Box(4, 20, 44, 44, 0.9)]))
    picture = str(sorted(drawn_set.parent.rglob("*.jpg"))[0])
    [still] = answer_all([(picture, None)], predictor, Task(BOLD))
    for record in (*named, *empty):
        assert list(record) == list(still)
        assert list(record["source"]) == list(still["source"])
        assert list(record["located"]) == list(still["located"])
        assert list(record["model"]) == list(still["model"])
        assert list(record["run"]) == list(still["run"])
        assert record["run"]["settings_sha256"] == still["run"]["settings_sha256"]
        if record["uncertainty"]:
            assert list(record["uncertainty"]) == list(still["uncertainty"])
        assert json.loads(json.dumps(record, allow_nan=False)) == record


def test_pictures_are_let_go_as_soon_as_they_are_answered(predictor, tmp_path, monkeypatch):
    flat = [np.full((64, 96, 3), 10 * i, np.uint8) for i in range(20)]
    clip = open_clip(write(tmp_path / "twenty.mp4", flat))
    seen = []

    def look(still, box=None):
        seen.append(weakref.ref(still.rgb))
        return [Sighting((8.0, 8.0, 40.0, 40.0), 0.9)]

    monkeypatch.setattr(predictor, "look", look)
    alive = [
        sum(picture() is not None for picture in seen)
        for _ in clip_records(clip, predictor, BOLD, ALL, 2)
    ]
    assert len(seen) == 20
    assert max(alive) <= 4  # the batch at hand and the one before, of the twenty


def test_what_is_kept_of_an_aircraft_has_no_room_for_pictures(records_of, monkeypatch):
    kept = []
    monkeypatch.setattr("airframe.clips._Seen", lambda: kept.append(_Seen()) or kept[-1])
    records_of(*([moving(i)] for i in range(6)))
    (what,) = {id(k): k for k in kept if k.moments}.values()
    held = [*what.logits, *(row.base for row in what.logits if row.base is not None)]
    # Of a batch of four frames at most: four rows of five types, a picture has 18,432 numbers.
    assert max(array.size for array in held) <= 4 * 5
    assert isinstance(what.sighting, Sighting)
