"""Theatres: who had which type where and when, by dated and cited statements, read from YAML.

docs/operators.md says how to write such a file. A statement is about a force and a type:
`fielded`; `none` (in the inventories read); `unconfirmed` (the sources leave it open);
`unverified` (said, but not yet read in a source).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from data.strict_yaml import load_yaml
from data.taxonomy import Taxonomy

THEATRES = Path(__file__).with_name("theatres")
Status = Literal["fielded", "unverified", "unconfirmed", "none"]
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
# Strict: a number would be taken for seconds since 1970.
Day = Annotated[date, Field(strict=True)]


class TheatreError(ValueError):
    """A theatre that cannot be used, or a day outside it; one line says what, where and why."""


@dataclass(frozen=True)
class Statement:
    """What the sources say of one type in one force from `first` to `last`, both included."""

    status: Status
    first: date
    last: date
    number: str | None = None
    note: str | None = None


@dataclass(frozen=True)
class Entry:
    """A type: citations of what was read for it, and for each force's key what they say."""

    sources: tuple[str, ...]
    statements: Mapping[str, tuple[Statement, ...]]


@dataclass(frozen=True)
class Prior:
    """What absence from every inventory is worth: a type that no force had is `absent` times as
    likely as the picture alone makes it beside one that was there, in (0, 1]. `note` says why."""

    absent: float
    note: str


@dataclass(frozen=True, eq=False)
class Theatre:
    """A place and a time, `first` to `last`; `forces` are names by key, `types` entries by type.

    `sha256` is that of its file. Each type has statements on every force. Without a `prior` the
    theatre says nothing of which type it is (`airframe.theatre_prior`).
    """

    id: str
    title: str
    first: date
    last: date
    forces: Mapping[str, str]
    types: Mapping[str, Entry]
    sha256: str
    taxonomy: Taxonomy
    prior: Prior | None = None

    def window(self, day: date | None) -> tuple[date, date]:
        """First and last day that count: the day itself, or without one the whole period.

        Raises TheatreError for a day outside the period.
        """
        if day is None:
            return self.first, self.last
        if not self.first <= day <= self.last:
            raise TheatreError(f"date {day}: theatre {self.id} covers {self.first} to {self.last}")
        return day, day

    def members(self, node: str) -> tuple[str, ...]:
        """The types of this theatre at or under a node of the taxonomy (`family:Flanker`)."""
        if node not in self.taxonomy:
            return ()
        types = tuple(self.types)
        return tuple(types[i] for i in self.taxonomy.members(node, types))


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _StatementPart(_Part):
    status: Status
    first: Annotated[Day | None, Field(alias="from")] = None
    last: Annotated[Day | None, Field(alias="to")] = None
    number: Text | int | None = None
    note: Text | None = None


class _TypePart(_Part):
    sources: Annotated[tuple[str, ...], Field(min_length=1)]
    statements: dict[str, Annotated[tuple[_StatementPart, ...], Field(min_length=1)]]


class _PriorPart(_Part):
    # Never 0: what no inventory lists may have been there all the same.
    absent: Annotated[float, Field(gt=0, le=1)]
    note: Text


class _File(_Part):
    id: Annotated[str, Field(pattern=r"^\w[\w.-]*$")]
    title: Text
    first: Annotated[Day, Field(alias="from")]
    last: Annotated[Day, Field(alias="to")]
    # Of one force alone every type would speak.
    forces: Annotated[dict[str, Text], Field(min_length=2)]
    sources: dict[str, Text]
    types: Annotated[dict[str, _TypePart], Field(min_length=1)]
    prior: _PriorPart | None = None


