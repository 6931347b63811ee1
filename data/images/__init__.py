"""From a file's bytes to an upright sRGB picture: the only place where pictures are opened.

`StillError` is the one error; its `code` is one of the record's failure codes: missing, empty,
not_an_image, truncated, too_large, unsupported_format.
"""

from __future__ import annotations

import hashlib
import io
import os
from dataclasses import dataclass
from functools import cached_property
from typing import IO

import numpy as np
from PIL import Image, ImageFile

from data.images.colour import to_srgb
from data.images.exif import captured, orientation, tags_as_text
from data.images.file import Limits, StillError, StillPath, check_bytes, open_file, plain, read_file
from data.images.formats import (
    FORMATS,
    IMAGE_SUFFIXES,
    UNREADABLE_SUFFIXES,
    explain_unopened,
    is_camera_raw,
)
from data.images.header import open_image, quiet
from data.images.jpeg import ends_early
from data.images.likeness import perceptual_hash
from data.images.tags import is_bomb

__all__ = [
    "FORMATS",
    "IMAGE_SUFFIXES",
    "UNREADABLE_SUFFIXES",
    "Limits",
    "Still",
    "StillError",
    "open_bytes",
    "open_rgba",
    "open_still",
    "read_size",
]

# Transparent parts are laid over mid-grey: black or white would draw an outline of its own around
# a bright or a dark airframe, and the colour hidden under alpha 0 is often rubbish.
MATTE = (128, 128, 128, 255)

_TURNS = {  # EXIF orientation → what brings the picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, eq=False)
class Still:
    """One picture, upright and in sRGB, with what the record says of its file.

    `rgb` uint8 (H, W, 3), 0–255 · `path` as given · `sha256` and `bytes` of the file as it is ·
    `width`, `height` in pixels after EXIF orientation · `format` one of `FORMATS` · `captured`
    {"time", "make", "model"} from EXIF, each a str or None, or None where the file has none;
    `time` is ISO 8601, with an offset only where the camera wrote one · `exif` what the file's tags
    say, by name (`data.images.exif.tags_as_text`), or None where it has none.
    """

    rgb: np.ndarray
    path: str
    sha256: str
    bytes: int
    width: int
    height: int
    format: str
    captured: dict[str, str | None] | None
    exif: dict[str, str] | None = None

    @cached_property
    def perceptual_hash(self) -> str | None:
        """What pictures that look alike have nearly alike: `data.images.likeness`."""
        return perceptual_hash(self.rgb)


DEFAULT_LIMITS = Limits()


def open_still(path: StillPath, limits: Limits = DEFAULT_LIMITS) -> Still:
    """The picture at `path`, read once. Raises StillError."""
    return open_bytes(read_file(path, limits), os.fspath(path), limits)


def open_bytes(data: bytes, name: str, limits: Limits = DEFAULT_LIMITS) -> Still:
    """The picture in `data`; `name` stands for its path. Raises StillError."""
    image, file_format, seen, tags = _decode(data, name, limits)
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, MATTE), image).convert("RGB")
    digest = hashlib.sha256(data).hexdigest()
    width, height = image.size
    rgb = np.array(image)  # a copy: a view of Pillow's memory is read-only and PyTorch warns of it
    return Still(rgb, name, digest, len(data), width, height, file_format, seen, tags)


def open_rgba(path: StillPath, limits: Limits = DEFAULT_LIMITS) -> np.ndarray:
    """The picture at `path` as uint8 (H, W, 4), alpha not multiplied in, 255 where it has none.

    For renders that training lays over backgrounds. Raises StillError.
    """
    image, *_ = _decode(read_file(path, limits), os.fspath(path), limits)
    return np.array(image.convert("RGBA"))


def read_size(path: StillPath, limits: Limits = DEFAULT_LIMITS) -> tuple[int, int]:
    """(width, height) in pixels after orientation, from the header alone. Raises StillError.

    Proves nothing of the pixels: a truncated file still has a size.
    """
    name = os.fspath(path)
    with open_file(path, limits) as file:
        image = _open_header(file, name, limits)
        width, height = image.size
        # Pillow turns TIFF sizes itself; a PNG without an early eXIf chunk would be decoded here.
        looks = image.format != "TIFF" and (image.format != "PNG" or "exif" in image.info)
        with quiet():
            turned = looks and orientation(image) in (5, 6, 7, 8)
    return (height, width) if turned else (width, height)


def _open_header(file: IO[bytes], name: str, limits: Limits) -> Image.Image:
    """An image whose pixels are not decoded yet, within the limits, or a StillError."""
    head = file.read(4096)
    shown = plain(name)
    if not head:
        raise StillError("empty", f"{shown}: the file is empty (0 bytes); copy or save it again")
    if is_bomb(file, head):
        why = "its tags (EXIF, TIFF) would fill the memory; save it again without them"
        raise StillError("too_large", f"{shown}: {why}")
    file.seek(0)
    try:
        image = open_image(file)
    except Exception as error:  # on damaged files Pillow raises a long tail of types
        code, why = explain_unopened(head, name)
        raise StillError(code, f"{shown}: {why}") from error
    if is_camera_raw(image, name):
        why = "a camera raw file, of which only a thumbnail would be seen; export it as JPEG or PNG"
        raise StillError("unsupported_format", f"{shown}: {why}")
    width, height = image.size
    if width * height > limits.max_pixels:
        message = f"{width} × {height} px, more than the {limits.max_pixels / 1e6:g} Mpx allowed"
        raise StillError("too_large", f"{shown}: {message}; save it smaller")
    if min(width, height) < limits.min_side:
        message = f"{width} × {height} px, under {limits.min_side} px a side, shows nothing"
        raise StillError("not_an_image", f"{shown}: {message}; give the original picture")
    return image


def _decode(
    data: bytes, name: str, limits: Limits
) -> tuple[Image.Image, str, dict[str, str | None] | None, dict[str, str] | None]:
    """(upright RGB or RGBA picture, format, captured, exif)."""
    shown = plain(name)
    check_bytes(len(data), name, limits)
    image = _open_header(io.BytesIO(data), name, limits)
    try:
        _load(image, data, shown)
        with quiet():
            turn, seen, tags = orientation(image), captured(image), tags_as_text(image)
        picture = to_srgb(image)
        if turn in _TURNS:
            picture = picture.transpose(_TURNS[turn])
    except MemoryError as error:
        message = f"{shown}: does not fit into memory; save it smaller"
        raise StillError("too_large", message) from error
    except ValueError as error:
        message = f"{image.format} with {image.mode} pixels is not read; save it as RGB"
        raise StillError("unsupported_format", f"{shown}: {message}") from error
    return picture, image.format or "", seen, tags


def _load(image: Image.Image, data: bytes, shown: str) -> None:
    # The switch is process-wide and other libraries set it; it would hand out half-grey pictures.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        image.load()
        damage: Exception | None = None
    except MemoryError:
        raise
    except Exception as error:  # the same long tail of types as for the header
        damage = error
    if damage or ends_early(image, data):
        message = f"{shown}: the picture is cut short or damaged; copy or download it again"
        raise StillError("truncated", message) from damage
