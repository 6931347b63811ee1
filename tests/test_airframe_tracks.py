"""Following an aircraft, and pooling its frames: by hand, by simulation, and what always holds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from airframe.calibration import softmax
from airframe.metrics import ece
from airframe.tracks import (
    _FORGET,
    Tracker,
    contributions,
    effective_frames,
    fit_correlation,
    pool,
)

SOME = settings(max_examples=60, deadline=None, derandomize=True)
FRAMES = st.integers(1, 500)
SHARES = st.floats(0, 1)
LOGITS = st.tuples(st.integers(1, 8), st.integers(2, 5)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.floats(-8, 8))
)


def answer(logits, correlation):
    return softmax(pool(logits, correlation)[None])[0]


# --- what frames are worth ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frames", "correlation", "worth"),
    [
        (1, 0.37, 1),  # one is one, whatever the correlation
        (30, 0, 30),
        (30, 1, 1),
        (4, 0.5, 1.6),  # 4 / (1 + 3 x 0.5)
        (30, 0.1, 7.692308),  # 30 / (1 + 29 x 0.1) = 30 / 3.9
    ],
)
def test_effective_frames_by_hand(frames, correlation, worth):
    assert effective_frames(frames, correlation) == pytest.approx(worth, abs=1e-6)


@SOME
@given(FRAMES, SHARES)
def test_frames_are_worth_one_to_their_number_and_never_more_than_one_over_rho(frames, rho):
    worth = effective_frames(frames, rho)
    assert 1 - 1e-12 <= worth <= frames + 1e-9
    assert worth * rho <= 1 + 1e-12


@SOME
@given(FRAMES, SHARES, SHARES)
def test_a_frame_more_is_never_worth_less_and_correlation_never_worth_more(frames, one, other):
    low, high = sorted((one, other))
    assert effective_frames(frames + 1, low) >= effective_frames(frames, low) - 1e-9
    assert effective_frames(frames, low) >= effective_frames(frames, high) - 1e-9


@pytest.mark.parametrize(
    ("frames", "rho"), [(0, 0.5), (-1, 0.5), (3, -0.1), (3, 1.1), (3, float("nan"))]
)
def test_no_frames_or_a_correlation_outside_0_to_1_are_refused(frames, rho):
    with pytest.raises(ValueError, match="correlation"):
        effective_frames(frames, rho)


# --- one answer from many frames ------------------------------------------------------------------


def test_pooling_by_hand():
    # Probabilities 0.8 : 0.2 and 0.5 : 0.5 in two frames.
    logits = np.log([[0.8, 0.2], [0.5, 0.5]])
    # Independent: 0.8 x 0.5 against 0.2 x 0.5.
    assert answer(logits, 0)[0] == pytest.approx(0.4 / 0.5)
    # Copies: the root of 0.4 against that of 0.1, which is 2 : 1.
    assert answer(logits, 1)[0] == pytest.approx(2 / 3)
    # In between they are worth 2 / 1.5 frames: the odds of a mean frame, 2, to that power.
    assert answer(logits, 0.5)[0] == pytest.approx(2 ** (4 / 3) / (1 + 2 ** (4 / 3)))


@SOME
@given(LOGITS)
def test_correlation_0_multiplies_and_1_averages_what_the_frames_say(logits):
    probs = softmax(logits)
    product = probs.prod(axis=0)
    np.testing.assert_allclose(answer(logits, 0), product / product.sum(), atol=1e-9)
    mean = product ** (1 / len(logits))
    np.testing.assert_allclose(answer(logits, 1), mean / mean.sum(), atol=1e-9)


@SOME
@given(LOGITS, SHARES)
def test_a_lone_frame_answers_for_itself(logits, rho):
    np.testing.assert_allclose(answer(logits[:1], rho), softmax(logits[:1])[0], atol=1e-12)


@SOME
@given(LOGITS, SHARES, st.randoms(use_true_random=False))
def test_neither_the_order_of_frames_nor_that_of_classes_matters(logits, rho, random):
    frames, classes = list(range(len(logits))), list(range(logits.shape[1]))
    random.shuffle(frames)
    random.shuffle(classes)
    expected = answer(logits, rho)
    np.testing.assert_allclose(answer(logits[frames], rho), expected, atol=1e-9)
    np.testing.assert_allclose(answer(logits[:, classes], rho), expected[classes], atol=1e-9)


@SOME
@given(LOGITS, st.integers(2, 200), st.floats(0.01, 1))
def test_one_frame_shown_many_times_adds_no_certainty_where_frames_are_copies(logits, times, rho):
    alone = softmax(logits[:1])[0]
    copies = np.repeat(logits[:1], times, axis=0)
    np.testing.assert_allclose(answer(copies, 1), alone, atol=1e-9)
    # At less correlation they add some, yet however many there are no more than 1 / rho frames do.
    most = alone ** (1 / rho)
    assert answer(copies, rho).max() <= (most / most.sum()).max() + 1e-9


@pytest.mark.parametrize(
    "logits", [np.zeros((0, 3)), np.zeros(3), np.array([[0, np.nan]]), np.array([[0, np.inf]])]
)
def test_frames_that_are_no_finite_matrix_are_refused(logits):
    with pytest.raises(ValueError, match="logits"):
        pool(logits, 0.5)


# --- the correlation, fitted ----------------------------------------------------------------------


def clips(rho, n=500, frames=8, classes=5, seed=0):
    """Logits (n, frames, classes) that are calibrated frame by frame, and labels (n,).

    The evidence for each class is normal about 2 for the true one and 0 for the rest; a share
    `rho` of its variance, 1.5, is that of the whole clip. The posterior of one frame is then the
    softmax of 2 x / 1.5, and that of the clip the one which Kish's number gives: exactly `pool`.
    """
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    common = np.sqrt(1.5 * rho) * rng.normal(size=(n, 1, classes))
    own = np.sqrt(1.5 * (1 - rho)) * rng.normal(size=(n, frames, classes))
    evidence = 2 * np.eye(classes)[labels][:, None] + common + own
    return 2 / 1.5 * evidence, labels


def of_type(labels, classes=5):
    return np.eye(classes, dtype=bool)[labels]


@pytest.mark.parametrize(("rho", "within"), [(0.0, 0.03), (0.3, 0.08), (0.7, 0.12)])
def test_the_correlation_of_simulated_clips_is_found_again(rho, within):
    logits, labels = clips(rho)
    assert fit_correlation(logits, of_type(labels), 1.0) == pytest.approx(rho, abs=within)
    # Logits three times as bold under a temperature of three are the same logits.
    bold = fit_correlation(3 * logits, of_type(labels), 3.0)
    assert bold == pytest.approx(fit_correlation(logits, of_type(labels), 1.0), abs=1e-3)


def test_copied_frames_are_found_to_be_copies():
    logits, labels = clips(1.0, seed=1)
    assert np.ptp(logits, axis=1).max() == 0
    assert fit_correlation(logits, of_type(labels), 1.0) == pytest.approx(1, abs=0.1)


def test_pooled_answers_mean_what_they_say_where_a_product_boasts():
    logits, labels = clips(0.4, seed=2)
    rho = fit_correlation(logits, of_type(labels), 1.0)
    fresh, truth = clips(0.4, seed=3)

    def error(correlation):
        probs = np.stack([answer(track, correlation) for track in fresh])
        return ece(probs.max(axis=1), probs.argmax(axis=1) == truth, bins=10)

    assert error(rho) < 0.05
    assert error(0.0) > 2 * error(rho)  # too sure
    assert error(1.0) > 2 * error(rho)  # too timid


def test_a_label_known_to_the_family_only_finds_it_too():
    logits, labels = clips(0.3, n=800)
    # Families of the types 0, 1 and 2, 3; half the labels name no more than the family.
    allowed = of_type(labels)
    families = np.array([[1, 1, 0, 0, 0]] * 2 + [[0, 0, 1, 1, 0]] * 2 + [[0, 0, 0, 0, 1]], bool)
    allowed[::2] = families[labels[::2]]
    assert (allowed.sum(axis=1) == 2).any()
    assert fit_correlation(logits, allowed, 1.0) == pytest.approx(0.3, abs=0.1)


def test_what_a_label_does_not_tell_apart_does_not_count():
    # Two types of one family, torn between in every frame: by type the product boasts, by family
    # it is right, as both frames leave the third type out.
    wrong = np.log([[0.70, 0.29, 0.01], [0.70, 0.29, 0.01]])
    by_type = np.array([[False, True, False]])
    by_family = np.array([[True, True, False]])
    assert fit_correlation([wrong], by_type, 1.0) == 1
    assert fit_correlation([wrong], by_family, 1.0) == 0


def test_weights_count_tracks_several_times_and_clips_may_differ_in_length():
    (some, some_labels), (others, other_labels) = clips(0.1, n=60), clips(0.8, n=60, frames=3)
    tracks = [*some, *others]
    allowed = of_type(np.concatenate([some_labels, other_labels]))
    weights = np.repeat([1.0, 3.0], 60)
    weighted = fit_correlation(tracks, allowed, 1.0, weights)
    copied = [*tracks, *others, *others]
    again = fit_correlation(copied, np.vstack([allowed, *[allowed[60:]] * 2]), 1.0)
    assert weighted == pytest.approx(again, abs=1e-3)
    assert abs(weighted - fit_correlation(tracks, allowed, 1.0)) > 1e-2


@pytest.mark.parametrize(
    ("tracks", "allowed", "temperature", "weights"),
    [
        ([], np.zeros((0, 2), bool), 1.0, None),
        ([np.zeros((2, 2))], np.ones((2, 2), bool), 1.0, None),
        ([np.zeros((2, 2))], np.array([[True, False, False]]), 1.0, None),
        ([np.zeros((2, 2)), np.zeros((2, 3))], np.ones((2, 2), bool), 1.0, None),
        ([np.zeros((0, 2))], np.array([[True, False]]), 1.0, None),
        ([np.array([[0, np.nan]])], np.array([[True, False]]), 1.0, None),
    ],
    ids=["none", "labels", "types", "unequal", "no frame", "nan"],
)
def test_tracks_that_cannot_be_fitted_are_refused(tracks, allowed, temperature, weights):
    with pytest.raises(ValueError, match=r"\w"):
        fit_correlation(tracks, allowed, temperature, weights)


# --- which frames spoke ---------------------------------------------------------------------------


def test_contributions_by_hand():
    # Four types, so that a frame which knows nothing gives the answer 1/4: odds of 1/3.
    probs = np.array([[0.25, 0.25, 0.25, 0.25], [0.5, 0.3, 0.1, 0.1], [0.1, 0.3, 0.3, 0.3]])
    spoke = contributions(np.log(probs), [0])
    # log 1/3 - log 1/3; log 1 - log 1/3; log 1/9 - log 1/3
    np.testing.assert_allclose(spoke, [0, np.log(3), -np.log(3)], atol=1e-9)
    assert np.argsort(-spoke).tolist() == [1, 0, 2]
    # For the family of the first two, with a prior of 1/2: log 4 and log 2/3.
    np.testing.assert_allclose(
        contributions(np.log(probs), [0, 1]), [0, np.log(4), np.log(2 / 3)], atol=1e-9
    )


def test_a_frame_that_is_certain_speaks_loudly_but_finitely():
    spoke = contributions(np.array([[900.0, 0.0], [-900.0, 0.0]]), [0])
    assert np.isfinite(spoke).all()
    assert spoke[0] > 20 > -20 > spoke[1]


# --- who is who -----------------------------------------------------------------------------------

TEXTURE = np.random.default_rng(0).normal(size=(6, 64)).astype(np.float32)


def box(x, y, width, height=None):
    """A box about its centre."""
    height = width if height is None else height
    return (x - width / 2, y - height / 2, x + width / 2, y + height / 2)


def look(degrees):
    """Looks of which two are as unlike as one minus the cosine of the angle between them."""
    turn = np.radians(degrees)
    return np.array([np.cos(turn), np.sin(turn)], np.float32)


def numbers(tracker, frame, boxes, looks):
    return [track.number for track in tracker.update(frame, boxes, looks)]


def test_an_aircraft_that_drifts_and_grows_keeps_its_number():
    tracker = Tracker()
    for frame in range(12):
        at = box(50 + 15 * frame, 80 + 4 * frame, 40 * 1.05**frame, 18 * 1.05**frame)
        assert numbers(tracker, frame, [at], [TEXTURE[0] + 0.3 * TEXTURE[1]]) == [1]
    (track,) = tracker.tracks
    assert track.frames == list(range(12))
    assert len(track.boxes) == 12


def test_an_aircraft_that_jumps_across_the_frame_keeps_its_number():
    # At one frame a second its boxes have nothing in common but size and looks.
    tracker = Tracker()
    places = [(60, 60), (1800, 900), (100, 950), (1700, 40)]
    found = [numbers(tracker, i, [box(*p, 40, 20)], [TEXTURE[0]]) for i, p in enumerate(places)]
    assert found == [[1]] * 4


def test_another_aircraft_elsewhere_gets_a_number_of_its_own():
    # As far as it may jump (1), and as unlike as features at right angles are (1).
    tracker = Tracker()
    assert numbers(tracker, 0, [box(60, 60, 40)], [look(0)]) == [1]
    assert numbers(tracker, 1, [box(900, 900, 40)], [look(90)]) == [2]


def test_two_aircraft_of_unlike_looks_keep_their_numbers_when_they_cross():
    tracker = Tracker()
    for frame in range(9):
        # The one goes right, the other left; in frame 4 both are in one place.
        pair = [box(100 + 20 * frame, 100, 40), box(260 - 20 * frame, 100, 40)]
        looks = [look(0), look(70)]
        turn = 1 if frame % 2 else -1  # nor does the order of the boxes matter
        assert numbers(tracker, frame, pair[::turn], looks[::turn]) == [1, 2][:: turn * -1]


def test_two_aircraft_of_one_look_are_told_apart_by_place_and_size():
    tracker = Tracker()
    for frame in range(6):
        near = box(200 + 30 * frame, 150, 120, 50)
        far = box(900 - 30 * frame, 500, 30, 12)
        pair = [near, far] if frame % 2 == 0 else [far, near]
        expected = [1, 2] if frame % 2 == 0 else [2, 1]
        assert numbers(tracker, frame, pair, [look(0), look(0)]) == expected


def test_size_alone_tells_two_aircraft_apart_that_change_places():
    tracker = Tracker()
    near, far = (200, 150), (900, 500)
    for frame in range(4):
        here, there = (near, far) if frame % 2 == 0 else (far, near)
        pair = [box(*here, 120, 50), box(*there, 30, 12)]
        assert numbers(tracker, frame, pair, [look(0), look(0)]) == [1, 2]


def test_an_aircraft_is_forgotten_after_some_frames_out_of_sight():
    for gap, number in ((_FORGET, 1), (_FORGET + 2, 2)):
        tracker = Tracker()
        assert numbers(tracker, 0, [box(100, 100, 40)], [look(0)]) == [1]
        assert numbers(tracker, gap, [box(100, 100, 40)], [look(0)]) == [number]


def test_frames_without_aircraft_change_nothing():
    tracker = Tracker()
    assert tracker.update(0, [], []) == []
    assert tracker.tracks == []
    assert numbers(tracker, 1, [box(100, 100, 40)], [look(0)]) == [1]
    assert tracker.update(2, [], []) == []
    assert numbers(tracker, 3, [box(110, 100, 40)], [look(0)]) == [1]


def test_a_newcomer_cannot_take_the_number_of_an_aircraft_that_has_not_moved():
    # The first stands still and costs 0. The second leaves, a third comes far off, unlike the
    # second beyond the gate: matching both boxes at any cost would hand the first one's number on.
    tracker = Tracker()
    still = box(100, 100, 40)
    assert numbers(tracker, 0, [still, box(140, 100, 46)], [look(25), look(0)]) == [1, 2]
    assert numbers(tracker, 1, [still, box(500, 400, 35)], [look(25), look(50)]) == [1, 3]


def test_a_look_for_every_box_is_asked_for():
    with pytest.raises(ValueError, match="zip"):
        Tracker().update(0, [box(100, 100, 40)], [])


PLACES = st.tuples(st.floats(0, 900), st.floats(0, 900), st.floats(1, 300), st.floats(1, 300))


@SOME
@given(st.lists(st.lists(st.tuples(PLACES, st.integers(0, 6)), max_size=4), max_size=6))
def test_no_two_boxes_of_a_frame_are_one_aircraft_and_numbers_count_up(scenes):
    tracker = Tracker()
    looks = np.vstack([TEXTURE, np.zeros((1, 64), np.float32)])  # a dead network's too
    total = 0
    for frame, scene in enumerate(scenes):
        boxes = [box(*place) for place, _ in scene]
        found = numbers(tracker, frame, boxes, [looks[which] for _, which in scene])
        assert len(set(found)) == len(found) == len(boxes)
        fresh = [number for number in found if number > total]
        assert fresh == list(range(total + 1, total + 1 + len(fresh)))
        total += len(fresh)
    assert [track.number for track in tracker.tracks] == list(range(1, total + 1))
    for track in tracker.tracks:
        assert track.frames == sorted(set(track.frames))
        assert len(track.frames) == len(track.boxes)


class ByOverlap:
    """What the tracker is compared with: greedy by IoU from 0.3 on, forgetting as soon as ours."""

    def __init__(self):
        self.last, self.count = {}, 0

    def numbers(self, frame, boxes, looks):
        alive = {n: b for n, (seen, b) in self.last.items() if frame - seen <= _FORGET}
        pairs = [(iou(b, known), i, n) for i, b in enumerate(boxes) for n, known in alive.items()]
        owner = {}
        for overlap, i, n in sorted(pairs, reverse=True):
            if overlap >= 0.3 and i not in owner and n not in owner.values():
                owner[i] = n
        for i, b in enumerate(boxes):
            if i not in owner:
                self.count += 1
                owner[i] = self.count
            self.last[owner[i]] = frame, b
        return [owner[i] for i in range(len(boxes))]


class ByTracker:
    def __init__(self):
        self.tracker = Tracker()

    def numbers(self, frame, boxes, looks):
        return numbers(self.tracker, frame, boxes, looks)


def iou(a, b):
    wide = min(a[2], b[2]) - max(a[0], b[0])
    tall = min(a[3], b[3]) - max(a[1], b[1])
    inside = max(wide, 0) * max(tall, 0)
    areas = [(c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)]
    return inside / (sum(areas) - inside)


def four_ship(seed, pan, likeness, frames=10):
    """A finger-four, its aircraft two sizes apart, seen by a camera that pans by `pan` sizes a
    frame. Of one aircraft's looks a share `likeness` is that of all four."""
    rng = np.random.default_rng(seed)
    wide, tall = rng.uniform(40, 80), rng.uniform(20, 40)
    side = np.sqrt(wide * tall)
    slots = 2 * side * np.array([[0, 0], [1, 0.6], [2, 1.2], [-1, 0.6]])
    common, own = rng.normal(size=64), rng.normal(size=(4, 64))
    looks = likeness * common + (1 - likeness) * own
    way = rng.normal(size=2)
    step = pan * side * way / np.linalg.norm(way)
    for frame in range(frames):
        centres = slots + step * frame + rng.normal(0, 0.05 * side, (4, 2))
        sizes = np.array([wide, tall]) * np.exp(rng.normal(0, 0.05, (4, 1)))
        seen = looks + rng.normal(0, 0.3 * np.abs(looks).mean(), (4, 64))
        order = rng.permutation(4)
        boxes = [box(*centres[i], *sizes[i]) for i in order]
        yield order, boxes, [seen[i] for i in order]


def switches(association, **how):
    """How often over ten clips an aircraft's number is another than in the frame before."""
    count = 0
    for seed in range(10):
        follower, last = association(), {}
        for frame, (order, boxes, looks) in enumerate(four_ship(seed, **how)):
            for who, number in zip(order, follower.numbers(frame, boxes, looks), strict=True):
                count += last.get(who, number) != number
                last[who] = number
    return count


@pytest.mark.parametrize("likeness", [0.5, 0.9])
@pytest.mark.parametrize("pan", [0.2, 0.5, 1.0, 3.0])
def test_a_formation_under_a_panning_camera_changes_numbers_less_than_by_overlap(pan, likeness):
    ours, theirs = (switches(how, pan=pan, likeness=likeness) for how in (ByTracker, ByOverlap))
    assert ours < theirs
    if pan <= 1:
        # Half of what is between two aircraft: nobody is nearer to another's place than to its own.
        assert ours == 0
