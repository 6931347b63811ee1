"""The contact sheet: one HTML file, opened from disk, with the answers sorted by their doubt.

It holds its pictures and its style itself and may fetch nothing.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image, ImageDraw

from airframe.journal import numbered, records_at
from airframe.record import Record
from airframe.report import answer_text, place_text
from data.images import Limits, StillError, open_bytes
from data.images.file import plain
from data.remote import read_any
from data.sampling import Sampling
from data.video import is_clip, open_clip

MOST = 5000  # cards: more would make a page of 50 MB and up, and a browser slow
_THUMB = (208, 156)
_CONTEXT = 2.2  # of the aircraft's box is shown, so that what is around it can be judged too
_AHEAD = 64

_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Airframe: contact sheet</title>
<style>
:root { color-scheme: light dark }
body { font: 14px/1.4 system-ui, sans-serif; margin: 1.5rem; max-width: 110rem }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(224px, 1fr)); gap: .75rem }
article { border: 1px solid #8886; border-radius: 6px; padding: .5rem; overflow-wrap: anywhere;
 content-visibility: auto; contain-intrinsic-size: 224px 360px }
img, .none { width: 100%; aspect-ratio: 4/3; object-fit: contain; background: #8883 }
.none { display: grid; place-items: center }
h2 { font-size: 1rem; margin: .4rem 0 .1rem } p { margin: .2rem 0 } small, summary { opacity: .8 }
table { border-collapse: collapse; margin-top: 1rem }
td, th { text-align: left; padding: .2rem .6rem }
</style></head><body>
"""


@dataclass(slots=True)
class _Entry:
    """Where in the file of records a card's record begins, and what it is sorted by."""

    doubt: float
    at: int
    path: str


def write_contact_sheet(path: Path, records: Path, groups: Mapping[str, int]) -> None:
    """Write the contact sheet of a JSONL file of records to `path`.

    A card each for a still's aircraft and for what sums a clip up, the highest entropy first, those
    without an aircraft last, at most `MOST`; of files that show the same (`groups`) the first one,
    the others named in it. Below them the files that failed.
    """
    entries: list[_Entry] = []
    failed = 0
    for at, record in numbered(records):
        if record["failure"]:
            failed += 1
        elif record["source"]["frame"] is None:
            entries.append(_Entry(_doubt(record), at, record["source"]["path"]))
    entries.sort(key=lambda entry: (-entry.doubt, entry.at))
    shown, copies = _without_copies(entries, groups)
    with path.open("w", encoding="utf-8") as file:
        file.write(_HEAD)
        file.write(_title(len(shown), entries, copies, failed))
        file.write("<main>\n")
        for record, thumb in _with_thumbs(records, shown[:MOST]):
            group = groups.get(record["source"]["path"])
            file.write(_card(record, thumb, group, copies.pop(group, []) if group else []))
        file.write("</main>\n")
        if failed:
            _write_failed(file, records)
        file.write("</body></html>\n")


def _doubt(record: Record) -> float:
    """Entropy in bits; what shows no aircraft comes after everything that does."""
    if record["status"] == "no_aircraft" or record["uncertainty"] is None:
        return -1.0
    return float(record["uncertainty"]["entropy"])


def _without_copies(
    entries: Sequence[_Entry], groups: Mapping[str, int]
) -> tuple[list[_Entry], dict[int, list[str]]]:
    """The entries of the first file of each group, and the paths of the others by group."""
    first: dict[int, str] = {}
    shown: list[_Entry] = []
    copies: dict[int, dict[str, None]] = {}
    for entry in entries:
        group = groups.get(entry.path)
        if group is None or first.setdefault(group, entry.path) == entry.path:
            shown.append(entry)
        else:
            copies.setdefault(group, {})[entry.path] = None
    return shown, {group: list(paths) for group, paths in copies.items()}


def _with_thumbs(records: Path, entries: Sequence[_Entry]) -> Iterator[tuple[Record, bytes | None]]:
    starts = [entry.at for entry in entries]
    with ThreadPoolExecutor(max_workers=2) as pool:
        for top in range(0, len(starts), _AHEAD):
            some = list(records_at(records, starts[top : top + _AHEAD]))
            yield from zip(some, pool.map(thumbnail, some), strict=True)


