"""The journal of a run: records as JSONL, each on disk as it is made, and where a run goes on.

A file's records count when its last one is there, which says in `source.records` how many they are;
what stands behind the last such line was cut off by a kill or a full disk, and is cut off for good.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from airframe.batch import Known
from airframe.record import SCHEMA, Record, json_line
from airframe.sinks import Sink
from data.remote import is_url
from data.video import VIDEO_SUFFIXES

_BEGINS = b'{"schema": "airframe.record/'
_SYNC_S = 5.0  # between two waits for the disk: a power cut costs no more than that


class JournalError(ValueError):
    """A file of records that cannot be gone on with; one line says why and what to do."""


@dataclass(slots=True)
class _Block:
    """The records of one file: `start` and `end` in bytes, and what they are an answer to."""

    path: str
    start: int
    end: int
    key: bytes | None  # content and kind of an answered file
    failure: bytes | None  # what is said of one that failed


class Contents(Known):
    """What a journal knows, without its records: to be sent to another machine."""

    def __init__(self, keys: frozenset[bytes]) -> None:
        self._keys = keys

    def knows(self, path: str, sha256: str) -> bool:
        return _key(path, sha256) in self._keys


class Journal(Sink, Known):
    """The file of records at `path`, opened to go on with under settings of that SHA-256.

    Raises JournalError where it holds anything but whole records made with these settings, damage
    at its end aside, or where another run has it open; OSError where it cannot be opened. `cut` is
    the number of bytes cut off, `recalled` that of files whose answers were there already.
    """

    def __init__(self, path: Path, settings_sha256: str, said: dict[str, Any]) -> None:
        super().__init__()
        self.path = path
        self._settings = settings_sha256, said
        self._standing: dict[str, _Block] = {}
        self._contents: dict[bytes, _Block] = {}
        self._blocks = 0
        self._synced = time.monotonic()
        self.recalled = 0
        self._file = _opened(path)
        try:
            self._end_at = self._at = self._scan()
            self.cut = os.fstat(self._file).st_size - self._at
            os.ftruncate(self._file, self._at)
        except BaseException:
            os.close(self._file)
            raise

    def knows(self, path: str, sha256: str) -> bool:
        return _key(path, sha256) in self._contents

    def contents(self) -> Contents:
        return Contents(frozenset(self._contents))

    def recall(self, path: str, sha256: str) -> Iterator[Record]:
        """None where `path` itself was answered with that content; else, for a renamed file or a
        copy, the records of the other path under the new one."""
        self.recalled += 1
        key = _key(path, sha256)
        standing = self._standing.get(path)
        if standing is not None and standing.key == key:
            return
        block = self._contents[key]
        with self.path.open("rb") as file:
            file.seek(block.start)
            while file.tell() < block.end:
                record = json.loads(file.readline())
                record["source"].update(path=path, records=None)
                yield record

    def settle(self) -> None:
        """Drop, at the end, the records that others have taken the place of.

        Those are records of a file that was answered again, because it was edited or had failed,
        and of a path that is gone while another path has its content: a renamed file.
        """
        kept = sorted(self._kept(), key=lambda block: block.start)
        if len(kept) == self._blocks:
            return
        spare = self.path.with_name(f"{self.path.name}.part")
        file = _opened(spare)
        try:
            os.ftruncate(file, 0)
            for block in kept:
                for at in range(block.start, block.end, 2**20):
                    _write(file, os.pread(self._file, min(2**20, block.end - at), at))
            os.fsync(file)
            os.replace(spare, self.path)
        except BaseException:
            os.close(file)
            spare.unlink(missing_ok=True)
            raise
        os.close(self._file)
        self._file, self._end_at = file, os.fstat(file).st_size

    def close(self) -> None:
        """Wait for the disk; what an unfinished file left behind is cut off."""
        file, self._file = self._file, -1
        if file < 0:
            return
        try:
            self._rewind(file)
            os.fsync(file)
        finally:
            os.close(file)

    def _put(self, record: Record) -> None:
        line = json_line(record).encode()
        try:
            _write(self._file, line)
        except BaseException:
            self._rewind(self._file)
            raise
        self._at += len(line)

    def _end(self, record: Record) -> None:
        block = _block(record, self._end_at, 0)
        standing = self._standing.get(block.path)
        if block.failure and standing and standing.failure == block.failure:
            self._rewind(self._file)  # tried again, and failed as before
            return
        self._put(record)
        block.end = self._end_at = self._at
        self._add(block)
        if time.monotonic() - self._synced > _SYNC_S:
            os.fsync(self._file)
            self._synced = time.monotonic()

    def _rewind(self, file: int) -> None:
        self._held, self._count, self._at = None, 0, self._end_at
        if os.fstat(file).st_size > self._end_at:
            os.ftruncate(file, self._end_at)

    def _add(self, block: _Block) -> None:
        self._blocks += 1
        self._standing[block.path] = block
        if block.key is not None:
            self._contents.setdefault(block.key, block)

    def _kept(self) -> Iterator[_Block]:
        """The standing blocks, less those of renamed files."""
        paths: dict[bytes, list[str]] = {}
        answered = [block for block in self._standing.values() if block.key is not None]
        if len(answered) > len({block.key for block in answered}):
            for block in answered:
                paths.setdefault(block.key or b"", []).append(block.path)
        moved = set()
        for same in paths.values():
            gone = [path for path in same if len(same) > 1 and not _is_there(path)]
            if len(gone) < len(same):
                moved.update(gone)
        return (block for path, block in self._standing.items() if path not in moved)

    def _scan(self) -> int:
        """Read all records; returns where the last whole file's end."""
        end = start = at = count = 0
        damaged = 0
        path = None
        with self.path.open("rb") as file:
            for number, line in enumerate(file, 1):
                record = parsed(line)
                at += len(line)
                if record is None:
                    if number == 1 and not (line.startswith(_BEGINS) or _BEGINS.startswith(line)):
                        raise self._error("is not a file of records; give another name")
                    damaged = damaged or number
                    continue
                if damaged:
                    raise self._error(f"line {damaged} is damaged; give another name")
                self._check(record, number)
                source = record["source"]
                if count and source["path"] != path:
                    what = f"line {number}: the last records of another file are missing before it"
                    raise self._error(f"{what}; give another name")
                path, count = source["path"], count + 1
                if source["records"] is not None:
                    if source["records"] != count:
                        what = f"line {number}: {count} of {source['records']} records are there"
                        raise self._error(f"{what}; give another name")
                    self._add(_block(record, start, at))
                    start = end = at
                    count = 0
        return end

    def _check(self, record: Record, number: int) -> None:
        source, run = record.get("source"), record.get("run")
        whole = record.get("schema") == SCHEMA and isinstance(source, dict) and "records" in source
        if not whole or not isinstance(run, dict) or not isinstance(run.get("settings"), dict):
            raise self._error(f"line {number} is not of this version; give another name")
        sha256, said = self._settings
        if run["settings_sha256"] != sha256:
            then = run["settings"]
            differing = [
                f"{key} {then.get(key)}, now {said.get(key)}"
                for key in sorted({*then, *said})
                if then.get(key) != said.get(key)
            ]
            what = "; ".join(differing) or f"another checkpoint, {record['model']['name']}"
            raise self._error(
                f"its answers were made with other settings ({what}): {run['settings_sha256']}, "
                f"not {sha256}; give those again, or another name"
            )

    def _error(self, what: str) -> JournalError:
        return JournalError(f"{self.path}: {what}")


