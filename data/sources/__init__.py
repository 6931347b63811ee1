"""Adapters from public sets, in the layout they are published in, to rows of our manifest."""

from data.sources.fgvc import fgvc_aircraft
from data.sources.military import military_aircraft_detection
from data.sources.rows import COLUMNS, SourceError, read_names, write_manifest
from data.sources.tables import csv_table, folder_per_class

__all__ = [
    "COLUMNS",
    "SourceError",
    "csv_table",
    "fgvc_aircraft",
    "folder_per_class",
    "military_aircraft_detection",
    "read_names",
    "write_manifest",
]
