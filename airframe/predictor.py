"""The only road from an image to an answer: page, command line and tests all walk it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from airframe.calibration import Bools, Floats, Reals
from airframe.decision import Calibration, Verdict, judge
from airframe.doubt import entropy, split_doubt
from airframe.engine import Networks, open_engine
from airframe.foreign import unknown_scores
from airframe.looking import Edges, Sighting, checked_box, sightings
from airframe.quality import MEASURES, as_row, quality_reason
from data.images import Still
from data.quality import measures
from data.sampling import EVERY_SECOND, Sampling
from data.theatre import Theatre, TheatreError, load_theatre, parse_day
from models.card import CheckpointError

RELEASES = Path(__file__).parent.parent / "models" / "release"
RELEASED = ("fast", "strong")


def checkpoint_folder(named: str) -> Path:
    """The folder of a checkpoint: of a released one by its name, else the path as it is."""
    return RELEASES / named if named in RELEASED else Path(named)


@dataclass(frozen=True)
class Settings:
    """What a user may ask for. None means what the checkpoint was calibrated to promise.

    `coverage` and `confidence` lie in (0, 1); `top_k` >= 1 is the least number of candidates.
    `theatre` is where, and `day` when, what the type says of the operator is asked for;
    `theatre_prior` asks besides what its inventories would make of the answer. `sampling` says
    which frames of a clip are taken; `box` where to look in a still, or in frame number `frame` of
    a clip, in pixels.
    """

    coverage: float | None = None
    confidence: float | None = None
    top_k: int = 3
    theatre: Theatre | None = None
    day: date | None = None
    sampling: Sampling = EVERY_SECOND
    box: Edges | None = None
    theatre_prior: bool = False
    frame: int | None = None

    def __post_init__(self) -> None:
        for name in ("coverage", "confidence"):
            value = getattr(self, name)
            if value is not None and not 0 < value < 1:
                raise ValueError(f"{name} must lie strictly between 0 and 1, not {value}")
        if self.top_k < 1:
            raise ValueError(f"top-k must be at least 1, not {self.top_k}")
        if self.theatre is not None:
            self.theatre.window(self.day)
        elif self.day is not None:
            raise TheatreError(f"date {self.day}: is read only with a theatre; give that too")
        if self.theatre_prior:
            if self.theatre is None:
                raise TheatreError("theatre-prior: is read only with a theatre; give that too")
            if self.theatre.prior is None:
                raise TheatreError(
                    f"theatre-prior: theatre {self.theatre.id} has none; write `prior` into it"
                )
        if self.frame is not None and self.frame < 0:
            raise ValueError(f"frame must be 0 or more, not {self.frame}")


@dataclass(frozen=True)
class Prediction:
    """The answer for one aircraft: `probs` (C,) calibrated, the set (names), verdict and doubt.

    `sighting` is where it was looked for. `entropy` in bits; `mutual_information` that between the
    answer and the look, in bits, None where there is one look; `unknown_score` is minus the largest
    logit: higher is more foreign; `unknown_p_value` the share of known aircraft that look so.
    `calibration` is what took this view.
    `picture_doubt` and `model_doubt` are the shares of calibration pictures in which entropy and
    mutual information were less. `quality` is `data.quality.measures` of the view, `outside` those
    of them that are poorer than what was calibrated on. None is what was not measured.
    """

    sighting: Sighting
    probs: Floats
    prediction_set: tuple[str, ...]
    coverage: float
    verdict: Verdict
    entropy: float
    mutual_information: float | None
    unknown_score: float
    unknown_p_value: float | None
    calibration: Calibration
    picture_doubt: float | None = None
    model_doubt: float | None = None
    quality: Mapping[str, float] | None = None
    outside: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outputs:
    """What the network says of N aircraft: logits (N, L, C) of its L looks and features (N, D) of
    the first, in float32."""

    looks: NDArray[np.float32]
    features: NDArray[np.float32]

    @classmethod
    def joined(cls, parts: Sequence[Outputs]) -> Outputs:
        """Those of several lots of aircraft as one."""
        return cls(*(np.concatenate(part) for part in zip(*map(_values, parts), strict=True)))

    @property
    def logits(self) -> NDArray[np.float32]:
        """Those of all looks together, (N, C)."""
        one: NDArray[np.float32] = self.looks.mean(axis=1)
        return one


def outputs_of(networks: Networks, views: Sequence[tuple[Still, Sighting]]) -> Outputs:
    """What the networks say of each place."""
    alone = networks.apart([(still.rgb, sighting.box) for still, sighting in views])
    looks = np.stack([np.asarray(logits) for logits, _ in alone], axis=1)
    return Outputs(looks, np.asarray(alone[0][1]))


@dataclass(frozen=True)
class Signs:
    """What is seen of N aircraft beside their probabilities: unknown scores (N,), mutual
    information (N,), NaN where there is one look, and measures of the views (N, M) in the order of
    `airframe.quality.MEASURES`."""

    unknown_scores: Floats
    mutual_information: Floats
    measures: Floats

    def __getitem__(self, rows: slice) -> Signs:
        return Signs(*(values[rows] for values in vars(self).values()))

    @classmethod
    def joined(cls, parts: Sequence[Signs]) -> Signs:
        """Those of several lots of aircraft as one."""
        return cls(*(np.concatenate(part) for part in zip(*map(_values, parts), strict=True)))

    @classmethod
    def pooled(cls, frames: Sequence[Signs]) -> Signs:
        """The mean over the frames of one aircraft: pooled logits are steeper than any frame's."""
        return cls(*(part.mean(axis=0, keepdims=True) for part in _values(cls.joined(frames))))


