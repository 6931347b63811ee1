"""What a person reads of a record: sentences and small HTML. Pure; every value is escaped here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from html import escape
from typing import Any

from airframe.decision import percent

Record = dict[str, Any]

TITLE = "Airframe"
# What it does and what it does not prove, in one breath: the first line of the page.
INTRO = (
    "Names the aircraft type that a still supports and says how sure it can be; "
    "a type is never proof of an operator."
)
CAVEAT = (
    "A type is never proof of an operator. It says what kind of aircraft the picture looks like, "
    "not whose it was, who flew it, where or when: many air forces fly the same types."
)
CALIBRATED = (
    "The probabilities were calibrated on held-out pictures. On pictures unlike those (far away, "
    "drawn, edited) they may be too high; the model card says how well they held."
)
WAITING = "Give a still, or pick an example: the answer appears here."
EXAMPLES = "Or pick an example; these are drawn by this project's own code, not photographed."
PREVIEW = "The picture, upright and in sRGB"

# Upper bounds and words of the Intelligence Community Directive 203 (2015), which readers know.
_LIKELIHOODS = (
    (0.05, "almost no chance"),
    (0.20, "very unlikely"),
    (0.45, "unlikely"),
    (0.55, "roughly even chance"),
    (0.80, "likely"),
    (0.95, "very likely"),
    (1.01, "almost certain"),
)

_KICKERS = {
    "type": "Type",
    "family": "Family: the picture does not decide the type",
    "role": "Role: the picture does not decide the family",
    "unknown": "Unknown",
    "no_aircraft": "No aircraft",
    "failed": "No answer",
}
_TITLES = {
    "unknown": "Nothing here is sure enough to name",
    "no_aircraft": "No aircraft was found in this picture",
    "failed": "This file cannot be used",
}
_MODEL_FAILED = "The model failed on this picture"
_SETTINGS = {"broken": "clouds", "terrain": "hills", "urban": "city"}
SET_LISTED = 12
BARS_SHOWN = 8


@dataclass(frozen=True)
class Headline:
    """The answer at a glance. `chance` is empty where nothing is named."""

    kicker: str
    title: str
    chance: str


@dataclass(frozen=True)
class Bar:
    """One candidate; `probability` in [0, 1]."""

    label: str
    probability: float
    in_set: bool


def likelihood(value: float) -> str:
    """A probability in words, in the bands of ICD 203."""
    return next(word for bound, word in _LIKELIHOODS if value < bound)


def headline(record: Record) -> Headline:
    """Status, label, and the probability in words and figures."""
    status, answer = record["status"], record["answer"]
    kicker = _KICKERS[status]
    if answer is None:
        broken = (record["failure"] or {}).get("code") == "inference_error"
        return Headline(kicker, _MODEL_FAILED if broken else _TITLES[status], "")
    said = likelihood(answer["probability"]).capitalize()
    return Headline(kicker, answer["label"], f"{said}: {percent(answer['probability'])}")


def bars(record: Record) -> list[Bar]:
    """The candidates by falling probability, each with whether the prediction set holds it."""
    members = set((record["prediction_set"] or {}).get("types", ()))
    return [
        Bar(c["label"], c["probability"], c["type"] in members) for c in record["candidates"] or ()
    ]


def set_sentence(record: Record) -> str:
    """What the prediction set promises, and what it holds; empty where there is none."""
    given = record["prediction_set"]
    if not given:
        return ""
    share = Fraction(str(given["coverage"])).limit_denominator(100)
    promise = (
        f"The set that holds the true type in {share.numerator} of {share.denominator} stills "
        "like those it was calibrated on"
    )
    types = given["types"]
    if not types:
        return f"{promise} is empty."
    listed = ", ".join(types[:SET_LISTED])
    if len(types) > SET_LISTED:
        more = f" and {len(types) - SET_LISTED} more, which the record lists"
        return f"{promise}, {len(types)} types: {listed}{more}."
    return f"{promise}: {listed}."


def caveat(record: Record) -> str:
    """What the answer does not say; empty where there is no answer to misread."""
    return "" if record["status"] == "failed" else CAVEAT


def evidence(record: Record) -> list[tuple[str, str]]:
    """(name, value) of what identifies the file and the model."""
    source, model = record["source"], record["model"]
    rows = [("File", source["path"])]
    if source["sha256"]:
        size = f"{source['bytes'] / 1024:,.0f} KiB"
        shape = f"{source['width']} × {source['height']} px"
        rows += [("Picture", f"{source['format']}, {shape}, {size}"), ("SHA-256", source["sha256"])]
    if record["box"]:
        edges = ", ".join(f"{edge:.0f}" for edge in record["box"])
        rows.append(("Looked at", f"box {edges} px (left, top, right, bottom)"))
    if source["captured"]:
        said = [source["captured"].get(key) for key in ("time", "make", "model")]
        rows.append(("The file says", ", ".join(part for part in said if part)))
    rows.append(("Model", f"{model['name']} {model['version']} ({model['sha256'][:12]})"))
    return rows


def example_caption(stem: str, types: Iterable[str]) -> str:
    """`mig-31-distant` → `MiG-31, distant`, where `types` has MiG-31; else the stem in words."""
    name, _, setting = stem.rpartition("-")
    for known in types:
        if known.lower() == name:
            return f"{known}, {_SETTINGS.get(setting, setting)}"
    return stem.replace("-", " ").capitalize()


def intro_html() -> str:
    """The page's first lines."""
    return f'<header class="af-intro"><h1>{TITLE}</h1><p>{escape(INTRO)}</p></header>'


