"""A clip -> timed frames: upright RGB pictures, each with its time in the clip.

No file stays open between readings, and frames are decoded as they are asked for, so that a long
clip needs no more memory than a short one. `data.images.StillError` is the one error; its codes
here: missing, empty, too_large, unreadable_video.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import PurePath
from typing import IO

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from data.container import ClipLimits, Clock, open_pass
from data.images import StillError
from data.images.file import StillPath
from data.sampling import EVERY_SECOND, Sampling

# What a walk through a folder picks up. A file named otherwise can still be opened by its path.
VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".gif"}
    | {".mpg", ".mpeg", ".ts", ".3gp", ".wmv", ".flv"}
)


@dataclass(frozen=True)
class ClipInfo:
    """What the record says of a clip's file.

    `path` as given · `sha256` and `bytes` of the file as it is · `width`, `height` of the frames
    handed out, in pixels: upright, pixels square · `format` the container: MP4, MOV, MATROSKA,
    WEBM, AVI, GIF, MPEGTS, MPEG, ASF or FLV · `duration_s` as the file says or FFmpeg estimates,
    else None.
    """

    path: str
    sha256: str
    bytes: int
    width: int
    height: int
    format: str
    duration_s: float | None


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame, upright: `rgb` uint8 (H, W, 3), 0–255.

    `index`: its number in the order shown, from 0, among the frames decoded, which for `key` are
    the key frames · `time_s`: seconds since the first of them, from the time stamps.
    """

    rgb: np.ndarray
    index: int
    time_s: float


DEFAULT_LIMITS = ClipLimits()


class Clip:
    """A clip that could be opened: its `info`, its `frames` and, after these, its `damage`.

    `damage`: None, or one line on what the last reading left out; complete at the last frame.
    """

    def __init__(self, info: ClipInfo, limits: ClipLimits, path: StillPath) -> None:
        self.info = info
        self.damage: str | None = None
        self._limits, self._path = limits, path

    def frame(self, index: int) -> Frame:
        """Frame number `index` from 0, as `frames` counts. Raises StillError, also beyond the end.

        What stands before it is decoded, but not made into pictures.
        """
        with open_pass(self._path, self._limits, self.info.path) as reading:
            clock = Clock(reading.stream)
            for number, frame in enumerate(reading.frames()):
                time_s = clock.read(frame.pts)
                if number == index:
                    return Frame(reading.picture(frame), index, time_s)
        raise reading.error(f"it has no frame {index}; give one of those that are counted from 0")

    def frames(self, sampling: Sampling = EVERY_SECOND) -> Iterator[Frame]:
        """The frames taken, in the order shown, read anew from the file. Raises StillError.

        The file stays open until the last frame, or until the generator is closed.
        """
        self.damage = None
        take = sampling.taker()
        index = -1
        with open_pass(self._path, self._limits, self.info.path) as reading:
            clock = Clock(reading.stream)
            try:
                for index, frame in enumerate(reading.frames(only_keys=sampling.how == "key")):
                    time_s = clock.read(frame.pts)
                    if take(frame, time_s):
                        yield Frame(reading.picture(frame), index, time_s)
            finally:
                self.damage = reading.damage()
            if index < 0:
                raise reading.error("no such frame can be decoded; take frames by seconds")


def is_clip(path: StillPath) -> bool:
    """Whether `path` is named like a clip; a GIF must also have more than one frame. Never raises.

    A GIF that cannot be read goes by its name; an empty or a damaged one is left to the stills.
    """
    suffix = PurePath(path).suffix.lower()
    if suffix != ".gif":
        return suffix in VIDEO_SUFFIXES
    try:
        with open_pass(path, DEFAULT_LIMITS) as reading:
            return len(list(islice(reading.packets(), 2))) == 2
    except StillError as error:
        return error.code == "missing"


def open_clip(
    path: StillPath, limits: ClipLimits = DEFAULT_LIMITS, name: str | None = None
) -> Clip:
    """The clip at `path`, its first frame decoded as a proof. Raises StillError.

    `name` stands for the path in all that is said of a copy.
    """
    name = os.fspath(path) if name is None else name
    with open_pass(path, limits, name) as reading:
        first = next(reading.frames(), None)
        if first is None:
            raise reading.error("no frame of it can be decoded; copy or download it again")
        height, width = reading.picture(first).shape[:2]
        digest, size = _hash(reading.file)
        info = ClipInfo(
            path=name,
            sha256=digest,
            bytes=size,
            width=width,
            height=height,
            format=reading.format(),
            duration_s=_duration(reading.container, reading.stream),
        )
    return Clip(info, limits, path)


def _hash(file: IO[bytes]) -> tuple[str, int]:
    file.seek(0)
    digest = hashlib.sha256()
    while block := file.read(2**20):
        digest.update(block)
    return digest.hexdigest(), file.tell()


def _duration(container: InputContainer, stream: VideoStream) -> float | None:
    seconds = Fraction(container.duration or 0, av.time_base)
    if stream.duration and stream.time_base:
        seconds = stream.duration * stream.time_base
    return float(seconds) if seconds > 0 else None
