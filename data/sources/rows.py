"""What every adapter shares: a row of the manifest, the table of names, boxes, and the writing."""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import yaml

from data.images import StillError, read_size

COLUMNS = (
    "path",
    "type",
    "family",
    "kind",
    "source",
    "group",
    "width",
    "height",
    "box",
    "split",
    "note",
)
NAMES_PATH = Path(__file__).parent.with_name("sources_names.yaml")
Row = dict[str, str]
Names = Mapping[str, str]
Rectangle = tuple[float, float, float, float]

_log = logging.getLogger(__name__)


class SourceError(ValueError):
    """A set that is not in its layout: one line saying what, where and what to do."""


def new_row(path: str, size: tuple[int, int], **values: str) -> Row:
    """A row with every column, empty where `values` says nothing; `size` is (width, height)."""
    row = dict.fromkeys(COLUMNS, "")
    row.update(path=path, kind="photo", width=str(size[0]), height=str(size[1]))
    row.update(values)
    return row


def read_names(path: Path = NAMES_PATH) -> dict[str, str]:
    """The table `name in the set: our type name`. Raises SourceError."""
    try:
        table = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise SourceError(f"{path}: cannot be read as a table of names: {reason}") from error
    if not isinstance(table, dict) or not all(isinstance(t, str) and t for t in table.values()):
        raise SourceError(f"{path}: must map each name to a type name; quote names like 'no' or 5")
    return {str(name): type_name for name, type_name in table.items()}


def label(raw: str, names: Names | None) -> Row:
    """The columns `type` and `note` for a set's own name.

    Without a table the name is the type. With one, what is neither in it nor one of the types it
    leads to is no label: the type stays empty, `note` keeps the name. Case is ignored: versions of
    one set differ in it.
    """
    if names is None:
        return {"type": raw, "note": ""}
    known = {type_name.casefold(): type_name for type_name in names.values()}
    known |= {name.casefold(): type_name for name, type_name in names.items()}
    type_name = known.get(raw.casefold(), "")
    return {"type": type_name, "note": "" if type_name else raw}


def size_or_skip(path: Path) -> tuple[int, int] | None:
    """(width, height) of a picture from its header; None, with a logged warning, where it has none.

    One picture lost on the way must not cost a set of thousands.
    """
    try:
        return read_size(path)
    except StillError as error:
        _log.warning("left out: %s", error)
        return None


def join_boxes(boxes: Sequence[Rectangle]) -> str:
    """Boxes (x0, y0, x1, y1) as fractions of width and height, in the manifest's notation.

    Those that reach over the edge are cut there, those left without an area are dropped.
    """
    parts = []
    for box in boxes:
        shown = [f"{min(max(value, 0.0), 1.0):.6f}" for value in box]
        # Compared as written: a box thinner than the digits shown would be refused on reading.
        if float(shown[0]) < float(shown[2]) and float(shown[1]) < float(shown[3]):
            parts.append(" ".join(shown))
    return ";".join(parts)


def need(path: Path, what: str, *, folder: bool = False) -> Path:
    """`path` itself. Raises SourceError naming it where it is not there."""
    if not (path.is_dir() if folder else path.is_file()):
        kind = "folder" if folder else "file"
        raise SourceError(f"{path}: no such {kind}; {what}")
    return path


def read_table(path: Path, required: Iterable[str]) -> list[Row]:
    """The rows of a CSV with a header. Raises SourceError where a required column is missing."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            missing = [name for name in required if name not in (reader.fieldnames or ())]
            if missing:
                columns = ", ".join(missing)
                raise SourceError(f"{path}: no column {columns}; the first line must name them")
            return [
                {key: (value or "").strip() for key, value in row.items() if isinstance(key, str)}
                for row in reader
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SourceError(f"{path}: cannot be read as a CSV: {error}") from error


def write_manifest(rows: Sequence[Mapping[str, str]], path: Path) -> None:
    """Write rows as a manifest CSV in our columns. Raises SourceError where that is impossible."""
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    except OSError as error:
        reason = error.strerror or error
        raise SourceError(f"{path}: cannot be written ({reason}); give another --out") from error
