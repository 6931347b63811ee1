"""The answer as HTML, headline first. Pure; every value that comes from a file is escaped here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from airframe.decision import percent
from app import texts, words
from data.taxonomy import Taxonomy

Record = dict[str, Any]
BARS_SHOWN = 8
_HELD = {True: ("af-held", "✓", "supported"), False: ("af-open", "?", "not decided")}


@dataclass(frozen=True)
class Scale:
    """What an answer is read against: the checkpoint's taxonomy, and how many types it knows."""

    taxonomy: Taxonomy
    n_types: int


def intro_html() -> str:
    """The page's first lines."""
    said = escape(texts.INTRO)
    return f'<header class="af-intro"><h1>{texts.TITLE}</h1><p>{said}</p></header>'


def loading_html(problem: str | None = None) -> str:
    """The model's state: loading, or why it could not be loaded."""
    if problem is not None:
        return f'<p class="af-loading af-broken" role="alert">{escape(problem)}</p>'
    return f'<p class="af-loading" role="status"><span></span>{escape(texts.LOADING)}</p>'


def ready_html(model: dict[str, Any]) -> str:
    """Which checkpoint answers."""
    return f'<p class="af-loading af-ready">{escape(texts.ready(model))}</p>'


def hint_html(formats: Sequence[str], max_bytes: int, clip_bytes: int, clip_s: float) -> str:
    """What the page takes, and what the examples are."""
    said = texts.taken(formats, max_bytes, clip_bytes, clip_s)
    return f'<p class="af-hint">{escape(said)}</p><p class="af-hint">{escape(texts.EXAMPLES)}</p>'


def examples_html(examples: Sequence[tuple[str, str]]) -> str:
    """Examples as buttons: (thumbnail as a data URI, caption) each."""
    buttons = "".join(
        f'<button type="button" data-pick="example" data-index="{i}">'
        f'<img src="{escape(thumb)}" alt=""><span>{escape(caption)}</span></button>'
        for i, (thumb, caption) in enumerate(examples)
    )
    return f'<div class="af-examples" role="group" aria-label="Examples">{buttons}</div>'


def heading_html(title: str, said: str = "") -> str:
    """The head of a part whose body is gradio's own."""
    more = f'<p class="af-small">{escape(said)}</p>' if said else ""
    return f'<section class="af-part"><h2 class="af-head">{escape(title)}</h2>{more}</section>'


def waiting_html() -> str:
    """The card before there is a picture."""
    promised = "".join(f"<li>{escape(promise)}</li>" for promise in texts.PROMISES)
    said = escape(texts.WAITING)
    return f'<section class="af-card af-waiting"><p>{said}</p><ul>{promised}</ul></section>'


def busy_html(name: str, said: str) -> str:
    """The card while a file is looked at."""
    return (
        '<section class="af-card af-waiting af-busy"><p class="af-kicker">'
        f'{escape(said)}</p><p class="af-title">{escape(name)}</p></section>'
    )


def answers_html(
    records: Sequence[Record], scale: Scale, which: int = 0, middle: str = "", after: str = ""
) -> str:
    """The answer for one aircraft, the others a button each above it. `middle` comes right after
    the headline (a clip's timeline), `after` behind what the picture says (cards, operators)."""
    return _choice_html(records, which) + answer_html(records[which], scale, middle, after)


def _choice_html(records: Sequence[Record], which: int) -> str:
    if len(records) == 1:
        return ""
    buttons = "".join(
        f'<li><button type="button" data-pick="aircraft" data-index="{i}" '
        f'aria-pressed="{"true" if i == which else "false"}">{i + 1}. '
        f"{escape(words.short(record))}{escape(_whose(record))}</button></li>"
        for i, record in enumerate(records)
    )
    return (
        f'<section class="af-several" aria-label="Aircraft"><h3>{len(records)} answers for this '
        f"file</h3><ol>{buttons}</ol></section>"
    )


def _whose(record: Record) -> str:
    if not words.drawn(record):
        return ""
    frame = record["source"]["frame"]
    return f", your box at {texts.clock(frame['time_s'])}" if frame else ", your box"


