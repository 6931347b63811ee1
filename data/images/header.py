"""Reading a picture's header without Pillow's process-wide guard and warnings in the way."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from PIL import Image

from data.images.formats import FORMATS

# Pillow registers no opener of its own for MPO (the JPEG one returns it), and asking for it raises.
_OPENERS = tuple(name for name in FORMATS if name != "MPO")
_lock = threading.Lock()


def open_image(file: IO[bytes]) -> Image.Image:
    """The picture in `file`, its header read and its pixels not yet. Raises what Pillow raises."""
    with quiet():
        return Image.open(file, formats=_OPENERS)


@contextmanager
def quiet() -> Iterator[None]:
    """Pillow's bomb guard and warnings off, for as long as a header is read.

    Its guard only warns at 89 Mpx and knows nothing of our limit, which is checked right after.
    Both are process-wide switches, hence the lock and the short stretch; gradio opens pictures
    too, so the guard is put back rather than left off.
    """
    with _lock, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        guard, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = guard
