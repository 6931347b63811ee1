"""The manifest: labelled samples from a CSV. Every problem is reported at once, with its line."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from data.taxonomy import Taxonomy

SPLITS = ("train", "val", "calibration", "test")
Box = tuple[float, float, float, float]


class ManifestError(ValueError):
    """One or more rows cannot be used; the message lists every one with its line."""


@dataclass(frozen=True)
class Sample:
    """One labelled picture.

    `node` is the deepest taxonomy node that the label carries (`type:Su-24`, `family:Flanker`), or
    None for a picture that shows no aircraft of the taxonomy. `boxes` are fractions of width and
    height, `x0 y0 x1 y1`. `group` never crosses splits; `source` says where the picture came from,
    as far as the manifest does.
    """

    path: Path
    node: str | None
    kind: str
    group: str
    split: str | None
    boxes: tuple[Box, ...]
    key: str
    source: str = ""


def read_manifest(
    path: Path,
    taxonomy: Taxonomy,
    *,
    root: Path | None = None,
    background_kinds: Collection[str] = (),
    boxes: Path | None = None,
) -> list[Sample]:
    """Read a manifest with at least the columns `path` and `type`.

    Optional columns: `family`, `kind` (default `photo`), `group` (default: the path), `split`,
    `box`, `source`. Paths are relative to `root`, by default the manifest's folder. Rows of a kind
    in `background_kinds` show nothing of the taxonomy: what they say of a type is not a label. A
    picture of two types has a row for each. `boxes` is a CSV of `path` and `box` whose boxes take
    the place of the manifest's own; an empty one says that no aircraft shows.

    Raises ManifestError listing every bad row: unknown type or family, a family that is not the
    type's, a missing file, a bad box or split, a label given twice, a picture in two groups, a
    group in two splits.
    """
    root = root or path.parent
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(f"{path}: cannot be read as a CSV manifest: {error}") from error
    reader = csv.DictReader(io.StringIO(text, newline=""))
    missing = {"path", "type"} - set(reader.fieldnames or ())
    if missing:
        raise ManifestError(f"{path}: line 1: no column {' or '.join(sorted(missing))}")
    samples: list[Sample] = []
    problems: list[str] = []
    seen: dict[tuple[str, ...], int] = {}
    split_of: dict[str, str] = {}
    group_of: dict[str, str] = {}
    for line, raw in _rows(reader, path):
        row = {key: (value or "").strip() for key, value in raw.items() if isinstance(key, str)}
        sample, faults = _parse_row(row, root, taxonomy, background_kinds)
        label = row["path"], row["type"], row.get("family", "")
        if label in seen:
            faults.append(f"path {row['path']!r} stands already in line {seen[label]}")
        seen.setdefault(label, line)
        if (
            sample
            and sample.split
            and split_of.setdefault(sample.group, sample.split) != sample.split
        ):
            faults.append(f"group {sample.group!r} is in split {split_of[sample.group]!r} above")
        if sample and group_of.setdefault(sample.key, sample.group) != sample.group:
            # Its two rows could land in two splits: the picture would be trained on and tested.
            faults.append(f"path {sample.key!r} is in group {group_of[sample.key]!r} above")
        problems += [f"line {line}: {fault}" for fault in faults]
        if sample:
            samples.append(sample)
    if problems:
        shown = "\n".join(f"  {problem}" for problem in problems[:50])
        more = f"\n  … and {len(problems) - 50} more" if len(problems) > 50 else ""
        raise ManifestError(f"{path}: {len(problems)} problem(s)\n{shown}{more}")
    if not samples:
        raise ManifestError(f"{path}: holds no rows")
    return samples if boxes is None else _with_boxes(samples, boxes)


def _with_boxes(samples: list[Sample], path: Path) -> list[Sample]:
    """The samples with the boxes that a CSV of `path,box` gives; ManifestError as above."""
    known = {sample.key for sample in samples}
    given: dict[str, tuple[Box, ...]] = {}
    problems: list[str] = []
    try:
        reader = csv.DictReader(io.StringIO(path.read_text("utf-8-sig"), newline=""))
        for line, row in _rows(reader, path):
            try:
                key = row["path"]
                if key in given:
                    problems.append(f"line {line}: path {key!r} stands already above")
                given[key] = tuple(_boxes(row["box"] or ""))
            except ValueError as error:
                problems.append(f"line {line}: {error}")
            if key not in known:
                problems.append(f"line {line}: path {key!r} is in no row of the manifest")
    except (OSError, UnicodeDecodeError, KeyError) as error:
        raise ManifestError(f"{path}: not a CSV with columns path, box: {error}") from error
    if problems:
        shown = "\n".join(f"  {problem}" for problem in problems[:50])
        raise ManifestError(f"{path}: {len(problems)} problem(s)\n{shown}")
    return [replace(sample, boxes=given.get(sample.key, sample.boxes)) for sample in samples]


def _rows(
    reader: csv.DictReader[str], path: Path
) -> Iterator[tuple[int, dict[str | Any, str | Any]]]:
    """Each row with the line that it ends in."""
    try:
        for raw in reader:
            yield reader.line_num, raw
    except csv.Error as error:
        line = reader.reader.line_num  # the reader of dicts counts a row only once it has it
        raise ManifestError(f"{path}: line {line}: {error}") from error


def _parse_row(
    row: dict[str, str], root: Path, taxonomy: Taxonomy, background_kinds: Collection[str]
) -> tuple[Sample | None, list[str]]:
    faults: list[str] = []
    kind = row.get("kind") or "photo"
    node = None
    if kind not in background_kinds:
        node, faults = _label(row["type"], row.get("family", ""), taxonomy)
    split = row.get("split") or None
    if split and split not in SPLITS:
        faults.append(f"split {split!r} is none of {', '.join(SPLITS)}")
    boxes: tuple[Box, ...] = ()
    try:
        boxes = tuple(_boxes(row.get("box", "")))
    except ValueError as error:
        faults.append(str(error))
    if not row["path"]:
        faults.append("no path")
    elif not _is_file(root / row["path"]):
        faults.append(f"file {row['path']!r} is missing under {root}")
    if faults:
        return None, faults
    group = row.get("group") or row["path"]
    source = row.get("source", "")
    return Sample(root / row["path"], node, kind, group, split, boxes, row["path"], source), []


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name too long for the file system: a quote that nothing closes
        return False


def _label(type_: str, family: str, taxonomy: Taxonomy) -> tuple[str | None, list[str]]:
    """The deepest node that the two columns name, and what is wrong with them."""
    if type_:
        node = f"type:{type_}"
        if node not in taxonomy:
            return None, [f"type {type_!r} is not in the taxonomy"]
        parent = taxonomy[node].parent
        if family and f"family:{family}" != parent:
            return None, [f"type {type_!r} belongs to {parent!r}, not to family {family!r}"]
        return node, []
    if family:
        node = f"family:{family}"
        return (
            (node, [])
            if node in taxonomy
            else (None, [f"family {family!r} is not in the taxonomy"])
        )
    return None, ["neither type nor family is given, and the kind is not a background kind"]


def _boxes(text: str) -> Iterator[Box]:
    for part in filter(None, (piece.strip() for piece in text.split(";"))):
        try:
            x0, y0, x1, y1 = (float(value) for value in part.split())
        except ValueError:
            raise ValueError(f"box {part!r} is not four numbers 'x0 y0 x1 y1'") from None
        if not (0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1):
            raise ValueError(f"box {part!r} must hold 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1")
        yield x0, y0, x1, y1
