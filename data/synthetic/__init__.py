"""Airframes drawn by our own code, from published dimensions: pictures with known labels."""

from data.synthetic.geometry import Mesh, airframe_spec, airframe_types, build_mesh, sweep_range
from data.synthetic.render import PAINTS, draw_airframe
from data.synthetic.scene import Scene, draw_scene, paste
from data.synthetic.sky import SKIES, draw_sky

__all__ = [
    "PAINTS",
    "SKIES",
    "Mesh",
    "Scene",
    "airframe_spec",
    "airframe_types",
    "build_mesh",
    "draw_airframe",
    "draw_scene",
    "draw_sky",
    "paste",
    "sweep_range",
]
