"""Which streams are taken, and the one line in which what is no clip is refused."""

import os
import struct
from fractions import Fraction

import av
import numpy as np
import pytest
from av.stream import Disposition
from clips import ALL, all_frames, animation, numbered, refused, shaped, write
from pictures import encoded, picture

import data.container as container
import data.video as video
from data.container import ClipLimits
from data.images import StillError
from data.video import VIDEO_SUFFIXES, Clip, is_clip, open_clip


def sound(container, stream):
    frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.int16), "s16", "mono")
    frame.sample_rate, frame.pts = 44100, 0
    container.mux(stream.encode(frame))
    container.mux(stream.encode())


def with_streams(path, covers=0, sounds=0, sizes=()):
    """A file with so many covers, sound tracks and clips of these sizes, in that order."""
    with av.open(str(path), "w") as container:
        tracks = []
        for size in [(32, 32)] * covers + list(sizes):
            is_cover = len(tracks) < covers
            stream = container.add_stream("mjpeg" if is_cover else "mpeg4", rate=25)
            (stream.width, stream.height) = size
            stream.pix_fmt = "yuvj420p" if is_cover else "yuv420p"
            if is_cover:
                stream.disposition = Disposition.attached_pic
            tracks.append((stream, size, 1 if is_cover else 5))
        coder = "libmp3lame" if path.suffix == ".mp3" else "aac"
        heard = [container.add_stream(coder, rate=44100, layout="mono") for _ in range(sounds)]
        container.start_encoding()
        for stream, (width, height), count in tracks:
            for pixels in numbered(count, width, height):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels)))
            container.mux(stream.encode())
        for stream in heard:
            sound(container, stream)
    return path


def test_the_first_clip_that_is_no_cover_is_taken(tmp_path):
    path = with_streams(tmp_path / "a.mp4", covers=1, sounds=1, sizes=[(96, 64), (48, 32)])
    with av.open(str(path)) as container:
        kinds = [bool(s.disposition & Disposition.attached_pic) for s in container.streams.video]
    assert sorted(kinds) == [False, False, True]
    clip = open_clip(path)
    assert (clip.info.width, clip.info.height) == (96, 64)
    assert len(list(clip.frames(ALL))) == 5


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv", "a.mp3"])
def test_only_sound(tmp_path, name):
    code, message = refused(with_streams(tmp_path / name, sounds=1))
    assert code == "unreadable_video"
    assert "this file has no picture, only sound" in message


@pytest.mark.parametrize("name", ["a.mp4", "a.mp3"])
def test_only_a_cover(tmp_path, name):
    code, message = refused(with_streams(tmp_path / name, covers=1, sounds=1))
    assert code == "unreadable_video"
    assert "only a cover picture" in message


@pytest.mark.parametrize(
    "data",
    [
        b"This is a letter.\n" * 200,
        b"<!doctype html><html><body>Not found</body></html>",
        b"\0" * 5000,
        encoded(picture(), "JPEG"),
        encoded(picture(), "PNG"),
        np.random.default_rng(5).bytes(20000),
    ],
)
@pytest.mark.parametrize("name", ["a.mp4", "a.avi", "a.ts"])
def test_not_a_clip(tmp_path, name, data):
    path = tmp_path / name
    path.write_bytes(data)
    code, message = refused(path)
    assert code == "unreadable_video"
    assert "not a clip; give one of" in message


@pytest.mark.parametrize(
    "script",
    [
        "ffconcat version 1.0\nfile good.mp4\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\ngood.ts\n#EXT-X-ENDLIST\n",
    ],
)
@pytest.mark.parametrize("name", ["a.ts", "a.mp4", "a.m3u8", "a.ffconcat"])
def test_scripts_that_name_other_files_are_not_followed(tmp_path, monkeypatch, name, script):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "good.mp4", numbered(2))
    write(tmp_path / "good.ts", numbered(2))
    (tmp_path / name).write_text(script)
    assert refused(tmp_path / name)[0] == "unreadable_video"


def test_missing_empty_folder_pipe(tmp_path):
    assert refused(tmp_path / "none.mp4")[0] == "missing"
    (tmp_path / "empty.mp4").touch()
    assert refused(tmp_path / "empty.mp4")[0] == "empty"
    assert refused(tmp_path)[0] == "missing"
    os.mkfifo(tmp_path / "pipe.mp4")
    assert refused(tmp_path / "pipe.mp4")[0] == "missing"


def test_file_that_went_away_after_it_was_opened(tmp_path):
    path = write(tmp_path / "a.mp4", numbered(2))
    clip = open_clip(path)
    path.unlink()
    with pytest.raises(StillError, match="no such file"):
        next(clip.frames())


