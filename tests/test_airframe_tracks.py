"""Following an aircraft from frame to frame: by hand, by simulation, and what always holds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airframe.tracks import _FORGET, Tracker

SOME = settings(max_examples=60, deadline=None, derandomize=True)
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
