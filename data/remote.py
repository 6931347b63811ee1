"""Files at URLs (s3://…, gs://…, https://…, file://…): listed, read, or fetched to be read here.

fsspec opens them, with what each kind of store needs beside it (s3fs, gcsfs …); it is imported only
where a URL is given. Nothing but what is handed to these functions is ever fetched.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from glob import has_magic
from pathlib import PurePath
from typing import Any

from data.images.file import Limits, StillError, check_bytes, plain, read_file

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_NO_FOLDERS = ("http", "https")  # what a server lists, if anything, is a page of links


class UrlError(ValueError):
    """A URL that cannot be opened or listed; one line says why and what to do."""


def is_url(path: str | os.PathLike[str]) -> bool:
    """Whether `path` is a URL, and not the name of a file here."""
    return _URL.match(os.fspath(path)) is not None


def check_url(url: str) -> None:
    """Raises UrlError where nothing here opens such URLs."""
    _store(url)


def list_url(url: str, suffixes: frozenset[str]) -> list[str] | None:
    """The URLs, in order, of the files in a folder to its depths that have one of these suffixes
    (`.jpg`), or of those that a pattern matches; None where `url` is neither. Raises UrlError."""
    store, path = _store(url)
    if url.split("://")[0].lower() in _NO_FOLDERS:
        return None
    try:
        if store.isdir(path):
            names = [n for n in store.find(path) if PurePath(n).suffix.lower() in suffixes]
        elif has_magic(path) and not store.exists(path):
            found = store.glob(path, detail=True)
            names = [name for name, what in found.items() if what["type"] != "directory"]
        else:
            return None
    except Exception as error:  # each store has a long tail of its own
        raise UrlError(f"{plain(url)}: cannot be listed ({_reason(error)})") from error
    return sorted(store.unstrip_protocol(name) for name in names)


def read_any(path: str, limits: Limits) -> bytes:
    """All bytes of a file, here or at a URL, read once. Raises StillError: missing, too_large."""
    if not is_url(path):
        return read_file(path, limits)
    with _faults(path):
        store, name = _store(path)
        with store.open(name, "rb") as file:
            data: bytes = file.read(limits.max_bytes + 1)
    check_bytes(len(data), path, limits)
    return data


@contextmanager
def at_hand(path: str, limits: Limits) -> Iterator[str]:
    """Where a file can be read on this machine: `path` itself, or a copy for as long as this is
    open of what is at that URL. Raises StillError: missing, too_large."""
    if not is_url(path):
        yield path
        return
    folder = tempfile.mkdtemp(prefix="airframe-")
    try:
        place = os.path.join(folder, "file" + PurePath(path).suffix)
        with _faults(path):
            store, name = _store(path)
            size = store.info(name)["size"]
            check_bytes(size or 0, path, limits)
            store.get_file(name, place)
        yield place
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _store(url: str) -> tuple[Any, str]:
    """The file system of a URL, and its path there. Raises UrlError."""
    shown = plain(url)
    if "::" in url:
        raise UrlError(f"{shown}: URLs within URLs are not read; unpack or mount it")
    if importlib.util.find_spec("fsspec") is None:
        raise UrlError(f"{shown}: URLs need fsspec, which is not installed; pip install fsspec")
    from fsspec.core import url_to_fs

    try:
        store, path = url_to_fs(url)
    except ImportError as error:
        raise UrlError(f"{shown}: {_reason(error)}") from error
    except ValueError as error:
        what = f"{_reason(error)}; give one that fsspec knows, as s3:// or file://"
        raise UrlError(f"{shown}: {what}") from error
    return store, path


@contextmanager
def _faults(url: str) -> Iterator[None]:
    """Whatever a store raises, as a StillError."""
    try:
        yield
    except StillError:
        raise
    except FileNotFoundError:
        raise StillError("missing", f"{plain(url)}: no such file; check the URL") from None
    except Exception as error:
        message = f"{plain(url)}: cannot be read ({_reason(error)}); check it and its permissions"
        raise StillError("missing", message) from error


def _reason(error: Exception) -> str:
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return plain(str(said).splitlines()[0])
