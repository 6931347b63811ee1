"""Two things that a JPEG needs looked after and Pillow does not do."""

from __future__ import annotations

import io

from PIL import Image

from data.images.header import open_image

_END = b"\xff\xd9"


def ends_early(image: Image.Image, data: bytes) -> bool:
    """Whether a loaded JPEG's pixels stop before its end marker: a cut file that was "repaired".

    The decoder paints what is missing mid-grey and says nothing. A picture whose last corner is
    that grey by right is told apart by slipping bytes in before the end marker: after the last
    pixel they are ignored, in a cut file they are taken for pixels. `data`: the file's bytes.
    """
    if image.format != "JPEG" or image.mode not in ("L", "RGB"):
        return False
    if set(image.crop((image.width - 1, image.height - 1, *image.size)).tobytes()) != {128}:
        return False
    end = data.rfind(_END)
    if end < 0:
        return False
    probe = open_image(io.BytesIO(data[:end] + b"\x5a" * 64 + data[end:]))
    return probe.tobytes() != image.tobytes()


def plain_inks(image: Image.Image) -> Image.Image:
    """A loaded CMYK JPEG without Adobe's marker, its inks put right.

    Adobe stores the inks inverted and Pillow takes every CMYK JPEG for Adobe's, so one that stores
    them as they are would come out as a negative.
    """
    if image.format == "JPEG" and image.mode == "CMYK" and "adobe" not in image.info:
        return Image.eval(image, lambda ink: 255 - ink)
    return image
