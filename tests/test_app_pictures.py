"""app/pictures.py: pictures as the page shows them."""

import base64
import io

import numpy as np
from pictures import picture
from PIL import Image
from records import record, unknown

from app import pictures


def opened(uri):
    return Image.open(io.BytesIO(base64.b64decode(uri.split(",", 1)[1])))


def test_a_preview_is_small_and_never_larger_than_the_picture():
    assert opened(pictures.jpeg_uri(pictures.shrunk(picture(4000, 3000)))).size == (1280, 960)
    assert pictures.shrunk(picture(40, 30)).size == (40, 30)
    assert max(opened(pictures.thumb_uri(picture(4000, 3000))).size) <= 144


def test_boxes_are_drawn_where_they_were_looked_for():
    flat = np.full((100, 200, 3), 128, np.uint8)
    drawn = np.asarray(pictures.boxed(flat, [record(box=[50, 20, 150, 80]), unknown()]))
    changed = np.argwhere((drawn != 128).any(2))
    assert changed.min(0).tolist() == [20, 50]
    assert changed.max(0).tolist() == [80, 150]


def test_a_box_of_a_pixel_can_be_drawn():
    pictures.boxed(picture(2000, 1500), [record(box=[10, 10, 11, 11])])


def test_the_map_lies_on_its_window_alone():
    heat = np.zeros((4, 6), np.float32)
    heat[0, 0] = 1
    overlay = np.asarray(opened(pictures.heat_uri(heat, (40, 20, 100, 60), 200, 100)))
    assert overlay.shape == (100, 200, 4)
    assert overlay[:20, :, 3].max() == 0
    assert overlay[:, 100:, 3].max() == 0
    assert overlay[22, 42, 3] > overlay[55, 95, 3] > 0


def test_a_map_that_reaches_beyond_the_frame_is_cut_there():
    overlay = opened(pictures.heat_uri(np.ones((4, 6), np.float32), (-50, -20, 260, 120), 200, 100))
    assert overlay.size == (200, 100)


def test_boxes_on_the_stage_are_shares_of_the_frame():
    two = [record(box=[64, 40, 320, 200]), unknown(box=[0, 0, 10, 10])]
    html = pictures.stage_html("data:x", (640, 400), two, 0, "a.jpg")
    assert "left:10.000%;top:10.000%;width:40.000%;height:40.000%" in html
    assert html.count("af-chosen") == 1
    assert html.count("data-corner") == 4
    assert 'data-editable="640,400"' in html


def test_a_frame_of_a_clip_cannot_be_drawn_on():
    html = pictures.stage_html("data:x", (640, 400), [record()], 0, "a.mp4", editable=False)
    assert "data-editable" not in html
    assert "data-tool" not in html


def test_the_map_comes_with_its_caution():
    assert "not a proof" in pictures.stage_html(
        "data:x", (64, 40), [record()], 0, "a.jpg", heat="data:y"
    )
    assert "not a proof" not in pictures.stage_html("data:x", (64, 40), [record()], 0, "a.jpg")


def test_a_hostile_name_is_text():
    html = pictures.stage_html("data:x", (64, 40), [record()], 0, '"><script>')
    assert "<script" not in html
