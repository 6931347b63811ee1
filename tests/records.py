"""Records such as airframe.record makes, for tests of what is read off them."""

from app.markup import Scale
from data.taxonomy import Taxonomy

SCALE = Scale(Taxonomy.load(), 64)


def record(**changes):
    """An answered record of a still."""
    made = {
        "schema": "airframe.record/1",
        "source": {
            "path": "still.jpg",
            "sha256": "ab" * 32,
            "bytes": 34_000,
            "width": 640,
            "height": 400,
            "format": "JPEG",
            "captured": None,
            "frame": None,
        },
        "status": "type",
        "answer": {
            "node": "type:Su-24",
            "rank": "type",
            "label": "Su-24 (Fencer)",
            "probability": 0.87,
        },
        "candidates": [
            {"type": "Su-24", "label": "Su-24 (Fencer)", "probability": 0.87},
            {"type": "Su-34", "label": "Su-34 (Fullback)", "probability": 0.1},
            {"type": "Su-25", "label": "Su-25 (Frogfoot)", "probability": 0.004},
        ],
        "prediction_set": {"coverage": 0.9, "types": ["Su-24", "Su-34"]},
        "uncertainty": {
            "entropy": 0.7,
            "mutual_information": None,
            "unknown_score": -9.0,
            "unknown_p_value": 0.6,
            "quality": None,
        },
        "box": None,
        "located": {"by": None, "score": None},
        "track": None,
        "operators": None,
        "theatre_prior": None,
        "reason": "The picture supports Su-24 (Fencer) at 87 %.",
        "model": {"name": "tiny", "version": "1", "sha256": "cd" * 32, "engine": "torch"},
        "run": {
            "settings_sha256": "ef" * 32,
            "created_utc": "2026-01-01T00:00:00+00:00",
            "versions": {"torch": "2"},
        },
        "failure": None,
    }
    return made | changes


def failed(code="not_an_image", message="text.jpg: not a picture"):
    """A record of a file that could not be answered."""
    nothing = dict.fromkeys(("sha256", "bytes", "width", "height", "format", "captured", "frame"))
    return record(
        source={"path": "text.jpg", **nothing},
        status="failed",
        answer=None,
        candidates=None,
        prediction_set=None,
        uncertainty=None,
        located=None,
        reason=message,
        failure={"code": code, "message": message},
    )


def unknown(**changes):
    """A record in which nothing is named."""
    return record(status="unknown", answer=None, reason="Nothing reaches 70 %.", **changes)


def doubt(**changes):
    """An `uncertainty`."""
    return record()["uncertainty"] | changes


def clip_records(seconds=4, number=1):
    """A clip's records: a frame a second, the first of them unknown, then what sums them up."""
    source = record()["source"] | {"path": "pass.mp4", "format": "MP4"}
    frames = []
    for i in range(seconds):
        moment = {"index": 25 * i, "time_s": float(i)}
        make = unknown if i == 0 else record
        frames.append(make(source=source | {"frame": moment}, track={"id": number}))
    track = {
        "id": number,
        "frames": seconds,
        "effective_frames": 1.5,
        "first_s": 0.0,
        "last_s": float(seconds - 1),
        "carried_by": [{"index": 25, "time_s": 1.0, "weight": 2.5}],
    }
    return [*frames, record(source=source, track=track)]
