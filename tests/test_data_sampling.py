"""Which frames are taken, and that no others cost anything."""

import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
from clips import ALL, FINE, all_frames, flat, numbered, same_as_in, write
from pictures import one_line

import data.container as container
from data.images import StillError
from data.sampling import Sampling
from data.video import open_clip


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory):
    """120 frames in 4.8 s, a key frame every 10th."""
    path = tmp_path_factory.mktemp("long") / "a.mp4"
    return write(path, numbered(120), coder={"g": "10", "sc_threshold": "0"})


@pytest.mark.parametrize("every_s", [0.04, 0.1, 0.12, 0.3, 1.0, 1.5, 2.0, 100.0])
def test_seconds(long_clip, every_s):
    clip = open_clip(long_clip)
    stamps = [Fraction(i, 25) for i in range(120)]
    step, expected = Fraction(str(every_s)), []
    for multiple in range(121):
        due = [i for i, stamp in enumerate(stamps) if stamp >= multiple * step]
        expected += [i for i in due[:1] if i not in expected]
    frames = list(clip.frames(Sampling("seconds", every_s)))
    assert [f.index for f in frames] == expected
    assert [f.time_s for f in frames] == pytest.approx([i / 25 for i in expected])


def test_seconds_go_by_the_time_stamps(tmp_path):
    path = write(tmp_path / "a.mkv", numbered(8), stamps=[0, 50, 99, 101, 120, 450, 480, 510])
    assert [f.index for f in open_clip(path).frames()] == [0, 3, 5, 7]


def test_key_frames_are_those_of_the_whole(long_clip):
    whole = all_frames(long_clip)
    frames = list(open_clip(long_clip).frames(Sampling("key")))
    assert [round(f.time_s * 25) for f in frames] == list(range(0, 120, 10))
    assert [f.index for f in frames] == list(range(12))
    assert same_as_in(frames, whole)


def test_other_frames_are_not_even_decoded_for_key(long_clip, monkeypatch):
    seen = []
    real = container.Reading.packets
    monkeypatch.setattr(container.Reading, "packets", lambda self: seen.append(self) or real(self))
    frames = open_clip(long_clip).frames(Sampling("key"))
    next(frames)
    assert [r.stream.codec_context.skip_frame for r in seen] == ["DEFAULT", "NONKEY"]


def test_key_frames_where_the_decoder_skips_nothing(tmp_path):
    path = write(tmp_path / "a.webm", numbered(10), "libvpx-vp9", coder=FINE["libvpx-vp9"])
    assert [f.index for f in open_clip(path).frames(Sampling("key"))] == [0]


def test_no_such_frame(tmp_path, monkeypatch):
    clip = open_clip(write(tmp_path / "a.mp4", numbered(3)))
    monkeypatch.setattr(container.Reading, "frames", lambda *_, **__: iter(()))
    with pytest.raises(StillError, match="take frames by seconds") as caught:
        next(clip.frames(Sampling("key")))
    assert caught.value.code == "unreadable_video"


def test_scenes(tmp_path):
    dark_to_light = [20] * 20 + [120] * 20 + [220] * 20
    path = write(tmp_path / "a.mp4", flat(dark_to_light))
    assert [f.index for f in open_clip(path).frames(Sampling("scene"))] == [0, 20, 40]


def test_scenes_are_told_from_the_last_one_taken(tmp_path):
    path = write(tmp_path / "a.mkv", flat(range(40, 140)), "ffv1")
    indices = [f.index for f in open_clip(path).frames(Sampling("scene"))]
    steps = np.diff(indices)
    assert len(indices) > 5
    assert 8 <= steps.min() <= steps.max() <= 14  # 10 grey levels of the shown range


def test_flicker_is_taken_four_times_a_second(tmp_path):
    path = write(tmp_path / "a.mkv", flat([0, 255] * 25), "ffv1")
    times = [f.time_s for f in open_clip(path).frames(Sampling("scene"))]
    assert 6 <= len(times) <= 8
    assert np.diff(times).min() >= 0.25


def test_only_frames_taken_are_converted(long_clip, monkeypatch):
    clip = open_clip(long_clip)
    seen = []
    real = container.Reading.picture
    monkeypatch.setattr(container.Reading, "picture", lambda *a: seen.append(a) or real(*a))
    for sampling in (Sampling(), Sampling("scene"), Sampling("key")):
        seen.clear()
        assert len(list(clip.frames(sampling))) == len(seen) < 20


@pytest.mark.parametrize(
    ("text", "sampling"),
    [
        ("1", Sampling()),
        ("0.5", Sampling("seconds", 0.5)),
        (".5s", Sampling("seconds", 0.5)),
        ("2s", Sampling("seconds", 2)),
        (" 2 s ", Sampling("seconds", 2)),
        ("3.", Sampling("seconds", 3)),
        ("scene", Sampling("scene")),
        ("KEY", Sampling("key")),
        ("all", Sampling("all")),
    ],
)
def test_sampling_is_parsed(text, sampling):
    assert Sampling.parse(text) == sampling


@pytest.mark.parametrize(
    "text",
    [
        "",
        "s",
        ".",
        "-1",
        "0",
        "0.0001",
        "nan",
        "inf",
        "1e3",
        "1m",
        "1,5",
        "2ss",
        "١",
        "1\n2",
        "9" * 400,
    ],
)
def test_sampling_that_cannot_be_parsed(text):
    with pytest.raises(ValueError, match="seconds") as caught:
        Sampling.parse(text)
    one_line(caught)


@pytest.mark.parametrize(
    "arguments",
    [("second",), ("seconds", 0), ("seconds", -1), ("seconds", float("nan")), ("scene", 2.0)],
)
def test_sampling_that_makes_no_sense(arguments):
    with pytest.raises(ValueError, match="seconds") as caught:
        Sampling(*arguments)
    one_line(caught)


# Little memory.


def test_frames_are_decoded_as_they_are_asked_for(long_clip, monkeypatch):
    read, ended = [], []
    real = container.Reading.packets

    def counted(self):
        try:
            for packet in real(self):
                read.append(packet.pos)
                yield packet
        finally:
            ended.append(self)

    clip = open_clip(long_clip)
    monkeypatch.setattr(container.Reading, "packets", counted)
    frames = clip.frames(ALL)
    assert read == []
    next(frames)
    assert len(read) < 60  # the decoder's threads hold some back, on a large machine too
    frames.close()
    assert len(read) < 60
    assert len(ended) == 1


def test_memory_does_not_grow_with_the_clip(tmp_path):
    def peak(count):
        path = write(tmp_path / f"{count}.mp4", numbered(count, 192, 128))
        clip = open_clip(path)
        tracemalloc.start()
        for frame in clip.frames(ALL):
            assert frame.rgb.size == 192 * 128 * 3
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    peak(5)
    assert peak(160) < peak(20) + 2 * 192 * 128 * 3


# What is a clip.
