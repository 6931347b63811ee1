"""Drawn pictures on disk: a labelled set with its manifest, and the repository's examples."""

import csv
import re
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from data.synthetic.pass_by import write_pass
from data.synthetic.scene import Scene, draw_scene
from data.synthetic.sky import draw_sky

HEADER = (
    "path",
    "type",
    "family",
    "kind",
    "source",
    "group",
    "width",
    "height",
    "box",
    "split",
    "note",
)
SOURCE = "airframe/synthetic"
CLIP_SECONDS = 3.0
_QUALITY = 88
_ORIENTATION, _TURN_RIGHT = 0x0112, 6  # the EXIF tag, and "turn 90 degrees clockwise to view"

# name, type, sky, least and greatest size, seed; no type is an empty sky.
_EXAMPLES = (
    ("su-24-clear", "Su-24", "clear", 0.5, 0.6, 2),
    ("su-25-terrain", "Su-25", "terrain", 0.4, 0.5, 12),
    ("su-34-broken", "Su-34", "broken", 0.5, 0.6, 4),
    ("su-57-overcast", "Su-57", "overcast", 0.4, 0.5, 5),
    ("tu-95-dusk", "Tu-95", "dusk", 0.6, 0.7, 6),
    ("mi-24-urban", "Mi-24", "urban", 0.3, 0.4, 4),
    ("mig-31-distant", "MiG-31", "haze", 0.045, 0.05, 1),
    ("empty-sky", None, "broken", 0.0, 0.0, 3),
    ("l-39-sideways", "L-39", "clear", 0.4, 0.5, 2),
)


def slug(type_name: str) -> str:
    """A type's name as a folder's: `Su-17/22` is `su-17-22`."""
    return re.sub(r"[^a-z0-9]+", "-", type_name.lower()).strip("-")


def write_set(
    folder: Path,
    types: Sequence[str],
    per_type: int,
    *,
    seed: int = 0,
    width: int = 640,
    height: int = 400,
) -> Path:
    """Draw `per_type` scenes of each type as JPEGs and describe them in folder/manifest.csv.

    Paths in the manifest are relative to it; a box is `x0 y0 x1 y1` as shares of the frame. Each
    picture is its own group. A picture depends on the seed, its type and its number only, not on
    what else is drawn. Returns the manifest's path. ValueError: an unknown type.
    """
    folder.mkdir(parents=True, exist_ok=True)
    manifest = folder / "manifest.csv"
    with manifest.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(HEADER)
        for type_name in types:
            (folder / slug(type_name)).mkdir(exist_ok=True)
            for number in range(per_type):
                rng = np.random.default_rng([seed, zlib.crc32(type_name.encode()), number])
                scene = draw_scene(type_name, rng, width=width, height=height)
                path = f"{slug(type_name)}/{number:05d}.jpg"
                Image.fromarray(scene.rgb).save(folder / path, quality=_QUALITY)
                rows.writerow(_row(scene, path, seed))
    return manifest


def write_examples(folder: Path) -> list[Path]:
    """Draw the example pictures and the clip, 640 x 400, and return their paths. Deterministic, but
    for what another version of the video codec may change in the clip."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, type_name, sky, low, high, seed in _EXAMPLES:
        rng = np.random.default_rng(seed)
        if type_name is None:
            picture = Image.fromarray(draw_sky(rng, 640, 400, sky))
        else:
            picture = Image.fromarray(
                draw_scene(type_name, rng, size_range=(low, high), sky=sky).rgb
            )
        paths.append(folder / f"{name}.jpg")
        if name.endswith("sideways"):
            exif = Image.Exif()
            exif[_ORIENTATION] = _TURN_RIGHT
            # Stored turned to the left, as a camera held upright does.
            picture.transpose(Image.Transpose.ROTATE_90).save(
                paths[-1], quality=_QUALITY, exif=exif.tobytes()
            )
        else:
            picture.save(paths[-1], quality=_QUALITY)
    paths.append(folder / "mig-29-pass.mp4")
    write_pass(paths[-1], "MiG-29", seed=7)
    return paths


def write_clips(folder: Path, types: Sequence[str], *, seed: int = 0) -> list[Path]:
    """Draw a clip of three seconds of each type, `su-25-pass.mp4`, and return their paths.

    ValueError: an unknown type.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{slug(type_name)}-pass.mp4" for type_name in types]
    for path, type_name in zip(paths, types, strict=True):
        write_pass(path, type_name, seconds=CLIP_SECONDS, seed=seed)
    return paths


def _row(scene: Scene, path: str, seed: int) -> tuple[str, ...]:
    height, width = scene.rgb.shape[:2]
    shares = (edge / side for edge, side in zip(scene.box, (width, height) * 2, strict=True))
    box = " ".join(f"{share:.4f}" for share in shares)
    group = f"synthetic-{seed}-{path.removesuffix('.jpg').replace('/', '-')}"
    view = scene.view
    note = f"{view['sky']} azimuth {view['azimuth_deg']:.0f} elevation {view['elevation_deg']:.0f}"
    size = (str(width), str(height))
    return (path, scene.type_name, "", "drawn", SOURCE, group, *size, box, "", note)
