"""The record: the answer for one aircraft as JSON (schema airframe.record/1), or flat as CSV.

`entropy` is in bits over the types, `mutual_information` that between the answer and the look, null
where there is one look; `unknown_score` is minus the largest logit, `unknown_p_value` the share of
known aircraft that look so foreign. `picture_doubt` and `model_doubt` are ranks of entropy and
mutual information among the calibration pictures. What was not measured and was not asked
(operators and theatre_prior without a theatre) is null.
"""

from __future__ import annotations

import json
import platform
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

import airframe
from airframe.calibration import Floats
from airframe.decision import Verdict
from airframe.looking import Sighting
from airframe.operators import operators_of
from airframe.predictor import Prediction, Predictor, Settings, describe
from airframe.theatre_prior import assumes, counted_in, says
from data.images import Still, StillError
from data.taxonomy import Taxonomy

Record = dict[str, Any]

SCHEMA = "airframe.record/1"
LISTED = 0.005
DIGITS = 6


def answer_record(
    still: Still,
    prediction: Prediction,
    predictor: Predictor,
    settings: Settings,
    *,
    frame: dict[str, Any] | None = None,
    track: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The record of one aircraft in a still, or in a clip's `frame` (index, time_s).

    `track` says which aircraft of a clip this is, or sums up what was seen of it.
    """
    verdict, taxonomy = prediction.verdict, predictor.checkpoint.taxonomy
    named = verdict.status != "no_aircraft"
    types = list(prediction.prediction_set)
    record: dict[str, Any] = {
        "schema": SCHEMA,
        "source": {
            "path": still.path,
            "sha256": still.sha256,
            "bytes": still.bytes,
            "width": still.width,
            "height": still.height,
            "format": still.format,
            "captured": still.captured,
            "exif": still.exif,
            "perceptual_hash": still.perceptual_hash,
            "frame": frame,
            "records": None,
        },
        "status": verdict.status,
        "answer": _answer(verdict, taxonomy),
        "candidates": _candidates(prediction.probs, predictor, settings.top_k) if named else None,
        "prediction_set": {"coverage": prediction.coverage, "types": types} if named else None,
        "uncertainty": {
            "entropy": _rounded(prediction.entropy),
            "mutual_information": _rounded(prediction.mutual_information),
            "unknown_score": _rounded(prediction.unknown_score),
            "unknown_p_value": _rounded(prediction.unknown_p_value),
            "quality": _quality(prediction),
            "picture_doubt": _rounded(prediction.picture_doubt),
            "model_doubt": _rounded(prediction.model_doubt),
        },
        "box": _box(prediction.sighting),
        "located": _located(prediction.sighting),
        "track": track,
        "operators": None,
        "theatre_prior": None,
        "reason": verdict.reason,
        **_common(predictor, settings),
        "failure": None,
    }
    if settings.theatre is not None:
        record["operators"] = operators_of(record, settings.theatre, settings.day)
        record["theatre_prior"] = _theatre_prior(prediction, predictor, settings)
    return record


def empty_record(
    still: Still, reason: str, predictor: Predictor, settings: Settings
) -> dict[str, Any]:
    """The record of a clip in which no frame holds an aircraft."""
    source = {
        k: getattr(still, k) for k in ("path", "sha256", "bytes", "width", "height", "format")
    }
    return {
        "schema": SCHEMA,
        "source": {
            **source,
            "captured": still.captured,
            "exif": still.exif,
            "perceptual_hash": None,
            "frame": None,
            "records": None,
        },
        "status": "no_aircraft",
        **dict.fromkeys(("answer", "candidates", "prediction_set", "uncertainty", "box")),
        "located": {"by": None, "score": None},
        "track": None,
        "operators": None,
        "theatre_prior": None,
        "reason": reason,
        **_common(predictor, settings),
        "failure": None,
    }


def failure_record(
    path: str,
    error: StillError,
    predictor: Predictor,
    settings: Settings,
    *,
    sha256: str | None = None,
    size: int | None = None,
) -> dict[str, Any]:
    """The record of a file that could not be answered: null for all that could not be known.

    `sha256` and `size` in bytes are those of a file that could be read, if not as a picture.
    """
    told = ("width", "height", "format", "captured", "exif", "perceptual_hash", "frame", "records")
    return {
        "schema": SCHEMA,
        "source": {"path": path, "sha256": sha256, "bytes": size, **dict.fromkeys(told)},
        "status": "failed",
        "answer": None,
        "candidates": None,
        "prediction_set": None,
        "uncertainty": None,
        "box": None,
        "located": None,
        "track": None,
        "operators": None,
        "theatre_prior": None,
        "reason": error.message,
        **_common(predictor, settings),
        "failure": {"code": error.code, "message": error.message},
    }


def flatten(record: dict[str, Any]) -> dict[str, Any]:
    """One CSV row: nested keys joined by dots, types joined by `;`, candidates as `type=p`."""
    row: dict[str, Any] = {}
    for key, value in _shape().items():
        given = record.get(key)
        if key == "candidates":
            row[key] = ";".join(f"{c['type']}={c['probability']}" for c in given or [])
        elif isinstance(value, tuple):
            for inner in value:
                part = (given or {}).get(inner)
                row[f"{key}.{inner}"] = _cell(part)
        else:
            row[key] = _cell(given)
    return row


def csv_row(record: Record) -> dict[str, Any]:
    """`flatten`, fit for a spreadsheet: text that one would run as a formula begins with `'`, and
    bytes of a name that are no text are replaced."""
    return {key: _harmless(cell) for key, cell in flatten(record).items()}


def _harmless(cell: Any) -> Any:
    if not isinstance(cell, str):
        return cell
    text = cell.encode("utf-8", "replace").decode()
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def json_line(record: Record) -> str:
    """The record as a line of JSONL. Bytes of a name that are no text stay, escaped."""
    line = json.dumps(record, ensure_ascii=False, allow_nan=False)
    try:
        line.encode()
    except UnicodeEncodeError:
        line = json.dumps(record, allow_nan=False)
    return line + "\n"


def columns() -> list[str]:
    """The CSV's header, the same for every record."""
    return list(flatten({}))


def _shape() -> dict[str, tuple[str, ...] | None]:
    """The record's fields, with the inner fields of those that are objects."""
    return {
        "schema": None,
        "source": (
            "path",
            "sha256",
            "bytes",
            "width",
            "height",
            "format",
            "captured",
            "exif",
            "perceptual_hash",
            "frame",
            "records",
        ),
        "status": None,
        "answer": ("node", "rank", "label", "probability"),
        "candidates": None,
        "prediction_set": ("coverage", "types"),
        "uncertainty": (
            "entropy",
            "mutual_information",
            "unknown_score",
            "unknown_p_value",
            "quality",
            "picture_doubt",
            "model_doubt",
        ),
        "box": None,
        "located": ("by", "score"),
        "track": ("id", "frames", "effective_frames", "first_s", "last_s", "carried_by"),
        "operators": (
            "theatre",
            "theatre_sha256",
            "date",
            "consistent_with",
            "decisive",
            "says",
            "note",
            "sources",
        ),
        "theatre_prior": (
            "absent",
            "fielded",
            "status",
            "answer",
            "candidates",
            "says",
            "assumes",
        ),
        "reason": None,
        "model": ("name", "version", "sha256", "engine"),
        "run": ("settings_sha256", "settings", "created_utc", "versions"),
        "failure": ("code", "message"),
    }


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, list):
        return ";".join(
            ",".join(f"{k}={v}" for k, v in item.items()) if isinstance(item, dict) else str(item)
            for item in value
        )
    if isinstance(value, dict):
        return ";".join(
            f"{key}={str(_cell(item)).replace(';', ',')}"  # a text may hold the sign between two
            for key, item in value.items()
            if item is not None
        )
    return value


