"""Clips made by code for the tests of data/video.py and of what stands on it."""

from fractions import Fraction

import av
import numpy as np
import pytest
from pictures import noise, one_line, picture
from PIL import Image

from data.container import ClipLimits
from data.images import StillError
from data.sampling import Sampling
from data.video import open_clip

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


def cut(path, share=None, at=None):
    data = path.read_bytes()
    shorter = path.with_name(f"cut_{path.name}")
    shorter.write_bytes(data[: int(len(data) * share) if at is None else at])
    return shorter


FINE = {
    "libvpx": {"crf": "4", "b": "2M", "deadline": "realtime"},
    "libvpx-vp9": {"crf": "4", "b": "2M", "deadline": "realtime", "cpu-used": "8"},
    "mpeg4": {"qmin": "1", "qmax": "2"},
    "mpeg2video": {"qmin": "1", "qmax": "2"},
    "flv": {"qmin": "1", "qmax": "2"},
    "wmv2": {"qmin": "1", "qmax": "2"},
}


def shaped(ratio):
    def prepare(stream):
        stream.codec_context.sample_aspect_ratio = ratio

    return prepare


def animation(path, count):
    """A GIF of noise, of which the decoder can tell no half frame from a whole one."""
    pictures = [Image.fromarray(np.roll(noise(96, 64), 9 * i, 1)) for i in range(count)]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=40)
    return path


def same_as_in(frames, whole):
    """Whether each frame is, to the last bit, the one that the whole clip has at that time."""
    there = {round(f.time_s, 3): f.rgb for f in whole}
    return all(np.array_equal(f.rgb, there[round(f.time_s, 3)]) for f in frames)
