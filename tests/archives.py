"""What the tests of long runs share: a predictor without a network, and outputs read back."""

import json
import zlib

import numpy as np

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


def lines(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def told(record):
    """A record without the moment it was made."""
    record = json.loads(json.dumps(record))
    record["run"].pop("created_utc")
    return record
