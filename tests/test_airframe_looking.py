"""Where to look: a user's box is checked, the localizer's are ranked, and else all is looked at."""

from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import one_line
from PIL import Image
from scipy import ndimage

from airframe.looking import (
    MOST,
    BoxError,
    Sighting,
    _stretches,
    checked_box,
    found_boxes,
    ranked,
    sightings,
    specks,
)
from data.manifest import Sample
from models.boxes import Box

SOME = settings(max_examples=60, deadline=None, derandomize=True)
FRAME = np.zeros((60, 100, 3), np.uint8)


class Finding:
    """In place of a localizer: the same boxes in every picture."""

    def __init__(self, *boxes):
        self.boxes, self.asked = [Box(*box) for box in boxes], []
        self.card = SimpleNamespace(threshold=0.0, long_side=640)

    def locate(self, pictures, threshold=None):
        self.asked += pictures
        return [self.boxes for _ in pictures]


# --- a user's box ---------------------------------------------------------------------------------


def test_a_box_inside_the_frame_is_taken_as_it_is():
    edges = checked_box([1, 2.5, 30, 40], 100, 60)
    assert edges == (1.0, 2.5, 30.0, 40.0)
    assert all(type(value) is float for value in edges)
    assert checked_box((0, 0, 100, 60), 100, 60) == (0, 0, 100, 60)  # all of the frame


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ((-1, 2, 30, 40), ["-1,2,30,40", "not inside", "100", "60"]),
        ((1, -0.5, 30, 40), ["1,-0.5,30,40", "not inside"]),
        ((1, 2, 100.5, 40), ["1,2,100.5,40", "not inside"]),
        ((1, 2, 30, 61), ["1,2,30,61", "not inside"]),
        ((200, 200, 230, 240), ["200,200,230,240", "not inside"]),
        # in a frame of 60 x 100 it would be inside
        ((1, 2, 50, 90), ["1,2,50,90", "not inside"]),
        ((30, 2, 30, 40), ["30,2,30,40", "no area"]),
        ((1, 40, 30, 40), ["1,40,30,40", "no area"]),
        ((30, 2, 1, 40), ["30,2,1,40", "no area", "left, top, right, bottom"]),
        ((1, 40, 30, 2), ["1,40,30,2", "no area", "left, top, right, bottom"]),
        ((1, 2, float("nan"), 40), ["1,2,nan,40", "four numbers"]),
        ((1, 2, float("inf"), 40), ["1,2,inf,40", "four numbers"]),
        ((1, 2, 30), ["1,2,30", "four numbers", "x0,y0,x1,y1"]),
        ((1, 2, 30, 40, 0.9), ["1,2,30,40,0.9", "four numbers"]),
        ((), ["four numbers"]),
    ],
)
def test_a_bad_box_is_named_in_one_line(box, words):
    with pytest.raises(BoxError) as caught:
        checked_box(box, 100, 60)
    one_line(caught, *words)


@SOME
@given(st.lists(st.floats(-20, 120), min_size=4, max_size=4))
def test_a_box_is_refused_or_lies_inside(box):
    try:
        x0, y0, x1, y1 = checked_box(box, 100, 60)
    except BoxError:
        x0, y0, x1, y1 = box
        assert not (0 <= x0 < x1 <= 100 and 0 <= y0 < y1 <= 60)
    else:
        assert [x0, y0, x1, y1] == box
        assert 0 <= x0 < x1 <= 100
        assert 0 <= y0 < y1 <= 60


# --- what there is to look at ---------------------------------------------------------------------


def test_without_a_localizer_the_whole_frame_is_seen_and_nothing_was_missed():
    assert sightings(FRAME, None) == [Sighting(None, None, missed=False)]


def test_a_localizer_that_finds_nothing_leaves_the_whole_frame_as_missed():
    assert sightings(FRAME, Finding()) == [Sighting(None, None, missed=True)]


def test_what_is_found_is_looked_at_with_its_score():
    finding = Finding((1.5, 2, 30, 40, 0.75))
    assert sightings(FRAME, finding) == [Sighting((1.5, 2, 30, 40), 0.75, missed=False)]
    assert len(finding.asked) == 1
    assert finding.asked[0] is FRAME


LARGE, SURE = (0, 0, 40, 40, 0.5), (50, 0, 80, 30, 0.95)
THIRD, SPECK = (50, 0, 70, 40, 0.9), (90, 50, 92, 52, 0.99)


def test_pixels_and_sureness_rank_together():
    # 0.95 x 900 = 855, 0.5 x 1600 = 800, 0.9 x 800 = 720, 0.99 x 4 = 4: neither the order of
    # the scores nor that of the areas
    seen = sightings(FRAME, Finding(SPECK, THIRD, LARGE, SURE))
    order = (SURE, LARGE, THIRD, SPECK)
    assert [(s.score, *s.box) for s in seen] == [(box[4], *box[:4]) for box in order]
    # wide or tall, it is the area: 0.9 x 10 x 60 = 540 against 0.9 x 60 x 8 = 432
    tall, wide = Box(0, 0, 10, 60, 0.9), Box(20, 0, 80, 8, 0.9)
    assert ranked([wide, tall]) == [tall, wide]


