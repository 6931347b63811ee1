"""Sets of anyone's own: a folder for each class, or a CSV that names path and type."""

from __future__ import annotations

import logging
from pathlib import Path

from data.images import IMAGE_SUFFIXES
from data.sources.rows import (
    COLUMNS,
    Names,
    Row,
    SourceError,
    label,
    need,
    new_row,
    read_table,
    size_or_skip,
)

_log = logging.getLogger(__name__)


def folder_per_class(root: Path, names: Names | None = None) -> list[Row]:
    """A row for each picture under `root`/<type name>/, at any depth.

    A slash cannot stand in a file name, so `_` is read as `/`: F_A-18, Su-17_22, MiG-23_27. With a
    table `names`, a folder's name as it stands is looked up instead. Pictures in one sub-folder
    share a group, being most often one clip or one series; those right under their class are each
    their own. Hidden folders are passed over. Raises SourceError where there are no pictures.
    """
    need(root, "give the folder that holds one folder for each type", folder=True)
    rows: list[Row] = []
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        if folder.name.startswith((".", "__MACOSX")):
            continue
        before = len(rows)
        for path in sorted(folder.rglob("*")):
            relative = path.relative_to(root)
            hidden = any(part.startswith(".") for part in relative.parts)  # macOS's ._twins too
            if path.suffix.lower() not in IMAGE_SUFFIXES or hidden or not path.is_file():
                continue
            size = size_or_skip(path)
            if size is None:
                continue
            raw = folder.name if names is not None else folder.name.replace("_", "/")
            values = label(raw, names)
            values["group"] = "" if path.parent == folder else relative.parent.as_posix()
            rows.append(new_row(relative.as_posix(), size, source=root.resolve().name, **values))
        if len(rows) == before:
            _log.warning("left out: %s: no pictures in this folder", folder)
    if not rows:
        what = "expected <type name>/<picture>, such as Su-24/001.jpg"
        raise SourceError(f"{root}: no pictures here; {what}")
    return rows


def csv_table(path: Path, names: Names | None = None) -> list[Row]:
    """The rows of a CSV with at least the columns `path` and `type`; paths relative to its folder.

    Columns that are ours are kept, others dropped. Sizes that are missing are read from the
    pictures; rows whose picture cannot be read are left out with a warning. Raises SourceError.
    """
    need(path, "give a CSV with the columns path and type")
    rows: list[Row] = []
    for given in read_table(path, ("path", "type")):
        size = size_or_skip(path.parent / given["path"])
        if size is None:
            continue
        values = {column: given[column] for column in COLUMNS if given.get(column)}
        named = label(given["type"], names) if given["type"] else {}
        note = "; ".join(filter(None, (named.get("note", ""), given.get("note", ""))))
        values |= {**named, "note": note}
        values.pop("path")
        rows.append(new_row(given["path"], size, **values))
    if not rows:
        raise SourceError(f"{path}: no row whose picture can be read; paths start at its folder")
    return rows
