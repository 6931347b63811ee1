"""Pictures made for the tests of data/images.py and data/sources."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from data.images import Limits, StillError, open_bytes

RED, BLUE = (200, 30, 20), (20, 60, 190)


def picture(width=48, height=32):
    """Four flat quarters, all different, so that any turn or mirroring shows."""
    pixels = np.zeros((height, width, 3), np.uint8)
    half_y, half_x = height // 2, width // 2
    pixels[:half_y, :half_x], pixels[:half_y, half_x:] = RED, (30, 160, 40)
    pixels[half_y:, :half_x], pixels[half_y:, half_x:] = BLUE, (230, 220, 70)
    return pixels


def encoded(pixels, file_format, **options):
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def noise(width=160, height=120):
    small = np.random.default_rng(7).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def failure(data, name="still.jpg", limits=None):
    with pytest.raises(StillError) as caught:
        open_bytes(data, name, limits or Limits())
    assert "\n" not in caught.value.message
    assert caught.value.message.startswith(name)
    return caught.value.code


def tiff(width, height, bits, photometric, strip, order="<"):
    """A minimal grey TIFF, for what Pillow's own writer cannot make."""
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, photometric)]
    tags += [(273, 8 + 2 + 12 * 9 + 4), (277, 1), (278, height), (279, len(strip))]
    # One LONG each; the short tags too, which readers allow and which suits both byte orders.
    body = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(tags))
    body += b"".join(struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in tags)
    return body + bytes(4) + strip


def picture_at(path, size=(40, 20), orientation=None):
    """A black picture written to `path`, folders and all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    Image.new("RGB", size).save(path, exif=exif)


def one_line(caught, *words):
    """Asserts that an error's text is one line and holds all of `words`."""
    text = str(caught.value)
    assert "\n" not in text
    for word in words:
        assert word in text
