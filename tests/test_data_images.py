"""What a Still says of its file, which way is up, and the limits."""

import hashlib
import os
import pickle
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest
from pictures import encoded, failure, noise, picture
from PIL import Image, ImageFile

from data.images import (
    FORMATS,
    IMAGE_SUFFIXES,
    Limits,
    StillError,
    open_bytes,
    open_rgba,
    open_still,
    read_size,
)


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "TIFF", "WEBP"])
def test_lossless_formats_come_back_exactly(tmp_path, file_format):
    path = tmp_path / "x.bin"
    data = encoded(picture(), file_format, **({"lossless": True} if file_format == "WEBP" else {}))
    path.write_bytes(data)
    still = open_still(path)
    assert still.rgb.dtype == np.uint8
    assert np.array_equal(still.rgb, picture())
    assert still.rgb.flags.writeable
    assert (still.width, still.height, still.format) == (48, 32, file_format)
    assert (still.bytes, still.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert (still.path, still.captured) == (str(path), None)


def test_every_format_named_is_opened():
    frames = [Image.fromarray(picture())]
    opened = {
        name: open_bytes(
            encoded(
                frames[0],
                name,
                **({"save_all": True, "append_images": frames * 2} if name == "MPO" else {}),
            ),
            "x",
        ).format
        for name in FORMATS
    }
    assert opened == {name: name for name in FORMATS}


def test_file_is_read_once(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(encoded(picture(), "PNG"))
    opened = []
    real = open
    monkeypatch.setattr("builtins.open", lambda *a, **k: opened.append(a[0]) or real(*a, **k))
    open_still(path)
    assert opened == [path]


def test_captured_from_exif():
    exif = Image.Exif()
    exif[271], exif[272], exif[306] = "NIKON \0\0", "D750", "2020:01:01 00:00:00"
    exif.get_ifd(0x8769)[36867] = "2015:10:07 14:03:22"
    exif.get_ifd(0x8769)[36881] = "+03:00"
    still = open_bytes(encoded(picture(), "JPEG", exif=exif), "x.jpg")
    assert still.captured == {
        "time": "2015-10-07T14:03:22+03:00",
        "make": "NIKON",
        "model": "D750",
    }


def test_time_of_last_change_is_not_the_time_of_capture():
    exif = Image.Exif()
    exif[271], exif[306] = "Canon", "2020:01:01 00:00:00"
    still = open_bytes(encoded(picture(), "JPEG", exif=exif), "x.jpg")
    assert still.captured == {"time": None, "make": "Canon", "model": None}


def test_damaged_exif_does_not_cost_the_picture():
    data = encoded(picture(), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff garbage")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert open_bytes(data, "x.jpg").captured is None


def test_still_error_survives_the_way_out_of_a_worker():
    error = pickle.loads(pickle.dumps(StillError("empty", "x: empty")))
    assert (error.code, error.message, str(error)) == ("empty", "x: empty", "x: empty")


def stored_for(upright, orientation):
    """What a camera stores so that `orientation` makes it upright: the EXIF table, inverted."""
    return {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "WEBP", "JPEG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path, orientation, file_format):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(stored_for(picture(), orientation))
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95, "subsampling": 0}}
    data = encoded(stored, file_format, exif=exif, **options.get(file_format, {}))
    path = tmp_path / "turned"
    path.write_bytes(data)
    still = open_still(path)
    assert (still.width, still.height) == (48, 32) == read_size(path)
    difference = np.abs(still.rgb.astype(int) - picture()).max()
    assert difference <= (8 if file_format == "JPEG" else 0)


def test_orientation_out_of_range_is_ignored():
    exif = Image.Exif()
    exif[0x0112] = 99
    assert np.array_equal(open_bytes(encoded(picture(), "PNG", exif=exif), "x").rgb, picture())


def bomb(width, height):
    """A few bytes of PNG whose header claims the size given."""

    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data + chunk(b"IEND", b"")


def test_bomb_is_refused_by_its_header(monkeypatch):
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert failure(bomb(30_000, 30_000)) == "too_large"
        assert failure(bomb(10_001, 10_000)) == "too_large"


def test_pixel_limit_is_ours_not_pillows(tmp_path, monkeypatch):
    path = tmp_path / "x.png"
    path.write_bytes(encoded(picture(), "PNG"))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # Pillow alone would now raise
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert open_still(path).width == 48
        assert read_size(path) == (48, 32)
    assert Image.MAX_IMAGE_PIXELS == 100
    with pytest.raises(StillError) as caught:
        open_still(path, Limits(max_pixels=48 * 32 - 1))
    assert caught.value.code == "too_large"
    assert open_still(path, Limits(max_pixels=48 * 32)).height == 32


def test_threads_leave_pillows_switches_as_they_were():
    data, before = encoded(noise(), "PNG"), (Image.MAX_IMAGE_PIXELS, list(warnings.filters))
    with ThreadPoolExecutor(8) as pool:
        stills = list(pool.map(lambda _: open_bytes(data, "x"), range(64)))
    assert all(np.array_equal(still.rgb, noise()) for still in stills)
    assert (Image.MAX_IMAGE_PIXELS, list(warnings.filters)) == before


def test_file_size_limit(tmp_path):
    path = tmp_path / "x.bmp"
    data = encoded(picture(), "BMP")
    path.write_bytes(data)
    assert open_still(path, Limits(max_bytes=len(data))).bytes == len(data)
    for opener in (open_still, open_rgba, read_size):
        with pytest.raises(StillError) as caught:
            opener(path, Limits(max_bytes=len(data) - 1))
        assert caught.value.code == "too_large"
    assert failure(data, limits=Limits(max_bytes=10)) == "too_large"


def test_tracking_pixel_is_no_picture():
    assert failure(encoded(picture(7, 40), "PNG")) == "not_an_image"
    assert open_bytes(encoded(picture(8, 40), "PNG"), "x").width == 8


@pytest.mark.parametrize("name", ["Су-24 над Латакией.jpg", "写真 (1).jpg", "ساجد.jpg", "a\nb.jpg"])
def test_unicode_names(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(encoded(picture(), "JPEG"))
    assert open_still(path).path == str(path)
    path.write_bytes(b"")
    with pytest.raises(StillError) as caught:
        open_still(path)
    assert "\n" not in caught.value.message
    caught.value.message.encode("utf-8")


def test_name_that_is_not_text(tmp_path):
    path = os.path.join(os.fsencode(tmp_path), b"\xff\xfe.jpg")
    with open(path, "wb"):
        pass
    with pytest.raises(StillError) as caught:
        open_still(os.fsdecode(path))
    caught.value.message.encode("utf-8")


@pytest.mark.parametrize("seed", range(40))
def test_random_damage_raises_nothing_but_still_errors(seed):
    random = np.random.default_rng(seed)
    file_format = ("JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP")[seed % 6]
    data = bytearray(encoded(noise(), file_format))
    for at in random.integers(0, len(data), 12):
        data[at] = random.integers(256)
    with suppress(StillError):
        assert open_bytes(bytes(data), "x").rgb.ndim == 3


def test_suffixes_are_lower_case_and_dotted():
    assert {".jpg", ".jpeg", ".png", ".webp", ".tif"} <= IMAGE_SUFFIXES
    assert all(suffix == suffix.lower() and suffix[0] == "." for suffix in IMAGE_SUFFIXES)
