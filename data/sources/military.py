"""Kaggle's "Military Aircraft Detection Dataset" (a2015003713): boxes of 40 to 95 classes."""

from __future__ import annotations

from pathlib import Path

from data.images import IMAGE_SUFFIXES
from data.sources.rows import (
    Names,
    Rectangle,
    Row,
    SourceError,
    join_boxes,
    label,
    need,
    new_row,
    read_names,
    read_table,
    size_or_skip,
)

_WHAT = "the Military Aircraft Detection Dataset unpacks to dataset/; give the folder that holds it"
_NUMBERS = ("width", "height", "xmin", "ymin", "xmax", "ymax")
_COLUMNS = ("filename", "class", *_NUMBERS)
_SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


def military_aircraft_detection(root: Path, names: Names | None = None) -> list[Row]:
    """A row for each class in each picture, its boxes joined.

    Two layouts are published. The older versions: `root`/dataset/<md5>.jpg with <md5>.csv beside
    it, columns filename, width, height, class, xmin, ymin, xmax, ymax in pixels. The newer ones
    add `root`/labels_with_split.csv, all of those rows with a column `split` (train, validation or
    val, test), which is preferred where it is there; `filename` has no suffix in either. The cut
    pictures under crop/ and the samples under annotated_samples/ are not read: they repeat these.

    `names` maps the set's classes to our types, by default data/sources_names.yaml; a class not in
    it makes a row with an empty type and the class in `note`. All rows of a picture share a group.
    Labels of another shape than the picture (it was turned or cut since) lose their boxes and say
    so in `note`. Raises SourceError naming the missing file or the line that cannot be read.
    """
    names = read_names() if names is None else names
    folder = need(root / "dataset", _WHAT, folder=True)
    table = root / "labels_with_split.csv"
    tables = [table] if table.is_file() else sorted(folder.glob("*.csv"))
    if not tables:
        raise SourceError(f"{folder}: no <md5>.csv here nor {table}; unpack the archive again")
    pictures: dict[str, list[Row]] = {}
    for path in tables:
        required = (*_COLUMNS, "split") if path == table else _COLUMNS
        for line, row in enumerate(read_table(path, required), start=2):
            row["where"] = f"{path}: line {line}"
            pictures.setdefault(row["filename"] or path.stem, []).append(row)
    rows = [row for name in pictures for row in _picture_rows(root, name, pictures[name], names)]
    if not rows:
        raise SourceError(f"{folder}: none of {len(pictures)} labelled pictures can be read")
    return rows


def _picture_rows(root: Path, name: str, labels: list[Row], names: Names) -> list[Row]:
    file = name if Path(name).suffix.lower() in IMAGE_SUFFIXES else f"{name}.jpg"
    path = root / "dataset" / file
    size = size_or_skip(path)
    if size is None:
        return []
    split = _split({row.get("split", "") for row in labels}, labels[0]["where"])
    by_class: dict[str, list[Row]] = {}
    for row in labels:
        by_class.setdefault(row["class"], []).append(row)
    rows = []
    for class_name, of_class in by_class.items():
        values = label(class_name, names)
        values["box"], fault = _boxes(of_class, size)
        values["note"] = "; ".join(filter(None, (values["note"], fault)))
        values |= {"source": "a2015003713/militaryaircraftdetectiondataset", "split": split}
        values["group"] = f"military:{path.stem}"
        rows.append(new_row(path.relative_to(root).as_posix(), size, **values))
    return rows


def _split(published: set[str], where: str) -> str:
    if published == {""}:
        return ""
    ours = {_SPLITS.get(split.lower()) for split in published}
    if len(ours) != 1 or None in ours:
        shown = ", ".join(sorted(published))
        raise SourceError(f"{where}: split {shown!r} is not one of train, validation, test; fix it")
    return str(ours.pop())


def _boxes(labels: list[Row], size: tuple[int, int]) -> tuple[str, str]:
    """(boxes as fractions, what is wrong with them)."""
    boxes: list[Rectangle] = []
    for row in labels:
        try:
            width, height, x0, y0, x1, y1 = (float(row[column]) for column in _NUMBERS)
        except ValueError:
            width = height = 0
        if not (width > 0 and height > 0):
            message = "size and box must be numbers, the size above 0; correct or delete the line"
            raise SourceError(f"{row['where']}: {message}")
        # A picture made smaller keeps its fractions; one that was turned or cut does not.
        if abs(width * size[1] - height * size[0]) > 0.02 * height * size[0]:
            return "", f"boxes left out: labelled at {width:g}x{height:g}"
        boxes.append((x0 / width, y0 / height, x1 / width, y1 / height))
    return join_boxes(boxes), ""
