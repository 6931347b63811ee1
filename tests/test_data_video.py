"""What a clip gives: containers, colours, times, turns, shapes."""

import hashlib
import struct
from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest
from clips import (
    ALL,
    FINE,
    all_frames,
    numbered,
    off_by,
    shaped,
    write,
)
from pictures import BLUE, RED, picture
from PIL import Image, ImageSequence

import data.container as container
from data.images import MATTE
from data.sampling import SAMPLINGS, Sampling
from data.video import open_clip

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
    clock = container.Clock(stream)
    assert [clock.read(stamp) for stamp in stamps] == pytest.approx(times)


def test_clock_without_any_rate():
    clock = container.Clock(SimpleNamespace(time_base=None, average_rate=None))
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
