"""What the page takes, how much of it at once, and how long it keeps it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PageLimits:
    """Bounds that keep one visitor from costing the others their answers.

    `max_bytes` of one upload (a still is held to `data.images.Limits` besides) · `max_files` of one
    visitor's case · `clip_seconds` of a clip · `keep_seconds` for which an upload stays on disk,
    looked after every `sweep_seconds` · `queue` requests that wait, `at_once` that are under way.
    """

    max_bytes: int = 512 * 2**20
    max_files: int = 500
    clip_seconds: float = 900.0
    keep_seconds: int = 3600
    sweep_seconds: int = 300
    queue: int = 128
    at_once: int = 8
