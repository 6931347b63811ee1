"""Many stills and clips: find them, open them ahead, answer them, write records as they come."""

from __future__ import annotations

import csv
import glob
import hashlib
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain
from pathlib import Path, PurePath
from typing import IO, Any

from airframe.clips import boxed_record, clip_records
from airframe.looking import BoxError
from airframe.predictor import Predictor, Settings
from airframe.record import Record, answer_record, columns, csv_row, failure_record, json_line
from data.container import ClipLimits
from data.images import IMAGE_SUFFIXES, UNREADABLE_SUFFIXES, Limits, Still, StillError, open_bytes
from data.images.file import hash_file, plain
from data.remote import at_hand, is_url, list_url, read_any
from data.sampling import EVERY_SECOND, Sampling
from data.video import VIDEO_SUFFIXES, is_clip, open_clip

Found = tuple[str, StillError | None]

_WANTED = IMAGE_SUFFIXES | VIDEO_SUFFIXES | UNREADABLE_SUFFIXES  # picked up in folders
_CLIP = Limits(max_bytes=ClipLimits().max_bytes)


def find_files(inputs: Iterable[str]) -> Iterator[Found]:
    """Every file that the inputs name, each once, in order: `(path, None)`.

    An input is a file, a folder (walked to its depths, names in order, links to folders not
    followed), a glob, or a URL of one of these (see `data.remote`; raises UrlError). What names
    nothing comes as `(input, StillError)`, so that it is reported with the rest. In folders only
    stills and clips are picked up, unreadable formats among them; a file that is named itself is
    always tried.
    """
    seen: set[str] = set()
    for given in inputs:
        for path, error in _expand(given):
            if path not in seen:
                seen.add(path)
                yield path, error


def _expand(given: str) -> Iterator[Found]:
    if is_url(given):
        listed = list_url(given, _WANTED)
        if listed is not None and not listed:
            message = "no picture and no clip is there; give a folder or pattern with JPEG or MP4"
            yield given, StillError("empty", f"{plain(given)}: {message}")
        yield from ((path, None) for path in ([given] if listed is None else listed))
    elif os.path.isdir(given):
        closed: list[Found] = []
        found = sorted(_walk(given, closed))
        if not found and not closed:
            message = "the folder holds no picture and no clip; give one with JPEG or MP4"
            yield given, StillError("empty", f"{plain(given)}: {message}")
        yield from ((path, None) for path in found)
        yield from closed
    elif not os.path.lexists(given) and glob.has_magic(given):
        matches = sorted(glob.glob(given, recursive=True))
        if not matches:
            yield given, StillError("missing", f"{plain(given)}: the pattern matches no file")
        for match in matches:
            yield from _expand(match)
    else:
        # A missing file is the opener's to report: it may also vanish between now and then.
        yield given, None


def _walk(folder: str, closed: list[Found]) -> Iterator[str]:
    """The pictures and clips in a folder; folders that cannot be opened are left in `closed`."""

    def refuse(error: OSError) -> None:
        place = os.fspath(error.filename)
        message = f"{plain(place)}: the folder cannot be opened ({error.strerror}); check it"
        closed.append((place, StillError("missing", message)))

    for place, _, names in os.walk(folder, onerror=refuse):
        for name in names:
            if Path(name).suffix.lower() in _WANTED:
                yield os.path.join(place, name)


@dataclass(frozen=True)
class Task:
    """How files are answered. `box` is a user's own, in pixels, for the one still there is or for
    that frame of the one clip which the settings name."""

    settings: Settings
    batch_size: int = 8
    sampling: Sampling = EVERY_SECOND
    box: Sequence[float] | None = None

    def __post_init__(self) -> None:
        # One fingerprint stands for all that decides an answer.
        x0, y0, x1, y1 = self.box or (0.0,) * 4
        box = (x0, y0, x1, y1) if self.box else None
        whole = replace(self.settings, sampling=self.sampling, box=box)
        object.__setattr__(self, "settings", whole)


