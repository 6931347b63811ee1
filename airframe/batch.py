"""Many stills and clips: find them, open them ahead, answer them, write records as they come."""

from __future__ import annotations

import csv
import glob
import json
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from airframe.clips import clip_records
from airframe.looking import BoxError
from airframe.predictor import Predictor, Settings
from airframe.record import answer_record, columns, failure_record, flatten
from data.images import IMAGE_SUFFIXES, UNREADABLE_SUFFIXES, Still, StillError, open_still
from data.images.file import plain
from data.sampling import EVERY_SECOND, Sampling
from data.video import VIDEO_SUFFIXES, is_clip, open_clip

Found = tuple[str, StillError | None]


def find_files(inputs: Iterable[str]) -> Iterator[Found]:
    """Every file that the inputs name, each once, in order: `(path, None)`.

    An input is a file, a folder (walked to its depths, names in order, links to folders not
    followed) or a glob. What names nothing comes as `(input, StillError)`, so that it is reported
    with the rest. In folders only stills and clips are picked up, unreadable formats among them; a
    file that is named itself is always tried.
    """
    seen: set[str] = set()
    for given in inputs:
        for path, error in _expand(given):
            if path not in seen:
                seen.add(path)
                yield path, error


def _expand(given: str) -> Iterator[Found]:
    if os.path.isdir(given):
        found = sorted(_walk(given))
        if not found:
            message = f"{given}: the folder holds no picture and no clip; give one with JPEG or MP4"
            yield given, StillError("empty", message)
        yield from ((path, None) for path in found)
    elif not os.path.lexists(given) and glob.has_magic(given):
        matches = sorted(glob.glob(given, recursive=True))
        if not matches:
            yield given, StillError("missing", f"{given}: the pattern matches no file")
        for match in matches:
            yield from _expand(match)
    else:
        # A missing file is the opener's to report: it may also vanish between now and then.
        yield given, None


def _walk(folder: str) -> Iterator[str]:
    for place, _, names in os.walk(folder):
        for name in names:
            if Path(name).suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES | UNREADABLE_SUFFIXES:
                yield os.path.join(place, name)


@dataclass(frozen=True)
class Task:
    """How files are answered. `box` is a user's own, in pixels, for the one still there is."""

    settings: Settings
    batch_size: int = 8
    sampling: Sampling = EVERY_SECOND
    box: Sequence[float] | None = None


def answer_all(
    found: Sequence[Found],
    predictor: Predictor,
    task: Task,
    on_file: Callable[[str], None] = lambda path: None,
    warn: Callable[[str], None] = lambda line: None,
) -> Generator[dict[str, Any], None, None]:
    """The records of the found files, in order: of a still one an aircraft, of a clip those of
    `airframe.clips`. Nothing that a file holds stops the rest.

    The next stills are opened while the network answers the present ones. `on_file` is called
    when a file is done, `warn` with one line where a clip gave less than it holds.
    """
    parts = list(_parts(found, task.batch_size))
    with ThreadPoolExecutor(max_workers=2) as pool:
        waiting: list[Future[Still | StillError]] = []
        for number, part in enumerate(parts):
            clip = _clip_of(part)
            opened = waiting or [pool.submit(_open, item) for item in part if not clip]
            following = parts[number + 1] if number + 1 < len(parts) else []
            waiting = [] if _clip_of(following) else [pool.submit(_open, i) for i in following]
            if clip:
                yield from _answer_clip(clip, predictor, task, warn)
            else:
                results = [future.result() for future in opened]
                yield from _answer_batch([path for path, _ in part], results, predictor, task)
            for path, _ in part:
                on_file(path)


def _parts(found: Sequence[Found], size: int) -> Iterator[list[Found]]:
    """The files in batches of stills; a clip is a batch of its own."""
    batch: list[Found] = []
    for path, error in found:
        clip = error is None and is_clip(path)
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
    if len(part) == 1 and part[0][1] is None and is_clip(part[0][0]):
        return part[0][0]
    return None


def _open(item: Found) -> Still | StillError:
    path, error = item
    if error is not None:
        return error
    try:
        return open_still(path)
    except StillError as caught:
        return caught


def _answer_clip(
    path: str, predictor: Predictor, task: Task, warn: Callable[[str], None]
) -> Iterator[dict[str, Any]]:
    """Records made before a fault stay; the fault has a record of its own."""
    settings = task.settings
    try:
        clip = open_clip(path)
        yield from clip_records(clip, predictor, settings, task.sampling, task.batch_size)
        if clip.damage:
            warn(f"{plain(path)}: {clip.damage}; what could be read is answered")
    except StillError as error:
        yield failure_record(path, error, predictor, settings)
    except Exception as error:
        yield failure_record(path, _inference_error(path, error), predictor, settings)


def _answer_batch(
    paths: Sequence[str],
    results: Sequence[Still | StillError],
    predictor: Predictor,
    task: Task,
) -> Iterator[dict[str, Any]]:
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
        answer = result if isinstance(result, StillError) else next(answers)
        if isinstance(answer, StillError):
            yield failure_record(path, answer, predictor, settings)
        else:
            assert isinstance(result, Still)
            for one in answer:
                yield answer_record(result, one, predictor, settings)


def _alone(still: Still, predictor: Predictor, task: Task) -> Any:
    try:
        return predictor.predict([still], task.settings, task.box)[0]
    except Exception as error:
        return _inference_error(still.path, error)


def _inference_error(path: str, error: Exception) -> StillError:
    first = str(error).splitlines()[0] if str(error) else type(error).__name__
    return StillError("inference_error", f"{plain(path)}: the network failed on it: {first}")


class RecordWriter:
    """Writes records to an open text file, as JSONL or CSV, each line whole when it is written."""

    def __init__(self, file: IO[str], *, as_csv: bool) -> None:
        self._file = file
        self._csv = csv.DictWriter(file, columns(), lineterminator="\n") if as_csv else None
        if self._csv:
            self._csv.writeheader()

    def write(self, record: dict[str, Any]) -> None:
        if self._csv:
            self._csv.writerow(flatten(record))
        else:
            self._file.write(json.dumps(record, ensure_ascii=False) + "\n")
        self._file.flush()
