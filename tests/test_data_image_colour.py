"""Every kind of pixel comes out in the right colour, where the naive way gets it wrong."""

import io

import numpy as np
import pytest
from pictures import BLUE, RED, encoded, failure, picture, tiff
from PIL import Image, ImageCms, ImageFile

from data.images import open_bytes, open_rgba, open_still


def test_adobe_cmyk_jpeg_is_not_a_negative():
    cmyk = Image.fromarray(picture()).convert("CMYK")
    data = encoded(cmyk, "JPEG", quality=95)
    assert b"Adobe" in data
    assert np.abs(open_bytes(data, "x.jpg").rgb.astype(int) - picture()).max() <= 12


def test_cmyk_jpeg_without_adobes_marker_is_not_a_negative_either():
    inks = np.asarray(Image.fromarray(picture()).convert("CMYK"))
    data = encoded(Image.fromarray(255 - inks, "CMYK"), "JPEG", quality=95)
    marker = data.index(b"\xff\xee")  # Adobe's APP14: two bytes of marker, then its length
    length = int.from_bytes(data[marker + 2 : marker + 4], "big")
    plain = data[:marker] + data[marker + 2 + length :]
    assert b"Adobe" not in plain
    assert np.abs(open_bytes(plain, "x.jpg").rgb.astype(int) - picture()).max() <= 12


def test_cmyk_tiff():
    cmyk = Image.fromarray(picture()).convert("CMYK")
    assert np.abs(open_bytes(encoded(cmyk, "TIFF"), "x").rgb.astype(int) - picture()).max() <= 1


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "JPEG"])
def test_grey(file_format):
    grey = np.repeat(np.repeat(np.array([[10, 90], [170, 250]], np.uint8), 16, 0), 16, 1)
    still = open_bytes(encoded(grey, file_format), "x")
    assert still.rgb.shape == (32, 32, 3)
    assert np.abs(still.rgb.astype(int) - grey[..., None]).max() <= (
        2 if file_format == "JPEG" else 0
    )


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_grey_of_16_bits_is_scaled_not_clipped(file_format):
    ramp = np.tile(np.linspace(0, 65535, 64).astype(np.uint16), (16, 1))
    data = encoded(ramp, file_format)
    still = open_bytes(data, "x")
    assert np.abs(still.rgb[..., 0].astype(float) - ramp / 257).max() <= 0.5
    # Pillow's own conversion clips instead: nearly the whole ramp would be white.
    assert np.mean(np.asarray(Image.open(io.BytesIO(data)).convert("L")) == 255) > 0.9


def test_dark_grey_of_16_bits_stays_dark():
    data = encoded(np.full((16, 16), 2570, np.uint16), "PNG")
    assert (open_bytes(data, "x").rgb == 10).all()


def test_big_endian_grey_of_16_bits():
    strip = np.full((16, 16), 257 * 50, ">u2").tobytes()
    assert (open_bytes(tiff(16, 16, 16, 1, strip, ">"), "x.tif").rgb == 50).all()


def test_grey_tiff_of_16_bits_with_white_as_zero():
    strip = np.full((16, 16), 257 * 50, "<u2").tobytes()
    assert (open_bytes(tiff(16, 16, 16, 0, strip), "x.tif").rgb == 205).all()
    assert (open_bytes(tiff(16, 16, 16, 1, strip), "x.tif").rgb == 50).all()


def test_grey_tiff_of_12_bits_is_scaled_by_its_own_depth():
    strip = bytes([0xFF, 0xFF, 0xFF]) * (16 * 16 // 2)
    assert (open_bytes(tiff(16, 16, 12, 1, strip), "x.tif").rgb == 255).all()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([0.0, 100.0, 255.0], [0, 100, 255]),
        ([-1000.0, 0.0, 1000.0], [0, 128, 255]),
        ([0.0, np.nan, 1.0], [0, 0, 255]),
        ([0.0, np.inf, 1.0], [0, 0, 255]),
    ],
)
def test_float_tiff(values, expected):
    pixels = np.repeat(np.tile(np.array(values, np.float32), (12, 1)), 4, axis=1)
    row = open_bytes(encoded(Image.fromarray(pixels), "TIFF"), "x").rgb[0, ::4, 0]
    assert np.abs(row.astype(int) - expected).max() <= 1


def test_one_bit():
    pixels = np.zeros((16, 16), bool)
    pixels[:, 8:] = True
    rgb = open_bytes(encoded(Image.fromarray(pixels), "PNG"), "x").rgb
    assert (rgb[:, :8] == 0).all()
    assert (rgb[:, 8:] == 255).all()


def test_palette():
    image = Image.fromarray(picture()).quantize(8)
    assert image.mode == "P"
    still = open_bytes(encoded(image, "PNG"), "x")
    assert np.array_equal(still.rgb, np.asarray(image.convert("RGB")))
    assert np.abs(still.rgb.astype(int) - picture()).max() <= 3  # and not the palette's indices


def test_palette_with_one_transparent_colour_lies_over_grey(tmp_path):
    image = Image.fromarray(np.kron([[0, 1], [1, 0]], np.ones((8, 8))).astype(np.uint8), "P")
    image.putpalette([255, 0, 255, *BLUE] + [0] * 762)
    path = tmp_path / "x.png"
    image.save(path, transparency=0)
    rgb = open_still(path).rgb
    assert (rgb[0, 0] == 128).all()
    assert tuple(rgb[0, 8]) == BLUE
    assert open_rgba(path)[0, 0, 3] == 0


