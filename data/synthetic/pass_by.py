"""A drawn clip: one airframe passes through the frame and turns, as from the ground."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from data.synthetic.render import draw_airframe
from data.synthetic.scene import paste
from data.synthetic.sky import draw_sky

_RATE = 10  # frames a second


def write_pass(
    path: Path,
    type_name: str,
    *,
    seconds: float = 5.0,
    width: int = 640,
    height: int = 400,
    seed: int = 0,
) -> None:
    """Write a clip to `path` (MP4, H.264) in which an airframe of a type flies from left to right.

    It grows as it comes abeam and shows first its nose, then its side, then its tail.
    Deterministic but for the codec's version. ValueError: an unknown type.
    """
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=_RATE)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"crf": "26", "preset": "slow"}
        stream.codec_context.time_base = Fraction(1, _RATE)
        stream.codec_context.thread_count = 1
        for rgb in _frames(type_name, round(seconds * _RATE), width, height, seed):
            for packet in stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)


def _frames(
    type_name: str, number: int, width: int, height: int, seed: int
) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(seed)
    sky = draw_sky(rng, width, height, "haze")
    for along in np.linspace(0, 1, number):
        near = 1 - abs(2 * along - 1)  # 0 at both ends, 1 abeam
        size = int((0.16 + 0.24 * near) * width)
        cut = draw_airframe(
            type_name,
            azimuth_deg=35 + 110 * along,
            elevation_deg=-18 - 14 * near,
            size_px=size,
        )
        left = round((0.04 + 0.92 * along) * (width - size))
        top = round(height * (0.46 - 0.12 * near) - size / 2 + rng.normal(0, 1.5))
        rgb, _ = paste(sky, cut, left, max(0, top))
        noise = rng.normal(0, 3, rgb.shape)
        yield np.clip(rgb + noise, 0, 255).astype(np.uint8)
