"""The door: `python -m data.sources {fgvc,military,folder,csv} ROOT --out manifest.csv`."""

from __future__ import annotations

import argparse
import logging
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from data.sources.fgvc import fgvc_aircraft
from data.sources.military import military_aircraft_detection
from data.sources.rows import Names, Row, SourceError, read_names, write_manifest
from data.sources.tables import csv_table, folder_per_class


def _fgvc(root: Path, names: Names | None) -> list[Row]:
    return fgvc_aircraft(root, "trainval", names) + fgvc_aircraft(root, "test", names)


_ADAPTERS: dict[str, Callable[[Path, Names | None], list[Row]]] = {
    "fgvc": _fgvc,
    "military": military_aircraft_detection,
    "folder": folder_per_class,
    "csv": csv_table,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the manifest of one set; 0, or 2 after one line on stderr saying why not."""
    parser = argparse.ArgumentParser(
        prog="python -m data.sources", description="Write the manifest of a public set."
    )
    parser.add_argument("set", choices=list(_ADAPTERS), help="which layout to read")
    parser.add_argument("root", type=Path, help="the set's folder; for csv, the file")
    parser.add_argument("--out", type=Path, required=True, help="the manifest to write")
    parser.add_argument(
        "--names",
        type=Path,
        help="a YAML table 'name in the set: our type' (default: the set's own names; "
        "for military, data/sources_names.yaml)",
    )
    options = parser.parse_args(arguments)
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    try:
        names = read_names(options.names) if options.names else None
        rows = _ADAPTERS[options.set](options.root, names)
        # A manifest is labels: what has none is named below, not written.
        labelled = [row for row in rows if row["type"]]
        write_manifest(labelled, options.out)
    except SourceError as error:
        print(error, file=sys.stderr)
        return 2
    types = {row["type"] for row in labelled}
    root = options.root.parent if options.set == "csv" else options.root
    print(f"{options.out}: {len(labelled)} rows of {len(types)} types; paths start at {root}")
    if options.names or options.set == "military":  # the others take every name as it is
        unmapped = Counter(row["note"].split("; ")[0] for row in rows if not row["type"])
        for name, count in sorted(unmapped.items()):
            print(
                f"left out, not mapped to a type: {name or '(no name)'} ({count} rows)",
                file=sys.stderr,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
