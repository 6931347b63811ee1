"""What a type says, and does not say, of who flew it: the record's `operators`.

Read off the record's own words (answer and prediction set) and a theatre's cited statements, never
off pixels; so it can be worked out afterwards, from a record as it lies on disk.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from airframe.decision import percent
from data.theatre import Statement, Theatre

# Strongest first: where statements of several kinds hold, the strongest speaks.
_WORDS = {
    "fielded": "yes",
    "unverified": "yes, unverified",
    "unconfirmed": "unconfirmed",
    "none": "none in the inventories read",
}
_LISTED = 6


def operators_of(
    record: Mapping[str, Any], theatre: Theatre, day: date | None = None
) -> dict[str, Any] | None:
    """The record's `operators` for a theatre, on one day or (None) over its whole period.

    `consistent_with` names the forces that had, or may have had, a type which the answer or the
    prediction set leaves open; `decisive` is true only where one force had every such type and no
    other may have had one. None where there is no aircraft to speak of. Raises TheatreError for a
    day outside the theatre.
    """
    window = theatre.window(day)
    if record["status"] in ("failed", "no_aircraft"):
        return None
    case = _case(record, theatre, window)
    says = _says(case)
    cited = (source for name in case.listed for source in theatre.types[name].sources)
    return {
        "theatre": theatre.id,
        "theatre_sha256": theatre.sha256,
        "date": None if day is None else day.isoformat(),
        "consistent_with": [theatre.forces[f] for f in _fitting(case.listed, theatre)],
        "decisive": _decided_by(case) is not None,
        "says": says,
        "note": " ".join((says, *_details(case, dated=day is not None))),
        "sources": list(dict.fromkeys(cited)),
    }


def fielded_types(theatre: Theatre, day: date | None = None) -> tuple[str, ...]:
    """The theatre's types that a force had, or may have had, on the day or (None) in its period.

    Raises TheatreError for a day outside the theatre.
    """
    window = theatre.window(day)
    return tuple(
        name
        for name, entry in theatre.types.items()
        if any(_standing(said, window).possible for said in entry.statements.values())
    )


@dataclass(frozen=True)
class _Standing:
    """The statements that speak of one type in one force; `status` is None where none holds.

    `gap` says that about some day of the window nothing is stated.
    """

    status: str | None
    statements: tuple[Statement, ...]
    gap: bool

    @property
    def possible(self) -> bool:
        return self.status in ("fielded", "unverified", "unconfirmed")

    @property
    def excluded(self) -> bool:
        return self.status == "none" and not self.gap


_Standings = Mapping[str, Mapping[str, _Standing]]


@dataclass(frozen=True)
class _Case:
    """An answer in a theatre. Of all types left open: `named`, the theatre's types under the
    answer; `others`, those of the set beside it; `listed`, what is said by type and force.
    """

    theatre: Theatre
    window: tuple[date, date]
    answer: Mapping[str, Any] | None
    named: tuple[str, ...]
    others: tuple[str, ...]
    listed: _Standings

    @property
    def answered(self) -> _Standings:
        return {name: self.listed[name] for name in self.named}


def _case(record: Mapping[str, Any], theatre: Theatre, window: tuple[date, date]) -> _Case:
    answer = record["answer"]
    if answer is None:
        return _Case(theatre, window, None, (), (), {})
    named = theatre.members(answer["node"])
    own = (*named, answer["node"].removeprefix("type:"))
    others = tuple(t for t in (record["prediction_set"] or {}).get("types", ()) if t not in own)
    listed = {
        name: {
            force: _standing(statements, window)
            for force, statements in theatre.types[name].statements.items()
        }
        for name in (*named, *others)
        if name in theatre.types
    }
    return _Case(theatre, window, answer, named, others, listed)


def _standing(statements: Sequence[Statement], window: tuple[date, date]) -> _Standing:
    first, last = window
    holding = sorted((s for s in statements if s.first <= last and s.last >= first), key=_start)
    stated_to = first - timedelta(days=1)
    for statement in holding:
        if statement.first <= stated_to + timedelta(days=1):
            stated_to = max(stated_to, statement.last)
    status = next((word for word in _WORDS if any(s.status == word for s in holding)), None)
    # Where none holds, all are kept: they say since when or until when.
    speaking = [s for s in holding if s.status == status] if holding else statements
    return _Standing(status, tuple(speaking), gap=stated_to < last)


def _start(statement: Statement) -> date:
    return statement.first


def _fitting(standings: _Standings, theatre: Theatre) -> list[str]:
    """The forces that had, or may have had, one of the types."""
    return [f for f in theatre.forces if any(by[f].possible for by in standings.values())]


def _sole(standings: _Standings, theatre: Theatre) -> str | None:
    """The one force that had every type while none may have been another's; None without one."""
    for force in theatre.forces:
        if standings and all(
            by[force].status == "fielded"
            and all(other.excluded for name, other in by.items() if name != force)
            for by in standings.values()
        ):
            return force
    return None


