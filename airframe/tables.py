"""The records as tables: CSV, and Parquet with its types, both with the groups of duplicates."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from airframe.record import Record, columns, csv_row

DUPLICATES = "duplicates"
_ROWS = 1000  # of Parquet at once in memory

# What a Parquet column holds where that is no text. Objects without a fixed shape are JSON text.
_KINDS = {
    **dict.fromkeys(("source.bytes", "source.width", "source.height", "source.records"), "int64"),
    **dict.fromkeys(("track.id", "track.frames", DUPLICATES), "int64"),
    **dict.fromkeys(("answer.probability", "prediction_set.coverage", "located.score"), "double"),
    **dict.fromkeys(("track.effective_frames", "track.first_s", "track.last_s"), "double"),
    **{
        f"uncertainty.{name}": "double"
        for name in (
            "entropy",
            "mutual_information",
            "unknown_score",
            "unknown_p_value",
            "picture_doubt",
            "model_doubt",
        )
    },
    "box": "list<double>",
    "operators.decisive": "bool",
    "theatre_prior.absent": "double",
    **dict.fromkeys(
        (
            "prediction_set.types",
            "operators.consistent_with",
            "operators.sources",
            "theatre_prior.fielded",
        ),
        "list<string>",
    ),
}


def write_csv(path: Path, records: Iterable[Record], groups: Mapping[str, int]) -> None:
    """One row a record, as `airframe.record.csv_row` has it, and the file's group."""
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.DictWriter(file, [*columns(), DUPLICATES], lineterminator="\n")
        rows.writeheader()
        for record in records:
            group = groups.get(record["source"]["path"], "")
            rows.writerow({**csv_row(record), DUPLICATES: group})


def write_parquet(path: Path, records: Iterable[Record], groups: Mapping[str, int]) -> None:
    """The same columns with their types; candidates are a list of {type, label, probability}."""
    import pyarrow as pa
    from pyarrow import parquet

    kinds = {
        "int64": pa.int64(),
        "double": pa.float64(),
        "bool": pa.bool_(),
        "list<double>": pa.list_(pa.float64()),
        "list<string>": pa.list_(pa.string()),
    }
    candidate = {"type": pa.string(), "label": pa.string(), "probability": pa.float64()}
    fields = {name: kinds.get(_KINDS.get(name, ""), pa.string()) for name in columns()}
    fields |= {"candidates": pa.list_(pa.struct(candidate)), DUPLICATES: pa.int64()}
    schema = pa.schema(list(fields.items()))
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        rows = (_typed(record, groups.get(record["source"]["path"])) for record in records)
        for some in _batches(rows):
            writer.write_table(pa.Table.from_pylist(some, schema))


def _typed(record: Record, group: int | None) -> dict[str, Any]:
    row: dict[str, Any] = {DUPLICATES: group}
    for name in columns():
        first, _, inner = name.partition(".")
        value = record.get(first)
        value = (value or {}).get(inner) if inner else value
        if isinstance(value, str):
            value = value.encode("utf-8", "replace").decode()
        elif name != "candidates" and name not in _KINDS and value is not None:
            value = json.dumps(value, ensure_ascii=False)
        row[name] = value
    return row


def _batches(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    while some := list(islice(rows, _ROWS)):
        yield some
