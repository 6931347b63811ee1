"""Airframes drawn by our own code, from published dimensions: pictures with known labels.

What is exported here measures airframes and needs NumPy alone, as the page's silhouettes do; the
modules that draw take OpenCV.
"""

from data.synthetic.geometry import Mesh, airframe_spec, airframe_types, build_mesh, sweep_range

__all__ = ["Mesh", "airframe_spec", "airframe_types", "build_mesh", "sweep_range"]
