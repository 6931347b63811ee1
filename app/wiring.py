"""What happens on the page: each event asks `app.answers` and hands HTML to the parts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from app import about, markup, table, texts
from app.limits import PageLimits
from app.review import ReviewError, Reviews
from data.images import StillError
from data.taxonomy import Taxonomy
from data.theatre import THEATRES, TheatreError, load_theatre, parse_day

if TYPE_CHECKING:
    from app.answers import Answers

REFRESH_S = 0.5  # between two looks at a case that fills
CLOCK_S = 1.0


@dataclass(frozen=True)
class Parts:
    """The components that events are heard from and shown in."""

    page: gr.Blocks
    status: gr.HTML
    about: gr.HTML
    upload: gr.File
    progress: gr.HTML
    stop: gr.Button
    stage: gr.HTML
    example: gr.HTML
    table: gr.HTML
    answer: gr.HTML
    keeping: gr.Column
    confirm: gr.Button
    empty: gr.Button
    aside: gr.Button
    node: gr.Dropdown
    correct: gr.Button
    told: gr.HTML
    saves: dict[str, gr.Button]
    saved: gr.HTML
    clear: gr.Button
    record: gr.JSON
    theatre: gr.Dropdown
    day: gr.Textbox
    prior: gr.Checkbox
    plot: gr.HTML
    manifest: gr.Button
    exported: gr.HTML


@dataclass
class Session:
    """One visitor's case, made when the model is there. Changed in place, so that what is done
    stays when the rest is cancelled."""

    case: Any = field(default=None)


def wire(
    parts: Parts,
    model: Future[Answers],
    examples: Sequence[Path],
    limits: PageLimits,
    reviews: Path,
) -> None:
    """Connect every part of the page."""
    session = gr.State(Session())
    shown = [parts.answer, parts.stage, parts.record, parts.table, parts.keeping, parts.told]
    filling = [*shown, parts.progress, parts.stop, parts.upload]
    desk = _Desk(model, examples, limits, Reviews(reviews, Taxonomy.load()))
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    # A long batch must not lock others out: the predictor itself takes one at a time, by steps.
    many: dict[str, Any] = {"trigger_mode": "multiple", "concurrency_id": "answering"}
    files = parts.upload.upload(
        desk.on_files,
        [parts.upload, session],
        filling,
        preprocess=False,
        show_progress="hidden",
        api_name="answer",
        **many,
    )
    picked = parts.example.pick(desk.on_example, session, filling, **quiet, **many)
    for part in (parts.answer, parts.stage, parts.table):
        part.pick(desk.on_pick, session, shown, **quiet)
    parts.stage.draw(desk.on_draw, session, shown, **quiet)
    ended: dict[str, Any] = {"cancels": [files, picked], "queue": False, **quiet}
    parts.stop.click(desk.on_stop, session, filling, **ended)
    parts.clear.click(desk.on_clear, session, filling, **ended)
    asked = [session, parts.theatre, parts.day, parts.prior]
    told = [*shown, parts.progress]
    for heard in (parts.theatre.input, parts.day.submit, parts.prior.input):
        heard(desk.on_theatre, asked, told, **quiet, concurrency_id="answering")
    for how, button in parts.saves.items():
        button.click(desk.saver(how), session, parts.saved, **quiet)
    kept = [parts.told, parts.plot]
    parts.confirm.click(desk.reviewer("confirmed"), session, kept, **quiet)
    parts.empty.click(desk.reviewer("no aircraft"), session, kept, **quiet)
    parts.aside.click(desk.reviewer("set aside"), session, kept, **quiet)
    parts.correct.click(desk.reviewer("corrected"), [session, parts.node], kept, **quiet)
    parts.manifest.click(desk.on_manifest, None, [parts.exported, parts.saved], **quiet)
    parts.page.load(
        desk.on_load, None, [parts.status, parts.about, parts.plot], concurrency_limit=None, **quiet
    )


def theatres() -> list[str]:
    """The theatres that can be asked about; only these: a path comes from no visitor."""
    return sorted(path.stem for path in THEATRES.glob("*.yaml"))


@dataclass(frozen=True)
class _Desk:
    """The handlers, with what they all need."""

    model: Future[Answers]
    examples: Sequence[Path]
    limits: PageLimits
    reviews: Reviews

    def on_load(self) -> tuple[str, str, str]:
        """Waits for the model; says what it is, or why there is none."""
        try:
            answers = self.model.result()
        except Exception as error:
            return markup.loading_html(str(error)), "", ""
        model = answers.describe()
        return markup.ready_html(model), answers.about_html(), self._plot()

    def on_files(self, given: Any, session: Session) -> Iterator[tuple[Any, ...]]:
        """Answer what was dropped, and show it as it comes."""
        # gr.File would hand over a path whose name has lost signs; its raw value has both.
        from app.answers import upload_name

        files = given if isinstance(given, list) else [given]
        yield from self._fill([(f["path"], upload_name(f)) for f in files if f], session)

    def on_example(self, session: Session, event: gr.EventData) -> Iterator[tuple[Any, ...]]:
        """Answer the example that was picked."""
        index = _index(event, len(self.examples))
        if index is not None:
            path = self.examples[index]
            yield from self._fill([(str(path), path.name)], session)

    def _fill(
        self, files: Sequence[tuple[str, str]], session: Session
    ) -> Iterator[tuple[Any, ...]]:
        """Answer files one after the other. Each is shown soon, but not each redraws the table."""
        if not files:
            yield (gr.skip(),) * 9
            return
        if not self.model.done():
            yield _busy(files[0][1], texts.LOADING, "")
        answers = self.model.result()
        case = self._case(session)
        room = max(self.limits.max_files - len(case.entries), 0)
        left_out, files = len(files) - len(files[:room]), files[:room]
        first, last, spent = len(case.entries), 0.0, 0.0
        for done, (path, name) in enumerate(files):
            case.waiting = len(files) - done
            now = table.progress_html(done, len(files), spent, name) if len(files) > 1 else ""
            if done == 0:
                yield _busy(name, "Looking for aircraft", now)
            entry = None
            for entry in answers.entry(path, name, case.settings):
                if time.monotonic() - last > CLOCK_S and entry.records[-1]["source"]["frame"]:
                    last = time.monotonic()
                    at = texts.clock(entry.records[-1]["source"]["frame"]["time_s"])
                    now = table.progress_html(done, len(files), spent, name, f"{at} into it")
                    yield (*[gr.skip()] * 6, now, gr.Button(visible=True), gr.skip())
            assert entry is not None
            case.entries.append(entry)
            case.waiting = len(files) - done - 1
            spent += entry.seconds
            if done == 0:
                case.choose("entry", len(case.entries) - 1)
                yield (*self._show(session), now, gr.Button(visible=len(files) > 1), None)
            elif time.monotonic() - last > REFRESH_S and case.waiting:
                last = time.monotonic()
                now = table.progress_html(done + 1, len(files), spent, name)
                yield (*[gr.skip()] * 3, self._table(case), *[gr.skip()] * 2, now, *[gr.skip()] * 2)
        note = table.done_html(case.entries[first:]) if len(files) > 1 else ""
        if left_out:
            note += f'<p class="af-small" role="alert">{escape(texts.too_many(left_out))}</p>'
        yield (*self._show(session), note, gr.Button(visible=False), None)

    def on_stop(self, session: Session) -> tuple[Any, ...]:
        """What is done stays; what was waiting is told."""
        case = self._case(session)
        note = table.done_html(case.entries, case.waiting)
        case.waiting = 0
        return *self._show(session), note, gr.Button(visible=False), None

    def on_clear(self, session: Session) -> tuple[Any, ...]:
        """Forget the files. The theatre stays, as its controls show it."""
        from app.case import Case

        session.case = Case(settings=self._case(session).settings)
        return *self._show(session), "", gr.Button(visible=False), None

    def on_pick(self, session: Session, event: gr.EventData) -> tuple[Any, ...]:
        """Show another file, aircraft or frame, or the map."""
        index = _index(event)
        if index is not None:
            self._case(session).choose(str(event._data.get("what")), index)
        return self._show(session)

    def on_draw(self, session: Session, event: gr.EventData) -> tuple[Any, ...]:
        """Answer the box that was drawn on the picture that is shown, given in shares of it."""
        case, shares = self._case(session), event._data.get("box")
        if case.entry is None or case.record["failure"] or not _shares(shares):
            return self._show(session)
        try:
            case.redraw(self.model.result(), shares)
        except (StillError, ValueError) as error:
            return (*self._show(session)[:-1], _told(str(error), True))
        return self._show(session)

    def on_theatre(
        self, session: Session, theatre: str | None, day: str, prior: bool
    ) -> Iterator[tuple[Any, ...]]:
        """Say of every answer what a theatre's sources say of its type, on a day or ever; with
        `prior` also what its inventories would make of the answer, which answers all again."""
        from airframe.predictor import Settings

        case, answers = self._case(session), self.model.result()
        try:
            where = load_theatre(theatre) if theatre in theatres() else None
            when = parse_day(day.strip()) if where and day.strip() else None
            case.settings = Settings(theatre=where, day=when, theatre_prior=prior and bool(where))
        except TheatreError as error:
            yield (*self._show(session)[:-1], _told(str(error), True), "")
            return
        lost, started, many = [], time.monotonic(), len(case.entries)
        for done, entry in enumerate(list(case.entries)):
            if not case.settings.theatre_prior:
                entry.records = [answers.under(record, case.settings) for record in entry.records]
                continue
            spent = time.monotonic() - started
            yield (*[gr.skip()] * 6, table.progress_html(done, many, spent, entry.name))
            try:
                answers.renew(entry, case.settings)
            except StillError as error:
                lost.append(str(error))
        said = _told(texts.not_again(len(lost), lost[0]), True) if lost else ""
        yield (*self._show(session)[:-1], said, "")

    def saver(self, how: str) -> Callable[[Session], list[Any]]:
        """A handler that makes the case's export."""

        def save(session: Session) -> list[Any]:
            from app.case import saved

            return _file(*saved(self._case(session), self.model.result(), how))

        return save

    def reviewer(self, verdict: str) -> Callable[..., tuple[str, str]]:
        """A handler that keeps a review of the answer that is shown."""

        def keep(session: Session, node: str | None = None) -> tuple[str, str]:
            from app.case import reviewed

            case = self._case(session)
            if case.record is None or case.record["failure"]:
                return _told("there is no answer to review", True), self._plot()
            try:
                record, picture, suffix = reviewed(case, self.model.result())
                self.reviews.keep(record, verdict, node, picture, suffix)
            except (ReviewError, StillError) as error:
                return _told(str(error), True), self._plot()
            return _told(
                f"{verdict.capitalize()}, and kept in {self.reviews.folder}."
            ), self._plot()

        return keep

    def on_manifest(self) -> tuple[str, Any]:
        """Write the manifest beside the pictures, and hand it out."""
        try:
            text = self.reviews.manifest()
        except ReviewError as error:
            return _told(str(error), True), gr.skip()
        from app.review import MANIFEST

        said = texts.exported(str(self.reviews.folder / MANIFEST))
        return _told(said), _file(MANIFEST, "text/csv", text)

    def _plot(self) -> str:
        try:
            bins, denials = self.reviews.bins(), self.reviews.denials()
        except ReviewError as error:
            return _told(str(error), True)
        return about.reliability_html(bins, sum(one.n for one in bins), denials)

    def _case(self, session: Session) -> Any:
        from app.case import Case

        if session.case is None:
            session.case = Case()
        return session.case

    def _table(self, case: Any) -> str:
        return table.table_html(case.entries, case.chosen)

    def _show(self, session: Session) -> tuple[Any, ...]:
        """Answer, picture, record, table, what can be done with it, and no message."""
        from app.case import answer_panel, picture_panel

        case = self._case(session)
        answers = self.model.result()
        entry = case.entry
        records = entry.records if entry else []
        return (
            answer_panel(case, answers),
            picture_panel(case, answers),
            records[0] if len(records) == 1 else records or None,
            self._table(case),
            gr.Column(visible=entry is not None),
            "",
        )


def _busy(name: str, said: str, now: str) -> tuple[Any, ...]:
    """The last answer must not stand uncovered beside a new file's name."""
    card = markup.busy_html(name, said)
    return card, "", None, gr.skip(), gr.Column(visible=False), "", now, gr.skip(), None


def _file(name: str, kind: str, text: str) -> list[Any]:
    """What scripts/save.js offers as a file. The time makes a second click a change too."""
    return [name, kind, text, time.time()]


def _told(said: str, wrong: bool = False) -> str:
    role = "alert" if wrong else "status"
    return f'<p class="af-told{" af-broken" if wrong else ""}" role="{role}">{escape(said)}</p>'


def _index(event: gr.EventData, most: int | None = None) -> int | None:
    """The position that the browser sent, where it is one."""
    data = event._data if isinstance(event._data, dict) else {}
    index = data.get("index")
    good = isinstance(index, int) and index >= 0 and (most is None or index < most)
    return index if good else None


def _shares(box: Any) -> bool:
    """Whether the browser sent a box in shares of the picture."""
    numbers = (
        isinstance(box, list)
        and len(box) == 4
        and all(isinstance(v, int | float) and 0 <= v <= 1 for v in box)
    )
    return numbers and box[0] < box[2] and box[1] < box[3]