def thumbnail(record: Record) -> bytes | None:
    """A small JPEG of what a record is about; None where the file is gone, changed or unreadable.

    Of a still the aircraft with its surroundings, of a clip the key frame before the moment that
    spoke loudest for the answer. None too for a clip at a URL, which is not fetched for that.
    """
    source = record["source"]
    try:
        if is_clip(source["path"]):
            sha256, rgb = _moment(record)
        else:
            still = open_bytes(read_any(source["path"], Limits()), source["path"])
            sha256, rgb = still.sha256, still.rgb
    except StillError:
        return None
    if sha256 != source["sha256"] or rgb is None:
        return None
    part, box = _view(rgb, record["box"])
    part.thumbnail(_THUMB)
    if box is not None:
        scale = part.width / (box[2] - box[0])
        x0, y0, x1, y1 = ((v - o) * scale for v, o in zip(record["box"], box[:2] * 2, strict=True))
        draw = ImageDraw.Draw(part)
        # Dark around light: it shows on sky and on ground.
        draw.rectangle((x0 - 1, y0 - 1, x1 + 1, y1 + 1), outline="black")
        draw.rectangle((x0, y0, x1, y1), outline="white")
    buffer = io.BytesIO()
    part.save(buffer, "JPEG", quality=60)
    return buffer.getvalue()


def _moment(record: Record) -> tuple[str, np.ndarray | None]:
    clip = open_clip(record["source"]["path"])
    track = record["track"] or {"carried_by": [], "first_s": 0.0}
    carried = track["carried_by"]
    wanted = carried[0]["time_s"] if carried else track["first_s"]
    found = None
    for frame in clip.frames(Sampling("key")):
        if found is not None and frame.time_s > wanted:
            break
        found = frame.rgb
    return clip.info.sha256, found


def _view(
    rgb: np.ndarray, box: Sequence[float] | None
) -> tuple[Image.Image, tuple[float, float, float, float] | None]:
    """The part of a picture to show, and its edges; the whole and None without a box."""
    image = Image.fromarray(rgb)
    if box is None:
        return image, None
    wide = max(box[2] - box[0], (box[3] - box[1]) * 4 / 3, 40.0) * _CONTEXT
    width, height = min(wide, image.width), min(wide * 3 / 4, image.height)
    left = min(max((box[0] + box[2] - width) / 2, 0), image.width - width)
    top = min(max((box[1] + box[3] - height) / 2, 0), image.height - height)
    edges = round(left), round(top), round(left + width), round(top + height)
    return image.crop(edges), edges


def _title(
    cards: int, entries: Sequence[_Entry], copies: Mapping[int, Sequence[str]], failed: int
) -> str:
    files = len({entry.path for entry in entries})
    same = sum(len(paths) for paths in copies.values())
    said = [f"{files} files answered, the most doubtful first."]
    if same:
        said.append(f"{same} of them show what another shows, and are listed in its card.")
    if cards > MOST:
        said.append(f"The first {MOST} of {cards} cards are here; the table has them all.")
    if failed:
        said.append(f'<a href="#failed">{failed} could not be answered.</a>')
    return (
        f"<h1>Contact sheet</h1>\n<p>{' '.join(said)} A type is never proof of an operator.</p>\n"
    )


def _card(record: Record, thumb: bytes | None, group: int | None, copies: Sequence[str]) -> str:
    picture = '<div class="none">the file is gone, or not the same any more</div>'
    if thumb:
        data = base64.b64encode(thumb).decode()
        picture = f'<img alt="" src="data:image/jpeg;base64,{data}">'
    lines = [f"<article>{picture}<h2>{_said(answer_text(record))}{_probability(record)}</h2>"]
    if record["prediction_set"]:
        types, coverage = record["prediction_set"]["types"], record["prediction_set"]["coverage"]
        lines.append(f"<p>{coverage:.0%} set: {_said(', '.join(types)) or 'empty'}</p>")
    lines.append(f"<p>{_said(record['reason'])}</p>")
    if record["operators"]:
        lines.append(f"<p>{_said(record['operators']['says'])}</p>")
    if record["theatre_prior"]:
        lines.append(f"<p>{_said(record['theatre_prior']['says'])}</p>")
    lines.append(f"<p><small>{_said(place_text(record))}</small></p>")
    lines.append(f"<p><small>SHA-256 {_said(record['source']['sha256'])}</small></p>")
    if group is not None:
        names = "".join(f"<br>{_said(name)}" for name in copies)
        what = f"duplicates, group {group}: {len(copies)} more"
        lines.append(f"<details><summary>{what}</summary><small>{names}</small></details>")
    return "".join(lines) + "</article>\n"


def _probability(record: Record) -> str:
    return f" {record['answer']['probability']:.0%}" if record["answer"] else ""


def _write_failed(file: IO[str], records: Path) -> None:
    file.write('<table id="failed"><tr><th>not answered</th><th>why</th></tr>\n')
    for _, record in numbered(records):
        if record["failure"]:
            path, why = record["source"]["path"], record["failure"]["message"]
            file.write(f"<tr><td>{_said(path)}</td><td>{_said(why)}</td></tr>\n")
    file.write("</table>\n")


def _said(text: Any) -> str:
    return escape(plain(str(text)))
