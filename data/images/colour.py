"""From pixels as a file stores them, in any of its modes, to 8-bit sRGB."""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

from data.images.jpeg import plain_inks

_PHOTOMETRIC, _BITS_PER_SAMPLE = 262, 258  # TIFF tags
_WHITE_IS_ZERO = 0
_SRGB = ImageCms.createProfile("sRGB")


def to_srgb(image: Image.Image) -> Image.Image:
    """A loaded picture of any mode as RGB, or RGBA where it has transparency; uint8.

    Grey of 16 bits is scaled by the range its type can hold, so a dark shot stays dark. Raises
    ValueError for pixels that Pillow cannot turn into RGB.
    """
    profile = image.info.get("icc_profile")
    if image.mode == "F" or image.mode.startswith("I"):
        pixels = _eight_bits(image)
    elif image.mode in ("RGBA", "RGBa", "LA", "La", "P", "PA") or "transparency" in image.info:
        return _with_alpha(image, profile)
    else:
        pixels = plain_inks(image)
    return _managed(pixels, profile)


def _with_alpha(image: Image.Image, profile: bytes | None) -> Image.Image:
    full = image.convert("RGBA")
    alpha = full.getchannel("A")
    colour = full.convert("RGB")
    if image.mode in ("L", "LA", "La", "1"):
        colour = colour.getchannel("R")  # back to grey: a grey profile does not fit three channels
    managed = _managed(colour, profile)
    if alpha.getextrema() == (255, 255):
        return managed
    managed.putalpha(alpha)
    return managed


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 or 32 bits as L: Pillow's own conversion clips at 255 and so returns white.

    Unsigned 16 bits: by 65,535, or by what the TIFF's own bit depth holds. Float: as it is where
    within 0–1 or 0–255. The rest has no range to go by and is stretched from its least value to
    its greatest; NaN and infinities are black.
    """
    tags = getattr(image, "tag_v2", {})
    values = np.asarray(image).astype(np.float32)
    finite = np.isfinite(values)
    values[~finite] = 0
    low, high = float(values.min()), float(values.max())
    if image.mode.startswith("I;16"):
        low, high = 0.0, 2.0 ** tags.get(_BITS_PER_SAMPLE, (16,))[0] - 1
    elif low >= 0:
        tops = (1.0, 255.0) if image.mode == "F" else (65535.0,)
        fitting = [top for top in tops if high <= top]
        low, high = (0.0, fitting[0]) if fitting else (low, high)
    values -= low
    values *= 255 / max(high - low, 1e-12)
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        values = 255 - values  # Pillow inverts such a TIFF at 8 bits, not at 16
    values[~finite] = 0
    return Image.fromarray(np.rint(values).clip(0, 255).astype(np.uint8))


def _managed(pixels: Image.Image, profile: bytes | None) -> Image.Image:
    """`pixels` as RGB in sRGB, through the embedded profile where it has a usable one."""
    if profile:
        try:
            transform = _transform(profile, pixels.mode)
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            # A broken profile, or one for another kind of pixels, is common in pictures off the
            # web and harms colour only a little; the picture is read as if it had none.
            transform = None
        if transform is not None:
            converted = transform.apply(pixels)
            converted.info.pop("icc_profile", None)
            return converted
    return pixels.convert("RGB")


@lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """From `profile` to sRGB; None where it is sRGB already, which most are: saves a rounding."""
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    if mode == "RGB" and ImageCms.getProfileDescription(source).startswith("sRGB"):
        return None
    return ImageCms.buildTransform(source, _SRGB, mode, "RGB")
