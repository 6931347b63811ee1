"""The run manifest: what a file of records was made from and with, sealed with its own SHA-256."""

from __future__ import annotations

import hashlib
import json
import platform
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from airframe.predictor import Predictor, Settings, describe
from airframe.record import Record, library_versions
from models.card import digest

SCHEMA = "airframe.run/1"


@dataclass
class Counts:
    """What a file of records holds; fed with its records one by one."""

    records: int = 0
    files: int = 0
    failed: int = 0
    by_status: Counter[str] = field(default_factory=Counter)
    by_engine: Counter[str] = field(default_factory=Counter)
    first_utc: str | None = None
    last_utc: str | None = None

    def add(self, record: Record) -> None:
        """Count a record; of a clip's, only what sums it up is counted by status."""
        self.records += 1
        if record["source"]["records"] is not None:
            self.files += 1
            self.failed += record["status"] == "failed"
        if record["source"]["frame"] is None:
            self.by_status[record["status"]] += 1
        self.by_engine[record["model"]["engine"]] += 1
        made = record["run"]["created_utc"]
        self.first_utc = min(self.first_utc or made, made)
        self.last_utc = max(self.last_utc or made, made)


def utc_now() -> str:
    """ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def write_manifest(
    path: Path,
    records: Path,
    tables: Sequence[Path],
    counts: Counts,
    predictor: Predictor,
    settings: Settings,
    *,
    inputs: Sequence[str],
    started_utc: str,
    finished: bool,
    groups: int | None,
) -> None:
    """Write the manifest of the file `records` and of the `tables` made from it.

    `finished` says whether the run came to its end; `groups` counts those of near-duplicates.
    """
    body = {
        "schema": SCHEMA,
        "records": _file(records),
        "tables": [_file(table) for table in tables],
        "counts": {
            "records": counts.records,
            "files": counts.files,
            "failed": counts.failed,
            "by_status": dict(sorted(counts.by_status.items())),
            "by_engine": dict(sorted(counts.by_engine.items())),
            "duplicate_groups": groups,
        },
        "inputs": [given.encode("utf-8", "replace").decode() for given in inputs],
        "settings_sha256": predictor.fingerprint(settings),
        "settings": predictor.said(settings),
        "model": describe(predictor),
        "versions": library_versions(),
        "machine": platform.machine(),
        "answered_utc": [counts.first_utc, counts.last_utc],
        "started_utc": started_utc,
        "ended_utc": utc_now(),
        "finished": finished,
    }
    text = json.dumps({**body, "sha256": digest(body)}, indent=1, ensure_ascii=False) + "\n"
    path.write_text(text, "utf-8")


def manifest_faults(path: Path, records: Path) -> list[str]:
    """What does not hold of a manifest: one line each, none where it and its files are as written.

    `records` is the file of records that it should be of; the tables are looked for beside it.
    """
    try:
        body: dict[str, Any] = json.loads(path.read_text("utf-8"))
        sealed = body.pop("sha256")
        if sealed != digest(body):
            return [f"{path}: was changed after it was written (its SHA-256 differs)"]
        named = {records: body["records"]}
        named |= {path.with_name(table["file"]): table for table in body["tables"]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return [f"{path}: cannot be read as a run manifest: {error!r}"]
    faults = []
    for file, said in named.items():
        try:
            same = _file(file)["sha256"] == said["sha256"]
            what = "" if same else f"{file}: is not as the run left it (its SHA-256 differs)"
        except OSError as error:
            what = f"{file}: cannot be read: {error.strerror}"
        if what:
            faults.append(what)
    if not body["finished"]:
        faults.append(f"{path}: the run was broken off; its records are not all there are")
    return faults


def _file(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return {"file": path.name, "sha256": sha256, "bytes": file.tell()}
