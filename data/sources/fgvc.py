"""FGVC-Aircraft (Maji et al., 2013): 10,000 photos of 100 variants, mostly airliners."""

from __future__ import annotations

from pathlib import Path

from data.sources.rows import (
    Names,
    Row,
    SourceError,
    join_boxes,
    label,
    need,
    new_row,
    size_or_skip,
)

SPLITS = ("train", "val", "trainval", "test")
_WHAT = "FGVC-Aircraft unpacks to fgvc-aircraft-2013b/data; give the folder that holds it"


def fgvc_aircraft(root: Path, split: str, names: Names | None = None) -> list[Row]:
    """The rows of one split, labelled by variant, through torchvision's FGVCAircraft.

    Reads under `root`/fgvc-aircraft-2013b/data: `images/`, `variants.txt`,
    `images_variant_<split>.txt`, and where they are there `images_family_<split>.txt` and
    `images_box.txt`. `split`: train, val or test stay what they are; trainval is train and val,
    each row under its own, so that nothing published as test is ever trained on. The type is the
    variant as published, or with a table `names` what the table makes of it.

    The bottom 20 pixels of every picture are a banner with the photographer's name, which no box
    includes: crop to the box, or a network learns who stands at which runway.

    Raises SourceError naming the missing file.
    """
    if split not in SPLITS:
        raise SourceError(f"split {split!r} is none of {', '.join(SPLITS)}")
    parts = ("train", "val") if split == "trainval" else (split,)
    rows = [row for part in parts for row in _split_rows(root, part, names)]
    if not rows:
        raise SourceError(f"{root}: no picture of split {split!r} can be read; unpack it again")
    return rows


def _split_rows(root: Path, split: str, names: Names | None) -> list[Row]:
    data = root / "fgvc-aircraft-2013b" / "data"
    need(data, _WHAT, folder=True)
    need(data / "images", _WHAT, folder=True)
    need(data / "variants.txt", _WHAT)
    listing = need(data / f"images_variant_{split}.txt", _WHAT)
    # Imported here: it takes seconds, and the other adapters do without.
    from torchvision.datasets import FGVCAircraft

    try:
        published = FGVCAircraft(root, split=split, annotation_level="variant")
    except (KeyError, ValueError) as error:
        message = f"{listing}: does not fit variants.txt ({error}); unpack the archive again"
        raise SourceError(message) from error
    families = _by_image(data / f"images_family_{split}.txt")
    boxes = _by_image(data / "images_box.txt")
    rows = []
    # Its public way to a row decodes the picture, so the two lists behind it are read instead.
    for file, index in zip(published._image_files, published._labels, strict=True):
        path = Path(file)
        size = size_or_skip(path)
        if size is None:
            continue
        values = label(published.classes[index], names)
        # The set's families are not ours, so they only go with its own names.
        values["family"] = families.get(path.stem, "") if names is None else ""
        values["box"] = _box(boxes.get(path.stem), size, data / "images_box.txt")
        values |= {"source": "fgvc-aircraft-2013b", "group": f"fgvc:{path.stem}", "split": split}
        rows.append(new_row(path.relative_to(root).as_posix(), size, **values))
    return rows


def _by_image(path: Path) -> dict[str, str]:
    """`image id → the rest of its line`; empty where the file is not there."""
    if not path.is_file():
        return {}
    lines = path.read_text(encoding="utf-8").splitlines()
    return {image: rest for image, _, rest in (line.strip().partition(" ") for line in lines)}


def _box(text: str | None, size: tuple[int, int], path: Path) -> str:
    if text is None:
        return ""
    try:
        x0, y0, x1, y1 = (float(value) for value in text.split())
    except ValueError:
        raise SourceError(f"{path}: {text!r} is not a box of four numbers; fix it") from None
    # Published as the first and the last pixel inside, counted from one.
    width, height = size
    return join_boxes([((x0 - 1) / width, (y0 - 1) / height, x1 / width, y1 / height)])
