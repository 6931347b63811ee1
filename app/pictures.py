"""Pictures as the page shows them: small, upright, as data URIs, so that no file is left behind."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from app import texts, words

Record = dict[str, Any]
RGB = NDArray[np.uint8]
PREVIEW = (1280, 960)
THUMB = (144, 96)
# From see-through to a light yellow: viridis' own end, told apart by every kind of colour vision.
_COLD, _HOT = np.array((68, 1, 84), float), np.array((253, 231, 37), float)


def jpeg_uri(picture: Image.Image, quality: int = 85) -> str:
    """The picture as a `data:` URI."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def png_bytes(pixels: RGB | Image.Image) -> bytes:
    """The picture as the bytes of a PNG, see-through parts and all."""
    buffer = io.BytesIO()
    picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def shrunk(rgb: RGB, size: tuple[int, int] = PREVIEW) -> Image.Image:
    """The picture (H, W, 3) within `size`, never larger than it is."""
    picture = Image.fromarray(rgb)
    picture.thumbnail(size)
    return picture


def thumb_uri(rgb: RGB) -> str:
    """A small view for tables and lists."""
    return jpeg_uri(shrunk(rgb, THUMB), 72)


def boxed(rgb: RGB, records: Sequence[Record], size: tuple[int, int] = PREVIEW) -> Image.Image:
    """The picture with the boxes that were looked at drawn in, numbered where there are several."""
    picture = shrunk(rgb, size)
    scale = picture.width / rgb.shape[1]
    draw = ImageDraw.Draw(picture)
    for number, record in enumerate(records, 1):
        if not record["box"]:
            continue
        x0, y0, x1, y1 = (round(edge * scale) for edge in record["box"])
        # Dark around light: it shows on sky and on ground, whatever colours a reader can tell.
        draw.rectangle((x0, y0, max(x1, x0 + 2), max(y1, y0 + 2)), outline="black", width=4)
        if x1 - x0 > 4 and y1 - y0 > 4:
            draw.rectangle((x0 + 1, y0 + 1, x1 - 1, y1 - 1), outline="white", width=2)
        if len(records) > 1:
            draw.text((x0 + 6, y0 + 4), str(number), "white", None, stroke_width=2, stroke_fill=0)
    return picture


def heat_uri(heat: NDArray[np.float32], window: Sequence[float], width: int, height: int) -> str:
    """A map (h, w) in 0..1 laid over its `window` (x0, y0, x1, y1) of a frame, see-through where
    it is low, as a PNG of the preview's shape."""
    scale = min(PREVIEW[0] / width, PREVIEW[1] / height, 1.0)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    x0, y0, x1, y1 = (round(edge * scale) for edge in window)
    part = Image.fromarray(heat).resize(
        (max(1, x1 - x0), max(1, y1 - y0)), Image.Resampling.BICUBIC
    )
    strength = np.clip(np.asarray(part), 0, 1)[..., None]
    colour = _COLD + (_HOT - _COLD) * strength
    pixels = np.concatenate([colour, 40 + 150 * strength], axis=2).astype(np.uint8)
    overlay = Image.new("RGBA", size)
    overlay.paste(Image.fromarray(pixels), (x0, y0))
    return "data:image/png;base64," + base64.b64encode(png_bytes(overlay)).decode()


def stage_html(
    picture: str,
    size: tuple[int, int],
    records: Sequence[Record],
    which: int,
    name: str,
    *,
    heat: str = "",
    editable: bool = True,
    note: str = "",
) -> str:
    """The picture with its boxes, which can be picked, dragged and drawn anew (scripts/stage.js).

    `size` is the frame's own width and height in pixels; `heat` an overlay as a data URI.
    """
    width, height = size
    boxes = "".join(
        _box_html(record["box"], size, i, i == which, len(records) > 1)
        for i, record in enumerate(records)
        if record["box"]
    )
    over = f'<img class="af-heat" src="{escape(heat)}" alt="">' if heat else ""
    said = texts.HEAT_CAUTION if heat else note
    caption = f"<figcaption>{escape(said)}</figcaption>" if said else ""
    named = bool(records[which]["candidates"])
    help_ = (
        f' aria-describedby="af-stage-help" data-editable="{width},{height}"' if editable else ""
    )
    return (
        f'<figure class="af-figure">{_tools_html(bool(heat), editable, named)}'
        f'<div class="af-stage" tabindex="0" role="group" aria-label="{escape(texts.PICTURE)}"'
        f'{help_}><img class="af-picture" src="{escape(picture)}" draggable="false" '
        f'alt="{escape(words.picture_alt(name, records, which))}">{over}{boxes}'
        f'<div class="af-draft" hidden></div></div>{caption}</figure>'
    )


def _tools_html(heat: bool, editable: bool, named: bool) -> str:
    """`named`: there is an answer whose map can be shown."""
    pressed = "true" if heat else "false"
    map_ = (
        f'<button type="button" data-pick="heat" data-index="{0 if heat else 1}" '
        f'aria-pressed="{pressed}">What carried it</button>'
    )
    draw = '<button type="button" data-tool="draw" aria-pressed="false">Draw a box</button>'
    help_ = f'<span id="af-stage-help" class="af-small">{escape(texts.STAGE_HELP)}</span>'
    return (
        f'<div class="af-tools" role="toolbar" aria-label="Picture">{draw if editable else ""}'
        f"{map_ if named else ''}{help_ if editable else ''}</div>"
    )


def _box_html(
    box: Sequence[float], size: tuple[int, int], index: int, chosen: bool, several: bool
) -> str:
    width, height = size
    left, top = 100 * box[0] / width, 100 * box[1] / height
    wide, tall = 100 * (box[2] - box[0]) / width, 100 * (box[3] - box[1]) / height
    number = f"<span>{index + 1}</span>" if several else ""
    corners = "".join(f'<i data-corner="{c}"></i>' for c in ("nw", "ne", "sw", "se"))
    return (
        f'<div class="af-box{" af-chosen" if chosen else ""}" data-index="{index}" '
        f'style="left:{left:.3f}%;top:{top:.3f}%;width:{wide:.3f}%;height:{tall:.3f}%">'
        f"{number}{corners if chosen else ''}</div>"
    )
