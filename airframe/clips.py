"""A clip's records: one for each aircraft in each frame taken, then one that sums each up."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from airframe.calibration import Reals
from airframe.looking import Edges, Sighting
from airframe.predictor import Prediction, Predictor, Settings, Signs
from airframe.record import answer_record, empty_record
from airframe.tracks import Tracker, contributions, effective_frames, pool_logits
from data.images import Still, StillError
from data.sampling import Sampling
from data.video import Clip, Frame

_CARRIED = 5  # frames named as those that carried a verdict


@dataclass
class _Seen:
    """What a summary needs of one aircraft: no pictures, so that memory stays small."""

    moments: list[dict[str, Any]] = field(default_factory=list)
    logits: list[Reals] = field(default_factory=list)
    signs: list[Signs] = field(default_factory=list)
    sighting: Sighting | None = None


def clip_records(
    clip: Clip, predictor: Predictor, settings: Settings, sampling: Sampling, batch_size: int
) -> Iterator[dict[str, Any]]:
    """Records of a clip, as they are made: frames in order, then a summary of each aircraft.

    A summary has no `source.frame`, and `track.frames` says over how many it pools. A clip in
    which nothing was seen ends with a summary that says so. Raises StillError where no frame can
    be read.
    """
    tracker, seen = Tracker(), dict[int, _Seen]()
    taken = 0
    fault: list[StillError] = []
    for frames in _ahead(clip.frames(sampling), batch_size, fault):
        stills = [_still(clip, frame) for frame in frames]
        sighted, outputs, signs = predictor.see(stills)
        logits, places = outputs.logits, [place for mine in sighted for place in mine]
        answers = predictor.judge_all(logits, signs, places, settings)
        start = 0
        for frame, still, mine in zip(frames, stills, sighted, strict=True):
            rows = slice(start, start + len(mine))
            start += len(mine)
            moment = {"index": frame.index, "time_s": round(frame.time_s, 3)}
            numbers = _follow(tracker, taken, still, answers[rows], outputs.features[rows])
            taken += 1
            for i, number in enumerate(numbers, rows.start):
                answer = answers[i]
                if number is not None:
                    what = seen.setdefault(number, _Seen())
                    _remember(what, moment, answer, logits[i], signs[i : i + 1])
                track = None if number is None else {"id": number}
                yield answer_record(still, answer, predictor, settings, frame=moment, track=track)
    damage = f" The clip is damaged: {clip.damage}." if clip.damage else ""
    for number, what in sorted(seen.items()):
        yield _summary(_still(clip, None), number, what, predictor, settings, damage)
    if taken and not seen:
        said = f"No aircraft was located in any of {taken} frame(s) looked at.{damage}"
        yield empty_record(_still(clip, None), said, predictor, settings)
    if fault:
        raise fault[0]


def boxed_record(
    clip: Clip, predictor: Predictor, settings: Settings, index: int, box: Edges
) -> dict[str, Any]:
    """The record of a user's box in frame number `index` of a clip, by itself: it belongs to no
    aircraft that was followed. Raises StillError where the clip has no such frame, BoxError for a
    box outside it.
    """
    frame = clip.frame(index)
    still = _still(clip, frame)
    [[answer]] = predictor.predict([still], settings, box)
    moment = {"index": index, "time_s": round(frame.time_s, 3)}
    return answer_record(still, answer, predictor, settings, frame=moment)


def _ahead(frames: Iterator[Frame], size: int, fault: list[StillError]) -> Iterator[list[Frame]]:
    """Frames in batches, the next one decoded while the network answers the present one.

    A fault on the way ends them, and is left in `fault`: what came before it is still handed out.
    """

    def batch() -> list[Frame]:
        taken: list[Frame] = []
        try:
            while not fault and len(taken) < size:
                taken.append(next(frames))
        except StopIteration:
            pass
        except StillError as error:
            fault.append(error)
        return taken

    with ThreadPoolExecutor(max_workers=1) as pool_:
        waiting = pool_.submit(batch)
        while ready := waiting.result():
            waiting = pool_.submit(batch)
            yield ready


def _still(clip: Clip, frame: Frame | None) -> Still:
    """A frame as the predictor takes it, with what identifies its clip."""
    info = clip.info
    rgb = np.zeros((1, 1, 3), np.uint8) if frame is None else frame.rgb
    height, width = (info.height, info.width) if frame is None else rgb.shape[:2]
    return Still(rgb, info.path, info.sha256, info.bytes, width, height, info.format, None)


def _follow(
    tracker: Tracker,
    taken: int,
    still: Still,
    answers: list[Prediction],
    features: NDArray[np.float32],
) -> list[int | None]:
    """The number of the aircraft in each answer of a frame; None where there is no aircraft."""
    whole: Edges = (0.0, 0.0, float(still.width), float(still.height))
    real = [i for i, answer in enumerate(answers) if answer.verdict.status != "no_aircraft"]
    if answers[0].sighting.missed and any(t.boxes[-1] != whole for t in tracker.alive(taken)):
        real = []  # an aircraft lost for a moment, not another one as large as the frame
    boxes = [answers[i].sighting.box or whole for i in real]
    tracks = tracker.update(taken, boxes, [features[i] for i in real])
    numbers: list[int | None] = [None] * len(answers)
    for i, track in zip(real, tracks, strict=True):
        numbers[i] = track.number
    return numbers


def _remember(
    seen: _Seen, moment: dict[str, Any], answer: Prediction, row: Reals, signs: Signs
) -> None:
    seen.moments.append(moment)
    seen.logits.append(row)
    seen.signs.append(signs)
    # Not "missed": an aircraft located in one frame of many was located.
    if seen.sighting is None or seen.sighting.missed:
        seen.sighting = answer.sighting


def _summary(
    still: Still,
    number: int,
    seen: _Seen,
    predictor: Predictor,
    settings: Settings,
    damage: str,
) -> dict[str, Any]:
    """One aircraft over its frames. The pooled row goes the same road as that of a still."""
    calibration = predictor.calibration
    logits = np.stack(seen.logits)
    row = pool_logits(logits, calibration.frame_correlation, calibration.temperature)
    assert seen.sighting is not None
    [answer] = predictor.judge_all(
        row[None], Signs.pooled(seen.signs), [seen.sighting], settings, calibration.of_clips()
    )
    node = answer.verdict.node or f"type:{predictor.classes[int(answer.probs.argmax())]}"
    members = predictor.checkpoint.taxonomy.members(node, predictor.classes)
    spoke = contributions(logits / calibration.temperature, members)
    order = np.argsort(-spoke, kind="stable")[:_CARRIED].tolist()
    track = {
        "id": number,
        "frames": len(logits),
        "effective_frames": round(effective_frames(len(logits), calibration.frame_correlation), 3),
        "first_s": seen.moments[0]["time_s"],
        "last_s": seen.moments[-1]["time_s"],
        "carried_by": [
            {**seen.moments[i], "weight": round(float(spoke[i]), 3)} for i in order if spoke[i] > 0
        ],
    }
    record = answer_record(still, answer, predictor, settings, track=track)
    # A moving aircraft has no one box.
    record.update(box=None, reason=f"Over {len(logits)} frame(s): {record['reason']}{damage}")
    return record
