"""From an uploaded file to its records and pictures: the road of infer.py, one file at a time."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import Any

from airframe.batch import Task, answer_all
from airframe.engine import installed
from airframe.operators import operators_of
from airframe.predictor import Predictor, Settings, describe, settings_from
from airframe.record import failure_record
from airframe.sinks import Queue
from app import pictures, texts, words
from app.about import about_html
from app.limits import PageLimits
from app.markup import Scale
from app.pictures import RGB
from data.images import Limits, Still, StillError, open_still
from data.images.file import plain, read_file
from data.video import is_clip, open_clip
from models.card import CheckpointError

Record = dict[str, Any]
KEPT_FRAMES = 6  # of a clip, the loudest; others are decoded again when they are opened


class MapError(Exception):
    """There is no map of what spoke for an answer; one line says why."""


@dataclass
class Entry:
    """One file of a visitor's case. `path` is the upload, which goes after an hour. `previews` and
    `thumbs` show the frames that carried a clip's verdicts, by frame index, as data URIs."""

    name: str
    path: str
    records: list[Record] = field(default_factory=list)
    thumb: str = ""
    previews: dict[int, str] = field(default_factory=dict)
    thumbs: dict[int, str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def clip(self) -> bool:
        """Whether it was answered as a clip: its answers sum up frames."""
        return any(r["track"] or r["source"]["frame"] for r in self.records)

    @property
    def answers(self) -> list[Record]:
        """What a person reads first: the records of a still, of a clip those that sum it up, then
        those of the boxes that a visitor drew on frames of it."""
        found = [record for record in self.records if not words.drawn(record)]
        summed = [record for record in found if not record["source"]["frame"]]
        return [*(summed or found[-1:]), *filter(words.drawn, self.records)]

    def frame(self, index: int) -> list[Record]:
        """The records of one frame of a clip."""
        of = [r for r in self.records if r["source"]["frame"]]
        return [record for record in of if record["source"]["frame"]["index"] == index]


class Answers:
    """A loaded predictor that several visitors may ask at once: it answers one after the other."""

    def __init__(
        self, predictor: Predictor, limits: PageLimits, measured: Mapping[str, Any] | None = None
    ) -> None:
        """`measured` are figures of the test split; without, those that the checkpoint carries."""
        self.predictor = predictor
        self.measured = measured or predictor.checkpoint.metrics
        self.scale = Scale(predictor.checkpoint.taxonomy, len(predictor.classes))
        self._limits, self._lock = limits, Lock()

    def records(
        self,
        path: str,
        name: str,
        settings: Settings,
        box: Sequence[float] | None = None,
        frame: int | None = None,
    ) -> Iterator[Record]:
        """The records of the file at `path` as infer.py makes them, told under its own `name`.

        `box` is a visitor's, in pixels of a still, or of the frame of a clip with that number;
        BoxError where it does not fit.
        """
        queue = Queue()
        for record in self._made(path, Task(replace(settings, frame=frame), box=box)):
            queue.write(record)
            yield from (_told(one, path, name) for one in queue.taken())
        queue.end_file()
        yield from (_told(one, path, name) for one in queue.taken())

    def _made(self, path: str, task: Task) -> Iterator[Record]:
        """The file's records, none of them marked as the last one yet."""
        try:
            self._check_length(path)
        except StillError as error:
            yield failure_record(path, error, self.predictor, task.settings)
            return
        with closing(answer_all([(path, None)], self.predictor, task)) as made:
            while True:
                # Held for a step, not for a file: a long clip lets other visitors' stills through.
                with self._lock:
                    record = next(made, None)
                if record is None:
                    return
                frame = record["source"]["frame"]
                if frame and frame["time_s"] > self._limits.clip_seconds + 1:
                    late = StillError("too_large", f"{path}: {self._too_long('its frames')}")
                    yield failure_record(path, late, self.predictor, task.settings)
                    return
                yield record

    def _check_length(self, path: str) -> None:
        if not is_clip(path):
            return
        seconds = open_clip(path).info.duration_s
        if seconds is not None and seconds > self._limits.clip_seconds:
            raise StillError("too_large", f"{plain(path)}: {self._too_long(f'{seconds:.0f} s')}")

    def _too_long(self, what: str) -> str:
        most = f"{self._limits.clip_seconds:g} s"
        return f"{what}, more than the {most} the page takes; cut it, or ask infer.py"

    def entry(self, path: str, name: str, settings: Settings) -> Iterator[Entry]:
        """The file's entry as it fills: after every record, and at the end with its pictures."""
        started = time.monotonic()
        entry = Entry(name, path)
        for record in self.records(path, name, settings):
            entry.records.append(record)
            yield entry
        self.illustrate(entry)
        entry.seconds = time.monotonic() - started
        yield entry

    def again(
        self, entry: Entry, shares: Sequence[float], shown: Record, settings: Settings
    ) -> Record:
        """Answer a box that a visitor drew on a still, or on a frame of a clip, in shares of it.

        `shown` is the record that the picture was shown for; an older box of theirs is replaced
        where it is that one. Raises StillError where the upload is gone, BoxError for a box that
        the picture does not have.
        """
        source = shown["source"]
        sides = (source["width"], source["height"]) * 2
        box = [round(share * side, 1) for share, side in zip(shares, sides, strict=True)]
        record = self._boxed(entry, box, source["frame"], settings)
        if words.drawn(shown):
            entry.records = [record if one is shown else one for one in entry.records]
        else:
            entry.records.append(record)
        return record

    def _boxed(
        self, entry: Entry, box: Sequence[float], moment: Record | None, settings: Settings
    ) -> Record:
        index = None if moment is None else int(moment["index"])
        (record,) = self.records(entry.path, entry.name, settings, box, index)
        if record["failure"]:
            raise StillError(record["failure"]["code"], record["failure"]["message"])
        return record

    def renew(self, entry: Entry, settings: Settings) -> None:
        """Answer a file again under other settings, the boxes that a visitor drew too.

        Raises StillError, and leaves the entry as it was, where the upload is gone.
        """
        if entry.answers[0]["failure"]:
            entry.records = [self.under(record, settings) for record in entry.records]
            return
        records = list(self.records(entry.path, entry.name, settings))
        failure = records[-1]["failure"]
        if failure and failure["code"] == "missing":
            raise StillError(failure["code"], failure["message"])
        records += [
            self._boxed(entry, record["box"], record["source"]["frame"], settings)
            for record in entry.records
            if words.drawn(record)
        ]
        entry.records = records

    def under(self, record: Record, settings: Settings) -> Record:
        """A record as other settings of theatre and day make it: they leave the rest as it is.

        Not so where the inventories are counted in, which takes what no record holds: `renew`.
        """
        told = None
        if settings.theatre is not None:
            told = operators_of(record, settings.theatre, settings.day)
        no_place = {"theatre": None, "date": None, "theatre_prior": False}
        then = settings_from({**record["run"]["settings"], **no_place})
        asked = {name: getattr(settings, name) for name in ("theatre", "day", "theatre_prior")}
        now = replace(then, **asked)
        sha256, said = self.predictor.fingerprint(now), self.predictor.said(now)
        run = {**record["run"], "settings_sha256": sha256, "settings": said}
        return {**record, "operators": told, "theatre_prior": None, "run": run}

    def illustrate(self, entry: Entry) -> None:
        """The thumbnail of an entry and, of a clip, the frames that carried its verdicts."""
        try:
            if not entry.clip:
                if not entry.answers[0]["failure"]:
                    entry.thumb = pictures.thumb_uri(open_still(entry.path).rgb)
                return
            tracks = [record["track"] for record in entry.answers if record["track"]]
            carried = [moment["index"] for track in tracks for moment in track["carried_by"]]
            for index, rgb in frames_at(entry.path, carried[:KEPT_FRAMES] or [0]):
                entry.previews[index] = pictures.jpeg_uri(pictures.shrunk(rgb))
                entry.thumbs[index] = pictures.thumb_uri(rgb)
            shown = carried[0] if carried else 0
            entry.thumb = entry.thumbs.get(shown, "")
        except StillError:
            entry.thumb = ""  # it has its records; a picture of it is an extra

    def view(self, entry: Entry, frame: int | None = None) -> RGB:
        """The picture (H, W, 3) that an answer is about, a clip's at `frame`.

        Raises StillError, also where the upload has been deleted.
        """
        if not entry.clip:
            return open_still(entry.path).rgb
        for _, rgb in frames_at(entry.path, [frame or 0]):
            return rgb
        raise StillError("unreadable_video", f"{plain(entry.name)}: has no frame {frame}")

    def describe(self) -> dict[str, Any]:
        """The `model` entry of a record."""
        return describe(self.predictor)

    def about_html(self) -> str:
        """The About of this checkpoint."""
        checkpoint = self.predictor.checkpoint
        looks = [
            f"{checkpoint.backbones[look.network]} at the {look.view}, "
            f"{look.spec.width} × {look.spec.height} px"
            for look in checkpoint.looks
        ]
        return about_html(self.describe(), self.measured, looks, self.scale.n_types)

    def original(self, entry: Entry) -> bytes:
        """The bytes of an entry's file, which are those that its record's SHA-256 is of.

        Raises StillError where the upload has been deleted.
        """
        return read_file(entry.path, Limits())

    def heat(self, entry: Entry, rgb: RGB, record: Record) -> str:
        """The map of what spoke for a record's answer, as an overlay for the picture.

        Raises MapError where it cannot be made.
        """
        if not installed("torch"):
            raise MapError(texts.NO_HEAT)
        height, width = rgb.shape[:2]
        still = Still(rgb, entry.name, "", 0, width, height, "", None)
        taxonomy, classes = self.scale.taxonomy, self.predictor.classes
        named = record["answer"]["node"] if record["answer"] else None
        node = named or f"type:{record['candidates'][0]['type']}"
        from airframe.saliency import heat_map  # late: it needs torch, the rest does not

        try:
            with self._lock:
                heat, window = heat_map(
                    self.predictor, still, record["box"], taxonomy.members(node, classes)
                )
        except CheckpointError as error:
            raise MapError(str(error)) from error
        return pictures.heat_uri(heat, window, width, height)


def frames_at(path: str, indices: Sequence[int]) -> Iterator[tuple[int, RGB]]:
    """The frames (H, W, 3) of those indices among those that answers are made from, in order.

    Raises StillError.
    """
    wanted = set(indices)
    frames = open_clip(path).frames()
    for frame in frames:
        if frame.index in wanted:
            yield frame.index, frame.rgb
        if frame.index >= max(wanted):
            return


def _told(record: Record, path: str, name: str) -> Record:
    """The record under the visitor's own name: they do not know the server's folders."""
    given, said = json.dumps(plain(path))[1:-1], json.dumps(plain(name))[1:-1]
    text = json.dumps(record).replace(given, said)
    told: Record = json.loads(text)
    told["source"]["path"] = name
    return told


def upload_name(given: dict[str, Any]) -> str:
    """A file's name where it came from, without folders: gradio's own path has lost signs."""
    return Path(str(given.get("orig_name") or given["path"]).replace("\\", "/")).name or "unnamed"
