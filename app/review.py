"""What a person said of the answers: kept in SQLite, exported as a manifest that train.py reads."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from math import sqrt
from pathlib import Path
from typing import Any

from data.taxonomy import Taxonomy

Record = dict[str, Any]
VERDICTS = ("confirmed", "corrected", "no aircraft", "set aside")
# Of the kinds that the shipped configs take for pictures of nothing (data.background_kinds).
NOTHING = "other"
DATABASE, MANIFEST, PICTURES = "reviews.sqlite", "manifest.csv", "pictures"
_TABLE = """
CREATE TABLE IF NOT EXISTS reviews (
  sha256 TEXT NOT NULL, frame INTEGER NOT NULL, box TEXT NOT NULL,
  name TEXT NOT NULL, picture TEXT NOT NULL, verdict TEXT NOT NULL, node TEXT,
  answer TEXT, probability REAL, entropy REAL, model TEXT NOT NULL, record TEXT NOT NULL,
  reviewed_utc TEXT NOT NULL, PRIMARY KEY (sha256, frame, box))
"""


class ReviewError(ValueError):
    """A review that cannot be kept; one line says why."""


@dataclass(frozen=True)
class Bin:
    """Answers whose probability lies in [low, high): how many, their mean, and how many were right;
    `floor` and `ceiling` are the 95 % interval of the share (Wilson 1927)."""

    low: float
    high: float
    n: int
    mean: float
    right: int
    floor: float
    ceiling: float


class Reviews:
    """Reviews in a folder: the database, and beside it a copy of each picture that was reviewed.

    One review a place: a later one of the same box replaces it.
    """

    def __init__(self, folder: Path, taxonomy: Taxonomy) -> None:
        self.folder, self._taxonomy = folder, taxonomy

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self.folder / DATABASE, timeout=10)) as database:
                database.row_factory = sqlite3.Row
                database.execute(_TABLE)
                with database:  # commits, or rolls back
                    yield database
        except (OSError, sqlite3.Error) as error:
            raise ReviewError(f"reviews in {self.folder}: cannot be kept: {error}") from error

    def keep(
        self, record: Record, verdict: str, node: str | None, picture: bytes, suffix: str
    ) -> None:
        """Keep what a person said of a record.

        `node` is the type or family that it shows, by the taxonomy's id: of a confirmed answer its
        own, of one set aside None. "no aircraft" says that the whole picture shows none, and so
        does who confirms the answer `no_aircraft`. `picture` is the still's own file, or a clip's
        frame as PNG; `suffix` its ending. Raises ReviewError.
        """
        if verdict not in VERDICTS:
            raise ReviewError(f"review {verdict!r} is none of {', '.join(VERDICTS)}")
        if verdict == "confirmed" and record["status"] == "no_aircraft":
            verdict = "no aircraft"
        if verdict == "confirmed":
            if not record["answer"]:
                raise ReviewError(
                    "this answer names nothing to confirm; correct it or set it aside"
                )
            node = record["answer"]["node"]
        if verdict == "corrected" and (node is None or node not in self._taxonomy):
            raise ReviewError("choose the type or the family that it shows")
        source, frame = record["source"], record["source"]["frame"]
        number = frame["index"] if frame else -1
        name = f"{source['sha256']}{f'-{number}' if frame else ''}{suffix}"
        with self._open() as database:
            (self.folder / PICTURES).mkdir(exist_ok=True)
            (self.folder / PICTURES / name).write_bytes(picture)
            database.execute(
                "INSERT OR REPLACE INTO reviews VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)",
                (
                    source["sha256"],
                    number,
                    json.dumps(_shares(record)),
                    source["path"],
                    f"{PICTURES}/{name}",
                    verdict,
                    node if verdict in ("confirmed", "corrected") else None,
                    record["answer"] and record["answer"]["node"],
                    record["answer"] and record["answer"]["probability"],
                    (record["uncertainty"] or {}).get("entropy"),
                    record["model"]["sha256"],
                    json.dumps(record, ensure_ascii=False),
                    datetime.now(UTC).isoformat(timespec="seconds"),
                ),
            )

    def rows(self) -> list[dict[str, Any]]:
        """Every review, the most doubtful first: those whose answer was wrong or missing, then by
        falling entropy. Raises ReviewError."""
        if not (self.folder / DATABASE).is_file():
            return []
        with self._open() as database:
            found = [dict(row) for row in database.execute("SELECT * FROM reviews")]
        return sorted(found, key=lambda r: (self.agrees(r) is True, -(r["entropy"] or 0.0)))

    def agrees(self, row: dict[str, Any]) -> bool | None:
        """Whether the answer holds what the person saw; None where either said nothing.

        Where the person saw no aircraft every name is wrong, and `no_aircraft` is right.
        """
        denied = json.loads(row["record"])["status"] == "no_aircraft"
        if row["verdict"] == "no aircraft":
            return denied or (None if row["answer"] is None else False)
        if row["node"] is not None and denied:
            return False
        if row["node"] is None or row["answer"] is None:
            return None
        if row["node"] not in self._taxonomy:  # named by a checkpoint of another taxonomy
            return bool(row["node"] == row["answer"])
        return row["answer"] in {node.id for node in self._taxonomy.path(row["node"])}

    def denials(self) -> tuple[int, int]:
        """How many reviewed answers were `no_aircraft`, and how many of them were right. They state
        no probability, so that no bin holds them."""
        judged = [self.agrees(r) for r in self.rows() if r["answer"] is None]
        said = [right for right in judged if right is not None]
        return len(said), sum(said)

    def bins(self, edges: Sequence[float] = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0)) -> list[Bin]:
        """The reviewed answers by what they said their probability was: a reliability plot."""
        judged = [(r["probability"], self.agrees(r)) for r in self.rows() if r["answer"]]
        pairs = [(p, right) for p, right in judged if right is not None]
        found = []
        for low, high in pairwise(edges):
            inside = [(p, r) for p, r in pairs if low <= p < high or p == high == edges[-1]]
            if inside:
                n, right = len(inside), sum(r for _, r in inside)
                mean = sum(p for p, _ in inside) / n
                found.append(Bin(low, high, n, mean, right, *_wilson(right, n)))
        return found

    def manifest(self) -> str:
        """The reviewed pictures as `data.manifest` reads them, the most doubtful first; pictures of
        one clip or file are one group. A picture in which no aircraft was seen is of the kind
        `NOTHING`, unless another review of it names one. Written beside the pictures too. Raises
        ReviewError."""
        rows = self.rows()
        shown = {row["picture"] for row in rows if row["node"]}
        merged: dict[tuple[str, str | None], dict[str, Any]] = {}
        for row in rows:
            nothing = row["verdict"] == "no aircraft" and row["picture"] not in shown
            rank, _, name = (row["node"] or "").partition(":")
            if rank not in ("type", "family") and not nothing:
                continue
            key = row["picture"], row["node"]
            shares = None if nothing else json.loads(row["box"])
            box = " ".join(f"{value:.6f}" for value in shares) if shares else ""
            if key in merged:  # two aircraft of one type in a picture are one row of two boxes
                merged[key]["box"] = ";".join(filter(None, (merged[key]["box"], box)))
                continue
            merged[key] = {
                "path": row["picture"],
                "type": name if rank == "type" else "",
                "family": name if rank == "family" else "",
                "kind": NOTHING if nothing else "reviewed",
                "group": row["sha256"],
                "box": box,
                "source": "reviews",
                "verdict": row["verdict"],
                "entropy": "" if row["entropy"] is None else row["entropy"],
            }
        if not merged:
            raise ReviewError(
                "no review names a type, a family or no aircraft yet: confirm or correct some first"
            )
        text = io.StringIO()
        writer = csv.DictWriter(text, list(next(iter(merged.values()))), lineterminator="\n")
        writer.writeheader()
        writer.writerows(merged.values())
        try:
            (self.folder / MANIFEST).write_text(text.getvalue(), "utf-8")
        except OSError as error:
            raise ReviewError(f"{self.folder / MANIFEST}: cannot be written: {error}") from error
        return text.getvalue()


def _shares(record: Record) -> list[float] | None:
    """The record's box as shares of width and height, held inside the frame."""
    if not record["box"]:
        return None
    width, height = record["source"]["width"], record["source"]["height"]
    x0, y0, x1, y1 = record["box"]
    return [
        max(x0 / width, 0.0),
        max(y0 / height, 0.0),
        min(x1 / width, 1.0),
        min(y1 / height, 1.0),
    ]


def _wilson(right: int, n: int, z: float = 1.96) -> tuple[float, float]:
    share = right / n
    middle = share + z * z / (2 * n)
    spread = z * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return max((middle - spread) / scale, 0.0), min((middle + spread) / scale, 1.0)