def load_theatre(named: str, taxonomy: Taxonomy | None = None) -> Theatre:
    """A theatre of data/theatres by its id, or the YAML file at a path.

    Types are checked against `taxonomy`, by default the project's own. Raises TheatreError with
    every problem in one line: no such theatre, unknown key or type, a day outside the period, a
    `from` after its `to`, a force without a statement, a source that is missing or that no type
    cites.
    """
    taxonomy = taxonomy or Taxonomy.load()
    path = _path(named)
    try:
        raw = path.read_bytes()
        given = load_yaml(raw.decode("utf-8"))
        file = _File.model_validate(given)
    except ValidationError as error:
        raise TheatreError(f"theatre {path}: {'; '.join(map(_what, error.errors()))}") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise TheatreError(f"theatre {path}: cannot be read as YAML: {reason}") from error
    problems = list(_problems(file, taxonomy))
    if problems:
        raise TheatreError(f"theatre {path}: {'; '.join(problems)}")
    return Theatre(
        id=file.id,
        title=file.title,
        first=file.first,
        last=file.last,
        forces=file.forces,
        types={name: _entry(part, file) for name, part in file.types.items()},
        sha256=hashlib.sha256(raw).hexdigest(),
        taxonomy=taxonomy,
        prior=None if file.prior is None else Prior(file.prior.absent, file.prior.note),
    )


def parse_day(text: str) -> date:
    """The day of an ISO date. Raises TheatreError."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise TheatreError(f"date {text}: give a day as YYYY-MM-DD") from None


def _path(named: str) -> Path:
    """A file of that name before a theatre of that id, so that what is written out is taken."""
    path = Path(named)
    if path.suffix in (".yaml", ".yml"):
        return path
    known = sorted(file.stem for file in THEATRES.glob("*.yaml"))
    if named not in known:
        raise TheatreError(
            f"theatre {named!r}: give {', '.join(known)}, or the path of a .yaml file of your own"
        )
    return THEATRES / f"{named}.yaml"


def _problems(file: _File, taxonomy: Taxonomy) -> Iterator[str]:
    if file.first > file.last:
        yield f"from {file.first} is after to {file.last}"
    if len(set(file.forces.values())) < len(file.forces):
        yield "forces: two have the same name"
    for name, part in file.types.items():
        at = f"types.{name}"
        if f"type:{name}" not in taxonomy:
            yield f"{at}: is no type of the taxonomy"
        for key in part.sources:
            if key not in file.sources:
                yield f"{at}.sources: {key!r} is missing from the file's sources"
        for force in {**file.forces, **part.statements}:
            if force not in file.forces:
                yield f"{at}.statements: {force!r} is none of the file's forces"
            elif force not in part.statements:
                yield f"{at}.statements: say of {force!r} too, if only {{status: none}}"
        for force, statements in part.statements.items():
            for statement in statements:
                yield from _misdated(statement, file, f"{at}.statements.{force}")
    cited = {key for part in file.types.values() for key in part.sources}
    for key in file.sources:
        if key not in cited:
            yield f"sources.{key}: no type cites it"


def _misdated(statement: _StatementPart, file: _File, at: str) -> Iterator[str]:
    for day in (statement.first, statement.last):
        if day and not file.first <= day <= file.last:
            yield f"{at}: {day} is outside the theatre's {file.first} to {file.last}"
    if statement.first and statement.last and statement.first > statement.last:
        yield f"{at}: from {statement.first} is after to {statement.last}"


def _entry(part: _TypePart, file: _File) -> Entry:
    return Entry(
        tuple(file.sources[key] for key in part.sources),
        {
            force: tuple(
                Statement(
                    s.status,
                    s.first or file.first,
                    s.last or file.last,
                    None if s.number is None else str(s.number),
                    s.note,
                )
                for s in statements
            )
            for force, statements in part.statements.items()
        },
    )


def _what(error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"]) or "(top)"
    if error["type"] == "extra_forbidden":
        return f"{where}: unknown key; check its spelling"
    if error["type"] == "missing":
        return f"{where}: is required"
    given = repr(error["input"])
    return f"{where}: {error['msg']} (given: {given if len(given) < 60 else given[:59] + '…'})"