def read_records(path: Path) -> Iterator[Record]:
    """The records of a JSONL file. Raises JournalError for a line that is none, naming it."""
    return (record for _, record in numbered(path))


def numbered(path: Path) -> Iterator[tuple[int, Record]]:
    """The records of a JSONL file, each with the byte at which it starts. Raises JournalError."""
    at = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            record = parsed(line)
            if record is None or record.get("schema") != SCHEMA:
                raise JournalError(f"{path}: line {number} is not a record of {SCHEMA}")
            yield at, record
            at += len(line)


def records_at(path: Path, starts: Iterable[int]) -> Iterator[Record]:
    """The records that start at these bytes of a JSONL file."""
    with path.open("rb") as file:
        for start in starts:
            file.seek(start)
            yield json.loads(file.readline())


def parsed(line: bytes) -> Record | None:
    """The object that a whole line holds, else None."""
    try:
        record = json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def _is_there(path: str) -> bool:
    # What a URL leads to is not asked of a server for every copy.
    return is_url(path) or os.path.lexists(path)


def _key(path: str, sha256: str) -> bytes:
    # By its name a file is read as a still or as a clip, and then not answered alike.
    clip = PurePath(path).suffix.lower() in VIDEO_SUFFIXES
    return bytes.fromhex(sha256)[:16] + bytes([clip])


def _block(record: Record, start: int, end: int) -> _Block:
    """From a file's last record."""
    source, failure = record["source"], record["failure"]
    if failure:
        said = json.dumps([failure, source["sha256"], source["records"]]).encode()
        return _Block(source["path"], start, end, None, hashlib.sha256(said).digest()[:16])
    return _Block(source["path"], start, end, _key(source["path"], source["sha256"]), None)


def _opened(path: Path) -> int:
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_CLOEXEC", 0), 0o666)
    if sys.platform != "win32":
        import fcntl

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(file)
            raise JournalError(f"{path}: another run is writing it; wait for its end") from None
    return file


def _write(file: int, data: bytes) -> None:
    # Straight to the system: a buffer would be lost with the process, or kept by a full disk.
    while data:
        data = data[os.write(file, data) :]
