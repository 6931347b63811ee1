"""A run over an archive that leaves a journal, the tables made from it, and a manifest."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from airframe.archive_files import ArchiveFiles
from airframe.contact_sheet import write_contact_sheet
from airframe.evidence import Counts, utc_now, write_manifest
from airframe.journal import Journal, read_records
from airframe.near_duplicates import duplicate_groups
from airframe.predictor import Predictor, Settings
from airframe.record import Record
from airframe.tables import write_csv, write_parquet


class Archive:
    """A run's outputs while it runs: its journal is open, its manifest not written yet.

    Raises JournalError and OSError as `Journal` does.
    """

    def __init__(
        self, outputs: ArchiveFiles, predictor: Predictor, settings: Settings, inputs: Sequence[str]
    ) -> None:
        self.outputs = outputs
        self._predictor, self._settings, self._inputs = predictor, settings, inputs
        self._started = utc_now()
        outputs.journal.parent.mkdir(parents=True, exist_ok=True)
        said = predictor.said(settings)
        self.journal = Journal(outputs.journal, predictor.fingerprint(settings), said)
        # What it says is no longer true once a record is added, and a kill would leave it there.
        outputs.manifest.unlink(missing_ok=True)

    def finish(self) -> dict[str, int]:
        """Settle the journal, make the tables and the manifest; returns the duplicate groups."""
        self.journal.settle()
        self.journal.close()
        groups = duplicate_groups(self.records())
        for table in self.outputs.tables:
            with _whole(table) as spare:
                if table.suffix == ".csv":
                    write_csv(spare, self.records(), groups)
                elif table.suffix == ".parquet":
                    write_parquet(spare, self.records(), groups)
                else:
                    write_contact_sheet(spare, self.outputs.journal, groups)
        self._write_manifest(self.outputs.tables, len(set(groups.values())))
        return groups

    def break_off(self) -> None:
        """Keep what is answered, and say in the manifest, if there is room, that it is not all."""
        with suppress(OSError):
            self.journal.close()
            self._write_manifest((), None)

    def records(self) -> Iterator[Record]:
        """The records in the journal, which must be closed."""
        return read_records(self.outputs.journal)

    def _write_manifest(self, tables: Sequence[Path], groups: int | None) -> None:
        counts = Counts()
        for record in self.records():
            counts.add(record)
        with _whole(self.outputs.manifest) as spare:
            write_manifest(
                spare,
                self.outputs.journal,
                tables,
                counts,
                self._predictor,
                self._settings,
                inputs=self._inputs,
                started_utc=self._started,
                finished=groups is not None,
                groups=groups,
            )


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """A file beside `path` to write to, which takes its place when it is whole."""
    spare = path.with_name(f"{path.name}.part")
    try:
        yield spare
        os.replace(spare, path)
    except BaseException:
        spare.unlink(missing_ok=True)
        raise
