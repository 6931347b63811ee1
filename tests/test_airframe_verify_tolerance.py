"""How far a record's numbers may be off before it is told as changed."""

import pytest
from records import record

from airframe.record import library_versions
from airframe.verify import HASH_BITS, OTHERWISE, TOLERANCE, differences, other_versions


def answered():
    """A record of an aircraft that was located."""
    made = record(box=[4.0, 4.0, 40.0, 30.0], located={"by": "localizer", "score": 0.9})
    made["source"]["perceptual_hash"] = f"{7:064x}"
    made["run"]["versions"] = dict(library_versions())
    return made


@pytest.mark.parametrize(
    ("where", "key", "tolerance"),
    [
        (("answer",), "probability", TOLERANCE["probability"]),
        (("uncertainty",), "entropy", OTHERWISE),
        (("uncertainty",), "unknown_score", OTHERWISE),
        (("located",), "score", OTHERWISE),
        (("box",), 0, TOLERANCE["box"]),
        (("candidates", 0), "probability", TOLERANCE["probability"]),
    ],
)
def test_a_number_may_be_off_by_its_tolerance_and_no_more(where, key, tolerance):
    old, new = answered(), answered()
    part = new
    for step in where:
        part = part[step]
    value = part[key]
    part[key] = value + 0.9 * tolerance
    assert list(differences(old, new)) == []
    part[key] = value + 1.1 * tolerance
    assert len(list(differences(old, new))) == 1


def test_what_a_near_tie_turns_is_no_change():
    old, new = answered(), answered()
    new["prediction_set"]["types"].reverse()
    new["candidates"].reverse()
    dropped = new["candidates"].pop(0)
    last = dropped["probability"]
    new["candidates"].append({**dropped, "type": "X", "probability": last})
    new["reason"] = new["reason"].replace("0", "1")
    bits = int(new["source"]["perceptual_hash"], 16) ^ (2**HASH_BITS - 1)
    new["source"]["perceptual_hash"] = f"{bits:064x}"
    new["run"]["created_utc"] = "2031-01-01T00:00:00+00:00"
    new["run"]["versions"]["torch"] = "9.9"
    new["model"]["engine"] = "onnxruntime 9"
    assert list(differences(old, new)) == []
    bits ^= 2**HASH_BITS
    new["source"]["perceptual_hash"] = f"{bits:064x}"
    assert len(list(differences(old, new))) == 1
    new["candidates"][-1]["probability"] += 0.3
    assert len(list(differences(old, new))) == 2


def test_true_is_not_one():
    assert list(differences({"decisive": True}, {"decisive": 1})) == ["decisive true → 1"]
    assert list(differences({"a": None}, {})) == []
    assert list(differences({"n": 1}, {"n": 2})) == ["n 1 → 2"]


def test_versions_that_differ_are_named():
    made = answered()
    assert other_versions(made) == []
    made["run"]["versions"]["torch"] = "1.0"
    [line] = other_versions(made)
    assert line.startswith("torch 1.0, now ")
