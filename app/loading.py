"""The model, loaded beside the page: who opens it sees it at once and is answered later."""

from __future__ import annotations

import json
import os
from concurrent.futures import Future
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

from app.limits import PageLimits

if TYPE_CHECKING:
    from app.answers import Answers

CARD = "checkpoint.json"
WARMING = Path(__file__).parent.parent / "examples" / "l-39-sideways.jpg"
RELEASES = Path(__file__).parent.parent / "models" / "release"


def there(checkpoint: str) -> bool:
    """Whether something lies where a checkpoint is said to be; what it is worth, loading tells."""
    return any((place / checkpoint / CARD).is_file() for place in (RELEASES, Path()))


def load(checkpoint: str, limits: PageLimits, engine: str = "auto") -> Answers:
    """The answers of a released checkpoint by its name, or of one in a folder, in an engine.

    Raises CheckpointError, ValueError for an unknown engine. Takes seconds. One example is answered
    before, by the road of every answer, so that no visitor waits for what only a first one takes.
    """
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    from airframe.predictor import Predictor, checkpoint_folder
    from app.answers import Answers

    folder = checkpoint_folder(checkpoint)
    predictor = Predictor(folder, engine=engine, abreast=False)
    answers = Answers(predictor, limits, measured(folder, predictor.checkpoint.sha256))
    _warm(answers)
    return answers


def _warm(answers: Answers) -> None:
    """Answer one still as a visitor would have it: the network, the cards, the silhouettes."""
    from app.case import Case, answer_panel, picture_panel

    case = Case()
    *_, entry = answers.entry(str(WARMING), WARMING.name, case.settings)
    case.entries.append(entry)
    answer_panel(case, answers)
    picture_panel(case, answers)


def measured(folder: Path, sha256: str) -> dict[str, Any] | None:
    """What evaluate.py wrote beside a checkpoint, where it is of this very checkpoint."""
    try:
        found: dict[str, Any] = json.loads((folder / "metrics.json").read_text("utf-8"))
        return found if found["checkpoint"]["sha256"] == sha256 else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def load_beside(checkpoint: str, limits: PageLimits, engine: str, answers: Future[Answers]) -> None:
    """The same into `answers`, in a thread of its own."""

    def work() -> None:
        try:
            answers.set_result(load(checkpoint, limits, engine))
        except BaseException as error:
            answers.set_exception(error)

    Thread(target=work, name="loading", daemon=True).start()