class Known:
    """What is answered already; of this kind, nothing is. `airframe.journal` knows more.

    `knows` is asked from several threads.
    """

    def knows(self, path: str, sha256: str) -> bool:
        """Whether a file of that name and content need not be answered again."""
        return False

    def recall(self, path: str, sha256: str) -> Iterator[Record]:
        """The records of a known content that are still to be written for `path`."""
        return iter(())

    def contents(self) -> Known:
        """What `knows` answers from, by itself, fit to be sent to another machine."""
        return self


@dataclass(frozen=True)
class _Failed:
    """A still that could not be opened, and its file's SHA-256 and size where it could be read."""

    error: StillError
    sha256: str | None = None
    size: int | None = None


@dataclass(frozen=True)
class _Recalled:
    sha256: str


_Opened = Still | _Failed | _Recalled


def answer_all(
    found: Iterable[Found],
    predictor: Predictor,
    task: Task,
    on_file: Callable[[str], None] = lambda path: None,
    warn: Callable[[str], None] = lambda line: None,
    known: Known | None = None,
) -> Generator[Record, None, None]:
    """The records of the found files, in order: of a still one an aircraft, of a clip those of
    `airframe.clips`. Nothing that a file holds stops the rest.

    The next stills are opened while the network answers the present ones. `on_file` is called
    when a file's last record is out, `warn` with one line where a clip gave less than it holds.
    What is `known` is recalled in place of being answered.
    """
    known = known or Known()
    with ThreadPoolExecutor(max_workers=2) as pool:
        part: list[Found] = []
        opened: list[Future[_Opened]] = []
        for following in chain(_parts(found, task.batch_size), ([],)):
            clip = _clip_of(following)
            waiting = [pool.submit(_open, item, known) for item in following if not clip]
            for path, records in _answers(part, opened, predictor, task, warn, known):
                yield from records
                on_file(path)
            part, opened = following, waiting


def _answers(
    part: Sequence[Found],
    opened: Sequence[Future[_Opened]],
    predictor: Predictor,
    task: Task,
    warn: Callable[[str], None],
    known: Known,
) -> Iterator[tuple[str, Iterable[Record]]]:
    if clip := _clip_of(part):
        yield clip, _answer_clip(clip, predictor, task, warn, known)
    elif part:
        results = [future.result() for future in opened]
        yield from _answer_batch([path for path, _ in part], results, predictor, task, known)


def _parts(found: Iterable[Found], size: int) -> Iterator[list[Found]]:
    """The files in batches of stills; a clip is a batch of its own."""
    batch: list[Found] = []
    for path, error in found:
        clip = error is None and _is_clip(path)
        if batch and (clip or len(batch) == size):
            yield batch
            batch = []
        if clip:
            yield [(path, None)]
        else:
            batch.append((path, error))
    if batch:
        yield batch


def _clip_of(part: Sequence[Found]) -> str | None:
    if len(part) == 1 and part[0][1] is None and _is_clip(part[0][0]):
        return part[0][0]
    return None


def _is_clip(path: str) -> bool:
    return _url_is_clip(path) if is_url(path) else is_clip(path)


@lru_cache(maxsize=16)
def _url_is_clip(url: str) -> bool:
    """As `is_clip`: of a GIF the file has to say it, which is fetched for that."""
    if PurePath(url).suffix.lower() != ".gif":
        return is_clip(url)
    try:
        with at_hand(url, _CLIP) as place:
            return is_clip(place)
    except StillError as error:
        return error.code == "missing"


def _open(item: Found, known: Known) -> _Opened:
    path, error = item
    if error is not None:
        return _Failed(error)
    sha256, size = None, None
    try:
        data = read_any(path, Limits())
        sha256, size = hashlib.sha256(data).hexdigest(), len(data)
        if known.knows(path, sha256):
            return _Recalled(sha256)
        still = open_bytes(data, path)
        _ = still.perceptual_hash  # here, beside the network's work, and not in its way
        return still
    except StillError as caught:
        return _Failed(caught, sha256, size)
    except Exception as caught:
        # Whatever a hostile file makes a library do, it costs that file alone.
        said = f"{plain(path)}: opening it failed: {_first_line(caught)}; save it again as JPEG"
        return _Failed(StillError("not_an_image", said), sha256, size)


