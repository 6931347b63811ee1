"""What is cropped is the frame's own pixels around a box, in the network's shape; boxes by CSV."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data.manifest import ManifestError, read_manifest
from data.taxonomy import Taxonomy
from data.transforms import OVERSIZE, ROOM, eval_transform, oversized, to_tensor
from data.views import InputSpec, crop, letterbox, pixels, shrunk

SOME = settings(max_examples=100, deadline=None, derandomize=True)
SPEC = InputSpec(64, 96, margin=0.0)
ROOMY = replace(SPEC, margin=0.1)
# Red says the column, green the row, blue that it is the frame and not the fill.
FRAME = np.stack([*np.meshgrid(np.arange(150), np.arange(100)), np.full((100, 150), 255)], axis=2)
FRAME = FRAME.astype(np.uint8)


# --- the window -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("box", "spec", "window"),
    [
        # 30 x 20 has the input's shape already
        ((40, 30, 70, 50), SPEC, (40, 30, 70, 50)),
        # a tenth of 30 and of 20 on each side
        ((40, 30, 70, 50), ROOMY, (37, 28, 73, 52)),
        # wide, 60 x 10: 40 rows about the middle, 35
        ((40, 30, 100, 40), SPEC, (40, 15, 100, 55)),
        # tall, 10 x 40: 60 columns about 45
        ((40, 30, 50, 70), SPEC, (15, 30, 75, 70)),
        # tall with a margin: 48 rows, and so 72 columns about 65
        ((60, 30, 70, 70), ROOMY, (29, 26, 101, 74)),
        # a square input takes as much on all sides
        ((40, 30, 60, 40), InputSpec(64, 64, margin=0.5), (30, 15, 70, 55)),
        # fractions of a pixel: 20.4 rows want 30.6 columns; about (55.1, 40.1) they are 31 x 20
        ((39.9, 29.9, 70.3, 50.3), SPEC, (40, 30, 71, 50)),
    ],
)
def test_windows_by_hand(box, spec, window):
    left, top, right, bottom = window
    assert np.array_equal(crop(FRAME, box, spec), FRAME[top:bottom, left:right])


def test_beyond_the_edge_there_is_fill_and_only_there():
    seen = crop(FRAME, (0, 0, 30, 20), ROOMY)  # from (-3, -2) to (33, 22)
    assert seen.shape == (24, 36, 3)
    assert np.array_equal(seen[2:, 3:], FRAME[:22, :33])
    assert (seen[:2] == ROOMY.fill).all()
    assert (seen[:, :3] == ROOMY.fill).all()
    seen = crop(FRAME, (120, 80, 150, 100), ROOMY)  # to (153, 102) of 150 x 100
    assert np.array_equal(seen[:-2, :-3], FRAME[78:, 117:])
    assert (seen[-2:] == ROOMY.fill).all()
    assert (seen[:, -3:] == ROOMY.fill).all()


@pytest.mark.parametrize("corner", [(-200, 10), (10, -200), (400, 10), (10, 400), (-200, 400)])
def test_a_box_outside_the_frame_shows_fill_alone(corner):
    x, y = corner
    seen = crop(FRAME, (x, y, x + 30, y + 20), SPEC)
    assert seen.shape == (20, 30, 3)
    assert (seen == SPEC.fill).all()


@st.composite
def boxes(draw):
    """A box of 1 to 120 px inside FRAME."""
    wide, tall = draw(st.floats(1, 120)), draw(st.floats(1, 90))
    x0, y0 = draw(st.floats(0, 150 - wide)), draw(st.floats(0, 100 - tall))
    return x0, y0, x0 + wide, y0 + tall


SPECS = st.builds(
    InputSpec, st.sampled_from([64, 96]), st.sampled_from([64, 96, 160]), margin=st.floats(0, 0.5)
)


@SOME
@given(boxes(), SPECS, st.sampled_from([1.0, ROOM]))
def test_every_window_is_the_frame_itself_about_its_box(box, spec, room):
    seen = crop(FRAME, box, spec, room)
    (x0, y0, x1, y1), height, width = box, *seen.shape[:2]
    rows, columns = np.nonzero(seen[..., 2] == 255)
    # At the frame's own resolution: every pixel says the same of where the window begins.
    [left] = set((seen[rows, columns, 0] - columns).tolist())
    [top] = set((seen[rows, columns, 1] - rows).tolist())
    # What lies inside the frame is the frame, and all else is fill.
    whole = np.zeros((height, width), bool)
    whole[max(0, -top) : 100 - top, max(0, -left) : 150 - left] = True
    assert np.array_equal(whole, seen[..., 2] == 255)
    assert (seen[~whole] == spec.fill).all()
    # In the middle, of the input's shape, with the margin on the side that needs it, to a pixel.
    assert abs(left + width / 2 - (x0 + x1) / 2) <= 1
    assert abs(top + height / 2 - (y0 + y1) / 2) <= 1
    assert abs(width - height * spec.width / spec.height) <= 0.5 + 0.5 * spec.width / spec.height
    grow = room * (1 + 2 * spec.margin)
    assert width >= (x1 - x0) * grow - 0.5
    assert height >= (y1 - y0) * grow - 0.5
    assert width <= (x1 - x0) * grow + 0.5 or height <= (y1 - y0) * grow + 0.5


def test_the_frame_is_left_alone():
    before = FRAME.copy()
    for box in ((0, 0, 30, 20), (40, 30, 70, 50)):
        eval_transform(FRAME, ROOMY, box)
        oversized(FRAME, ROOMY, box)
    assert np.array_equal(FRAME, before)


# --- what the network gets of it ------------------------------------------------------------------


@SOME
@given(boxes(), st.floats(0, 0.5))
def test_the_eval_transform_of_a_box_is_that_of_its_crop(box, margin):
    spec = replace(SPEC, margin=margin)
    tensor = eval_transform(FRAME, spec, box)
    assert tensor.shape == (3, 64, 96)
    expected = to_tensor(letterbox(crop(FRAME, box, spec), 64, 96, spec.fill), spec)
    assert torch.equal(tensor, expected)
    assert torch.equal(tensor, eval_transform(crop(FRAME, box, spec), spec))


def test_without_a_box_the_whole_frame_is_seen():
    tensor = eval_transform(FRAME, ROOMY)
    # 150 x 100 has the input's shape: no margin, no fill
    assert torch.equal(tensor, to_tensor(letterbox(FRAME, 64, 96, (0, 0, 0)), ROOMY))
    assert torch.equal(tensor, eval_transform(FRAME, SPEC, (0, 0, 150, 100)))
    assert not torch.equal(tensor, eval_transform(FRAME, ROOMY, (0, 0, 150, 100)))


def test_a_crop_that_is_the_inputs_size_reaches_the_network_unscaled():
    spec = InputSpec(64, 96, margin=0.0)
    tensor = eval_transform(FRAME, spec, (20, 10, 116, 74))
    assert torch.equal(tensor, to_tensor(FRAME[10:74, 20:116], spec))


def test_training_caches_more_room_around_a_box_than_inference_sees():
    seen = oversized(FRAME, SPEC, (60, 40, 90, 60))
    # 1.35 x (30, 20) = (40.5, 27) about (75, 50): columns 55 to 95, rows 36 to 63, rounded to even
    assert ROOM == 1.35
    assert crop(FRAME, (60, 40, 90, 60), SPEC, ROOM).shape == (27, 40, 3)
    assert np.array_equal(seen, letterbox(FRAME[36:63, 55:95], 85, 128, SPEC.fill))
    assert seen.shape[:2] == (round(64 * OVERSIZE), round(96 * OVERSIZE)) == (85, 128)
    assert np.array_equal(oversized(FRAME, SPEC), letterbox(FRAME, 85, 128, SPEC.fill))


def test_shares_become_pixels():
    assert pixels((0.1, 0.2, 0.5, 1), FRAME) == pytest.approx((15, 20, 75, 100))


@pytest.mark.parametrize(
    ("size", "long_side", "expected"),
    [
        ((150, 100), 75, (75, 50)),
        ((100, 150), 75, (50, 75)),
        ((150, 100), 150, (150, 100)),
        ((150, 100), 400, (150, 100)),  # never enlarged
        ((301, 200), 100, (100, 66)),
        ((500, 1), 100, (100, 1)),
    ],
)
def test_shrinking_keeps_proportions_and_enlarges_nothing(size, long_side, expected):
    picture = np.full((size[1], size[0], 3), 90, np.uint8)
    small = shrunk(picture, long_side)
    assert small.shape == (expected[1], expected[0], 3)
    assert (small == 90).all()
    assert small.flags.c_contiguous


def test_shrinking_does_not_alias():
    # Stripes of one pixel become grey; a filter that skipped pixels would show black or white.
    stripes = np.zeros((100, 150, 3), np.uint8)
    stripes[:, ::2] = 254
    small = shrunk(stripes, 30)
    assert np.abs(small[2:-2, 2:-2].astype(int) - 127).max() < 20


# --- boxes of a CSV -------------------------------------------------------------------------------

TAXONOMY = Taxonomy(
    {"fighter": {"label": "Fighter", "families": {"Flanker": {"Su-27": None, "Su-35": None}}}}
)
OWN = (0.5, 0.5, 1.0, 1.0)
MANIFEST = (
    "path,type,box\n"
    "a.jpg,Su-27,0.5 0.5 1 1\n"
    "a.jpg,Su-35,0.5 0.5 1 1\n"
    "b.jpg,Su-27,0.5 0.5 1 1\n"
    "c.jpg,Su-27,\n"
)


@pytest.fixture
def read(tmp_path):
    """Reads MANIFEST with boxes of the given text: the boxes of a.jpg (twice), b.jpg, c.jpg."""
    for name in "abc":
        (tmp_path / f"{name}.jpg").touch()
    (tmp_path / "manifest.csv").write_text(MANIFEST)

    def read_boxes(content):
        path = tmp_path / "boxes.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        samples = read_manifest(tmp_path / "manifest.csv", TAXONOMY, boxes=path)
        assert [sample.key for sample in samples] == ["a.jpg", "a.jpg", "b.jpg", "c.jpg"]
        return [sample.boxes for sample in samples]

    return read_boxes


def problems(read, content):
    with pytest.raises(ManifestError) as caught:
        read(content)
    head, *lines = str(caught.value).splitlines()
    assert head.endswith(f"boxes.csv: {len(lines)} problem(s)")
    return [line.strip() for line in lines]


def test_given_boxes_take_the_place_of_the_manifests_own(read):
    one, two = (0.0, 0.1, 0.25, 0.5), (0.5, 0.1, 0.75, 0.5)
    # a picture of two types has them in both of its rows; b.jpg is not named
    assert read("path,box\na.jpg,0 0.1 0.25 0.5; 0.5 0.1 0.75 0.5\nc.jpg,0 0.1 0.25 0.5\n") == [
        (one, two),
        (one, two),
        (OWN,),
        (one,),
    ]


def test_an_empty_box_says_that_no_aircraft_shows(read):
    assert read("path,box\nb.jpg,\n") == [(OWN,), (OWN,), (), ()]


@pytest.mark.parametrize("content", ["path,box\n", "note,box,path\n", b"\xef\xbb\xbfpath,box\n"])
def test_boxes_of_no_picture_change_nothing(read, content):
    assert read(content) == [(OWN,), (OWN,), (OWN,), ()]


def test_a_byte_order_mark_and_other_columns_do_no_harm(read):
    text = b'\xef\xbb\xbfpath,note,box\r\nc.jpg,"x, y",0.5 0.5 1 1\r\n'
    assert read(text) == [(OWN,), (OWN,), (OWN,), (OWN,)]


def test_every_bad_row_is_reported_with_its_line(read):
    found = problems(
        read,
        "path,box\n"
        "a.jpg,0 0 1\n"  # 2: three numbers
        "b.jpg,0 0 0.5 0.5\n"  # 3: good
        "z.jpg,0 0 1 1\n"  # 4: of no picture
        "c.jpg,0 0 0.5 0.5;0.5 0 0.4 1\n"  # 5: the second is turned round
        "y.jpg,0 0 1 1.01\n",  # 6: two at once
    )
    expected = [
        (2, "'0 0 1' is not four numbers"),
        (4, "'z.jpg' is in no row"),
        (5, "'0.5 0 0.4 1' must hold"),
        (6, "'0 0 1 1.01' must hold"),
        (6, "'y.jpg' is in no row"),
    ]
    assert len(found) == len(expected)
    for line, (number, words) in zip(found, expected, strict=True):
        assert line.startswith(f"line {number}: ")
        assert words in line


def test_a_picture_named_twice_is_reported(read):
    [problem] = problems(read, "path,box\na.jpg,0 0 0.5 0.5\na.jpg,0.5 0 1 0.5\n")
    assert problem.startswith("line 3: ")
    assert "a.jpg" in problem


@pytest.mark.parametrize(
    "content", [b"\xff\xfe\x00", "picture,box\na.jpg,0 0 1 1\n", "path\na.jpg\n"]
)
def test_what_is_no_csv_of_boxes_is_refused(read, content):
    with pytest.raises(ManifestError, match=r"boxes\.csv: not a CSV with columns path, box"):
        read(content)


def test_a_missing_file_of_boxes_is_named(tmp_path):
    (tmp_path / "a.jpg").touch()
    (tmp_path / "manifest.csv").write_text("path,type\na.jpg,Su-27\n")
    with pytest.raises(ManifestError, match=r"none\.csv"):
        read_manifest(tmp_path / "manifest.csv", TAXONOMY, boxes=tmp_path / "none.csv")
