"""What one visitor has asked, and what of it is shown now, by what was picked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from airframe.predictor import Settings
from app import export, pictures, texts, words
from app.answers import Answers, Entry, MapError
from app.cues import cues_html
from app.flown import operators_html, prior_html
from app.markup import answers_html, waiting_html
from app.timeline import timeline_html
from data.images import StillError
from data.recognition import load_cards

Record = dict[str, Any]


@dataclass
class Case:
    """The files of one visitor, in the order they came. Of the chosen one `which` is the answer
    that is shown, `frame` a clip's frame by index, `heat` whether the map lies over the picture;
    `waiting` files are not looked at yet; `settings` say which theatre and day are asked about."""

    entries: list[Entry] = field(default_factory=list)
    chosen: int = 0
    which: int = 0
    frame: int | None = None
    heat: bool = False
    waiting: int = 0
    settings: Settings = field(default_factory=Settings)

    @property
    def entry(self) -> Entry | None:
        """The file that is shown; None before there is one."""
        return self.entries[self.chosen] if self.entries else None

    @property
    def record(self) -> Record | None:
        """The answer that is shown."""
        return self.entry.answers[self.which] if self.entry else None

    def choose(self, what: str, index: int) -> None:
        """What was picked: an `entry`, an `aircraft` of it, a `frame` of a clip, or the `heat` map.

        What is not there is not chosen: an index comes from the browser.
        """
        entry = self.entry
        if what == "entry" and 0 <= index < len(self.entries):
            self.chosen, self.which, self.frame, self.heat = index, 0, None, False
        elif what == "aircraft" and entry and 0 <= index < len(entry.answers):
            self.which, self.frame, self.heat = index, None, False
        elif what == "box" and entry:
            self._choose_box(index)
        elif what == "frame" and entry and entry.frame(index):
            self.frame, self.heat = index, False
            if self.record and self.record["source"]["frame"]:  # of a box in another frame
                self.which = 0
        elif what == "heat":
            self.heat = bool(index)

    def _choose_box(self, index: int) -> None:
        """The answer that a box in the picture stands for: of a clip that of the same aircraft."""
        records, _ = self.looked_at()
        if not 0 <= index < len(records) or self.entry is None:
            return
        picked, shown = records[index], self.shown_frame()
        for number, answer in enumerate(self.entry.answers):
            followed = answer["track"] and picked["track"]
            if answer is picked or (followed and answer["track"]["id"] == picked["track"]["id"]):
                self.which, self.frame, self.heat = number, shown, False

    def redraw(self, answers: Answers, shares: Sequence[float]) -> None:
        """Answer a box drawn on the picture, and show that. Raises StillError, BoxError."""
        entry = self.entry
        assert entry is not None
        records, which = self.looked_at()
        record = answers.again(entry, shares, records[which], self.settings)
        self.which = next(i for i, one in enumerate(entry.answers) if one is record)
        self.frame, self.heat = None, False

    def looked_at(self) -> tuple[list[Record], int]:
        """The records whose boxes the picture shows, and which of them is the answer's."""
        entry, record = self.entry, self.record
        assert entry is not None
        assert record is not None
        if not entry.clip:
            return entry.answers, self.which
        records = entry.frame(self.shown_frame() or 0) or [record]
        track = record["track"]
        own = [
            i
            for i, r in enumerate(records)
            if r is record or (track and r["track"] and r["track"]["id"] == track["id"])
        ]
        return records, own[0] if own else 0

    def shown_frame(self) -> int | None:
        """The frame of a clip that the picture shows: the picked one, else the loudest."""
        entry, record = self.entry, self.record
        if entry is None or record is None or not entry.clip:
            return None
        if record["source"]["frame"]:
            return int(record["source"]["frame"]["index"])
        carried = record["track"]["carried_by"] if record["track"] else []
        first = next((r["source"]["frame"] for r in entry.records if r["source"]["frame"]), None)
        default = carried[0] if carried else first
        return self.frame if self.frame is not None else (default and default["index"])


def answer_panel(case: Case, answers: Answers) -> str:
    """The answer in words, with a clip's timeline."""
    entry = case.entry
    if entry is None:
        return waiting_html()
    middle = ""
    if entry.clip:
        middle = timeline_html(entry.records, entry.answers, entry.thumbs, case.shown_frame())
    record = entry.answers[case.which]
    after = cues_html(record, load_cards()) + operators_html(record) + prior_html(record)
    return answers_html(entry.answers, answers.scale, case.which, middle, after)


def picture_panel(case: Case, answers: Answers) -> str:
    """The picture with its boxes; empty where there is none, a sentence where it is gone."""
    entry = case.entry
    if entry is None or entry.answers[0]["failure"]:
        return ""
    records, which = case.looked_at()
    source, heat = records[which]["source"], ""
    frame = source["frame"]
    note = words.frame_note(frame) if frame else ""
    try:
        picture = entry.previews.get(case.shown_frame() or 0, "") if entry.clip else ""
        if case.heat or not picture:
            rgb = answers.view(entry, case.shown_frame())
            picture = pictures.jpeg_uri(pictures.shrunk(rgb))
            if case.heat and records[which]["candidates"]:
                heat = answers.heat(entry, rgb, records[which])
    except StillError:
        return f'<p class="af-hint">{texts.GONE}</p>'
    except MapError as error:
        note = str(error)
    return pictures.stage_html(
        picture,
        (source["width"], source["height"]),
        records,
        which,
        entry.name,
        heat=heat,
        editable=frame is not None or not entry.clip,
        note=note,
    )


def saved(case: Case, answers: Answers, how: str) -> tuple[str, str, str]:
    """(file name, media type, text) of the whole case as `jsonl`, `csv` or `html`."""
    records = [record for entry in case.entries for record in entry.records]
    if how == "jsonl":
        return "airframe.jsonl", "application/x-ndjson", export.jsonl(records)
    if how == "csv":
        return "airframe.csv", "text/csv", export.csv(records)
    cases = [(entry.answers, _portrait(entry, answers)) for entry in case.entries]
    return "airframe-report.html", "text/html", export.report_html(cases)


def _portrait(entry: Entry, answers: Answers) -> str:
    """The picture of an entry for a report, its boxes drawn in; "" where there is none."""
    one = Case([entry])
    try:
        rgb = answers.view(entry, one.shown_frame())
    except StillError:
        return ""
    return pictures.jpeg_uri(pictures.boxed(rgb, one.looked_at()[0], (960, 720)), 82)


def reviewed(case: Case, answers: Answers) -> tuple[Record, bytes, str]:
    """(record, picture, suffix) of what a review is about: of a clip the frame that is shown, with
    the clip's answer. Raises StillError where the upload is gone."""
    entry, record = case.entry, case.record
    assert entry is not None
    assert record is not None
    if not entry.clip:
        return record, answers.original(entry), f".{record['source']['format'].lower()}"
    frames, which = case.looked_at()
    shown = frames[which]
    about = {**record, "source": shown["source"], "box": shown["box"]}
    return about, pictures.png_bytes(answers.view(entry, case.shown_frame())), ".png"
