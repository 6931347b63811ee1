"""What a person reads of a record: sentences and figures. Pure; `app.markup` makes HTML."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from airframe.decision import percent
from airframe.doubt import in_words
from app import texts
from data.taxonomy import RANKS, Node, Taxonomy

Record = dict[str, Any]

CAVEAT = (
    "A type is never proof of an operator. It says what kind of aircraft the picture looks like, "
    "not whose it was, who flew it, where or when: many air forces fly the same types."
)
CALIBRATED = (
    "The probabilities were calibrated on held-out pictures. On pictures unlike those (far away, "
    "drawn, edited) they may be too high; the model card says how well they held."
)

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
STATUS = {
    "type": "Type",
    "family": "Family",
    "role": "Role",
    "unknown": "Unknown",
    "no_aircraft": "No aircraft",
    "failed": "Failed",
}
_TITLES = {
    "unknown": "Nothing here is sure enough to name",
    "no_aircraft": "No aircraft was found in this picture",
    "failed": "This file cannot be used",
}
_MODEL_FAILED = "The model failed on this picture"
SET_LISTED = 12


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


@dataclass(frozen=True)
class Step:
    """One rung of role → family → type. `bound` says that `probability` is at least so much: the
    record lists no types under half a per cent. `held` says that the answer goes so far."""

    rank: str
    label: str
    probability: float
    bound: bool
    held: bool


@dataclass(frozen=True)
class Meter:
    """A doubt: `share` in [0, 1] of the most there can be, None where it was not measured."""

    name: str
    share: float | None
    figure: str
    said: str


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


def path_steps(record: Record, taxonomy: Taxonomy) -> list[Step]:
    """Down the taxonomy along the answer, and on along the likeliest where the answer ends.

    Empty where there are no candidates.
    """
    listed = [(c["type"], c["probability"]) for c in record["candidates"] or ()]
    unlisted = sum(p for _, p in listed) < 0.9995
    answer = record["answer"]
    held = taxonomy.path(answer["node"]) if answer else ()
    steps: list[Step] = []
    for rank in RANKS:
        masses: dict[str, float] = {}
        for name, probability in listed:
            path = {node.rank: node for node in taxonomy.path(f"type:{name}")}
            if all(path[step.rank].label == step.label for step in steps):
                masses[path[rank].id] = masses.get(path[rank].id, 0.0) + probability
        named = next((node for node in held if node.rank == rank), None)
        if named is None and not masses:
            break
        node: Node = named or taxonomy[max(masses, key=lambda key: masses[key])]
        exact = answer["probability"] if answer and node.id == answer["node"] else None
        mass = masses.get(node.id, 0.0) if exact is None else exact
        bound = exact is None and unlisted and rank != "type"
        steps.append(Step(rank, node.label, mass, bound, named is not None))
    return steps


def path_sentence(steps: Sequence[Step]) -> str:
    """Where the evidence ran out; empty where there is no path."""
    if not steps:
        return ""
    reached = [step for step in steps if step.held]
    if len(reached) == len(RANKS):
        return "The evidence reaches the type."
    if not reached:
        return (
            "The evidence ran out before the role: nothing is named, the likeliest path is shown."
        )
    missing = steps[len(reached)].rank if len(steps) > len(reached) else "the rest"
    return f"The evidence ran out after the {reached[-1].rank}: the {missing} is not decided."


def meters(record: Record, n_types: int) -> list[Meter]:
    """The picture's doubt and the model's, apart; empty where there are no candidates.

    The entropy of the answer (bits) is what both leave open; its part that the model's members
    disagree on is the mutual information (Houlsby et al. 2011), the rest lies in the picture.
    """
    doubt = record["uncertainty"]
    if not doubt or doubt["entropy"] is None or not record["candidates"]:
        return []
    shared = doubt["mutual_information"]
    left = max(doubt["entropy"] - (shared or 0.0), 0.0)
    most = math.log2(max(n_types, 2))
    even = 2**left
    said = (
        "The picture leaves one type."
        if even < 1.05
        else f"As open as {_count(even)} equally likely types."
    )
    whole = "" if shared is not None else " The model's own doubt is in this figure too."
    said += whole + _usual(doubt.get("picture_doubt")) + _quality(doubt["quality"])
    picture = Meter("The picture's doubt", min(left / most, 1.0), f"{left:.2f} bits", said)
    if shared is None:
        missing = "This checkpoint does not measure it: one network cannot disagree with itself."
        return [picture, Meter("The model's doubt", None, "not measured", missing)]
    said = "How much the model's own looks disagree: what more training pictures could settle."
    said += _usual(doubt.get("model_doubt"))
    model = Meter(
        "The model's doubt", min(max(shared, 0.0) / most, 1.0), f"{shared:.2f} bits", said
    )
    return [picture, model]


def _usual(rank: float | None) -> str:
    """What a rank among the calibration pictures says; empty where there is none."""
    if rank is None:
        return ""
    return f" {in_words(rank).capitalize()}: {percent(rank)} of the calibration pictures had less."


def _count(even: float) -> str:
    return f"{even:.1f}" if even < 3 else f"{even:.0f}"


def _quality(quality: dict[str, Any] | None) -> str:
    """What of the picture lies outside what the probabilities were calibrated on."""
    if quality is None:
        return ""
    outside = [str(name).replace("_", " ") for name in quality["outside"]]
    if not outside:
        return " Its quality is like that of the calibration pictures."
    listed = ", ".join(outside)
    return f" Outside what was calibrated: {listed}. The figures promise less here."


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
    if source["frame"]:
        moment = source["frame"]
        rows.append(("Frame", f"number {moment['index']}, at {moment['time_s']:g} s"))
    if record["box"]:
        edges = ", ".join(f"{edge:.0f}" for edge in record["box"])
        by = (record.get("located") or {}).get("by")
        who = {"user": "your box", "localizer": "box found by the localizer,"}.get(by or "", "box")
        rows.append(("Looked at", f"{who} {edges} px (left, top, right, bottom)"))
    if source["captured"]:
        said = [source["captured"].get(key) for key in ("time", "make", "model")]
        rows.append(("The file says", ", ".join(part for part in said if part)))
    rows.append(("Model", f"{model['name']} {model['version']} ({model['sha256'][:12]})"))
    return rows


def short(record: Record) -> str:
    """An answer in a few words: `Su-24 (Fencer), 91 %`."""
    said = headline(record)
    if record["answer"] is None:
        return said.kicker
    return f"{said.title}, {percent(record['answer']['probability'])}"


def frame_note(frame: Record) -> str:
    """Which frame of a clip the picture shows."""
    return (
        f"Frame {frame['index']}, at {texts.clock(frame['time_s'])}. Pick others in the timeline."
    )


def drawn(record: Record) -> bool:
    """Whether the visitor drew the box that was looked at."""
    return (record["located"] or {}).get("by") == "user"


def picture_alt(name: str, records: Sequence[Record], which: int) -> str:
    """What the picture shows, for who does not see it."""
    boxes = sum(record["box"] is not None for record in records)
    looked = {0: "looked at as a whole", 1: "with one box"}.get(boxes, f"with {boxes} boxes")
    return f"{name}, {looked}. Answer {which + 1} of {len(records)}: {short(records[which])}"