def _answer(verdict: Verdict, taxonomy: Taxonomy) -> dict[str, Any] | None:
    if verdict.node is None or verdict.probability is None:
        return None
    node = taxonomy[verdict.node]
    return {
        "node": node.id,
        "rank": node.rank,
        "label": node.label,
        "probability": _rounded(verdict.probability),
    }


def _theatre_prior(
    prediction: Prediction, predictor: Predictor, settings: Settings
) -> dict[str, Any] | None:
    """What the theatre's inventories would make of the answer; null where that was not asked."""
    counted = counted_in(prediction, predictor, settings)
    if counted is None:
        return None
    taxonomy = predictor.checkpoint.taxonomy
    return {
        "absent": counted.absent,
        "fielded": list(counted.fielded),
        "status": counted.verdict.status,
        "answer": _answer(counted.verdict, taxonomy),
        "candidates": _candidates(counted.probs, predictor, settings.top_k),
        "says": says(counted, taxonomy),
        "assumes": assumes(counted),
    }


def _candidates(probs: Floats, predictor: Predictor, top_k: int) -> list[dict[str, Any]]:
    order = np.argsort(-probs, kind="stable")
    listed = [i for rank, i in enumerate(order) if rank < top_k or probs[i] > LISTED]
    taxonomy = predictor.checkpoint.taxonomy
    return [
        {
            "type": predictor.classes[i],
            "label": taxonomy[f"type:{predictor.classes[i]}"].label,
            "probability": _rounded(float(probs[i])),
        }
        for i in listed
    ]


def _quality(prediction: Prediction) -> dict[str, Any] | None:
    """What was measured of the view, and what of it is poorer than what was calibrated on."""
    if prediction.quality is None:
        return None
    measured = {name: round(value, 4) for name, value in prediction.quality.items()}
    return {"measures": measured, "outside": list(prediction.outside)}


def _box(sighting: Sighting) -> list[float] | None:
    return None if sighting.box is None else [round(edge, 1) for edge in sighting.box]


def _located(sighting: Sighting) -> dict[str, Any]:
    """Who said where to look: `localizer` with its score, `user`, or null for the whole frame."""
    if sighting.box is None:
        return {"by": None, "score": None}
    if sighting.score is None:
        return {"by": "user", "score": None}
    return {"by": "localizer", "score": _rounded(sighting.score)}


def _common(predictor: Predictor, settings: Settings) -> dict[str, Any]:
    return {
        "model": describe(predictor),
        "run": {
            "settings_sha256": predictor.fingerprint(settings),
            "settings": predictor.said(settings),
            "created_utc": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": library_versions(),
        },
    }


@cache
def library_versions() -> dict[str, str]:
    """What an answer depends on besides the checkpoint, of what is installed."""
    versions = {"airframe": airframe.__version__, "python": platform.python_version()}
    for name in ("torch", "torchvision", "onnxruntime", "numpy", "pillow", "av"):
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, DIGITS)
