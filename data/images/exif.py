"""What the camera wrote beside the picture: which way is up, when, and with what."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from PIL import ExifTags, Image
from PIL.TiffImagePlugin import IFDRational

from data.images.tags import is_bomb_of_exif

MOST, LONGEST = 100, 200  # tags that are told, signs of a value
_NUMBERS, _BYTES = 16, 32  # so many of a list; bytes that are no text are told up to so many

# Where pixels and other blocks lie, and blocks that are no text: they say nothing of the shot.
_LEFT_OUT = {"ExifOffset", "GPSInfo", "ExifInteroperabilityOffset", "SubIFDs", "MakerNote"}
_LEFT_OUT |= {f"{part}{what}" for part in ("Strip", "Tile") for what in ("Offsets", "ByteCounts")}
_LEFT_OUT |= {"XMLPacket", "InterColorProfile", "ImageResources", "IPTCNAA", "PrintImageMatching"}
_LEFT_OUT |= {"JpegIFOffset", "JpegIFByteCount", "JPEGTables", "ColorMap"}
_DEGREES = {"GPSLatitude", "GPSLongitude", "GPSDestLatitude", "GPSDestLongitude"}
_CHARSETS = {b"ASCII\0\0\0": "utf-8", b"UNICODE\0": "utf-16", bytes(8): "utf-8"}


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


def tags_as_text(image: Image.Image) -> dict[str, str] | None:
    """What the file's EXIF says, by the tags' names as Pillow has them; None where it has none.

    Values are text of at most `LONGEST` printable signs: numbers as they are (a fraction of one as
    such, 1/250), lists with blanks between, degrees of latitude and longitude in place of degrees,
    minutes and seconds (which hemisphere says the tag beside it), bytes that are no text in hex, or
    how many they are. Tags without a name are called by their number, 0xc4a5. At most `MOST` tags;
    not those that say where in the file something lies, nor the maker's own block.
    """
    tags = _tags(image)
    found: dict[str, str] = {}
    for names, block in (
        (ExifTags.TAGS, tags),
        (ExifTags.TAGS, _inner(tags, ExifTags.IFD.Exif)),
        (ExifTags.GPSTAGS, _inner(tags, ExifTags.IFD.GPSInfo)),
    ):
        for tag in sorted(block):
            name = names.get(tag, f"0x{tag:04x}")
            if name in _LEFT_OUT or name in found:
                continue
            try:
                text = _told(name, block[tag])
            except Exception:  # a value that is not of its tag's kind; the others still stand
                continue
            if text:
                found[name] = text
            if len(found) == MOST:
                return found
    return found or None


def _told(name: str, value: Any) -> str:
    degrees = _degrees(value) if name in _DEGREES else None
    text = _plain(degrees or _value_text(name, value))
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _value_text(name: str, value: Any) -> str:
    if isinstance(value, bytes):
        return _bytes_text(name, value)
    if isinstance(value, str):  # of bytes, one by one; today's writers mean UTF-8
        try:
            return value.encode("latin-1").decode("utf-8")
        except UnicodeError:
            return value
    if isinstance(value, tuple):
        some = " ".join(_value_text(name, one) for one in value[:_NUMBERS])
        return some if len(value) <= _NUMBERS else f"{some} …"
    if isinstance(value, IFDRational):
        above, below = int(value.numerator), int(value.denominator)
        # 0/0 and 1/0 mean "not known" and "without end": as they stand.
        return f"{above}/{below}" if below == 0 or above == 1 < below else f"{above / below:.10g}"
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def _bytes_text(name: str, value: bytes) -> str:
    if name.startswith("XP"):  # Windows' own
        return value.decode("utf-16-le", "replace")
    charset = _CHARSETS.get(value[:8]) if name == "UserComment" else None
    if charset:
        return value[8:].decode(charset, "replace")
    text = value.rstrip(b"\0 ")
    if text.isascii() and text.decode("ascii").isprintable():
        return text.decode("ascii")
    return f"0x{value.hex()}" if len(value) <= _BYTES else f"({len(value)} bytes)"


def _degrees(value: Any) -> str | None:
    """Degrees, minutes, seconds as degrees; None where it is not these."""
    if not isinstance(value, tuple) or len(value) != 3:
        return None
    try:
        degrees, minutes, seconds = (part.numerator / part.denominator for part in value)
    except (AttributeError, ZeroDivisionError):
        return None
    total = degrees + minutes / 60 + seconds / 3600
    return f"{total:.7f}".rstrip("0").rstrip(".") if 0 <= total <= 180 else None


def _plain(text: str) -> str:
    """On one line and without what cannot be printed; cameras pad with spaces and NULs."""
    line = " ".join(text.strip("\0").split())
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)


def _shot_at(tags: Image.Exif) -> str | None:
    shot = _inner(tags, ExifTags.IFD.Exif)
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
        block = image.info.get("exif") or b""
        if "Raw profile type exif" in image.info:  # in PNG, as ImageMagick writes it
            block = block or bytes.fromhex(
                "".join(image.info["Raw profile type exif"].split("\n")[3:])
            )
        return Image.Exif() if is_bomb_of_exif(block) else image.getexif()
    except Exception:
        return Image.Exif()


def _inner(tags: Image.Exif, where: ExifTags.IFD) -> dict[int, Any]:
    """One of the blocks that the main one points to; empty where it is damaged."""
    try:
        return tags.get_ifd(where)
    except Exception:  # what the main one says still stands
        return {}


def _text(value: Any) -> str | None:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    # Cameras pad their names with spaces and NULs.
    return " ".join(value.split("\0")[0].split()) or None if isinstance(value, str) else None
