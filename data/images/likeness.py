"""A perceptual hash: pictures that look alike have hashes of which few bits differ."""

from __future__ import annotations

import imagehash
import numpy as np
from PIL import Image

BITS = 256
_SIDE = 16
# Captions, a channel's mark and thin borders stand at the edges: what is in the middle is hashed.
_WINDOW = (0.10, 0.12, 0.90, 0.78)
# Under this spread of grey levels (of 255) there is nothing to tell one picture from another.
_FLAT = 4.0


def perceptual_hash(rgb: np.ndarray) -> str | None:
    """The hash of a picture (H, W, 3), 64 hexadecimal digits; None for one that is flat all over.

    The signs of the lowest DCT coefficients about their median (imagehash's `phash`), of the
    middle of the picture.
    """
    image = Image.fromarray(rgb)
    width, height = image.size
    left, top, right, bottom = _WINDOW
    part = image.crop(
        (int(width * left), int(height * top), int(width * right), int(height * bottom))
    )
    if not min(part.size):
        return None
    # Averages of whole pixels first: the hash's own resizing is slow on a large picture.
    grey = part.reduce(max(1, min(part.size) // 256)).convert("L")
    if np.asarray(grey.resize((32, 32), Image.Resampling.BOX)).std() < _FLAT:
        return None
    return str(imagehash.phash(grey, hash_size=_SIDE))
