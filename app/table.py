"""A case of many files: how far it is, and a table to sort and filter (scripts/table.js). Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from html import escape
from typing import Any, Protocol

from airframe.decision import percent
from app import texts, words

Record = dict[str, Any]
STATUSES = ("type", "family", "role", "unknown", "no_aircraft", "failed")
# A sign beside each word, so that a row does not hang on a colour.
_SIGNS = {
    "type": "●",
    "family": "◐",
    "role": "○",
    "unknown": "?",
    "no_aircraft": "∅",
    "failed": "✕",
}
_COLUMNS = (
    ("", ""),
    ("File", "text"),
    ("Status", "text"),
    ("Answer", "text"),
    ("Probability", "number"),
    ("Doubt, bits", "number"),
    ("Set", "number"),
)


class Shown(Protocol):
    """What a row needs of an entry."""

    name: str
    thumb: str

    @property
    def answers(self) -> list[Record]: ...


def progress_html(done: int, total: int, seconds: float, name: str = "", at: str = "") -> str:
    """How many of the files are answered, the one under way, and how long the rest may take.

    `seconds` is how long the answered ones took; `at` says how far into a clip it is.
    """
    rest = ""
    if 0 < done < total:
        rest = ", " + texts.left(seconds / done * (total - done))
    share = 100 * done / total
    now = f"{name}{at and ', ' + at}"
    return (
        f'<div class="af-progress"><div class="af-gauge" role="progressbar" aria-label="Files" '
        f'aria-valuemin="0" aria-valuemax="{total}" aria-valuenow="{done}">'
        f'<span style="width:{share:.1f}%"></span></div>'
        f'<p class="af-small">{done} of {total} answered{escape(rest)}'
        f"{'. Now: ' + escape(now) if now else ''}</p></div>"
    )


def done_html(entries: Sequence[Shown], cancelled: int = 0) -> str:
    """What became of the files; `cancelled` were not looked at."""
    failed = sum(entry.answers[0]["status"] == "failed" for entry in entries)
    said = f"{len(entries) - failed} of {len(entries)} answered"
    if failed:
        said += f", {failed} failed with the reason in the table"
    if cancelled:
        said += f"; cancelled, what was done is kept, {cancelled} not looked at"
    return f'<p class="af-small" role="status">{escape(said)}.</p>'


def table_html(entries: Sequence[Shown], chosen: int) -> str:
    """One row an entry, led by its largest aircraft; empty where there is only one."""
    if len(entries) < 2:
        return ""
    counts = Counter(entry.answers[0]["status"] for entry in entries)
    chips = _chip("", f"All {len(entries)}", True) + "".join(
        _chip(s, f"{_SIGNS[s]} {words.STATUS[s]} {counts[s]}", False) for s in STATUSES if counts[s]
    )
    heads = "".join(
        f'<th scope="col" aria-sort="none"><button type="button" data-sort="{i}" '
        f'data-kind="{kind}">{name}</button></th>'
        if name
        else '<th scope="col"><span class="af-hidden">Picture</span></th>'
        for i, (name, kind) in enumerate(_COLUMNS)
    )
    rows = "".join(_row(entry, i, i == chosen) for i, entry in enumerate(entries))
    return (
        f'<section class="af-batch"><div class="af-chips" role="group" aria-label="Show">{chips}'
        '</div><div class="af-scroll" tabindex="0" role="region" aria-label="Files"><table><thead>'
        f"<tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div></section>"
    )


def _chip(status: str, said: str, on: bool) -> str:
    pressed = "true" if on else "false"
    return (
        f'<button type="button" data-filter="{status}" aria-pressed="{pressed}">'
        f"{escape(said)}</button>"
    )


def _row(entry: Shown, index: int, chosen: bool) -> str:
    answers = entry.answers
    record = answers[0]
    status = record["status"]
    answer = record["answer"]
    said = answer["label"] if answer else (record["reason"] if status == "failed" else "–")
    more = f" (+{len(answers) - 1} more)" if len(answers) > 1 else ""
    entropy = (record["uncertainty"] or {}).get("entropy")
    members = record["prediction_set"] and len(record["prediction_set"]["types"])
    picture = f'<img src="{escape(entry.thumb)}" alt="">' if entry.thumb else ""
    cells = (
        _cell(
            entry.name,
            f'<button type="button" data-pick="entry" data-index="{index}">'
            f"{escape(entry.name)}</button>",
        ),
        _cell(
            STATUSES.index(status),
            f'<span aria-hidden="true">{_SIGNS[status]}</span> {words.STATUS[status]}',
        ),
        _cell(said, escape(said + more)),
        _cell(answer and answer["probability"], percent(answer["probability"]) if answer else "–"),
        _cell(entropy, "–" if entropy is None else f"{entropy:.2f}"),
        _cell(members, "–" if members is None else str(members)),
    )
    current = ' aria-current="true"' if chosen else ""
    return (
        f'<tr data-status="{status}" data-pick="entry" data-index="{index}"{current}>'
        f"<td>{picture}</td>{''.join(cells)}</tr>"
    )


def _cell(value: Any, shown: str) -> str:
    """What a column is sorted by, and what is read."""
    key = "" if value is None else str(value)
    return f'<td data-value="{escape(key)}">{shown}</td>'
