"""Where records go as they are made: each file's last record is marked on the way."""

from __future__ import annotations

from collections.abc import Iterable
from typing import IO

from airframe.record import Record, json_line


class Sink:
    """Takes records, file after file. The last one of each says in `source.records` how many the
    file gave, so that who finds it knows that none is missing."""

    def __init__(self) -> None:
        self._held: Record | None = None
        self._count = 0

    def write(self, record: Record) -> None:
        """Take a record of the present file."""
        if self._held is not None:
            self._put(self._held)
        self._held, self._count = record, self._count + 1

    def end_file(self) -> None:
        """Say that the present file has no more records."""
        if self._held is None:
            return
        last, self._held = self._held, None
        last["source"]["records"], self._count = self._count, 0
        self._end(last)

    def _put(self, record: Record) -> None:
        raise NotImplementedError

    def _end(self, record: Record) -> None:
        self._put(record)


class JsonLines(Sink):
    """Writes JSONL to an open text file, each line whole when it is written."""

    def __init__(self, file: IO[str]) -> None:
        super().__init__()
        self._file = file

    def _put(self, record: Record) -> None:
        self._file.write(json_line(record))
        self._file.flush()


class Rows(Sink):
    """Keeps the first `limit` records that a person reads, of stills and of what sums a clip up,
    and counts the others: a night's run must not grow with every frame."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.records: list[Record] = []
        self.left_out = 0
        self._limit = limit

    def _put(self, record: Record) -> None:
        if record["source"]["frame"]:
            return
        if len(self.records) < self._limit:
            self.records.append(record)
        else:
            self.left_out += 1

    def fill(self, records: Iterable[Record]) -> Rows:
        """Take records that are marked already."""
        for record in records:
            self._put(record)
        return self


class Queue(Sink):
    """Hands the records out again, marked."""

    def __init__(self) -> None:
        super().__init__()
        self._ready: list[Record] = []

    def taken(self) -> list[Record]:
        """The records that are ready, each once."""
        ready, self._ready = self._ready, []
        return ready

    def _put(self, record: Record) -> None:
        self._ready.append(record)
