"""A file of records held against its sources: hashed again, answered again, record by record."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, groupby, zip_longest
from pathlib import Path
from typing import Any

from airframe.batch import Found, Task, answer_all
from airframe.journal import read_records
from airframe.predictor import Predictor, settings_from
from airframe.record import Record, library_versions
from airframe.sinks import Queue
from data.container import ClipLimits
from data.images import Limits, StillError
from data.images.file import hash_file, plain
from data.remote import at_hand, is_url
from data.theatre import Theatre

# How far a number may be off, absolutely: between machines, engines and batch sizes the last
# digits differ. Probabilities to one in ten thousand, boxes to half a pixel, a perceptual hash to
# four of its 256 bits, a rank among the calibration pictures, which moves by whole pictures (one of
# 40 in the smallest kind), to three in a hundred; all else (bits, nats, scores) to a thousandth.
_RANKS = ("unknown_p_value", "picture_doubt", "model_doubt")
TOLERANCE = {"probability": 1e-4, "coverage": 0.0, "box": 0.5, **dict.fromkeys(_RANKS, 0.03)}
OTHERWISE = 1e-3
HASH_BITS = 4

# When and with what it was computed is not what was found; a path may have been moved.
_APART = {"source.path", "source.records", "run.created_utc", "run.versions", "model.engine"}
_APART |= {"failure.message"}
# Lists by what is in them: at the end of one a near tie may leave another one out.
_KEYED = {
    "candidates": ("type", "probability"),
    "theatre_prior.candidates": ("type", "probability"),
    "track.carried_by": ("index", "weight"),
}
_BY_PROBABILITY = {"prediction_set.types", "operators.sources"}
# Sentences that repeat numbers of other fields, and types in the order of their probabilities.
_TOLD = {"operators.note", "theatre_prior.says"}
# Settings that older records do not tell: false is then what they were made with.
_SINCE = {"run.settings.theatre_prior"}
# What older records do not tell at all is not held against them; one that tells null is.
_ADDED = {"source.exif"}


class VerifyError(ValueError):
    """The records cannot be held against anything; one line says why and what to do."""


@dataclass(frozen=True)
class Finding:
    """What became of one record: `state` is same, changed or missing; `what` says what changed."""

    record: Record
    state: str
    what: tuple[str, ...] = ()


def verify_records(
    records: Path,
    predictor: Predictor,
    batch_size: int = 8,
    places: Iterable[str] | None = None,
    theatre: Theatre | None = None,
) -> Iterator[Finding]:
    """One finding a record, in the order of the file.

    The sources are looked for at the records' own paths or, where `places` names files, among
    those, by their content; the theatre that the records tell is `theatre` or the project's own.
    Raises VerifyError where the records are those of another checkpoint or tell no settings,
    TheatreError where their theatre is not there, and JournalError for a line that is no record.
    """
    by_content = None if places is None else _by_content(places)
    # Read twice, side by side: what to answer again, and what was answered then.
    first = (next(block) for _, block in groupby(read_records(records), _file))
    then = groupby(read_records(records), _file)
    for _, alike in groupby(first, lambda record: _settings_text(record, predictor)):
        start = next(alike)
        settings = settings_from(start["run"]["settings"], theatre)
        task = Task(settings, batch_size, settings.sampling, settings.box)
        found = (_found(record, by_content) for record in chain((start,), alike))
        for new in _files(found, predictor, task):
            yield from _held(next(then)[1], new)


def differences(old: Any, new: Any, at: str = "") -> Iterator[str]:
    """Where two records, or parts of them at the key `at`, differ by more than the tolerance."""
    if at in _APART or (at == "reason" and _bare(old) == _bare(new)):
        return
    if (at in _TOLD and _words(old) == _words(new)) or (at in _SINCE and not (old or new)):
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for key in {**old, **new}:
            inner = f"{at}.{key}" if at else key
            if key in old or inner not in _ADDED:
                yield from differences(old.get(key), new.get(key), inner)
    elif isinstance(old, list) and isinstance(new, list) and at in _KEYED:
        yield from _keyed_differences(old, new, at, *_KEYED[at])
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        if at in _BY_PROBABILITY:  # an order which a near tie turns
            old, new = sorted(old), sorted(new)
        for one, other in zip(old, new, strict=True):
            yield from differences(one, other, at)
    elif not _same(old, new, at.rpartition(".")[2]):
        yield f"{at} {_short(old)} → {_short(new)}"


def other_versions(record: Record) -> list[str]:
    """What computed a record, where that is another version here: `torch 2.15.0, now 2.16.0`."""
    then, now = record["run"]["versions"], library_versions()
    return [
        f"{name} {then.get(name)}, now {now.get(name)}"
        for name in sorted({*then, *now})
        if then.get(name) != now.get(name)
    ]


def _held(then: Iterable[Record], now: Iterable[Record]) -> Iterator[Finding]:
    """The findings of one file's records."""
    for old, new in zip_longest(then, now):
        if old is None:
            yield Finding(new, "changed", ("a record that was not there",))
            continue
        if new is None:
            yield Finding(old, "changed", ("is not found any more",))
        elif old["failure"] and new["failure"]:
            pairs = (old["failure"]["code"], new["failure"]["code"], "failure.code")
            where = (old["source"], new["source"], "source")
            what = (*differences(*pairs), *differences(*where))
            yield Finding(old, "changed" if what else "same", what)
        elif new["failure"] and new["failure"]["code"] == "missing":
            yield Finding(old, "missing", (new["failure"]["message"],))
            yield from (Finding(rest, "missing") for rest in then)
        elif old["source"]["sha256"] != new["source"]["sha256"]:
            what = tuple(differences(old["source"]["sha256"], new["source"]["sha256"], "sha256"))
            yield Finding(old, "changed", what)
            yield from (Finding(rest, "changed", what) for rest in then)
            for _ in now:  # answered, but an answer to something else
                pass
        else:
            what = tuple(differences(old, new))
            yield Finding(old, "changed" if what else "same", what)


