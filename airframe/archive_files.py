"""The files that `--output` names."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

SUFFIXES = (".jsonl", ".csv", ".parquet", ".html")


@dataclass(frozen=True)
class ArchiveFiles:
    """The journal, what is made from it at the end, and the manifest beside it."""

    journal: Path
    tables: tuple[Path, ...]

    @classmethod
    def parse(cls, text: str) -> ArchiveFiles:
        """From `x.jsonl`; from `x.csv`, `x.parquet` or `x.html`, whose journal is `x.jsonl`; or
        from a folder (one that is there, or a name that ends with a slash), which gets them all.

        Raises ValueError for another name, or for Parquet where pyarrow is not installed.
        """
        path = Path(text)
        if text.endswith(("/", os.sep)) or path.is_dir():
            names = ("records.csv", "records.parquet", "records.html")
            made = [path / name for name in names if has_parquet() or "parquet" not in name]
            return cls(path / "records.jsonl", tuple(made))
        if path.suffix not in SUFFIXES:
            wanted = ", ".join(SUFFIXES)
            raise ValueError(f"--output {text}: write a name that ends in {wanted}, a folder/ or -")
        if path.suffix == ".parquet" and not has_parquet():
            raise ValueError(
                f"--output {text}: Parquet needs pyarrow, which is not installed; pip install "
                "pyarrow, or write .csv"
            )
        return cls(path.with_suffix(".jsonl"), () if path.suffix == ".jsonl" else (path,))

    @property
    def manifest(self) -> Path:
        """`x.manifest.json`."""
        return manifest_of(self.journal)


def manifest_of(journal: Path) -> Path:
    """Where the manifest of a file of records lies."""
    return journal.with_suffix(".manifest.json")


def has_parquet() -> bool:
    """Whether pyarrow, which is installed only where somebody asks for it, is there."""
    return importlib.util.find_spec("pyarrow") is not None