def test_disk_that_fails(tmp_path, monkeypatch):
    def fail(_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(video, "_hash", fail)
    code, message = refused(write(tmp_path / "a.mp4", numbered(2)))
    assert code == "missing"
    assert "Input/output error" in message


@pytest.mark.parametrize("name", ["http:a.mp4", "concat:a.mp4|b.mp4", "%03d.mp4", "a\nb.mp4", "-i"])
def test_names_are_no_addresses(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "good.mp4", numbered(2)).rename(tmp_path / name)
    assert len(list(open_clip(name).frames(ALL))) == 2


def test_no_memory_and_no_conversion_are_said_so(tmp_path, monkeypatch):
    path = write(tmp_path / "a.mp4", numbered(2))

    class Broken:
        error = av.error.MemoryError(12, "Cannot allocate memory")

        def reformat(self, *_, **__):
            raise self.error

    monkeypatch.setattr(container, "VideoReformatter", Broken)
    assert refused(path)[0] == "too_large"
    Broken.error = av.error.OSError(95, "Operation not supported")
    code, message = refused(path)
    assert code == "unreadable_video"
    assert "kind of pixels" in message


# Limits.


def test_file_too_large(tmp_path):
    path = write(tmp_path / "a.mp4", numbered(2))
    assert refused(path, ClipLimits(max_bytes=path.stat().st_size - 1))[0] == "too_large"
    open_clip(path, ClipLimits(max_bytes=path.stat().st_size))


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mp4", "libx264"),
        ("a.mkv", "libx264"),
        ("a.ts", "libx264"),
        ("a.webm", "libvpx"),
        ("a.avi", "mpeg4"),
        ("a.mpg", "mpeg2video"),
    ],
)
@pytest.mark.parametrize(("width", "height"), [(96, 64), (1280, 1024)])
def test_frame_too_large(tmp_path, name, codec, width, height):
    path = write(tmp_path / name, numbered(12 if width == 96 else 2, width, height), codec)
    for most in (width * height - 1, 10):
        code, message = refused(path, ClipLimits(max_pixels=most))
        assert code == "too_large"
        assert f"{width} × {height} px" in message
    open_clip(path, ClipLimits(max_pixels=width * height))


def test_frame_too_large_once_its_pixels_are_square(tmp_path):
    path = write(tmp_path / "a.mkv", numbered(2), stream=shaped(Fraction(2)))
    assert refused(path, ClipLimits(max_pixels=96 * 64))[0] == "too_large"


def test_bomb_is_refused_by_its_header(tmp_path):
    path = animation(tmp_path / "a.gif", 2)
    data = bytearray(path.read_bytes())
    data[6:10] = struct.pack("<HH", 9000, 9000)
    path.write_bytes(data)
    code, message = refused(path)
    assert (code, "9000 × 9000 px" in message) == ("too_large", True)


def test_size_that_grows_past_the_limit_on_the_way(tmp_path):
    # The first part is longer than what FFmpeg looks at beforehand.
    small = write(tmp_path / "a.ts", numbered(300)).read_bytes()
    large = write(tmp_path / "b.ts", numbered(2, 1280, 1024)).read_bytes()
    path = tmp_path / "both.ts"
    path.write_bytes(small + large)
    frames = all_frames(path)
    assert [f.rgb.shape for f in frames] == [(64, 96, 3)] * 300 + [(1024, 1280, 3)] * 2
    assert np.diff([f.time_s for f in frames]).min() > 0  # though the second part begins anew
    clip = open_clip(path, ClipLimits(max_pixels=96 * 64))
    assert {f.rgb.shape for f in clip.frames(ALL)} == {(64, 96, 3)}
    assert "left out" in clip.damage


def test_is_clip(tmp_path):
    assert is_clip(animation(tmp_path / "moving.gif", 3))
    assert not is_clip(animation(tmp_path / "still.gif", 1))
    assert is_clip(animation(tmp_path / "LOUD.GIF", 2))
    assert is_clip(str(tmp_path / "moving.gif"))
    assert all(is_clip(f"nowhere/x{suffix}") for suffix in VIDEO_SUFFIXES)
    assert is_clip("X.MP4")
    assert not any(is_clip(name) for name in ("x.jpg", "mp4", "x", "", "x.mp4.txt"))
    assert is_clip("nul\0.gif")


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"text", encoded(picture(), "JPEG")])
def test_gif_that_is_none_is_left_to_the_stills(tmp_path, data):
    path = tmp_path / "a.gif"
    path.write_bytes(data)
    assert not is_clip(path)


def test_still_gif_opens_as_a_clip_of_one_frame(tmp_path):
    clip = open_clip(animation(tmp_path / "a.gif", 1))
    assert clip.info.format == "GIF"
    assert isinstance(clip, Clip)
    assert len(list(clip.frames())) == 1
