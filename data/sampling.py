"""Which frames of a clip are taken: by time, by change of scene, key frames, or all."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from math import floor, inf

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

Taker = Callable[[VideoFrame, float], bool]
SAMPLINGS = ("seconds", "scene", "key", "all")

_THUMBNAIL = (32, 18)
_SCENE_CHANGE = 10.0  # mean absolute difference of two grey thumbnails, of 255
_SCENE_PAUSE_S = 0.25


@dataclass(frozen=True)
class Sampling:
    """Which frames are taken. Raises ValueError.

    `seconds`: the first, then the first at or after each multiple of `every_s` · `scene`: the
    first, then those that differ from the last one taken, at most one in 0.25 s · `key`: the key
    frames, which decode without others · `all`: each.
    """

    how: str = "seconds"
    every_s: float = 1.0  # of `seconds` alone

    def __post_init__(self) -> None:
        if self.how not in SAMPLINGS:
            raise ValueError(f"sampling {self.how!r} is none of {', '.join(SAMPLINGS)}")
        if not 0.001 <= self.every_s < inf:
            raise ValueError(f"one frame each {self.every_s:g} s: give 0.001 seconds or more")
        if self.how != "seconds" and self.every_s != 1.0:
            raise ValueError(f"every_s belongs to the sampling 'seconds', not to {self.how!r}")

    @classmethod
    def parse(cls, text: str) -> Sampling:
        """From a command line: "1", "0.5" or "2s"; or scene, key, all. Raises ValueError."""
        word = text.strip().lower()
        if word in SAMPLINGS[1:]:
            return cls(word)
        if not re.fullmatch(r"(\d+\.?\d*|\.\d+) ?s?", word, re.ASCII):
            raise ValueError(f"sampling {text!r}: give seconds (1, 0.5, 2s), scene, key or all")
        return cls("seconds", float(word.rstrip(" s")))

    def __str__(self) -> str:
        """What `parse` reads back as the same."""
        if self.how != "seconds":
            return self.how
        return format(Decimal(repr(float(self.every_s))), "f").removesuffix(".0")

    def taker(self) -> Taker:
        """A function that says of each frame and its time (seconds), in order, if it is taken."""
        if self.how == "seconds":
            return _each_period(self.every_s)
        return _each_scene() if self.how == "scene" else lambda frame, time_s: True


EVERY_SECOND = Sampling()


def _each_period(every_s: float) -> Taker:
    taken = -1

    def take(frame: VideoFrame, time_s: float) -> bool:
        nonlocal taken
        period = floor(time_s / every_s + 1e-9)  # 0.3 / 0.1 is a little under 3
        before, taken = taken, max(taken, period)
        return period > before

    return take


def _each_scene() -> Taker:
    shrink = VideoReformatter()
    last: np.ndarray | None = None
    last_s = -inf

    def take(frame: VideoFrame, time_s: float) -> bool:
        nonlocal last, last_s
        if time_s - last_s < _SCENE_PAUSE_S - 1e-9:
            return False
        width, height = _THUMBNAIL
        small = shrink.reformat(frame, width, height, "gray", interpolation="AREA")
        grey = small.to_ndarray().astype(np.float32)
        if last is not None and np.abs(grey - last).mean() <= _SCENE_CHANGE:
            return False
        last, last_s = grey, time_s
        return True

    return take
