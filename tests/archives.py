"""What the tests of long runs share: a predictor without a network, and outputs read back."""

import json
import zlib

import numpy as np
from clips import write
from pictures import noise
from PIL import Image

from airframe.archive import Archive
from airframe.archive_files import ArchiveFiles
from airframe.batch import Task, answer_all, find_files
from airframe.looking import Sighting
from airframe.predictor import Outputs, Predictor, Settings


def quick(folder):
    """A predictor whose network is a checksum: every picture has an answer of its own, at once."""
    predictor = Predictor(folder, "cpu")
    width = len(predictor.classes)

    def outputs(views):
        logits = np.stack(
            [
                np.random.default_rng(zlib.crc32(still.rgb.tobytes())).normal(0, 3, width)
                for still, _ in views
            ]
        ).astype(np.float32)
        return Outputs(logits[:, None], logits.copy())

    predictor.outputs = outputs
    predictor.localizer = None
    return predictor


def twice_seen(predictor):
    """The same, finding two aircraft in every picture."""
    boxes = [Sighting((4.0, 4.0, 40.0, 30.0), 0.9), Sighting((50.0, 10.0, 80.0, 40.0), 0.8)]
    predictor.look = lambda still, box=None: boxes
    return predictor


def answered(inputs, predictor, sink, task=None):
    """Answer files into a sink as infer.py does; returns how many were answered anew."""
    task = task or Task(Settings(), 2)
    found = list(find_files([str(given) for given in inputs]))
    known = sink if hasattr(sink, "knows") else None
    made = 0
    for record in answer_all(found, predictor, task, lambda _: sink.end_file(), known=known):
        sink.write(record)
        made += 1
    return made


def archived(output, inputs, predictor, task=None):
    """Answer files into an archive as infer.py does; returns it and the groups of what is alike."""
    task = task or Task(Settings(), 2)
    archive = Archive(ArchiveFiles.parse(str(output)), predictor, task.settings, ["in"])
    answered(inputs, predictor, archive.journal, task)
    groups = archive.finish()
    return archive, groups


def assorted(place, drawn_set):
    """`place`, made a folder of four stills, one of them twice and one with a name of signs, two
    clips alike and a bad file."""
    place.mkdir()
    pictures = sorted(drawn_set.parent.rglob("*.jpg"))
    for name, number in (("a.jpg", 0), ("b<b>&'\".jpg", 1), ("c.jpg", 2), ("copy.jpg", 0)):
        (place / name).write_bytes(pictures[number].read_bytes())
    Image.fromarray(noise(96, 64)).save(place / "=d.png")
    frames = [noise(96, 64), noise(96, 64)[::-1], noise(96, 64)[:, ::-1]]
    write(place / "e.mp4", frames, stamps=[0, 100, 200])
    write(place / "f.mkv", frames, stamps=[0, 100, 200], coder={"crf": "30"})
    (place / "g.jpg").write_text("<script>no picture</script>")
    return place


def lines(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def told(record):
    """A record without the moment it was made."""
    record = json.loads(json.dumps(record))
    record["run"].pop("created_utc")
    return record
