"""infer.py over folders as Bellingcat's auto-archiver leaves them.

Its local storage (`local_archive/`, path_generator flat, url or random; filename_generator static
or random) puts media and what it writes of them side by side, under names of 24 hex digits.
"""

import hashlib
import itertools
import json
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest
from clips import write
from PIL import Image
from test_infer import run

from data.synthetic.scene import draw_scene

PAGE = "https-example-org-status-1234"  # a slug of the URL
# What its extractors, enrichers and formatter store beside the media: the page's report, PDF and
# web archives, metadata, hashes with RFC 3161 tokens (which have no suffix), certificates, sound.
BESIDE = ("html", "pdf", "wacz", "warc.gz", "json", "txt", "", "crt", "ots", "mp3", "vtt", "csv")


class Storage:
    """Names as its `Storage.set_key` gives them."""

    def __init__(self, paths, names):
        self._paths, self._names = paths, names
        self._random = (UUID(int=number * 7**41 % 2**128).hex[:24] for number in itertools.count(1))

    def key(self, data, suffix):
        folder = {"flat": "", "url": PAGE, "random": None}[self._paths]
        folder = next(self._random) if folder is None else folder
        static = hashlib.sha256(data).hexdigest()[:24]
        name = static if self._names == "static" else next(self._random)
        return Path("local_archive", folder, f"{name}.{suffix}" if suffix else name)


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    """suffix and bytes of a picture, a clip, two of its thumbnails and a screenshot of its page."""
    place, made = tmp_path_factory.mktemp("media"), []
    frames = [
        draw_scene("Su-24", np.random.default_rng(seed), width=640, height=400).rgb
        for seed in (3, 4, 5)
    ]
    write(place / "clip.mp4", frames, stamps=[0, 100, 200])
    made.append(("mp4", (place / "clip.mp4").read_bytes()))
    for number in (0, 2):
        thumbnail = Image.fromarray(frames[number]).resize((512, 320))
        thumbnail.save(place / "thumbnail.jpg")
        made.append(("jpg", (place / "thumbnail.jpg").read_bytes()))
    other = draw_scene("Mi-24", np.random.default_rng(9), width=320, height=200).rgb
    Image.fromarray(other).save(place / "picture.webp")
    made.append(("webp", (place / "picture.webp").read_bytes()))
    page = np.full((400, 640, 3), 255, np.uint8)
    page[100:300, 40:360] = other
    Image.fromarray(page).save(place / "screenshot.png")
    made.append(("png", (place / "screenshot.png").read_bytes()))
    return made


@pytest.mark.parametrize("names", ["static", "random"])
@pytest.mark.parametrize("paths", ["flat", "url", "random"])
def test_media_are_answered_under_their_own_paths_and_the_rest_is_let_be(
    tmp_path, monkeypatch, media, tiny_checkpoint, paths, names
):
    monkeypatch.chdir(tmp_path)
    storage, stored, beside = Storage(paths, names), {}, []
    for suffix, data in media:
        stored[str(storage.key(data, suffix))] = data
    for number, suffix in enumerate(BESIDE):
        beside.append(storage.key(f"{number}".encode(), suffix))
    for path in (*map(Path, stored), *beside):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(stored.get(str(path), b"of no concern"))
    command = ("local_archive", "--checkpoint", tiny_checkpoint, "--output", "case/")
    result = run(*command)
    assert result.exit_code == 0, result.output
    assert f"{len(media)} of {len(media)} answered" in result.stderr
    assert not any(path.name in result.output for path in beside if path.suffix)
    records = [json.loads(line) for line in Path("case/records.jsonl").read_text().splitlines()]
    sha256 = {r["source"]["path"]: r["source"]["sha256"] for r in records}
    assert sha256 == {path: hashlib.sha256(data).hexdigest() for path, data in stored.items()}
    if names == "static":  # the name that its reports give is the beginning of our hash
        assert all(digest.startswith(Path(path).stem) for path, digest in sha256.items())
    clip, *thumbnails = list(stored)[:3]
    # A clip's thumbnails are no sightings of their own.
    groups = json.loads(Path("case/records.manifest.json").read_text())["counts"]
    assert groups["duplicate_groups"] == 1
    table = Path("case/records.csv").read_text().splitlines()
    grouped = {line.split(",")[1] for line in table[1:] if line.endswith(",1")}
    assert grouped == {clip, *thumbnails}
    # Its next run adds files; ours answers these alone.
    before = Path("case/records.jsonl").read_bytes()
    new = storage.key(b"new", "jpg")
    new.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((64, 96, 3), 90, np.uint8)).save(new)
    assert run(*command).exit_code == 0
    after = Path("case/records.jsonl").read_bytes()
    assert after.startswith(before)
    [added] = [json.loads(line) for line in after[len(before) :].splitlines()]
    assert added["source"]["path"] == str(new)