@SOME
@given(st.permutations(range(8)))
def test_the_order_of_finding_does_not_matter(order):
    boxes = [Box(0, 0, 5 + i, 7 + i, 0.9 - i / 20) for i in range(8)]
    assert ranked([boxes[i] for i in order]) == ranked(boxes)
    assert ranked([]) == []


def test_no_more_than_the_most_are_looked_at_and_those_are_the_largest():
    crowd = [(0, 0, 5 + i, 5 + i, 0.5) for i in range(MOST + 5)]
    seen = sightings(FRAME, Finding(*crowd))
    assert [s.box[2] for s in seen] == [5 + i for i in reversed(range(5, MOST + 5))]
    assert len(seen) == MOST


# --- what is too small to be seen at once ---------------------------------------------------------


class Seeing:
    """In place of a localizer: finds what is white and still 8 pixels wide when it is shrunk."""

    def __init__(self, long_side=64):
        self.card, self.asked = SimpleNamespace(threshold=0.5, long_side=long_side), []

    def locate(self, pictures, threshold=None):
        self.asked += [picture.shape[:2] for picture in pictures]
        return [list(self._seen(picture)) for picture in pictures]

    def _seen(self, picture):
        scale = min(1, self.card.long_side / max(picture.shape[:2]))
        named, _ = ndimage.label(picture[..., 0] == 255)
        for rows, columns in ndimage.find_objects(named):
            if (columns.stop - columns.start) * scale >= 8:
                yield Box(columns.start, rows.start, columns.stop, rows.stop, 0.8)


def sky(*boxes, height=180, width=288):
    """A dark frame with a white patch in each box."""
    frame = np.zeros((height, width, 3), np.uint8)
    for x0, y0, x1, y1 in boxes:
        frame[y0:y1, x0:x1] = 255
    return frame


# In the middle of a part, in the frame's corner, in what two and in what four parts share.
@pytest.mark.parametrize(
    "box", [(130, 80, 150, 92), (268, 164, 288, 180), (91, 10, 107, 18), (91, 58, 107, 66)]
)
def test_a_speck_is_found_once_where_it_is(box):
    seeing = Seeing()
    (seen,) = sightings(sky(box), seeing)
    assert (seen.box, seen.score, seen.missed) == (box, 0.8, False)
    assert len(seeing.asked) == 1 + 9
    assert all(width < 288 / 2 for _, width in seeing.asked[1:])


def test_what_the_whole_frame_shows_is_enough():
    large, speck = (40, 40, 120, 80), (200, 120, 220, 132)
    seeing = Seeing()
    assert [s.box for s in sightings(sky(large, speck), seeing)] == [large]
    assert seeing.asked == [(180, 288)]


def test_a_piece_of_what_is_large_is_no_speck():
    # 27 x 21 pixels in the shrunk frame: the localizer should have seen it whole, and did not
    assert specks(sky((60, 40, 180, 136)), Seeing()) == []
    # at the bound: 16 pixels in the shrunk frame are 72 here
    assert len(specks(sky((8, 8, 79, 79), height=288), Seeing())) == 1
    assert specks(sky((8, 8, 80, 80), height=288), Seeing()) == []


def test_a_frame_that_is_not_shrunk_is_not_looked_through():
    seeing = Seeing(long_side=288)
    assert specks(sky((130, 80, 150, 92)), seeing) == []
    assert sightings(sky((130, 80, 136, 84)), seeing) == [Sighting(None, missed=True)]
    assert seeing.asked == [(180, 288)]
    # shrunk a little: two parts each way
    specks(sky(), seeing := Seeing(long_side=180))
    assert len(seeing.asked) == 4


def test_several_specks_are_all_found():
    boxes = [(6, 6, 24, 16), (120, 80, 140, 92), (122, 100, 140, 110), (260, 160, 280, 176)]
    seen = sightings(sky(*boxes), Seeing())
    assert sorted(s.box for s in seen) == sorted(boxes)


@SOME
@given(st.integers(32, 5000), st.integers(2, 3))
def test_the_parts_make_the_whole(length, across):
    parts = _stretches(length, across)
    assert (parts[0][0], parts[-1][1], len(parts)) == (0, length, across)
    for (start, stop), (following, _) in pairwise(parts):
        assert start < following < stop


def test_a_pictures_found_boxes_are_shares_of_it(tmp_path):
    path = tmp_path / "frame.png"
    Image.fromarray(FRAME).save(path)
    sample = Sample(path, None, "photo", "frame", None, (), "frame.png")
    finding = Finding((90, 50, 100, 60, 0.9), (25, 15, 75, 45, 0.9))
    # x of 100, y of 60; the larger one first
    assert found_boxes(sample, finding) == ((0.25, 0.25, 0.75, 0.75), (0.9, 50 / 60, 1, 1))
    assert found_boxes(sample, Finding()) == ()
    assert finding.asked[0].shape == (60, 100, 3)
