"""From an entry of airframes.yaml to a triangle mesh."""

from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data.strict_yaml import load_yaml
from data.synthetic.parts import Part, blades, join, loft, mirrored, surface

_SHEET = Path(__file__).with_name("airframes.yaml")
_SMOOTH = 0.72  # cosine of the sharpest edge that is still shaded as a curve


class Mesh(NamedTuple):
    """One airframe: x aft, y starboard, z up, metres, centred on its bounding box.

    vertices (V, 3) float32; faces (F, 3) int32, turned outwards; materials (F,) int8, an index
    into MATERIALS; normals (F, 3, 3) float32, a unit normal for each corner of each face.
    """

    vertices: np.ndarray
    faces: np.ndarray
    materials: np.ndarray
    normals: np.ndarray


@lru_cache(maxsize=1)
def airframe_specs() -> dict[str, dict[str, Any]]:
    """The sheet of airframes.yaml: type name -> its dimensions and shape."""
    return load_yaml(_SHEET.read_text(encoding="utf-8"))


def airframe_types() -> tuple[str, ...]:
    """The type names that can be drawn, in the sheet's order."""
    return tuple(airframe_specs())


def airframe_spec(type_name: str) -> dict[str, Any]:
    """One type's entry; ValueError naming the known types if there is none."""
    specs = airframe_specs()
    if type_name not in specs:
        raise ValueError(f"no airframe {type_name!r}; known: {', '.join(specs)}")
    return specs[type_name]


def sweep_range(type_name: str) -> tuple[float, float] | None:
    """Least and greatest leading-edge sweep of a swing wing in degrees; None for a fixed wing."""
    sweep = airframe_spec(type_name).get("sweep")
    return (float(sweep[0]), float(sweep[1])) if sweep else None


@lru_cache(maxsize=64)
def build_mesh(type_name: str, sweep: float | None = None) -> Mesh:
    """The mesh of a type. sweep: leading-edge sweep in degrees, for a swing wing only.

    None gives the sheet's usual sweep. ValueError: an unknown type, a sweep out of the published
    range, or a sweep asked of a fixed wing.
    """
    spec = airframe_spec(type_name)
    angle = _checked_sweep(type_name, sweep)
    parts = [_body(entry) for entry in spec["bodies"]]
    parts += [_surface(entry, angle) for entry in spec["surfaces"]]
    parts += [_blades(entry) for entry in spec.get("blades", ())]
    part = join(parts)
    low, high = part.vertices.min(axis=0), part.vertices.max(axis=0)
    vertices = part.vertices - (low + high) / 2
    normals = _corner_normals(vertices, part.faces)
    mesh = Mesh(vertices.astype(np.float32), part.faces, part.materials, normals)
    for array in mesh:
        array.flags.writeable = False  # shared by the cache
    return mesh


def _checked_sweep(type_name: str, sweep: float | None) -> float | None:
    limits = sweep_range(type_name)
    if limits is None:
        if sweep is not None:
            raise ValueError(f"{type_name} has a fixed wing: sweep must be None")
        return None
    if sweep is None:
        return float(airframe_spec(type_name)["usual_sweep"])
    if not limits[0] <= sweep <= limits[1]:
        raise ValueError(f"{type_name}: sweep {sweep} is outside {limits[0]}..{limits[1]} degrees")
    return float(sweep)


def _both_sides(part: Part, entry: dict[str, Any]) -> Part:
    return join([part, mirrored(part)]) if entry.get("pair") else part


def _body(entry: dict[str, Any]) -> Part:
    side = entry.get("y", 0.0)
    centre = (side[0], side[-1]) if isinstance(side, list) else (side, side)
    keys = ("belt", "rake", "front", "rear", "material", "bands", "sides", "steps")
    options = {key: entry[key] for key in keys if key in entry}
    return _both_sides(loft(entry["sections"], centre=centre, **options), entry)


def _surface(entry: dict[str, Any], sweep: float | None) -> Part:
    options = {key: entry[key] for key in ("thickness", "seam", "tip", "material") if key in entry}
    part = surface(entry["stations"], **options)
    if "pivot" in entry and sweep is not None:
        part = _swung(part, entry["pivot"], sweep - entry["drawn_sweep"])
    return _both_sides(part, entry)


def _swung(part: Part, pivot: list[float], degrees: float) -> Part:
    """The starboard panel turned aft by `degrees` about a vertical axis through `pivot` (x, y)."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    vertices = part.vertices.copy()
    x, y = vertices[:, 0] - pivot[0], vertices[:, 1] - pivot[1]
    vertices[:, 0] = pivot[0] + x * cos + y * sin
    vertices[:, 1] = pivot[1] + y * cos - x * sin
    return part._replace(vertices=vertices)


def _blades(entry: dict[str, Any]) -> Part:
    keys = ("radius", "count", "chord", "axis", "turn", "pitch")
    options = {key: entry[key] for key in keys if key in entry}
    return _both_sides(blades(entry["hub"], **options), entry)


def _corner_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Smooth over gentle bends, sharp over edges: a corner keeps its face's normal at a crease."""
    corner = vertices[faces]
    flat = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    mean = np.zeros_like(vertices)
    np.add.at(mean, faces.reshape(-1), np.repeat(flat, 3, axis=0))
    flat = flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12)
    mean = mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-12)
    smooth = mean[faces]
    near = np.einsum("fkc,fc->fk", smooth, flat) > _SMOOTH
    return np.where(near[..., None], smooth, flat[:, None, :]).astype(np.float32)