def _decided_by(case: _Case) -> str | None:
    """The force to which the answer points; None where it decides nothing.

    A role never does: most of its types stand in no theatre's file. The whole set counts, also
    beside the answer, so that a longer set can only take a decision away.
    """
    if case.answer is None or case.answer["rank"] == "role" or not case.named:
        return None
    if any(name not in case.listed for name in case.others):
        return None
    return _sole(case.listed, case.theatre)


def _says(case: _Case) -> str:
    """The conclusion, in a sentence or two."""
    if case.answer is None:
        return "No type is named, so nothing is said of who flew it."
    label, rank = case.answer["label"], case.answer["rank"]
    if not case.named:
        return f"{label}: not listed for {case.theatre.title}, so nothing is said of who flew it."
    when = _when(case.window)
    fitting = _fitting(case.answered, case.theatre)
    if not fitting:
        return (
            f"{label}: by the sources read no force here had it {when}, "
            "so the date, the place or the answer is doubtful."
        )
    who = " and ".join(_force(case, force) for force in fitting)
    if _decided_by(case) is not None:
        return f"{label}: by the sources read only {who} had it {when}."
    if len(fitting) == len(case.theatre.forces):
        return f"{label}: {who}. The {rank} says nothing about the operator."
    if rank != "role" and _sole(case.answered, case.theatre):
        return f"{label}: {who}. The prediction set leaves other types open: this decides nothing."
    return f"{label}: {who}. This does not decide who flew it."


def _force(case: _Case, force: str) -> str:
    """A force's name, marked where nothing firmer than a doubtful entry speaks for it."""
    statuses = {by[force].status for by in case.answered.values()}
    firmest = next(word for word in _WORDS if word in statuses)
    return case.theatre.forces[force] + ("" if firmest == "fielded" else f" ({firmest})")


def _details(case: _Case, *, dated: bool) -> Iterator[str]:
    """What the conclusion rests on, and how little that proves."""
    if case.answer is None:
        return
    if not dated:
        yield "No date was given, so the theatre's whole period counts."
    if case.answer["rank"] == "role":
        if case.named:
            yield f"Of this role: {_by_force(case, case.named)}. Its other types are left aside."
    else:
        for name in case.named:
            yield f"{name} {_when(case.window)}:"
            for force, standing in case.listed[name].items():
                yield f"{case.theatre.forces[force]}: {_clause(standing, case.window)}."
        if case.answer["rank"] == "family" and case.named:
            yield "Types of the family that the theatre does not list are left aside."
    if case.others:
        yield f"The prediction set also leaves open: {_by_force(case, case.others)}."
    yield (
        f"The answer itself rests on the picture ({percent(case.answer['probability'])}), and "
        "inventories are no proof: absence from one is weak evidence."
    )


def _by_force(case: _Case, names: Sequence[str]) -> str:
    """Which of the types each force had; which nobody had then; which are not listed."""
    groups: dict[str, list[str]] = {title: [] for title in case.theatre.forces.values()}
    absent, unlisted = groups["nobody then"], groups["not listed"] = [], []
    for name in names:
        if name not in case.listed:
            unlisted.append(name)
            continue
        possible = {f: s for f, s in case.listed[name].items() if s.possible}
        for force, standing in possible.items():
            mark = "" if standing.status == "fielded" else f" {standing.status}"
            groups[case.theatre.forces[force]].append(name + mark)
        if not possible:
            absent.append(name)
    return "; ".join(f"{_shortened(types)} ({who})" for who, types in groups.items() if types)


def _shortened(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def _clause(standing: _Standing, window: tuple[date, date]) -> str:
    """What is said of a type in a force: `yes (12 Su-24M, at Hmeimim by 21 September 2015)`."""
    if standing.status is None:
        return _silence(standing.statements, window)
    said = [", ".join(p for p in (s.number, s.note) if p) for s in standing.statements]
    given = "; ".join(part for part in said if part)
    return _WORDS[standing.status] + (f" ({given})" if given else "")


def _silence(statements: Sequence[Statement], window: tuple[date, date]) -> str:
    """Since when, or until when, there is a statement, where none holds in the window."""
    since, until = min(s.first for s in statements), max(s.last for s in statements)
    if since > window[1]:
        return f"nothing before {_day(since)}"
    return f"nothing after {_day(until)}" if until < window[0] else "nothing stated for then"


def _when(window: tuple[date, date]) -> str:
    first, last = window
    return f"on {_day(first)}" if first == last else f"between {_day(first)} and {_day(last)}"


def _day(day: date) -> str:
    return f"{day.day} {day:%B %Y}"