def _values(one: Outputs | Signs) -> tuple[Any, ...]:
    return tuple(vars(one).values())


class Predictor:
    """A loaded checkpoint with its localizer, ready to answer.

    `engine` is torch, onnx or auto, and `abreast` whether many stills come together (see
    `airframe.engine.open_engine`). Raises CheckpointError
    where the folder holds none that can be trusted, or engine or device are not there.
    """

    def __init__(
        self,
        folder: Path = RELEASES / RELEASED[0],
        device: str = "auto",
        engine: str = "torch",
        abreast: bool = True,
    ) -> None:
        self.engine = open_engine(folder, device, engine, abreast)
        self.checkpoint, self.device = self.engine.checkpoint, self.engine.device
        self.ensemble, self.localizer = self.engine.ensemble, self.engine.localizer
        try:
            self.calibration = Calibration.from_dict(self.checkpoint.calibration)
        except ValueError as error:
            raise CheckpointError(f"checkpoint {folder}: {error}") from error

    @property
    def classes(self) -> tuple[str, ...]:
        """The types that can be answered, in the order of the probabilities."""
        return self.checkpoint.classes

    def look(self, still: Still, box: Sequence[float] | None = None) -> list[Sighting]:
        """Where to look in a still: at `box` alone where a user gives one, in its pixels.

        Raises BoxError for a box outside the still or without area.
        """
        if box is not None:
            return [Sighting(checked_box(box, still.width, still.height))]
        return sightings(still.rgb, self.localizer)

    def outputs(self, views: Sequence[tuple[Still, Sighting]]) -> Outputs:
        """What the network says of each place."""
        return outputs_of(self.ensemble, views)

    def signs(self, outputs: Outputs, views: Sequence[tuple[Still, Sighting]]) -> Signs:
        """What is seen beside the probabilities."""
        measured = np.stack([as_row(measures(still.rgb, place.box)) for still, place in views])
        information = np.full(len(views), np.nan)
        if outputs.looks.shape[1] > 1:
            for calibration, rows in self.calibration.parts(measured):
                _, mine = split_doubt(outputs.looks[rows], calibration.temperature)
                information[rows] = mine
        return Signs(unknown_scores(outputs.logits), information, measured)

    def predict(
        self,
        stills: Sequence[Still],
        settings: Settings | None = None,
        box: Sequence[float] | None = None,
    ) -> list[list[Prediction]]:
        """For each still one Prediction an aircraft, the largest first, and always at least one.

        What stands beside a still in the batch changes nothing. `box` is a user's own, for every
        still; BoxError as in `look`.
        """
        if not stills:
            return []
        seen, outputs, signs = self.see(stills, box)
        places = [place for mine in seen for place in mine]
        answers = iter(self.judge_all(outputs.logits, signs, places, settings))
        return [[next(answers) for _ in mine] for mine in seen]

    def see(
        self, stills: Sequence[Still], box: Sequence[float] | None = None
    ) -> tuple[list[list[Sighting]], Outputs, Signs]:
        """Where to look in each still, and what is seen at all of these places, in their order.

        BoxError as in `look`.
        """
        if self.engine.abreast == 1 or len(stills) == 1:
            return self._see(stills, box)
        with ThreadPoolExecutor(self.engine.abreast) as pool:
            parts = list(pool.map(lambda still: self._see([still], box), stills))
        seen, outputs, signs = zip(*parts, strict=True)
        return [mine for [mine] in seen], Outputs.joined(outputs), Signs.joined(signs)

    def _see(
        self, stills: Sequence[Still], box: Sequence[float] | None
    ) -> tuple[list[list[Sighting]], Outputs, Signs]:
        seen = [self.look(still, box) for still in stills]
        views = [(f, s) for f, mine in zip(stills, seen, strict=True) for s in mine]
        outputs = self.outputs(views)
        return seen, outputs, self.signs(outputs, views)

    def judge_all(
        self,
        logits: Reals,
        signs: Signs,
        seen: Sequence[Sighting],
        settings: Settings | None = None,
        whole: Calibration | None = None,
    ) -> list[Prediction]:
        """The same from logits (N, C) and signs computed before: calibration and decision only.

        `whole` is what calibrates them, by default the checkpoint's calibration of stills.
        """
        settings = settings or Settings()
        found: dict[int, Prediction] = {}
        for calibration, rows in (whole or self.calibration).parts(signs.measures):
            mine = np.flatnonzero(rows).tolist()
            probs = calibration.probs(logits[rows])
            sets = calibration.sets(probs, settings.coverage)
            for i, p, members in zip(mine, probs, sets, strict=True):
                sign, place = signs[i : i + 1], seen[i]
                found[i] = self._judged(p, members, sign, place, settings, calibration)
        return [found[i] for i in range(len(seen))]

    def _judged(
        self,
        probs: Floats,
        members: Bools,
        signs: Signs,
        sighting: Sighting,
        settings: Settings,
        calibration: Calibration,
    ) -> Prediction:
        """`calibration` is the one that takes such a view."""
        score = float(signs.unknown_scores[0])
        verdict = judge(
            probs,
            score,
            sighting.faint if sighting.missed else None,
            self.checkpoint.taxonomy,
            self.classes,
            settings.confidence or calibration.confidence,
            calibration,
        )
        quality = dict(zip(MEASURES, signs.measures[0].tolist(), strict=True))
        gate, apart = self.calibration.quality, self.calibration.poor is not None
        outside = gate.outside(quality) if gate else []
        if gate and (warning := quality_reason(quality, outside, gate.worst, apart)):
            verdict = replace(verdict, reason=f"{verdict.reason} {warning}")
        bits, information = float(entropy(probs)), float(signs.mutual_information[0])
        return Prediction(
            sighting=sighting,
            probs=probs,
            prediction_set=tuple(self.classes[i] for i in np.argsort(-probs) if members[i]),
            coverage=settings.coverage or calibration.coverage,
            verdict=verdict,
            entropy=bits,
            mutual_information=None if np.isnan(information) else information,
            unknown_score=score,
            unknown_p_value=calibration.known.p_value(score),
            calibration=calibration,
            picture_doubt=self._rank("picture", bits),
            model_doubt=self._rank("model", information),
            quality=quality,
            outside=tuple(outside),
        )

    def _rank(self, doubt: str, bits: float) -> float | None:
        scale = self.calibration.doubts.get(doubt)
        return None if scale is None or np.isnan(bits) else scale.rank(bits)

    def said(self, settings: Settings) -> dict[str, Any]:
        """The settings in plain words, the checkpoint's own where none were asked for."""
        theatre, day = settings.theatre, settings.day
        return {
            "coverage": settings.coverage or self.calibration.coverage,
            "confidence": settings.confidence or self.calibration.confidence,
            "top_k": settings.top_k,
            "every": str(settings.sampling),
            "box": None if settings.box is None else list(settings.box),
            "theatre": None if theatre is None else theatre.id,
            "theatre_sha256": None if theatre is None else theatre.sha256,
            "date": None if day is None else day.isoformat(),
            "theatre_prior": settings.theatre_prior,
            "frame": settings.frame,
        }

    def fingerprint(self, settings: Settings) -> str:
        """SHA-256 of all that decides an answer besides the picture."""
        said = {"checkpoint": self.checkpoint.sha256, **self.said(settings)}
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def settings_from(said: Mapping[str, Any], theatre: Theatre | None = None) -> Settings:
    """The settings that `Predictor.said` told.

    A theatre that they tell must be `theatre` or, unchanged, one of data/theatres. Raises
    ValueError where they are not such, and TheatreError where the theatre is not there.
    """
    try:
        x0, y0, x1, y1 = said["box"] or (0.0,) * 4
        return Settings(
            coverage=said["coverage"],
            confidence=said["confidence"],
            top_k=said["top_k"],
            theatre=_theatre_of(said["theatre"], said["theatre_sha256"], theatre),
            day=None if said["date"] is None else parse_day(said["date"]),
            sampling=Sampling.parse(said["every"]),
            box=(x0, y0, x1, y1) if said["box"] else None,
            # Older records know nothing of these two.
            theatre_prior=said.get("theatre_prior", False),
            frame=said.get("frame"),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"settings {said!r}: cannot be read ({error!r})") from error


def _theatre_of(named: str | None, sha256: str | None, given: Theatre | None) -> Theatre | None:
    """The theatre of that name and SHA-256: another one's words would not be the same."""
    if named is None:
        return None
    if given is not None and given.sha256 == sha256:
        return given
    with suppress(TheatreError):
        own = load_theatre(named)
        if own.sha256 == sha256:
            return own
    raise TheatreError(
        f"theatre {named} (SHA-256 {str(sha256)[:12]}): its file is not here as it was then; "
        "give it with --theatre"
    )


def describe(predictor: Predictor) -> dict[str, Any]:
    """The `model` entry of a record."""
    checkpoint = predictor.checkpoint
    return {
        "name": checkpoint.name,
        "version": checkpoint.version,
        "sha256": checkpoint.sha256,
        "engine": predictor.engine.name,
    }