def hint_html(formats: Sequence[str], max_bytes: int) -> str:
    """What the page takes, and what the examples are."""
    taken = f"{', '.join(formats[:-1])} or {formats[-1]}, up to {max_bytes / 2**20:g} MiB."
    return f'<p class="af-hint">{escape(taken)} {escape(EXAMPLES)}</p>'


def waiting_html() -> str:
    """The card before there is a picture."""
    return f'<section class="af-card af-waiting"><p>{escape(WAITING)}</p></section>'


def answers_html(records: Sequence[Record]) -> str:
    """The answer for the largest aircraft, with the others' in a line each above its details."""
    first, *others = records
    if not others:
        return answer_html(first)
    listed = "".join(f"<li>{escape(short(record))}</li>" for record in records)
    return (
        f'<section class="af-part af-several"><h3>{len(records)} aircraft found</h3>'
        f"<ol>{listed}</ol>"
        '<p class="af-small">Numbered by size. In full, the largest; the record has all.</p>'
        f"</section>{answer_html(first)}"
    )


def short(record: Record) -> str:
    """An answer in a few words: `Su-24 (Fencer), 91 %`."""
    said = headline(record)
    if record["answer"] is None:
        return said.kicker
    return f"{said.title}, {percent(record['answer']['probability'])}"


def answer_html(record: Record) -> str:
    """The whole answer: card, reason, bars, set, caveat, evidence."""
    said = headline(record)
    chance = f'<p class="af-chance">{escape(said.chance)}</p>' if said.chance else ""
    return (
        f'<section class="af-card af-{escape(record["status"])}" role="status">'
        f'<p class="af-kicker">{escape(said.kicker)}</p>'
        f'<h2 class="af-title">{escape(said.title)}</h2>{chance}'
        f'<p class="af-reason">{escape(record["reason"] or "")}</p></section>'
        f"{_bars_html(bars(record))}{_set_html(record)}{_caveat_html(record)}"
        f"{_evidence_html(evidence(record))}"
    )


def _bars_html(given: list[Bar]) -> str:
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


def _bar_html(bar: Bar) -> str:
    """Membership is said by a word and by the bar's filling, so that it does not hang on colour."""
    width = f"{100 * min(max(bar.probability, 0.0), 1.0):.1f}%"
    side, word = ("in", "in the set") if bar.in_set else ("out", "not in the set")
    return (
        f'<li class="af-{side}"><span class="af-label">{escape(bar.label)}</span>'
        f'<span class="af-member">{word}</span>'
        f'<span class="af-value">{escape(percent(bar.probability))}</span>'
        f'<span class="af-track" aria-hidden="true"><span style="width:{width}"></span></span></li>'
    )


def _set_html(record: Record) -> str:
    sentence = set_sentence(record)
    if not sentence:
        return ""
    # Every set has the promise, a colon or a full stop: the types are what a reader looks for.
    promise, _, types = sentence.partition(": ")
    listed = f": <strong>{escape(types)}</strong>" if types else ""
    return (
        '<section class="af-part"><h3>Prediction set</h3>'
        f"<p>{escape(promise)}{listed}</p>"
        f'<p class="af-small">{escape(CALIBRATED)}</p></section>'
    )


def _caveat_html(record: Record) -> str:
    sentence = caveat(record)
    return f'<p class="af-caveat" role="note">{escape(sentence)}</p>' if sentence else ""


def _evidence_html(rows: list[tuple[str, str]]) -> str:
    listed = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in rows)
    return (
        f'<section class="af-part"><h3>Evidence</h3><dl class="af-evidence">{listed}</dl></section>'
    )