def test_palette_with_an_alpha_for_each_colour():
    image = Image.fromarray(np.kron([[0, 1], [1, 0]], np.ones((8, 8))).astype(np.uint8), "P")
    image.putpalette([255, 255, 255, *BLUE] + [0] * 762)
    data = encoded(image, "PNG", transparency=bytes([128, 255]))
    rgb = open_bytes(data, "x").rgb
    assert abs(int(rgb[0, 0, 0]) - 192) <= 1
    assert tuple(rgb[0, 8]) == BLUE


def test_transparent_rubbish_does_not_show_through():
    rgba = np.dstack([picture(), np.full((32, 48), 255, np.uint8)])
    rgba[:16, :24] = (255, 0, 255, 0)
    rgb = open_bytes(encoded(rgba, "PNG"), "x").rgb
    assert (rgb[:16, :24] == 128).all()  # dropping alpha would paint magenta, black paint a shape
    assert np.array_equal(rgb[16:], picture()[16:])


def test_grey_with_alpha():
    pixels = np.dstack([np.full((16, 16), 40, np.uint8), np.full((16, 16), 255, np.uint8)])
    pixels[:8, :, 1] = 0
    rgb = open_bytes(encoded(Image.fromarray(pixels, "LA"), "PNG"), "x").rgb
    assert (rgb[:8] == 128).all()
    assert (rgb[8:] == 40).all()


def test_rgb_png_with_a_colour_key():
    rgb = open_bytes(encoded(picture(), "PNG", transparency=RED), "x").rgb
    assert (rgb[:16, :24] == 128).all()
    assert np.array_equal(rgb[16:], picture()[16:])


def test_open_rgba_keeps_colour_and_alpha_apart(tmp_path):
    rgba = np.dstack([picture(), np.full((32, 48), 100, np.uint8)])
    path = tmp_path / "render.webp"
    path.write_bytes(encoded(rgba, "WEBP", lossless=True, exact=True))
    assert np.array_equal(open_rgba(path), rgba)
    path.write_bytes(encoded(picture(), "PNG"))
    assert (open_rgba(path)[..., 3] == 255).all()


def swapped_profile():
    """An RGB profile with its red and green columns exchanged: what ignores it is caught."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    entries = {bytes(profile[at : at + 4]): at for at in range(132, 132 + 12 * profile[131], 12)}
    red, green = entries[b"rXYZ"], entries[b"gXYZ"]
    profile[red : red + 4], profile[green : green + 4] = b"gXYZ", b"rXYZ"
    # Its own name for itself would have it taken for plain sRGB, so that is changed as well.
    return bytes(profile).replace(b"s\0R\0G\0B", b"o\0d\0d\0!").replace(b"sRGB", b"odd!")


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "TIFF"])
def test_colour_profile_is_followed(file_format):
    data = encoded(picture(), file_format, icc_profile=swapped_profile())
    rgb = open_bytes(data, "x").rgb
    assert rgb[4, 4, 1] > 150 > rgb[4, 4, 0]  # the red quarter is meant green


def test_colour_profile_leaves_alpha_alone(tmp_path):
    rgba = np.dstack([picture(), np.full((32, 48), 100, np.uint8)])
    path = tmp_path / "x.png"
    path.write_bytes(encoded(rgba, "PNG", icc_profile=swapped_profile()))
    opened = open_rgba(path)
    assert (opened[..., 3] == 100).all()
    assert opened[4, 4, 1] > 150 > opened[4, 4, 0]


def test_srgb_profile_changes_nothing():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = encoded(picture(), "PNG", icc_profile=profile)
    assert np.array_equal(open_bytes(data, "x").rgb, picture())


@pytest.mark.parametrize("profile", [b"not a profile", b"\0" * 128, swapped_profile()[:300]])
def test_broken_profile_is_ignored(profile):
    data = encoded(picture(), "PNG", icc_profile=profile)
    assert np.array_equal(open_bytes(data, "x").rgb, picture())


def test_rgb_profile_in_a_grey_picture_is_ignored():
    grey = np.full((16, 16), 77, np.uint8)
    data = encoded(grey, "PNG", icc_profile=swapped_profile())
    assert (open_bytes(data, "x").rgb == 77).all()


def test_lab_tiff():
    image = Image.fromarray(picture()).convert("LAB")
    assert (
        np.abs(open_bytes(encoded(image, "TIFF"), "x").rgb.astype(int) - picture()).max() <= 12
    )  # LAB of 8 bits


def test_pixels_that_cannot_become_rgb_are_refused_in_plain_words(monkeypatch):
    def refuse(image):
        raise ValueError("conversion from X to RGB not supported")

    monkeypatch.setattr("data.images.to_srgb", refuse)
    assert failure(encoded(picture(), "PNG")) == "unsupported_format"


def test_picture_too_large_for_memory_does_not_stop_the_batch(monkeypatch):
    def refuse(self):
        raise MemoryError

    monkeypatch.setattr(ImageFile.ImageFile, "load", refuse)
    assert failure(encoded(picture(), "PNG")) == "too_large"


@pytest.mark.parametrize("file_format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_first_frame_of_many(file_format):
    first, second = Image.fromarray(picture()), Image.new("RGB", (48, 32), (1, 2, 3))
    options = {"lossless": True} if file_format == "WEBP" else {}
    data = encoded(first, file_format, save_all=True, append_images=[second], **options)
    assert np.abs(open_bytes(data, "x").rgb.astype(int) - picture()).max() <= 3
