"""A clip's timeline: which aircraft was seen when, as what, and which frames carried it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from app import texts, words

Record = dict[str, Any]
CELLS = 60  # at most so many frames a row; of longer clips each cell stands for several


@dataclass(frozen=True)
class Cell:
    """A frame of the timeline: its record, and whether it carried the verdict."""

    record: Record
    carried: bool

    @property
    def index(self) -> int:
        return int(self.record["source"]["frame"]["index"])

    @property
    def time_s(self) -> float:
        return float(self.record["source"]["frame"]["time_s"])


def cells(records: Sequence[Record], summary: Record, most: int = CELLS) -> list[Cell]:
    """The frames of one aircraft in order, at most `most`: of neighbours the one that carried the
    verdict, else the one with the least doubt."""
    number = summary["track"]["id"]
    carried = {moment["index"] for moment in summary["track"]["carried_by"]}
    mine = [
        Cell(record, record["source"]["frame"]["index"] in carried)
        for record in records
        if record["source"]["frame"] and record["track"] and record["track"]["id"] == number
    ]
    if len(mine) <= most:
        return mine
    parts = [mine[len(mine) * i // most : len(mine) * (i + 1) // most] for i in range(most)]
    return [min(part, key=lambda c: (not c.carried, _entropy(c.record))) for part in parts]


def spans(row: Sequence[Cell]) -> list[tuple[str, float, float]]:
    """Neighbouring cells of one answer as (what was seen, first second, last second)."""
    found: list[tuple[str, float, float]] = []
    for cell in row:
        said = seen_as(cell.record)
        if found and found[-1][0] == said:
            found[-1] = (said, found[-1][1], cell.time_s)
        else:
            found.append((said, cell.time_s, cell.time_s))
    return found


def seen_as(record: Record) -> str:
    """What a frame alone was answered with."""
    answer = record["answer"]
    return str(answer["label"]) if answer else words.STATUS[record["status"]].lower()


def timeline_html(
    records: Sequence[Record],
    summaries: Sequence[Record],
    thumbs: dict[int, str],
    shown: int | None,
) -> str:
    """The rows of all aircraft and the frames that carried each verdict, each frame a button.

    `thumbs` are small views by frame index, `shown` the frame that the picture shows.
    """
    tracks = [s for s in summaries if s["track"]]
    frames = [r["source"]["frame"]["time_s"] for r in records if r["source"]["frame"]]
    if not tracks or not frames:
        return ""
    end = max(max(frames), 1e-9)
    rows = "".join(_row_html(cells(records, one), one, end, shown) for one in tracks)
    loudest = "".join(_carried_html(one, thumbs) for one in tracks)
    return (
        '<section class="af-part af-timeline"><h3>What was seen when</h3>'
        f'{rows}<p class="af-small af-axis"><span>0 s</span><span>{texts.clock(end)}</span></p>'
        f'<h3>Frames that carried the verdict</h3><div class="af-carried">{loudest}</div>'
        f'<p class="af-small">{escape(texts.CARRIED)}</p></section>'
    )


def _row_html(row: Sequence[Cell], summary: Record, end: float, shown: int | None) -> str:
    width = 100 / max(len(row), 12)
    buttons = "".join(
        f'<button type="button" data-pick="frame" data-index="{cell.index}" '
        f'class="af-{escape(cell.record["status"])}{" af-carrier" if cell.carried else ""}" '
        f'style="left:{cell.time_s / end * (100 - width):.2f}%;width:{width:.2f}%" '
        f'title="{escape(_said(cell))}" aria-label="{escape(_said(cell))}"'
        f"{' aria-current=true' if cell.index == shown else ''}>"
        f"{'◆' if cell.carried else ''}</button>"
        for cell in row
    )
    told = "; ".join(
        f"{texts.clock(a)}{'' if a == b else ' to ' + texts.clock(b)}: {said}"
        for said, a, b in spans(row)[:8]
    )
    return (
        f'<p class="af-rowname">Aircraft {summary["track"]["id"]}: '
        f"{escape(words.short(summary))}</p>"
        f'<div class="af-row">{buttons}</div><p class="af-small">{escape(told)}</p>'
    )


def _said(cell: Cell) -> str:
    loud = ", carried the verdict" if cell.carried else ""
    return f"{texts.clock(cell.time_s)}: {words.short(cell.record)}{loud}"


def _carried_html(summary: Record, thumbs: dict[int, str]) -> str:
    return "".join(
        f'<button type="button" data-pick="frame" data-index="{moment["index"]}">'
        f'<img src="{escape(thumbs.get(moment["index"], ""))}" alt=""><span>'
        f"{texts.clock(moment['time_s'])}, {moment['weight']:+.1f} nats</span></button>"
        for moment in summary["track"]["carried_by"]
    )


def _entropy(record: Record) -> float:
    return float((record["uncertainty"] or {}).get("entropy") or 0.0)
