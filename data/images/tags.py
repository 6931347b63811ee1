"""Bombs of tags: TIFF and EXIF keep values apart from their directory, where many may share their
bytes. Pillow copies each, so that a file of one megabyte could take fifty thousand of memory."""

from __future__ import annotations

import io
import re
import struct
from typing import IO

# A camera's EXIF is under 64 KiB, the most that one segment of a JPEG holds.
LARGEST_EXIF = 2**20
_SPARE = 2**20
# Bytes of a value by its kind (TIFF 6.0, page 15; 13 and 16 to 18 from its supplements).
_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
_BYTES |= {13: 4, 16: 8, 17: 8, 18: 8}
_POINTS = {3: "H", 4: "L", 13: "L", 16: "Q"}
_INNER = (34665, 34853)  # the tags that point to the Exif and the GPS directory
_MAGIC = (b"*\0", b"\0*", b"+\0", b"\0+")  # 42 and, of a BigTIFF, 43, in either order
_SEGMENT = re.compile(rb"\xff\xe1(..)Exif\0\0", re.DOTALL)


def is_bomb(file: IO[bytes], head: bytes) -> bool:
    """Whether opening a picture would copy far more tags than it holds; `head`: its first bytes.

    Looks into what Pillow reads on opening: a TIFF's directory and a JPEG's EXIF. The file is left
    anywhere.
    """
    if head[:2] in (b"II", b"MM"):
        return _claimed(file) > 2 * file.seek(0, io.SEEK_END) + _SPARE
    return head[:2] == b"\xff\xd8" and is_bomb_of_exif(_exif_of_jpeg(file))


def is_bomb_of_exif(block: bytes) -> bool:
    """The same of a block of EXIF."""
    while block.startswith(b"Exif\0\0"):
        block = block[6:]
    return len(block) > LARGEST_EXIF or _claimed(io.BytesIO(block)) > 2 * len(block) + _SPARE


def _claimed(file: IO[bytes]) -> int:
    """How many bytes are copied as the values of a TIFF's first directory and the two in it."""
    file.seek(0)
    head = file.read(16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or len(head) < 8 or head[2:4] not in _MAGIC:
        return 0
    big = head[2] == 43  # as Pillow tells a BigTIFF
    first = head[8:16].ljust(8, b"\0") if big else head[4:8]
    total, inner = _directory(
        file, struct.unpack(f"{order}{'Q' if big else 'L'}", first)[0], order, big
    )
    return total + sum(_directory(file, at, order, big)[0] for at in inner.values())


def _directory(file: IO[bytes], at: int, order: str, big: bool) -> tuple[int, dict[int, int]]:
    """(bytes of a directory's values that lie apart, where its inner directories begin)."""
    size = file.seek(0, io.SEEK_END)
    file.seek(min(at, size))
    form, room, word = (
        (f"{order}HHQ8s", 8, f"{order}Q") if big else (f"{order}HHL4s", 4, f"{order}L")
    )
    step = struct.calcsize(form)
    count = int.from_bytes(file.read(8 if big else 2), "little" if order == "<" else "big")
    entries = file.read(min(count * step, size))
    total, inner = 0, {}
    for tag, kind, number, value in struct.iter_unpack(
        form, entries[: len(entries) // step * step]
    ):
        length = number * _BYTES.get(kind, 0)
        if length > room:
            total += max(0, min(length, size - struct.unpack(word, value)[0]))
        elif tag in _INNER and kind in _POINTS:
            pointer = f"{order}{_POINTS[kind]}"
            inner[tag] = struct.unpack(pointer, value[: struct.calcsize(pointer)])[0]
    return total, inner


def _exif_of_jpeg(file: IO[bytes]) -> bytes:
    """The EXIF in all of a JPEG's segments, which Pillow joins; bytes between them are let be."""
    file.seek(0)
    data = file.read()
    found = _SEGMENT.finditer(data)
    return b"".join(data[m.end() : m.start() + 2 + int.from_bytes(m[1], "big")] for m in found)