def answer_html(record: Record, scale: Scale, middle: str = "", after: str = "") -> str:
    """The whole answer: card, reason, bars, path, meters, set, caveat, evidence."""
    said = words.headline(record)
    chance = f'<p class="af-chance">{escape(said.chance)}</p>' if said.chance else ""
    return (
        f'<section class="af-card af-{escape(record["status"])}" data-said="'
        f'{escape(words.short(record))}">'
        f'<p class="af-kicker">{escape(said.kicker)}</p>'
        f'<h2 class="af-title">{escape(said.title)}</h2>{chance}'
        f'<p class="af-reason">{escape(record["reason"] or "")}</p></section>'
        f"{middle}{_bars_html(words.bars(record))}"
        f"{_path_html(words.path_steps(record, scale.taxonomy))}"
        f"{_meters_html(words.meters(record, scale.n_types))}{_set_html(record)}"
        f"{_caveat_html(record)}{after}{_evidence_html(words.evidence(record))}"
    )


def _bars_html(given: list[words.Bar]) -> str:
    if not given:
        return ""
    rows = "".join(_bar_html(bar) for bar in given[:BARS_SHOWN])
    rest = given[BARS_SHOWN:]
    more = ""
    if rest:
        mass = percent(sum(bar.probability for bar in rest))
        more = f'<p class="af-small">{len(rest)} more, together {escape(mass)}: see the record.</p>'
    return (
        '<section class="af-part"><h3>Candidates</h3>'
        f'<ol class="af-bars">{rows}</ol>{more}</section>'
    )


def _bar_html(bar: words.Bar) -> str:
    """Membership is said by a word and by the bar's filling, so that it does not hang on colour."""
    width = f"{100 * min(max(bar.probability, 0.0), 1.0):.1f}%"
    side, word = ("in", "in the set") if bar.in_set else ("out", "not in the set")
    return (
        f'<li class="af-{side}"><span class="af-label">{escape(bar.label)}</span>'
        f'<span class="af-member">{word}</span>'
        f'<span class="af-value">{escape(percent(bar.probability))}</span>'
        f'<span class="af-track" aria-hidden="true"><span style="width:{width}"></span></span></li>'
    )


def _path_html(steps: list[words.Step]) -> str:
    """The rungs of the taxonomy, each with a sign and a word for whether the picture holds it."""
    if not steps:
        return ""
    rungs = ""
    for step in steps:
        side, sign, word = _HELD[step.held]
        figure = ("at least " if step.bound else "") + percent(step.probability)
        rungs += (
            f'<li class="{side}"><span class="af-rank">{step.rank.capitalize()}</span>'
            f'<span class="af-label">{escape(step.label)}</span>'
            f'<span class="af-member"><span aria-hidden="true">{sign}</span> {word}, '
            f"{escape(figure)}</span></li>"
        )
    return (
        '<section class="af-part"><h3>How far the evidence goes</h3>'
        f'<ol class="af-path">{rungs}</ol>'
        f'<p class="af-small">{escape(words.path_sentence(steps))}</p></section>'
    )


def _meters_html(given: list[words.Meter]) -> str:
    if not given:
        return ""
    rows = "".join(_meter_html(meter) for meter in given)
    return f'<section class="af-part"><h3>Where the doubt lies</h3>{rows}</section>'


def _meter_html(meter: words.Meter) -> str:
    bar = '<span class="af-gauge af-unmeasured" aria-hidden="true"></span>'
    if meter.share is not None:
        bar = (
            '<span class="af-gauge" aria-hidden="true">'
            f'<span style="width:{100 * meter.share:.0f}%"></span></span>'
        )
    return (
        f'<div class="af-meter"><span class="af-label">{escape(meter.name)}</span>'
        f'<span class="af-value">{escape(meter.figure)}</span>{bar}'
        f'<p class="af-small">{escape(meter.said)}</p></div>'
    )


def _set_html(record: Record) -> str:
    sentence = words.set_sentence(record)
    if not sentence:
        return ""
    # Every set has the promise, a colon or a full stop: the types are what a reader looks for.
    promise, _, types = sentence.partition(": ")
    listed = f": <strong>{escape(types)}</strong>" if types else ""
    return (
        '<section class="af-part"><h3>Prediction set</h3>'
        f"<p>{escape(promise)}{listed}</p>"
        f'<p class="af-small">{escape(words.CALIBRATED)}</p></section>'
    )


def _caveat_html(record: Record) -> str:
    sentence = words.caveat(record)
    return f'<p class="af-caveat" role="note">{escape(sentence)}</p>' if sentence else ""


def _evidence_html(rows: list[tuple[str, str]]) -> str:
    listed = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in rows)
    return (
        f'<section class="af-part"><h3>Evidence</h3><dl class="af-evidence">{listed}</dl></section>'
    )
