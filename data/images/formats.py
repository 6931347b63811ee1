"""Which picture formats are read, and what a file is when it is none of them, from its bytes."""

from __future__ import annotations

from pathlib import PurePath

from PIL import Image

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "MPO")

# What a walk through a folder picks up. A file named otherwise can still be opened by its path.
IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
)

_OWN_MAGIC = (b"\xff\xd8", b"\x89PNG", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

_FOREIGN_MAGIC = (
    (0, b"8BPS", "PSD"),
    (0, b"%PDF", "PDF"),
    (0, b"%!PS", "EPS"),
    (0, b"\xc5\xd0\xd3\xc6", "EPS"),
    (0, b"\0\0\1\0", "ICO"),
    (0, b"\0\0\2\0", "CUR"),
    (0, b"icns", "ICNS"),
    (0, b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"\0\0\0\x0cJXL ", "JPEG XL"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"II\xbc\x01", "JPEG XR"),
    (0, b"\x76\x2f\x31\x01", "OpenEXR"),
    (0, b"#?RADIANCE", "Radiance HDR"),
    (0, b"DDS ", "DDS"),
    (0, b"qoif", "QOI"),
    (0, b"SIMPLE  =", "FITS"),
    (0, b"gimp xcf", "XCF"),
    (0, b"FUJIFILMCCD-RAW", "camera raw"),
    (4, b"ftypavi", "AVIF"),
    (4, b"ftyphei", "HEIC"),
    (4, b"ftyphev", "HEIC"),
    (4, b"ftypmif1", "HEIC"),
    (4, b"ftypmsf1", "HEIC"),
    (4, b"ftypcrx ", "camera raw"),
    (4, b"ftyp", "MP4 video"),
    (0, b"\x1aE\xdf\xa3", "Matroska or WebM video"),
)

_FOREIGN_SUFFIXES = {
    ".heic": "HEIC",
    ".heif": "HEIC",
    ".avif": "AVIF",
    ".psd": "PSD",
    ".pdf": "PDF",
    ".eps": "EPS",
    ".svg": "SVG",
    ".ico": "ICO",
    ".jp2": "JPEG 2000",
    ".jxl": "JPEG XL",
    ".exr": "OpenEXR",
    ".hdr": "Radiance HDR",
    ".dds": "DDS",
    ".tga": "TGA",
    ".pcx": "PCX",
    ".xcf": "XCF",
    ".pbm": "PBM",
    ".pgm": "PGM",
    ".ppm": "PPM",
}
_RAW_SUFFIXES = frozenset(
    {".dng", ".cr2", ".cr3", ".nef", ".nrw", ".arw", ".orf", ".raf", ".rw2", ".pef", ".srw"}
)
# Pictures that a folder may hold and that are refused by name rather than passed over. Not so PDF:
# archivers save one of each page beside its pictures, and a document is no still.
UNREADABLE_SUFFIXES = (frozenset(_FOREIGN_SUFFIXES) - {".pdf"}) | _RAW_SUFFIXES
_DNG_VERSION = 50706  # a TIFF tag that only DNG files have


def explain_unopened(head: bytes, name: str) -> tuple[str, str]:
    """(failure code, why and what to do) for a file that no opener took.

    `head`: its first bytes; `name`: its path, of which only the suffix counts.
    """
    suffix = PurePath(name).suffix.lower()
    foreign = _by_magic(head)
    own = head.startswith(_OWN_MAGIC) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
    if foreign is None and not own:
        foreign = "camera raw" if suffix in _RAW_SUFFIXES else _FOREIGN_SUFFIXES.get(suffix)
    if foreign is not None and foreign.endswith("video"):
        return "unsupported_format", f"this is {foreign}, not a still; name it .mp4 or .mkv"
    if foreign is not None:
        return "unsupported_format", f"{foreign} is not read; convert it to JPEG or PNG"
    if head.startswith(_OWN_MAGIC[-4:]) and _tiff_directory_at(head) < len(head):
        # The directory was there to read, so it is its kind of pixels that is not known.
        return "unsupported_format", "a kind of TIFF that is not read; save it as 8-bit RGB or PNG"
    if own:
        return "truncated", "the header is cut short or damaged; copy or download it again"
    if head.lstrip()[:14].lower().startswith((b"<!doctype html", b"<html")):
        return "not_an_image", "this is a web page; download the picture itself"
    return "not_an_image", f"not a picture; give one of {', '.join(FORMATS)}"


def is_camera_raw(image: Image.Image, name: str) -> bool:
    """Whether a TIFF is a camera's raw file, whose first page is a thumbnail of the shot."""
    if image.format != "TIFF":
        return False
    raw_tag = _DNG_VERSION in getattr(image, "tag_v2", {})
    return raw_tag or PurePath(name).suffix.lower() in _RAW_SUFFIXES


def _by_magic(head: bytes) -> str | None:
    for offset, magic, format_name in _FOREIGN_MAGIC:
        if head.startswith(magic, offset):
            return format_name
    if head[:1] == b"P" and head[1:2] in b"123456" and head[2:3].isspace():
        return "PBM, PGM or PPM"
    return "SVG" if b"<svg" in head[:1024] else None


def _tiff_directory_at(head: bytes) -> int:
    order = "little" if head[:2] == b"II" else "big"
    return int.from_bytes(head[4:8], order)  # type: ignore[arg-type]
