"""Files that have broken other people's pipelines: each refused with its code, in one line."""

import io
import os

import numpy as np
import pytest
from pictures import encoded, failure, noise, picture, tiff
from PIL import Image, ImageFile

from data.images import StillError, open_bytes, open_rgba, open_still, read_size


def test_zero_bytes(tmp_path):
    path = tmp_path / "nothing.jpg"
    path.touch()
    for opener in (open_still, open_rgba, read_size):
        with pytest.raises(StillError) as caught:
            opener(path)
        assert caught.value.code == "empty"


def test_missing_folder_and_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    for path in (tmp_path / "no.jpg", tmp_path, tmp_path / "pipe.jpg", "a\0b.jpg", "x" * 5000):
        for opener in (open_still, read_size):
            with pytest.raises(StillError) as caught:
                opener(path)
            assert caught.value.code == "missing"


def test_no_permission_says_so(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(encoded(picture(), "PNG"))

    def refuse(*args, **kwargs):  # root may read everything, so a chmod would prove nothing here
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(StillError, match="Permission denied") as caught:
        open_still(path)
    assert caught.value.code == "missing"


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("part", [0.002, 0.01, 0.1, 0.3, 0.5, 0.9, 0.99])
def test_truncated_jpeg(part, progressive, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)  # as other libraries leave it
    data = encoded(noise(), "JPEG", quality=90, progressive=progressive)
    assert failure(data[: max(2, int(len(data) * part))]) == "truncated"


def test_truncated_jpeg_with_an_end_marker_put_back():
    data = encoded(noise(), "JPEG", quality=90)
    cut = data[: len(data) // 2] + b"\xff\xd9"
    assert (np.asarray(Image.open(io.BytesIO(cut)))[-1, -1] == 128).all()  # Pillow says nothing
    assert failure(cut) == "truncated"


def test_picture_that_is_mid_grey_at_the_bottom_is_whole():
    pixels = noise().copy()
    pixels[48:] = 128
    still = open_bytes(encoded(pixels, "JPEG", quality=90), "x.jpg")
    assert (still.rgb[-1] == 128).all()


@pytest.mark.parametrize("file_format", ["PNG", "GIF", "BMP", "TIFF", "WEBP"])
@pytest.mark.parametrize("part", [0.01, 0.3, 0.6, 0.9])
def test_truncated_others(file_format, part):
    data = encoded(noise(), file_format)
    assert failure(data[: max(12, int(len(data) * part))], "x") == "truncated"


def test_png_with_a_flipped_bit():
    data = bytearray(encoded(noise(), "PNG"))
    data[len(data) // 2] ^= 0x10
    assert failure(bytes(data)) == "truncated"


def test_text_named_jpg():
    assert failure(b"Su-24M, Hmeimim, 3 October\n" * 10) == "not_an_image"
    assert failure(b"x") == "not_an_image"


def test_web_page_named_jpg():
    with pytest.raises(StillError, match="web page"):
        open_bytes(b"\n<!DOCTYPE html><html><body>404</body></html>", "still.jpg")


@pytest.mark.parametrize(
    ("head", "word"),
    [
        (b"\0\0\1\0\1\0\x10\x10", "ICO"),
        (b"8BPS\0\1", "PSD"),
        (b"%PDF-1.7", "PDF"),
        (b"%!PS-Adobe-3.0 EPSF", "EPS"),
        (b"\0\0\0\x18ftypheic", "HEIC"),
        (b"\0\0\0\x18ftypmif1", "HEIC"),
        (b"\0\0\0\x1cftypavif", "AVIF"),
        (b"\0\0\0\x1cftypisom", "video"),
        (b"P6\n16 16\n255\n", "PPM"),
        (b"<?xml version='1.0'?><svg ", "SVG"),
        (b"\xff\x0a\xfa", "JPEG XL"),
    ],
)
def test_other_formats_are_named(head, word):
    with pytest.raises(StillError, match=word) as caught:
        open_bytes(head + bytes(64), "still.jpg")
    assert caught.value.code == "unsupported_format"


def test_formats_that_pillow_could_open_are_refused():
    for file_format in ("ICO", "PPM", "AVIF", "TGA"):
        data = encoded(picture(), file_format)
        assert failure(data, f"still.{file_format.lower()}") == "unsupported_format"


def test_suffix_names_a_format_without_magic():
    assert failure(bytes(range(64)), "still.heic") == "unsupported_format"
    assert failure(bytes(range(64)), "still.nef") == "unsupported_format"


def test_camera_raw_is_refused_rather_than_its_thumbnail_read(tmp_path):
    path = tmp_path / "DSC_0001.NEF"
    path.write_bytes(encoded(picture(), "TIFF"))
    for opener in (open_still, read_size):
        with pytest.raises(StillError, match="camera raw") as caught:
            opener(path)
        assert caught.value.code == "unsupported_format"


def test_tiff_of_an_unknown_kind_is_not_called_truncated():
    assert failure(tiff(16, 16, 5, 1, bytes(160)), "x.tif") == "unsupported_format"
