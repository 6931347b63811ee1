"""A perceptual hash: pictures that look alike have hashes of which few bits differ."""

from __future__ import annotations

import imagehash
import numpy as np
from PIL import Image

BITS = 256
_SIDE = 16
# Captions, a channel's mark and thin borders stand at the edges: what is in the middle is hashed.
_WINDOW = (0.15, 0.15, 0.85, 0.80)
# Under this spread of grey levels (of 255) there is nothing to tell one picture from another.
_FLAT = 4.0


def perceptual_hash(rgb: np.ndarray) -> str | None:
    """The hash of a picture (H, W, 3), 64 hexadecimal digits; None for one that is flat all over.

    The signs of the lowest DCT coefficients about their median (imagehash's `phash`), of the
    middle of the picture.
    """
    height, width = rgb.shape[:2]
    left, top, right, bottom = _WINDOW
    part = rgb[int(height * top) : int(height * bottom), int(width * left) : int(width * right)]
    if not part.size:
        return None
    # Averages of whole pixels first: the hash's own resizing is slow on a large picture.
    grey = Image.fromarray(part).reduce(max(1, min(part.shape[:2]) // 128)).convert("L")
    if np.asarray(grey.resize((32, 32), Image.Resampling.BOX)).std() < _FLAT:
        return None
    return str(imagehash.phash(grey, hash_size=_SIDE))
