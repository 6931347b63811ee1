"""Grouped splits: train, val (selection), calibration, test (opened once). No group crosses."""

from __future__ import annotations

import csv
import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from data.manifest import SPLITS, Sample


class SplitError(ValueError):
    """The samples cannot be split as asked."""


def assign_splits(
    samples: Sequence[Sample],
    fractions: Mapping[str, float],
    *,
    seed: int = 0,
    train_only_kinds: Collection[str] = (),
) -> list[Sample]:
    """Give every sample without a split one, group by group.

    Groups are dealt, within each stratum of (kind, label), to the split that lacks most of its
    share there, then overall, in the order of a hash of seed and group. Neither the manifest's
    order nor pictures of another kind change a split; a new picture of the same kind can move
    others, so runs that must compare read the first one's splits file. A group with a picture of
    `train_only_kinds` goes to train. A given split is kept, and takes its whole group along.

    Raises SplitError for fractions that are negative or do not sum to 1, or a group that is
    already in two splits.
    """
    shares = fractions.values()
    if set(fractions) != set(SPLITS) or not (min(shares) >= 0 and abs(sum(shares) - 1) <= 1e-6):
        raise SplitError(f"fractions must name {', '.join(SPLITS)} and sum to 1, not {fractions}")
    chosen = _given(samples)
    groups: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        groups[sample.group].append(sample)
    strata: dict[tuple[str, str], list[str]] = defaultdict(list)
    for group, members in groups.items():
        if group not in chosen:
            if any(member.kind in train_only_kinds for member in members):
                chosen[group] = "train"
            else:
                first = min(members, key=lambda s: (s.kind, s.node or ""))
                strata[first.kind, first.node or ""].append(group)
    totals: dict[str, Counter[str]] = defaultdict(Counter)
    for kind, node in sorted(strata):
        ordered = sorted(strata[kind, node], key=lambda g: _rank(seed, g))
        chosen.update(_deal(ordered, groups, fractions, totals[kind]))
    return [replace(sample, split=chosen[sample.group]) for sample in samples]


def _given(samples: Sequence[Sample]) -> dict[str, str]:
    given: dict[str, str] = {}
    for sample in samples:
        if sample.split and given.setdefault(sample.group, sample.split) != sample.split:
            raise SplitError(
                f"group {sample.group!r} is in {given[sample.group]!r} and {sample.split!r}: "
                "pictures of one group must share a split"
            )
    return given


def _rank(seed: int, group: str) -> bytes:
    return hashlib.sha256(f"{seed}:{group}".encode()).digest()


def _deal(
    ordered: Sequence[str],
    groups: Mapping[str, Sequence[Sample]],
    fractions: Mapping[str, float],
    total: Counter[str],
) -> dict[str, str]:
    """Deal the groups of one stratum; `total` carries the kind's counts from stratum to stratum."""
    dealt: dict[str, str] = {}
    here: Counter[str] = Counter()
    for group in ordered:
        size = len(groups[group])
        seen, seen_all = sum(here.values()) + size, sum(total.values()) + size

        def lack(split: str, seen: int = seen, seen_all: int = seen_all) -> float:
            # A stratum of five photos cannot honour the fractions alone; the kind's total can.
            within = fractions[split] * seen - here[split]
            overall = fractions[split] * seen_all - total[split]
            return within + 0.5 * overall

        split = max((s for s in SPLITS if fractions[s] > 0), key=lack)
        dealt[group] = split
        here[split] += size
        total[split] += size
    return dealt


def write_splits(samples: Sequence[Sample], path: Path) -> None:
    """Write `path,group,kind,label,split` for every sample, so that a split can be redone."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("path", "group", "kind", "label", "split"))
        for s in sorted(samples, key=lambda s: s.key):
            writer.writerow((s.key, s.group, s.kind, s.node or "", s.split))


def read_splits(samples: Sequence[Sample], path: Path) -> list[Sample]:
    """Apply a file of `write_splits`; a sample that it does not name keeps the split it has.

    Raises SplitError for a file of another kind, or one that splits a group of these samples.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            written = {row["path"]: row["split"] for row in csv.DictReader(file)}
    except (OSError, UnicodeDecodeError, csv.Error, KeyError) as error:
        raise SplitError(f"{path}: not a splits file (columns path, split): {error}") from error
    strange = sorted(set(written.values()) - set(SPLITS))
    if strange:
        raise SplitError(f"{path}: split {strange[0]!r} is none of {', '.join(SPLITS)}")
    result = [replace(s, split=written.get(s.key, s.split)) for s in samples]
    _given(result)
    return result
