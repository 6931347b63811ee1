"""Every clip here is made by code, small and short: containers, times, turns, damage, sampling."""

import hashlib
import os
import struct
import tracemalloc
from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest
from av.stream import Disposition
from pictures import BLUE, RED, encoded, noise, one_line, picture
from PIL import Image, ImageSequence

import data.video as video
from data.images import MATTE, StillError
from data.sampling import SAMPLINGS, Sampling
from data.video import VIDEO_SUFFIXES, Clip, ClipLimits, is_clip, open_clip

ALL = Sampling("all")


def numbered(count, width=96, height=64):
    """`count` pictures: the four quarters, and a white mark that moves on with each."""
    pictures = [picture(width, height) for _ in range(count)]
    for index, pixels in enumerate(pictures):
        left = index * 4 % (width - 8)
        pixels[height // 2 - 4 : height // 2 + 4, left : left + 8] = 255
    return pictures


def flat(levels, width=96, height=64):
    return [np.full((height, width, 3), level, np.uint8) for level in levels]


def write(path, pictures, codec="libx264", kind="yuv420p", *, stamps=None, **more):
    """A clip of 25 frames a second, or with its stamps in 1/100 s. `more`: `frame` changes each
    frame before it is coded, `stream` the stream, `muxer` and `coder` are options, `container`."""
    options, coder = more.get("muxer", {}), more.get("coder", {})
    if codec == "libx264":
        coder = {"preset": "ultrafast", "crf": "12", "g": "5", **coder}
    with av.open(str(path), "w", format=more.get("container"), options=options) as container:
        stream = container.add_stream(codec, rate=25 if stamps is None else 100, options=coder)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = kind
        stream.codec_context.thread_count = 1
        more.get("stream", lambda _: None)(stream)
        for index, pixels in enumerate(pictures):
            layout = "rgba" if pixels.shape[2] == 4 else "rgb24"
            frame = av.VideoFrame.from_ndarray(pixels, layout).reformat(format=kind)
            frame = more.get("frame", lambda f: f)(frame)
            frame.pts = index if stamps is None else stamps[index]
            frame.time_base = Fraction(1, 25 if stamps is None else 100)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def all_frames(path, limits=None):
    return list(open_clip(path, limits or ClipLimits()).frames(ALL))


def refused(path, limits=None):
    with pytest.raises(StillError) as caught:
        open_clip(path, limits or ClipLimits())
    one_line(caught, path.name)
    return caught.value.code, caught.value.message


def off_by(a, b):
    """The largest difference of two pictures, away from the edges of the quarters."""
    assert a.shape == b.shape
    height, width = a.shape[:2]
    inside = np.ones((height, width), bool)
    edge = width // 16
    inside[:, width // 2 - edge : width // 2 + edge] = False
    inside[height // 2 - 8 : height // 2 + 8] = False
    return np.abs(a.astype(int) - b)[inside].max()


CONTAINERS = [
    ("a.mp4", "libx264", "MP4"),
    ("a.m4v", "libx264", "MP4"),
    ("a.3gp", "libx264", "MP4"),
    ("a.mov", "libx264", "MOV"),
    ("a.mkv", "libx264", "MATROSKA"),
    ("a.webm", "libvpx", "WEBM"),
    ("b.webm", "libvpx-vp9", "WEBM"),
    ("a.avi", "mpeg4", "AVI"),
    ("a.mpg", "mpeg2video", "MPEG"),
    ("a.ts", "libx264", "MPEGTS"),
    ("a.flv", "flv", "FLV"),
    ("a.wmv", "wmv2", "ASF"),
]
FINE = {
    "libvpx": {"crf": "4", "b": "2M", "deadline": "realtime"},
    "libvpx-vp9": {"crf": "4", "b": "2M", "deadline": "realtime", "cpu-used": "8"},
    "mpeg4": {"qmin": "1", "qmax": "2"},
    "mpeg2video": {"qmin": "1", "qmax": "2"},
    "flv": {"qmin": "1", "qmax": "2"},
    "wmv2": {"qmin": "1", "qmax": "2"},
}


@pytest.mark.parametrize(("name", "codec", "container"), CONTAINERS)
def test_containers(tmp_path, name, codec, container):
    pictures = numbered(12)
    path = write(tmp_path / name, pictures, codec, coder=FINE.get(codec, {}))
    clip = open_clip(path)
    frames = list(clip.frames(ALL))
    assert [f.index for f in frames] == list(range(12))
    assert [f.time_s for f in frames] == pytest.approx([i / 25 for i in range(12)], abs=0.0011)
    assert max(off_by(f.rgb, p) for f, p in zip(frames, pictures, strict=True)) <= 10
    assert all(f.rgb.dtype == np.uint8 and f.rgb.flags.c_contiguous for f in frames)
    assert clip.damage is None
    info, data = clip.info, path.read_bytes()
    assert (info.path, info.bytes) == (str(path), len(data))
    assert info.sha256 == hashlib.sha256(data).hexdigest()
    assert (info.width, info.height, info.format) == (96, 64, container)
    if container != "MPEG":  # whose length FFmpeg can but estimate
        assert info.duration_s == pytest.approx(0.48, abs=0.05)


def test_frames_are_the_callers_own(tmp_path):
    path = write(tmp_path / "a.mov", numbered(6), "qtrle", "rgb24")
    first = [f.rgb.copy() for f in open_clip(path).frames(ALL)]
    for frame, before in zip(open_clip(path).frames(ALL), first, strict=True):
        assert np.array_equal(frame.rgb, before)
        frame.rgb[:] = 0


def test_gif_with_disposal_and_transparency(tmp_path):
    layers = []
    for index in range(4):
        pixels = np.zeros((64, 96, 4), np.uint8)
        pixels[8 * index : 8 * index + 16, 10:60] = (*RED, 255)
        pixels[20:40, 20 * index : 20 * index + 20] = (*BLUE, 255)
        layers.append(Image.fromarray(pixels))
    for disposal in (1, 2, 3):
        path = tmp_path / f"{disposal}.gif"
        durations = [100, 300, 50, 100]
        layers[0].save(
            path, save_all=True, append_images=layers[1:], duration=durations, disposal=disposal
        )
        frames = all_frames(path)
        with Image.open(path) as image:
            shown = [layer.convert("RGBA") for layer in ImageSequence.Iterator(image)]
        assert [f.time_s for f in frames] == pytest.approx([0, 0.1, 0.4, 0.45])
        for frame, layer in zip(frames, shown, strict=True):
            expected = Image.alpha_composite(Image.new("RGBA", layer.size, MATTE), layer)
            assert np.abs(frame.rgb.astype(int) - np.asarray(expected)[..., :3]).max() <= 2
    assert tuple(frames[0].rgb[63, 95]) == (128, 128, 128)


def test_transparent_video_is_laid_over_the_matte(tmp_path):
    pixels = np.dstack([picture(96, 64), np.full((64, 96), 255, np.uint8)])
    pixels[:, 60:, 3] = 0
    rgb = all_frames(write(tmp_path / "a.mov", [pixels] * 2, "qtrle", "argb"))[1].rgb
    assert np.array_equal(rgb[:, :60], picture(96, 64)[:, :60])
    assert (rgb[:, 60:] == 128).all()


@pytest.mark.parametrize(
    ("kind", "matrix", "full"),
    [
        ("yuv420p", "ITU601", False),
        ("yuv420p", "ITU709", False),
        ("yuv420p", "BT2020", False),
        ("yuvj420p", "ITU601", True),
        ("yuv420p10le", "ITU709", False),
        ("yuv444p", "ITU709", False),
    ],
)
def test_colours(tmp_path, kind, matrix, full):
    tag = {"ITU601": 6, "ITU709": 1, "BT2020": 9}[matrix]

    def coded(frame):
        frame = av.VideoFrame.from_ndarray(picture(96, 64)).reformat(
            format=kind, dst_colorspace=matrix, dst_color_range="JPEG" if full else "MPEG"
        )
        frame.colorspace = tag
        return frame

    def tagged(stream):
        stream.codec_context.colorspace = tag
        stream.codec_context.color_range = 2 if full else 1

    path = write(tmp_path / "a.mp4", [picture(96, 64)] * 3, kind=kind, frame=coded, stream=tagged)
    assert off_by(all_frames(path)[1].rgb, picture(96, 64)) <= 5


@pytest.mark.parametrize("matrix", [8, 10, 14])
def test_a_matrix_that_is_not_known_does_not_cost_the_clip(tmp_path, matrix):
    def tagged(stream):
        stream.codec_context.colorspace = matrix

    path = write(tmp_path / "a.mp4", [picture(96, 64)] * 2, stream=tagged)
    with av.open(str(path)) as container:
        assert next(container.decode(video=0)).colorspace == matrix
    assert off_by(all_frames(path)[0].rgb, picture(96, 64)) <= 8


def test_hdr_is_converted_plainly(tmp_path):
    def tagged(stream):
        context = stream.codec_context
        context.colorspace, context.color_trc, context.color_primaries = 9, 16, 9

    path = write(tmp_path / "a.mkv", numbered(3), kind="yuv420p10le", stream=tagged)
    assert all_frames(path)[2].rgb.shape == (64, 96, 3)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_variable_frame_rate(tmp_path, name):
    stamps = [0, 4, 8, 50, 90, 94, 230]
    frames = all_frames(write(tmp_path / name, numbered(7), stamps=stamps))
    assert [f.time_s for f in frames] == pytest.approx([s / 100 for s in stamps], abs=0.0011)


def test_dropped_frames_of_an_avi_are_gaps(tmp_path):
    stamps = [0, 1, 5, 6, 20]
    path = write(tmp_path / "a.avi", numbered(5), "mpeg4", stamps=stamps)
    clip = open_clip(path)
    times = [f.time_s for f in clip.frames(ALL)]
    assert times == pytest.approx([s / 100 for s in stamps])
    assert clip.damage is None


@pytest.mark.parametrize("name", ["a.mkv", "a.ts"])
def test_times_start_at_the_first_frame(tmp_path, name):
    stamps = [300, 304, 308]
    frames = all_frames(write(tmp_path / name, numbered(3), stamps=stamps))
    assert [f.time_s for f in frames] == pytest.approx([0, 0.04, 0.08], abs=0.0011)


@pytest.mark.parametrize(
    ("stamps", "times"),
    [
        ([-30, -10, 40], [0, 0.2, 0.7]),
        ([None, None, None], [0, 0.1, 0.2]),
        ([None, 50, 60], [0, 0.1, 0.2]),
        ([0, None, 20], [0, 0.1, 0.2]),
        ([0, 10, 10, 30], [0, 0.1, 0.2, 0.3]),
        ([0, 20, 10, 30, 40], [0, 0.2, 0.3, 0.4, 0.5]),  # no lag is left once the stamps go on
        ([500, 510, 0, 10, 20], [0, 0.1, 0.2, 0.3, 0.4]),  # two recordings in one file
    ],
)
def test_clock(stamps, times):
    stream = SimpleNamespace(time_base=Fraction(1, 100), average_rate=Fraction(10))
    clock = video._Clock(stream)
    assert [clock.read(stamp) for stamp in stamps] == pytest.approx(times)


def test_clock_without_any_rate():
    clock = video._Clock(SimpleNamespace(time_base=None, average_rate=None))
    assert [clock.read(None), clock.read(None)] == pytest.approx([0, 0.04])


TURNS = [  # (a, b, c, d) of x' = a x + c y, y' = b x + d y, and what the camera stored
    ((1, 0, 0, 1), lambda up: up),
    ((0, 1, -1, 0), lambda up: np.rot90(up, 1)),  # shown a quarter clockwise
    ((-1, 0, 0, -1), lambda up: np.rot90(up, 2)),
    ((0, -1, 1, 0), lambda up: np.rot90(up, -1)),
    ((-1, 0, 0, 1), lambda up: up[:, ::-1]),
    ((1, 0, 0, -1), lambda up: up[::-1]),
    ((0, 1, 1, 0), lambda up: up.transpose(1, 0, 2)),
    ((0, -1, -1, 0), lambda up: up[::-1, ::-1].transpose(1, 0, 2)),
]


def turn(path, matrix):
    """Writes the matrix where phones do: into the track header of an MP4."""
    a, b, c, d = (65536 * number for number in matrix)
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 44
    data[start : start + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(("matrix", "stored"), TURNS)
def test_turned_clips_come_upright(tmp_path, matrix, stored):
    upright = picture(96, 64)
    pixels = np.ascontiguousarray(stored(upright))
    clip = open_clip(turn(write(tmp_path / "a.mp4", [pixels] * 3), matrix))
    assert (clip.info.width, clip.info.height) == (96, 64)
    assert [off_by(f.rgb, upright) <= 8 for f in clip.frames(ALL)] == [True] * 3


def shaped(ratio):
    def prepare(stream):
        stream.codec_context.sample_aspect_ratio = ratio

    return prepare


@pytest.mark.parametrize(
    ("ratio", "width"), [("16/11", 140), ("1/2", 48), ("4/1", 384), ("9/1", 96), ("1/9", 96)]
)
def test_pixels_are_made_square(tmp_path, ratio, width):
    path = write(tmp_path / "a.mkv", numbered(2), stream=shaped(Fraction(ratio)))
    clip = open_clip(path)
    assert (clip.info.width, clip.info.height) == (width, 64)
    (frame,) = clip.frames()
    assert off_by(frame.rgb, picture(width, 64)) <= 12


def test_pixels_are_made_square_before_the_turn(tmp_path):
    path = write(tmp_path / "a.mp4", numbered(2), stream=shaped(Fraction(3, 2)))
    clip = open_clip(turn(path, (0, 1, -1, 0)))
    assert (clip.info.width, clip.info.height) == (64, 144)
    assert next(clip.frames()).rgb.shape == (144, 64, 3)


@pytest.mark.parametrize(("codec", "kind"), [("libx264", "yuv444p"), ("ffv1", "yuv420p")])
def test_odd_sizes(tmp_path, codec, kind):
    upright = picture(97, 63)
    frames = all_frames(write(tmp_path / "a.mkv", [upright] * 2, codec, kind))
    assert off_by(frames[1].rgb, upright) <= 8


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.webm", "a.avi"])
def test_one_frame(tmp_path, name):
    codec = {"a.webm": "libvpx", "a.avi": "mpeg4"}.get(name, "libx264")
    path = write(tmp_path / name, numbered(1), codec)
    for sampling in map(Sampling, SAMPLINGS):
        (frame,) = open_clip(path).frames(sampling)
        assert (frame.index, frame.time_s) == (0, 0.0)


def test_stream_of_a_live_page_has_no_duration(tmp_path):
    path = write(tmp_path / "a.webm", numbered(5), "libvpx", muxer={"live": "1"})
    clip = open_clip(path)
    assert clip.info.duration_s is None
    assert len(list(clip.frames(ALL))) == 5
    assert clip.damage is None


def test_title_in_an_old_code_page_does_not_cost_the_clip(tmp_path):
    path = tmp_path / "a.avi"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "TITLETITLE"
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(96, 64))))
        container.mux(stream.encode())
    path.write_bytes(path.read_bytes().replace(b"TITLETITLE", "Самолёт 12".encode("cp1251")))
    assert len(all_frames(path)) == 1


# Several streams, and files without a clip in them.


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

    monkeypatch.setattr(video, "VideoReformatter", Broken)
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


# Damage.


def animation(path, count):
    """A GIF of noise, of which the decoder can tell no half frame from a whole one."""
    pictures = [Image.fromarray(np.roll(noise(96, 64), 9 * i, 1)) for i in range(count)]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=40)
    return path


