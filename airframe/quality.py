"""Whether a view lies outside what was calibrated on, and the sentence that says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from airframe.calibration import Floats, Reals
from airframe.foreign import KnownScores
from data.quality import WORSE

MEASURES = tuple(WORSE)
# These are compared in doublings, from a least value on that tells no more: an aircraft of 10 px is
# to one of 20 px as 100 are to 200.
_LEAST = {"size_px": 1.0, "contrast": 1 / 512, "brightness": 1 / 256, "noise": 0.25}
_LEAST_SPREAD = 0.02
_WORSE_TENTH = 0.9
_SAID = {
    "size_px": "smaller ({size_px:.0f} px)",
    "blur": "more blurred",
    "contrast": "fainter against what surrounds it",
    "brightness": "darker",
    "noise": "noisier",
    "blockiness": "more heavily compressed",
    "lettering": "more covered with letters or other fine strokes",
}


def as_row(measures: Mapping[str, float]) -> Floats:
    """What `data.quality.measures` gives, as (M,) in the order of MEASURES.

    Raises ValueError where a name is missing or strange, or a value no number.
    """
    if set(measures) != set(MEASURES):
        raise ValueError(f"quality measures are {', '.join(measures)}, not {', '.join(MEASURES)}")
    row = np.array([measures[name] for name in MEASURES], np.float64)
    if not np.isfinite(row).all():
        raise ValueError("quality measures: a value is no number")
    return row


@dataclass(frozen=True)
class QualityGate:
    """What views were calibrated on.

    Of each measure `middle` is the median, `spread` the way from there to the worse tenth (both the
    mean over the kinds of picture), and `worst` the worst value seen, as it is measured. `scores`
    holds, by kind, how poor each picture is in its poorest measure. At most a share `false_alarm`
    of views like those of any kind is outside in any measure.
    """

    middle: Mapping[str, float]
    spread: Mapping[str, float]
    worst: Mapping[str, float]
    scores: KnownScores
    false_alarm: float = 0.05

    def __post_init__(self) -> None:
        if not 0 < self.false_alarm < 1:
            raise ValueError(f"false_alarm must lie in (0, 1), got {self.false_alarm}")
        for values in (self.middle, self.spread, self.worst):
            as_row(values)
        if min(self.spread.values()) <= 0:
            raise ValueError("quality: a spread is not positive")

    @classmethod
    def from_arrays(
        cls, measures: Reals, strata: NDArray[np.str_], false_alarm: float = 0.05
    ) -> QualityGate:
        """Fit on `measures` (N, M), columns as MEASURES, of pictures of the kinds `strata` (N,)."""
        values = np.asarray(measures, np.float64)
        kinds = np.asarray(strata)
        if values.shape != (len(kinds), len(MEASURES)) or not len(kinds):
            raise ValueError(f"measures must be (N, {len(MEASURES)}), got {values.shape}")
        if not np.isfinite(values).all():
            raise ValueError("quality measures: a value is no number")
        steps = _steps(values)
        parts = [steps[kinds == kind] for kind in np.unique(kinds)]
        middle = np.mean([np.median(part, axis=0) for part in parts], axis=0)
        tenth = np.mean([np.quantile(part, _WORSE_TENTH, axis=0) for part in parts], axis=0)
        spread = np.maximum(tenth - middle, _LEAST_SPREAD)
        poorest = ((steps - middle) / spread).max(axis=1)
        at = steps.argmax(axis=0)
        return cls(
            dict(zip(MEASURES, middle.tolist(), strict=True)),
            dict(zip(MEASURES, spread.tolist(), strict=True)),
            {name: float(values[at[i], i]) for i, name in enumerate(MEASURES)},
            KnownScores.from_arrays(poorest, kinds),
            false_alarm,
        )

    def poorness(self, measures: Reals) -> Floats:
        """(N, M): how poor each measure of `measures` (N, M) is. 0 is the median of what was
        calibrated on, 1 its worse tenth."""
        return (_steps(measures) - as_row(self.middle)) / as_row(self.spread)

    def outside(self, measures: Mapping[str, float]) -> list[str]:
        """The measures in which a view is poorer than what was calibrated on, of any kind.

        Conformal: each measure is tested against the poorest measure of calibration pictures, so
        that the false alarm holds for all of them together (the single-step maxT of Westfall and
        Young 1993) and, the largest p-value over the kinds being taken, on each kind. Middle and
        spread come from the same pictures, which neglects what one picture moves them. Of a kind
        with fewer than 1 / `false_alarm` - 1 pictures nothing can be said: then nothing is outside.
        """
        found = []
        for name, poor in zip(MEASURES, self.poorness(as_row(measures)[None])[0], strict=True):
            p_value = self.scores.p_value(float(poor))
            if p_value is not None and p_value < self.false_alarm:
                found.append(name)
        return found

    def flagged(self, measures: Reals) -> NDArray[np.bool_]:
        """Which of N views (N,) are outside in any measure, by `measures` (N, M)."""
        rows = np.asarray(measures, np.float64).tolist()
        return np.array(
            [bool(self.outside(dict(zip(MEASURES, row, strict=True)))) for row in rows], np.bool_
        )

    def to_dict(self) -> dict[str, Any]:
        return {
            "middle": dict(self.middle),
            "spread": dict(self.spread),
            "worst": dict(self.worst),
            "scores": self.scores.to_dict(),
            "false_alarm": self.false_alarm,
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> QualityGate:
        """Read what `to_dict` wrote; raises ValueError for anything else."""
        known = {"middle", "spread", "worst", "scores", "false_alarm"}
        if set(raw) != known:
            strange = ", ".join(sorted(set(raw) ^ known))
            raise ValueError(f"the quality gate lacks, or does not know: {strange}")
        try:
            middle, spread, worst = (dict(raw[name]) for name in ("middle", "spread", "worst"))
            scores = KnownScores.from_dict(raw["scores"])
            numbers = [*middle.values(), *spread.values(), *worst.values(), raw["false_alarm"]]
            if not all(type(number) in (int, float) for number in numbers):
                raise TypeError("a value is no number")
        except (TypeError, AttributeError) as error:
            raise ValueError(f"the quality gate does not fit together: {error}") from error
        return cls(middle, spread, worst, scores, raw["false_alarm"])


def quality_reason(
    measures: Mapping[str, float], outside: Sequence[str], worst: Mapping[str, float], apart: bool
) -> str | None:
    """The sentence for a view that is `outside` in these measures; None where it is in none.

    `worst` is the gate's: only what goes beyond it is said to exceed all that was calibrated on.
    `apart` says that such views have a calibration of their own.
    """
    if not outside:
        return None
    said = [_SAID[name].format(**measures) for name in outside]
    listed = " and ".join(filter(None, (", ".join(said[:-1]), said[-1])))
    beyond = all((measures[n] - worst[n]) * WORSE[n] > 0 for n in outside)
    than = "any that was calibrated on" if beyond else "nearly all that were calibrated on"
    what = "The aircraft" if list(outside) == ["size_px"] else "The view of the aircraft"
    so = (
        "judged as pictures that were degraded on purpose"
        if apart
        else "the probability may be too high"
    )
    return f"{what} is {listed} than {than}: {so}."


def _steps(measures: Reals) -> Floats:
    """The measures (N, M) on even scales: more is worse, and a step is a step anywhere."""
    columns = []
    for name, column in zip(MEASURES, np.asarray(measures, np.float64).T, strict=True):
        even = np.log2(np.maximum(column, _LEAST[name])) if name in _LEAST else column
        columns.append(WORSE[name] * even)
    return np.stack(columns, axis=1)