def _answer_clip(
    path: str, predictor: Predictor, task: Task, warn: Callable[[str], None], known: Known
) -> Iterator[Record]:
    try:
        with at_hand(path, _CLIP) as place:
            yield from _clip_answers(place, path, predictor, task, warn, known)
    except StillError as fault:  # of a URL that cannot be fetched
        yield failure_record(path, fault, predictor, task.settings)


def _clip_answers(
    place: str,
    path: str,
    predictor: Predictor,
    task: Task,
    warn: Callable[[str], None],
    known: Known,
) -> Iterator[Record]:
    """The records of the clip that lies at `place` and is called `path`. Those made before a fault
    stay; the fault has a record of its own."""
    settings = task.settings
    try:
        clip = open_clip(place, name=path)
    except Exception as error:
        sha256, size = _identity(place)
        fault = error if isinstance(error, StillError) else _inference_error(path, error)
        yield failure_record(path, fault, predictor, settings, sha256=sha256, size=size)
        return
    sha256, size = clip.info.sha256, clip.info.bytes
    if known.knows(path, sha256):
        yield from known.recall(path, sha256)
        return
    try:
        if settings.frame is not None and settings.box is not None:
            yield boxed_record(clip, predictor, settings, settings.frame, settings.box)
            return
        yield from clip_records(clip, predictor, settings, task.sampling, task.batch_size)
        if clip.damage:
            warn(f"{plain(path)}: {clip.damage}; what could be read is answered")
    except Exception as error:
        fault = error if isinstance(error, StillError) else _inference_error(path, error)
        yield failure_record(path, fault, predictor, settings, sha256=sha256, size=size)


def _identity(path: str) -> tuple[str, int] | tuple[None, None]:
    try:
        return hash_file(path, _CLIP)
    except StillError:
        return None, None


def _answer_batch(
    paths: Sequence[str],
    results: Sequence[_Opened],
    predictor: Predictor,
    task: Task,
    known: Known,
) -> Iterator[tuple[str, Iterable[Record]]]:
    stills = [result for result in results if isinstance(result, Still)]
    settings = task.settings
    try:
        answers: Iterator[Any] = iter(predictor.predict(stills, settings, task.box))
    except BoxError:
        raise
    except Exception:
        # One picture that the network cannot take must not cost the others their answers.
        answers = (_alone(still, predictor, task) for still in stills)
    for path, result in zip(paths, results, strict=True):
        if isinstance(result, _Recalled):
            yield path, known.recall(path, result.sha256)
            continue
        if isinstance(result, Still):
            answer = next(answers)
            if not isinstance(answer, StillError):
                yield path, [answer_record(result, one, predictor, settings) for one in answer]
                continue
            result = _Failed(answer, result.sha256, result.bytes)
        sha256, size = result.sha256, result.size
        failed = failure_record(path, result.error, predictor, settings, sha256=sha256, size=size)
        yield path, [failed]


def _alone(still: Still, predictor: Predictor, task: Task) -> Any:
    try:
        return predictor.predict([still], task.settings, task.box)[0]
    except Exception as error:
        return _inference_error(still.path, error)


def _inference_error(path: str, error: Exception) -> StillError:
    message = f"{plain(path)}: the network failed on it: {_first_line(error)}"
    return StillError("inference_error", message)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


class RecordWriter:
    """Writes records to an open text file, as JSONL or CSV, each line whole when it is written."""

    def __init__(self, file: IO[str], *, as_csv: bool) -> None:
        self._file = file
        self._csv = csv.DictWriter(file, columns(), lineterminator="\n") if as_csv else None
        if self._csv:
            self._csv.writeheader()

    def write(self, record: Record) -> None:
        if self._csv:
            self._csv.writerow(csv_row(record))
        else:
            self._file.write(json_line(record))
        self._file.flush()