def _files(found: Iterable[Found], predictor: Predictor, task: Task) -> Iterator[Iterator[Record]]:
    """The records of each file, each to be read to its end before the next one."""

    def marked() -> Iterator[Record]:
        sink = Queue()
        for record in answer_all(found, predictor, task, on_file=lambda _: sink.end_file()):
            sink.write(record)
            yield from sink.taken()
        yield from sink.taken()

    def one(record: Record) -> Iterator[Record]:
        yield record
        while record["source"]["records"] is None:
            record = next(records)
            yield record

    records = marked()
    for record in records:
        yield one(record)


def _found(record: Record, by_content: Mapping[str, str] | None) -> Found:
    path, sha256 = record["source"]["path"], record["source"]["sha256"]
    if by_content is None and is_url(path):
        # A file of records from elsewhere must not make this machine ask servers.
        said = f"{plain(path)}: a URL, opened only where it or its folder is given as an input"
        return path, StillError("missing", said)
    if by_content is None:
        return path, None
    if sha256 in by_content:
        return by_content[sha256], None
    return path, StillError("missing", f"{plain(path)}: no file of that content is there")


def _by_content(places: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    limits = Limits(max_bytes=ClipLimits().max_bytes)
    for path in places:
        try:
            with at_hand(path, limits) as place:
                sha256, _ = hash_file(place, limits)
            found.setdefault(sha256, path)
        except StillError:
            continue  # what cannot be read proves nothing; its record is then missing
    return found


def _settings_text(record: Record, predictor: Predictor) -> str:
    """A record's settings as text. Raises VerifyError where it is not this checkpoint's."""
    model, run = record["model"], record["run"]
    if model["sha256"] != predictor.checkpoint.sha256:
        raise VerifyError(
            f"the records are those of checkpoint {model['name']} {model['version']} "
            f"({model['sha256'][:12]}), not {predictor.checkpoint.name} "
            f"({predictor.checkpoint.sha256[:12]}); name it with --checkpoint"
        )
    if not isinstance(run.get("settings"), dict):
        raise VerifyError("the records do not tell their settings: an older version wrote them")
    return json.dumps(run["settings"], sort_keys=True)


def _file(record: Record) -> tuple[str, str]:
    # With the settings: on the page a file may be answered again in a box that a visitor drew.
    return record["source"]["path"], json.dumps(record["run"].get("settings"), sort_keys=True)


def _keyed_differences(
    old: list[Any], new: list[Any], at: str, key: str, value: str
) -> Iterator[str]:
    then, now = ({item[key]: item for item in items} for items in (old, new))
    for name in {**then, **now}:
        if name in then and name in now:
            yield from differences(then[name], now[name], f"{at}.{name}")
            continue
        listed, other = (then, now) if name in then else (now, then)
        least = min((item[value] for item in other.values()), default=0.0)
        if listed[name][value] > least + TOLERANCE.get(value, OTHERWISE):
            yield f"{at} {name} is listed {'no longer' if name in then else 'now'}"


def _same(old: Any, new: Any, key: str) -> bool:
    if isinstance(old, bool) or isinstance(new, bool):
        return old is new
    if isinstance(old, int | float) and isinstance(new, int | float):
        if isinstance(old, int) and isinstance(new, int):
            return old == new
        # A hair more, for what 6 decimals round.
        return bool(abs(old - new) <= TOLERANCE.get(key, OTHERWISE) + 1e-9)
    if key == "perceptual_hash" and isinstance(old, str) and isinstance(new, str):
        return (int(old, 16) ^ int(new, 16)).bit_count() <= HASH_BITS
    return bool(old == new)


def _bare(reason: Any) -> str:
    """A reason without its numbers, which stand in other fields and are compared there."""
    return re.sub(r"\d+(?:[.,]\d+)?", "#", str(reason))


def _words(note: Any) -> list[str]:
    """A note's words without numbers, in no order: it lists types in that of probabilities."""
    return sorted(re.findall(r"\w+", _bare(note)))


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=True)
    return text if len(text) <= 80 else text[:79] + "…"
