"""Degradations of footage that the augmentation library lacks: haze, low light, captions, H.264."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import albumentations as A
import av
import cv2
import numpy as np
from numpy.typing import NDArray

RGB = NDArray[np.uint8]


def haze(rgb: RGB, density: float, airlight: float) -> RGB:
    """Koschmieder's law at one depth: the scene fades to `airlight` (0-255) by `density` (0-1)."""
    return (rgb * (1 - density) + airlight * density).clip(0, 255).astype(np.uint8)


def low_light(rgb: RGB, gain: float, noise: NDArray[np.float32]) -> RGB:
    """Dim by `gain` in 0-1 and add the sensor noise (H, W, 3), which grows as the light goes."""
    return (rgb * gain + noise * (1.5 - gain)).clip(0, 255).astype(np.uint8)


def overlay_text(rgb: RGB, text: str, origin: tuple[int, int], scale: float, grey: int) -> RGB:
    """Burn a caption in, at `origin` (x, y) of its baseline, with the rim that captions have."""
    picture = np.ascontiguousarray(rgb.copy())
    for thickness, value in ((3, 255 - grey), (1, grey)):
        colour = (value, value, value)
        cv2.putText(
            picture, text, origin, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, thickness, cv2.LINE_AA
        )
    return picture


def h264(rgb: RGB, crf: int, shift: int = 2) -> RGB:
    """The picture as the second frame of a real H.264 clip at a constant rate factor (0-51).

    The first frame is the picture moved by `shift` pixels, so that what comes back is predicted
    from it and carries the smears of motion compensation, not only those of one still frame.
    Odd sizes are cropped to even ones inside the codec and padded back by their edge.
    """
    height, width = rgb.shape[:2]
    even = np.ascontiguousarray(rgb[: height - height % 2, : width - width % 2])
    codec: Any = av.CodecContext.create("libx264", "w")
    codec.width, codec.height = even.shape[1], even.shape[0]
    codec.pix_fmt = "yuv420p"
    codec.time_base = Fraction(1, 25)
    codec.options = {"crf": str(crf), "preset": "ultrafast", "tune": "zerolatency"}
    decoder: Any = av.CodecContext.create("h264", "r")
    # Two small frames: starting threads would cost more than the coding.
    codec.thread_count = decoder.thread_count = 1
    frames: list[Any] = []
    for index, picture in enumerate((np.roll(even, shift, axis=1), even)):
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts = index
        frames += [f for packet in codec.encode(frame) for f in decoder.decode(packet)]
    for packet in codec.encode(None):
        frames += decoder.decode(packet)
    frames += decoder.decode(None)
    result = frames[-1].to_ndarray(format="rgb24")
    return np.pad(result, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


class Haze(A.ImageOnlyTransform):
    """Random haze of density 0.15-0.7."""

    def get_params(self) -> dict[str, Any]:
        return {
            "density": self.py_random.uniform(0.15, 0.7),
            "airlight": self.py_random.uniform(150, 240),
        }

    def apply(self, img: RGB, density: float, airlight: float, **_: Any) -> RGB:
        return haze(img, density, airlight)


class LowLight(A.ImageOnlyTransform):
    """Random dusk: gain 0.15-0.6 with sensor noise."""

    def get_params_dependent_on_data(
        self, params: dict[str, Any], data: dict[str, Any]
    ) -> dict[str, Any]:
        noise = self.random_generator.normal(0, 8, params["shape"]).astype(np.float32)
        return {"gain": self.py_random.uniform(0.15, 0.6), "noise": noise}

    def apply(self, img: RGB, gain: float, noise: NDArray[np.float32], **_: Any) -> RGB:
        return low_light(img, gain, noise)


class OverlaidText(A.ImageOnlyTransform):
    """One to `most` random captions, time stamps or channel marks; their letters say nothing of the
    label."""

    letters = "ABCDEFGHIKLMNOPRSTUVXYZ0123456789:-./ "

    def __init__(self, most: int = 1, p: float = 0.5) -> None:
        super().__init__(p=p)
        self.most = most

    def get_params_dependent_on_data(
        self, params: dict[str, Any], data: dict[str, Any]
    ) -> dict[str, Any]:
        count = self.py_random.randint(1, self.most)
        return {"captions": [self._caption(*params["shape"][:2]) for _ in range(count)]}

    def _caption(self, height: int, width: int) -> dict[str, Any]:
        text = "".join(self.py_random.choices(self.letters, k=self.py_random.randint(4, 22)))
        origin = (
            self.py_random.randint(0, max(1, width // 2)),
            self.py_random.randint(height // 10 + 1, height - 1),
        )
        scale = self.py_random.uniform(0.3, 1.2) * height / 256
        grey = self.py_random.choice((0, 230, 255))
        return {"text": text, "origin": origin, "scale": scale, "grey": grey}

    def apply(self, img: RGB, captions: list[dict[str, Any]], **_: Any) -> RGB:
        for caption in captions:
            img = overlay_text(img, **caption)
        return img


class VideoCompression(A.ImageOnlyTransform):
    """Real H.264 at a random rate factor of 26-44."""

    def get_params(self) -> dict[str, Any]:
        return {"crf": self.py_random.randint(26, 44), "shift": self.py_random.randint(0, 6)}

    def apply(self, img: RGB, crf: int, shift: int, **_: Any) -> RGB:
        return h264(img, crf, shift)
