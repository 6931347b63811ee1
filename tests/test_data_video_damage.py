"""Damaged clips: what came before the damage stays, and is said to be all."""

from types import SimpleNamespace

import av
import numpy as np
import pytest
from clips import ALL, all_frames, animation, cut, refused, same_as_in, write
from pictures import noise

import data.container as container
from data.video import open_clip


def noisy(count):
    rng = np.random.default_rng(11)
    return [np.roll(noise(96, 64), rng.integers(96), 1) for _ in range(count)]


def places(path):
    """(first byte, number of bytes) of each frame in the file."""
    with av.open(str(path)) as container:
        return [(e.pos, e.size) for e in container.streams.video[0].index_entries]


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mkv", "libx264"),
        ("a.ts", "libx264"),
        ("a.mp4", "libx264"),
        ("a.mov", "libx264"),
        ("a.avi", "mpeg4"),
        ("a.webm", "libvpx"),
        ("a.gif", None),
    ],
)
def test_clip_cut_short_keeps_what_came_before(tmp_path, name, codec):
    path = tmp_path / name
    if codec is None:
        animation(path, 20)
    else:
        front = {"movflags": "faststart"} if name in ("a.mp4", "a.mov") else {}
        write(path, noisy(40), codec, muxer=front)
    clip = open_clip(path)
    whole = list(clip.frames(ALL))
    assert clip.damage is None
    for share in (0.5, 0.55, 0.6, 0.65):
        clip = open_clip(cut(path, share))
        frames = list(clip.frames(ALL))
        assert 1 <= len(frames) < len(whole) * 0.75
        assert same_as_in(frames, whole)
        assert clip.damage.endswith("the file is cut short")
        assert "\n" not in clip.damage


@pytest.mark.parametrize("name", ["a.gif", "a.ts"])
def test_half_a_frame_is_not_handed_out(tmp_path, name):
    if name == "a.gif":
        path = animation(tmp_path / name, 20)
    else:
        quiet = {"preset": "ultrafast", "x265-params": "log-level=none"}
        path = write(tmp_path / name, noisy(30), "libx265", coder=quiet)
    whole = all_frames(path)
    size = path.stat().st_size
    for place in range(size // 2, size * 7 // 10, size // 60):
        # Odd, as between two packets of MPEG-TS, of 188 bytes, no cut can be seen.
        assert same_as_in(all_frames(cut(path, at=place | 1)), whole)


def test_every_frame_before_the_cut_comes(tmp_path):
    # With frames that are shown later than they are stored, which the decoder holds back.
    coder, front = {"preset": "veryfast", "bf": "2"}, {"movflags": "faststart"}
    path = write(tmp_path / "a.mp4", noisy(30), coder=coder, muxer=front)
    whole = all_frames(path)
    start, size = places(path)[18]
    clip = open_clip(cut(path, at=start + size // 2))
    frames = list(clip.frames(ALL))
    assert len(frames) == 18
    assert same_as_in(frames, whole)
    assert clip.damage == "damaged packets or frames left out: 1; the file is cut short"


def test_mp4_cut_between_two_frames(tmp_path):
    path = write(tmp_path / "a.mp4", noisy(20), muxer={"movflags": "faststart"})
    clip = open_clip(cut(path, at=places(path)[10][0]))
    assert len(list(clip.frames(ALL))) == 10
    assert clip.damage == "the file is cut short"


def test_index_lost_with_the_end(tmp_path):
    code, message = refused(cut(write(tmp_path / "a.mp4", noisy(20)), 0.6))
    assert code == "unreadable_video"
    assert "its index is missing or damaged" in message


def test_cut_before_the_end_of_the_first_frame(tmp_path):
    path = write(tmp_path / "a.mp4", noisy(5), muxer={"movflags": "faststart"})
    start, size = places(path)[0]
    code, message = refused(cut(path, at=start + size // 2))
    assert code == "unreadable_video"
    assert "no frame of it can be decoded" in message


@pytest.mark.parametrize("name", ["a.mp4", "a.avi"])
def test_damage_in_the_middle_is_stepped_over(tmp_path, name):
    path = write(tmp_path / name, noisy(30), "libx264", coder={"bf": "0", "g": "5"})
    whole = all_frames(path)
    data = bytearray(path.read_bytes())
    for start, size in places(path)[10:15]:
        start += 8 if name == "a.avi" else 0  # there the place is that of the chunk's header
        data[start : start + size] = b"\xff" * size
    path.write_bytes(data)
    clip = open_clip(path)
    frames = list(clip.frames(ALL))
    kept = [round(f.time_s * 25) for f in frames]
    assert kept == [i for i in range(30) if not 10 <= i < 15]
    assert [f.index for f in frames] == list(range(25))
    assert same_as_in(frames, whole)
    assert clip.damage == "damaged packets or frames left out: 5"


def test_patched_up_frames_are_left_out(tmp_path):
    """The decoder fills a hole with what lay there before: a picture that was never taken."""
    path = write(tmp_path / "a.mp4", noisy(20), coder={"bf": "0", "g": "1"})
    data = bytearray(path.read_bytes())
    start, size = places(path)[10]
    data[start + size // 2 : start + size] = bytes(size - size // 2)
    path.write_bytes(data)
    with av.open(str(path)) as container:
        assert [f.pts for f in container.decode(video=0) if f.is_corrupt] == [10 * 512]
    clip = open_clip(path)
    assert [round(f.time_s * 25) for f in clip.frames(ALL)] == [i for i in range(20) if i != 10]
    assert clip.damage == "damaged packets or frames left out: 1"


def test_packets_marked_as_damaged_are_named_and_decoded(tmp_path):
    path = write(tmp_path / "a.ts", noisy(20))
    whole = all_frames(path)
    data = bytearray(path.read_bytes())
    of_the_clip = [i for i in range(0, len(data), 188) if data[i + 1 : i + 3] == b"\x01\0"]
    data[of_the_clip[150] + 1] |= 0x80  # what a receiver sets when it is not sure
    path.write_bytes(data)
    clip = open_clip(path)
    frames = list(clip.frames(ALL))
    assert len(frames) == 20
    assert same_as_in(frames, whole)
    assert clip.damage == "damaged packets, decoded as far as they go: 1"


def test_damage_is_that_of_the_last_reading(tmp_path):
    path = write(tmp_path / "a.mkv", noisy(20))
    clip = open_clip(cut(path, 0.6))
    assert clip.damage is None
    frames = clip.frames(ALL)
    next(frames)
    frames.close()
    assert clip.damage == "the file is cut short"
    frames = clip.frames(ALL)
    path.with_name("cut_a.mkv").write_bytes(path.read_bytes())
    assert len(list(frames)) == 20
    assert clip.damage is None


def read_from(*errors):
    """(packets, pieces left out) of a reader that gives one packet, then fails with each error."""

    class Container:
        first, errors_left = True, iter(errors)

        def demux(self, _):
            if self.first:
                self.first = False
                yield SimpleNamespace(size=1)
            raise next(self.errors_left)

    reading = SimpleNamespace(container=Container(), stream=None, _skipped=0)
    return len(list(container.Reading.packets(reading))), reading._skipped


def test_reader_that_fails_for_ever_is_given_up():
    error = av.error.OSError(5, "Input/output error")
    failures = container._READ_FAILURES
    assert read_from(*[error] * failures) == (1, failures)


def test_stream_that_turns_up_late_is_no_damage():
    assert read_from(IndexError("list index out of range")) == (1, 0)
