"""Many files: find them, open them ahead, answer in batches, write records as they are made."""

from __future__ import annotations

import csv
import glob
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

from airframe.predictor import Predictor, Settings
from airframe.record import answer_record, columns, failure_record, flatten
from data.images import IMAGE_SUFFIXES, UNREADABLE_SUFFIXES, Still, StillError, open_still

Found = tuple[str, StillError | None]


def find_stills(inputs: Iterable[str]) -> Iterator[Found]:
    """Every file that the inputs name, each once, in order: `(path, None)`.

    An input is a file, a folder (walked to its depths, names in order, links to folders not
    followed) or a glob. What names nothing comes as `(input, StillError)`, so that it is reported
    with the rest. In folders only pictures are picked up, unreadable formats among them; a file
    that is named itself is always tried.
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
            message = f"{given}: the folder holds no picture; give one with JPEG, PNG, WebP or TIFF"
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
            if Path(name).suffix.lower() in IMAGE_SUFFIXES | UNREADABLE_SUFFIXES:
                yield os.path.join(place, name)


def answer_all(
    found: Sequence[Found], predictor: Predictor, settings: Settings, batch_size: int
) -> Iterator[dict[str, Any]]:
    """One record for each found file, in order. Nothing that a file holds stops the rest.

    The next batch is opened while the network answers the present one.
    """
    batches = [found[i : i + batch_size] for i in range(0, len(found), batch_size)]
    with ThreadPoolExecutor(max_workers=2) as pool:
        waiting: list[Future[Still | StillError]] = []
        for number, batch in enumerate(batches):
            opened = waiting or [pool.submit(_open, item) for item in batch]
            following = batches[number + 1] if number + 1 < len(batches) else []
            waiting = [pool.submit(_open, item) for item in following]
            results = [future.result() for future in opened]
            yield from _answer_batch([path for path, _ in batch], results, predictor, settings)


def _open(item: Found) -> Still | StillError:
    path, error = item
    if error is not None:
        return error
    try:
        return open_still(path)
    except StillError as caught:
        return caught


def _answer_batch(
    paths: Sequence[str],
    results: Sequence[Still | StillError],
    predictor: Predictor,
    settings: Settings,
) -> Iterator[dict[str, Any]]:
    stills = [result for result in results if isinstance(result, Still)]
    try:
        answers: Iterator[Any] = iter(predictor.predict(stills, settings))
    except Exception:
        # One picture that the network cannot take must not cost the others their answers.
        answers = (_alone(still, predictor, settings) for still in stills)
    for path, result in zip(paths, results, strict=True):
        answer = result if isinstance(result, StillError) else next(answers)
        if isinstance(answer, StillError):
            yield failure_record(path, answer, predictor, settings)
        else:
            assert isinstance(result, Still)
            yield answer_record(result, answer, predictor, settings)


def _alone(still: Still, predictor: Predictor, settings: Settings) -> Any:
    try:
        return predictor.predict([still], settings)[0]
    except Exception as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        return StillError("inference_error", f"{still.path}: the network failed on it: {first}")


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
