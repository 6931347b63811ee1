"""Where a checkpoint comes from: data, code, settings, when. No path of a machine."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from airframe.config import Config
from airframe.record import library_versions
from data.manifest import Sample
from models.checkpoint import CARD, WEIGHTS
from models.localizer import FILES


def provenance(config: Config, samples: Iterable[Sample]) -> dict[str, Any]:
    """What goes into a card: hashes of the data, counts by split and kind, settings, versions."""
    counts = Counter(f"{s.split}/{s.kind}" for s in samples)
    settings = config.model_dump(
        mode="json",
        exclude={"run": True, "data": {"manifest", "root", "boxes", "dropped", "splits"}},
    )
    for section in ("model", "localizer"):
        weights = (settings[section] or {}).get("weights")
        if weights not in (None, "imagenet", "coco"):
            first = Path(weights)
            settings[section]["weights"] = first.name
            file = first / WEIGHTS if first.is_dir() else first
            settings[section]["weights_sha256"] = _sha256(file)
    if model := settings["model"]:
        if model["localizer"] is not None:
            model["localizer"] = _named(Path(model["localizer"]) / FILES[1])
        model["members"] = [_named(Path(folder) / CARD) for folder in model["members"]]
    data = config.data
    return {
        "manifest_sha256": _sha256(data.manifest) if data.manifest else None,
        "boxes_sha256": _sha256(data.boxes) if data.boxes else None,
        "dropped_sha256": _sha256(data.dropped) if data.dropped else None,
        "samples": dict(sorted(counts.items())),
        "config": settings,
        "code": _commit(),
        "versions": library_versions(),
        "machine": platform.machine(),
        "created_utc": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _named(card: Path) -> dict[str, str]:
    named = json.loads(card.read_text("utf-8"))
    return {"name": named["name"], "sha256": named["sha256"]}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _commit() -> str | None:
    """The code's git commit, with `+` where files differ from it; None outside a checkout."""
    try:
        here = Path(__file__).parent
        asked = ("git", "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*")
        done = subprocess.run(asked, cwd=here, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
