"""What the camera wrote beside the picture: which way is up, when, and with what."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from PIL import ExifTags, Image


def orientation(image: Image.Image) -> int:
    """EXIF orientation, 1–8; 1 (upright) where there is none or it cannot be read."""
    value = _tags(image).get(ExifTags.Base.Orientation)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def captured(image: Image.Image) -> dict[str, str | None] | None:
    """{"time", "make", "model"}, each a str or None; None where the file has none of the three.

    `time` is ISO 8601 in the camera's own clock, with an offset only where the camera wrote one.
    """
    tags = _tags(image)
    make, model = _text(tags.get(ExifTags.Base.Make)), _text(tags.get(ExifTags.Base.Model))
    time = _shot_at(tags)
    return {"time": time, "make": make, "model": model} if time or make or model else None


def _shot_at(tags: Image.Exif) -> str | None:
    try:
        shot: dict[int, Any] = tags.get_ifd(ExifTags.IFD.Exif)
    except Exception:  # a damaged sub-block; what the main one says still stands
        return None
    # DateTimeOriginal alone: tag 306 is when the file was last changed, by an editor as likely.
    text = _text(shot.get(ExifTags.Base.DateTimeOriginal))
    try:
        time = datetime.strptime(text or "", "%Y:%m:%d %H:%M:%S").isoformat()
    except ValueError:
        return None  # "0000:00:00 00:00:00" comes from a camera whose clock was never set
    return time + (_text(shot.get(ExifTags.Base.OffsetTimeOriginal)) or "")


def _tags(image: Image.Image) -> Image.Exif:
    """The EXIF tags; none of them where the block is damaged: the picture is still a picture."""
    try:
        return image.getexif()
    except Exception:
        return Image.Exif()


def _text(value: Any) -> str | None:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    # Cameras pad their names with spaces and NULs.
    return " ".join(value.split("\0")[0].split()) or None if isinstance(value, str) else None
