"""What the page says that hangs on no answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

TITLE = "Airframe"
# What it does and what it does not prove, in one breath: the first line of the page.
INTRO = (
    "Names the aircraft type that a still or a clip supports and says how sure it can be; "
    "a type is never proof of an operator."
)
WAITING = "Drop a still or a clip, or pick an example: the answer appears here."
PROMISES = (
    "The answer first, in words: the type where the picture carries it, else the family or the "
    "role, else that it cannot be told.",
    "How sure, in calibrated figures, with the types that cannot be ruled out.",
    "Where the doubt lies, what to look for yourself, and what none of it proves.",
)
LOADING = "Loading the model. You can drop files already; they are answered as soon as it is there."
PICTURE = "The picture, upright and in sRGB, with the boxes that were looked at"
STAGE_HELP = (
    "Drag to draw, move or resize a box and it answers again. Keys: arrows move, "
    "Shift with arrows resizes, Enter answers, Escape drops it."
)
HEAT_CAUTION = (
    "Lighter is where the network's own features spoke for this answer. It is coarse, it is the "
    "network's view and not a proof, and a wrong answer has such a map too: look at what it covers "
    "(sky, a caption, the ground) and doubt the answer if it is not the airframe."
)
NO_HEAT = (
    "What carried the answer cannot be shown: this map takes PyTorch, which is not installed here. "
    "The answer does not take it."
)
EXAMPLES = "Or pick an example; these are drawn by this project's own code, not photographed."
CARRIED = (
    "Weight: how far a frame alone moved the odds towards this answer. Frames of one aircraft are "
    "not independent, so many alike add little."
)
CUES = (
    "Check the machine against the picture. Numbers name the source of a fact; unreferenced ones "
    "are common knowledge that nobody has read by name yet. Silhouettes share one scale."
)
THEATRE = (
    "Choose where, and if you know it when: cited sources then say which air forces had the type. "
    "Press Enter after the day. The picture itself never tells the operator."
)
PRIOR = (
    "The answer above stays that of the picture alone. This is what it would be if types that no "
    "inventory lists there were held less likely before looking."
)
COUNT_IN = "Also show what the inventories would make of the answer (slower: every file again)"
REVIEW = (
    "Does the picture show what the answer says? Your review and a copy of the picture are kept on "
    "the machine that serves this page, as training examples and to measure the answers. No "
    "aircraft means that nothing in the whole picture is one."
)
REVIEWS = (
    "Answers that you confirmed, corrected or set aside. The manifest lists those that name a type "
    "or a family, and pictures without an aircraft, the most doubtful first, for train.py to learn "
    "from."
)
SAVE = (
    "The report is one file with everything in it, and opens in any browser: print it there to get "
    "a PDF. JSONL and CSV are the records as infer.py writes them."
)
BOXES = "The picture, with the boxes that were looked at"
GONE = "The upload was deleted after its hour; the answer stays. Drop the file again to see it."
NO_REVIEWS = (
    "No answer has been confirmed or corrected yet. Each review of yours adds a point here."
)
RELIABILITY = (
    "Your own cases: on the line, answers are right as often as they say. Bars are 95 % intervals; "
    "few cases prove little, and cases that you choose to review are no random sample."
)
_SETTINGS = {"broken": "clouds", "terrain": "hills", "urban": "city"}


def ready(model: dict[str, Any]) -> str:
    """Which checkpoint answers, from a record's `model`."""
    return f"Checkpoint {model['name']} {model['version']} ({model['sha256'][:12]}). Works offline."


def taken(formats: Sequence[str], max_bytes: int, clip_bytes: int, clip_s: float) -> str:
    """What the page takes."""
    stills = f"{', '.join(formats[:-1])} or {formats[-1]} up to {max_bytes / 2**20:g} MiB"
    clips = f"clips up to {clip_bytes / 2**20:g} MiB and {clip_s / 60:g} minutes"
    return f"Several at once: {stills}; {clips}. Nothing leaves this machine."


def too_many(left_out: int) -> str:
    """That a case takes no more files."""
    return f"{left_out} files were left out: this case is full. Save it, then start a new one."


def denied(answers: int, right: int) -> str:
    """What became of reviewed answers that there is no aircraft."""
    return (
        f"Beside these, {answers} answer(s) said that there is no aircraft, which states no "
        f"probability: {right} right."
    )


def not_again(files: int, why: str) -> str:
    """That files keep the answer they had when the theatre was chosen."""
    return f"{files} file(s) could not be answered again and keep their answer as it was: {why}"


def exported(path: str) -> str:
    """Where the manifest of the reviews lies, and what to do with it."""
    command = f"python train.py --config … --set data.manifest={path}"
    return f"Written to {path}. Train on it with: {command}"


def clock(seconds: float) -> str:
    """`4 s`, `4.5 s`, `2:05`: a time in a clip."""
    if seconds < 60:
        return f"{round(seconds, 1):g} s"
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def left(seconds: float) -> str:
    """How long it still takes, never to the second: `about 2 min left`."""
    if seconds < 10:
        return "a few seconds left"
    if seconds < 90:
        return f"about {round(seconds / 10) * 10} s left"
    return f"about {round(seconds / 60)} min left"


def example_caption(stem: str, types: Iterable[str]) -> str:
    """`mig-31-distant` → `MiG-31, distant`, where `types` has MiG-31; else the stem in words."""
    name, _, setting = stem.rpartition("-")
    for known in types:
        if known.lower() == name:
            return f"{known}, {_SETTINGS.get(setting, setting)}"
    return stem.replace("-", " ").capitalize()
