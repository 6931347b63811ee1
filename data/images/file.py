"""From a path to a picture's bytes, or to one plain line saying why there are none."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from io import BufferedReader

StillPath = str | os.PathLike[str]


class StillError(Exception):
    """A picture that cannot be used. `code`: the record's failure code; `message`: one line."""

    def __init__(self, code: str, message: str) -> None:
        # Both go to Exception so that the error survives the pickle out of a loader's worker.
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True)
class Limits:
    """What is accepted: file size in bytes, width × height in pixels, shortest side in pixels."""

    max_bytes: int = 50 * 2**20
    max_pixels: int = 100_000_000
    min_side: int = 8


def plain(name: str) -> str:
    """`name` fit for one line of a message: no line breaks, no bytes that cannot be printed."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name)


def open_file(path: StillPath, limits: Limits) -> BufferedReader:
    """The file at `path`, open for reading. Raises StillError: missing, too_large."""
    name = plain(os.fspath(path))
    try:
        status = os.stat(path)
        # Opening a pipe would wait for ever, so what is not a file is refused before it.
        if not stat.S_ISREG(status.st_mode):
            what = "a folder" if stat.S_ISDIR(status.st_mode) else "not a file"
            raise StillError("missing", f"{name}: this is {what}; give the path of a picture")
        check_bytes(status.st_size, name, limits)
        return open(path, "rb")
    except FileNotFoundError:
        raise StillError("missing", f"{name}: no such file; check the path") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        message = f"{name}: cannot be read ({_reason(error)}); check the path and its permissions"
        raise StillError("missing", message) from error


def read_file(path: StillPath, limits: Limits) -> bytes:
    """All bytes at `path`, read once. Raises StillError: missing, too_large."""
    with open_file(path, limits) as file:
        try:
            data = file.read(limits.max_bytes + 1)  # a file that is still growing has no size yet
        except OSError as error:
            message = f"cannot be read ({_reason(error)}); copy it from its source again"
            raise StillError("missing", f"{plain(os.fspath(path))}: {message}") from error
    check_bytes(len(data), os.fspath(path), limits)
    return data


def hash_file(path: StillPath, limits: Limits) -> tuple[str, int]:
    """SHA-256 and size in bytes of the file at `path`. Raises StillError: missing, too_large."""
    with open_file(path, limits) as file:
        try:
            return hashlib.file_digest(file, "sha256").hexdigest(), file.tell()
        except OSError as error:
            message = f"cannot be read ({_reason(error)}); copy it from its source again"
            raise StillError("missing", f"{plain(os.fspath(path))}: {message}") from error


def check_bytes(size: int, name: str, limits: Limits) -> None:
    """Raises StillError (too_large) where `size` bytes are more than the limits allow."""
    if size > limits.max_bytes:
        mib = 2**20
        message = f"{size / mib:.1f} MiB, more than the {limits.max_bytes / mib:g} MiB allowed"
        raise StillError("too_large", f"{plain(name)}: {message}; save it smaller")


def _reason(error: OSError | ValueError) -> str:
    return getattr(error, "strerror", None) or str(error)
