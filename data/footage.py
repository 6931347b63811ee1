"""A still filmed: a short clip of it with a hand-held camera, changing light and real H.264.

What pooling over frames is calibrated on where no labelled clips are at hand.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av
import cv2
import numpy as np

from data.degrade import haze, low_light
from data.views import RGB


def filmed(rgb: RGB, frames: int, rng: np.random.Generator, long_side: int = 640) -> list[RGB]:
    """`frames` pictures of `rgb` (H, W, 3), as a clip whose longer side is `long_side` pixels.

    The camera drifts, shakes and zooms between 60 % and 110 % of what shows the still whole; some
    frames are smeared; light and haze are drawn once and waver. All go through one H.264 stream of
    a random rate factor (22-40), so that their artefacts are as alike as a clip's are.
    """
    h, w = rgb.shape[:2]
    scale = long_side / max(h, w)
    size = 2 * max(8, round(w * scale / 2)), 2 * max(8, round(h * scale / 2))
    near, far = rng.uniform(0.6, 1.1, 2)
    start, end = rng.uniform(-0.12, 0.12, (2, 2))
    along = np.linspace(0, 1, frames)
    zoom = scale * (near + (far - near) * along)
    path = start + np.outer(along, end - start) + rng.normal(0, 0.01, (frames, 2))
    air, glow = rng.uniform(0, 0.45), rng.uniform(140, 235)
    dim = rng.uniform(0.45, 1.0)
    border = tuple(float(v) for v in rgb.mean((0, 1)))
    pictures = []
    for i in range(frames):
        turn = cv2.getRotationMatrix2D((w / 2, h / 2), rng.normal(0, 2.5), float(zoom[i]))
        turn[:, 2] += np.array(size) / 2 - (w / 2, h / 2) + path[i] * size
        view = cv2.warpAffine(
            _softened(rgb, float(zoom[i])), turn, size, flags=cv2.INTER_LINEAR, borderValue=border
        )
        view = _smeared(np.asarray(view, np.uint8), rng)
        view = haze(view, float(np.clip(air + rng.normal(0, 0.04), 0, 0.7)), glow)
        noise = rng.normal(0, 5, view.shape).astype(np.float32)
        pictures.append(low_light(view, float(np.clip(dim + rng.normal(0, 0.04), 0.3, 1)), noise))
    return h264_clip(pictures, int(rng.integers(22, 41)))


def h264_clip(pictures: list[RGB], crf: int) -> list[RGB]:
    """Pictures of one even size through one H.264 stream at a constant rate factor (0-51)."""
    height, width = pictures[0].shape[:2]
    codec: Any = av.CodecContext.create("libx264", "w")
    codec.width, codec.height, codec.pix_fmt = width, height, "yuv420p"
    codec.time_base = Fraction(1, 25)
    codec.options = {"crf": str(crf), "preset": "veryfast", "tune": "zerolatency"}
    decoder: Any = av.CodecContext.create("h264", "r")
    codec.thread_count = decoder.thread_count = 1
    packets = []
    for index, picture in enumerate(pictures):
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        frame.pts = index
        packets += codec.encode(frame)
    packets += codec.encode(None)
    decoded = [frame for packet in packets for frame in decoder.decode(packet)]
    decoded += decoder.decode(None)
    return [frame.to_ndarray(format="rgb24") for frame in decoded]


def _softened(rgb: RGB, zoom: float) -> RGB:
    """Blurred by what shrinking will drop: warping alone skips pixels."""
    if zoom >= 1:
        return rgb
    return np.asarray(cv2.GaussianBlur(rgb, (0, 0), 0.5 / zoom), np.uint8)


def _smeared(rgb: RGB, rng: np.random.Generator) -> RGB:
    """Now and then a frame is moved along a line while it is exposed."""
    if rng.random() > 0.35:
        return rgb
    length = int(rng.integers(3, 10))
    kernel = np.zeros((length, length), np.float32)
    kernel[length // 2] = 1 / length
    turn = cv2.getRotationMatrix2D(((length - 1) / 2,) * 2, float(rng.uniform(0, 180)), 1)
    line = np.asarray(cv2.warpAffine(kernel, turn, (length, length)), np.float32)
    return np.asarray(cv2.filter2D(rgb, -1, line / max(float(line.sum()), 1e-6)), np.uint8)