def noisy(count):
    rng = np.random.default_rng(11)
    return [np.roll(noise(96, 64), rng.integers(96), 1) for _ in range(count)]


def same_as_in(frames, whole):
    """Whether each frame is, to the last bit, the one that the whole clip has at that time."""
    there = {round(f.time_s, 3): f.rgb for f in whole}
    return all(np.array_equal(f.rgb, there[round(f.time_s, 3)]) for f in frames)


def places(path):
    """(first byte, number of bytes) of each frame in the file."""
    with av.open(str(path)) as container:
        return [(e.pos, e.size) for e in container.streams.video[0].index_entries]


def cut(path, share=None, at=None):
    data = path.read_bytes()
    shorter = path.with_name(f"cut_{path.name}")
    shorter.write_bytes(data[: int(len(data) * share) if at is None else at])
    return shorter


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
    return len(list(video._Reading.packets(reading))), reading._skipped


def test_reader_that_fails_for_ever_is_given_up():
    error = av.error.OSError(5, "Input/output error")
    failures = video._READ_FAILURES
    assert read_from(*[error] * failures) == (1, failures)


def test_stream_that_turns_up_late_is_no_damage():
    assert read_from(IndexError("list index out of range")) == (1, 0)


# Sampling.


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
    real = video._Reading.packets
    monkeypatch.setattr(video._Reading, "packets", lambda self: seen.append(self) or real(self))
    frames = open_clip(long_clip).frames(Sampling("key"))
    next(frames)
    assert [r.stream.codec_context.skip_frame for r in seen] == ["DEFAULT", "NONKEY"]


def test_key_frames_where_the_decoder_skips_nothing(tmp_path):
    path = write(tmp_path / "a.webm", numbered(10), "libvpx-vp9", coder=FINE["libvpx-vp9"])
    assert [f.index for f in open_clip(path).frames(Sampling("key"))] == [0]


def test_no_such_frame(tmp_path, monkeypatch):
    clip = open_clip(write(tmp_path / "a.mp4", numbered(3)))
    monkeypatch.setattr(video._Reading, "frames", lambda *_, **__: iter(()))
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
    real = video._Reading.picture
    monkeypatch.setattr(video._Reading, "picture", lambda *a: seen.append(a) or real(*a))
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
    real = video._Reading.packets

    def counted(self):
        try:
            for packet in real(self):
                read.append(packet.pos)
                yield packet
        finally:
            ended.append(self)

    clip = open_clip(long_clip)
    monkeypatch.setattr(video._Reading, "packets", counted)
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
