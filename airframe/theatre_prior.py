"""An answer with a theatre's inventories counted in: the record's `theatre_prior`, only if asked.

It stands beside the answer and never takes its place. The calibrated probabilities are adjusted to
another prior as by Saerens, Latinne and Decaestecker (2002): each is multiplied by what the type's
prior there is to the one that it was calibrated under, and all are made to sum to 1 again. Of that
ratio only this is assumed: it is 1 for a type that a force had or may have had, and the theatre's
own `absent` for any other.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from airframe.calibration import Floats
from airframe.decision import Verdict, judge, percent
from airframe.operators import fielded_types
from airframe.predictor import Prediction, Predictor, Settings
from data.taxonomy import Taxonomy
from data.theatre import Theatre

_LISTED = 24


@dataclass(frozen=True)
class CountedIn:
    """`probs` (C,) and `verdict` with the inventories of `theatre` counted in; `alone` is the
    verdict on the picture alone, `fielded` the checkpoint's types that count whole."""

    theatre: Theatre
    probs: Floats
    verdict: Verdict
    alone: Verdict
    fielded: tuple[str, ...]
    absent: float


def prior_ratio(classes: tuple[str, ...], fielded: Collection[str], absent: float) -> Floats:
    """For each class (C,) its prior there to that of the calibration: 1 or `absent`.

    Raises ValueError unless `absent` lies in (0, 1]: nothing is ruled out by a list.
    """
    if not 0 < absent <= 1:
        raise ValueError(f"absent must be above 0 and at most 1, not {absent}")
    return np.array([1.0 if name in fielded else absent for name in classes])


def reweighted(probs: Floats, ratio: Floats) -> Floats:
    """Probabilities (C,) under another prior, by Bayes' rule; `ratio` (C,) is above 0."""
    product: Floats = np.asarray(probs, np.float64) * ratio
    posterior: Floats = product / product.sum()
    return posterior


def counted_in(
    prediction: Prediction, predictor: Predictor, settings: Settings
) -> CountedIn | None:
    """The prediction with the theatre's inventories counted in; None where that was not asked or no
    aircraft is there. What looked too foreign to be named stays so: that hangs on no prior."""
    theatre = settings.theatre
    if not settings.theatre_prior or theatre is None or theatre.prior is None:
        return None
    if prediction.verdict.status == "no_aircraft":
        return None
    there = fielded_types(theatre, settings.day)
    ratio = prior_ratio(predictor.classes, there, theatre.prior.absent)
    probs = reweighted(prediction.probs, ratio)
    sighting, calibration = prediction.sighting, prediction.calibration
    verdict = judge(
        probs,
        prediction.unknown_score,
        sighting.faint if sighting.missed else None,
        predictor.checkpoint.taxonomy,
        predictor.classes,
        settings.confidence or calibration.confidence,
        calibration,
    )
    fielded = tuple(name for name in predictor.classes if name in there)
    return CountedIn(theatre, probs, verdict, prediction.verdict, fielded, theatre.prior.absent)


def says(counted: CountedIn, taxonomy: Taxonomy) -> str:
    """Both decisions in a sentence each."""
    changed = (counted.verdict.status, counted.verdict.node) != (
        counted.alone.status,
        counted.alone.node,
    )
    return (
        f"With the inventories of {counted.theatre.title} counted in: "
        f"{_decision(counted.verdict, taxonomy)}. By the picture alone: "
        f"{_decision(counted.alone, taxonomy)}. "
        f"{'The inventories change the answer.' if changed else 'The answer stays.'}"
    )


def assumes(counted: CountedIn) -> str:
    """What it rests on, and what it must not be used for."""
    assert counted.theatre.prior is not None
    more = len(counted.fielded) - _LISTED
    listed = ", ".join(counted.fielded[:_LISTED]) + (f" and {more} more" if more > 0 else "")
    return (
        "It assumes that types which no force had there by the sources read are "
        f"{counted.absent:g} times as likely as the picture makes them beside those that one had "
        f"or may have had ({listed or 'none that this checkpoint knows'}): "
        f"{counted.theatre.prior.note}. How often answers are right was measured without it, so "
        "nothing is promised of this one, and it has no prediction set. Never argue from it who "
        "flew the aircraft: the inventories would then be their own witness (a circle)."
    )


def _decision(verdict: Verdict, taxonomy: Taxonomy) -> str:
    if verdict.node is None or verdict.probability is None:
        return "unknown"
    return f"{taxonomy[verdict.node].label}, {percent(verdict.probability)}"
