"""What the command line prints: messages on standard error, tables and findings on standard output.

A reader that leaves (a closed pipe) must not end a night's run.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn, TextIO

import typer
from rich.console import Console

from airframe.report import records_table


class Messages(Console):
    """Standard error; where nobody reads it any more, the run goes on in silence."""

    def on_broken_pipe(self) -> None:
        to_nowhere(sys.stderr)


class _Table(Console):
    def on_broken_pipe(self) -> None:
        to_nowhere(sys.stdout)


console = Messages(stderr=True)


def tell(line: str, style: str | None = None) -> None:
    """One line on standard error, however long."""
    console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)


def refuse(message: str) -> NoReturn:
    """Say what is wrong with the command, and leave with code 2."""
    tell(f"infer.py: {message}", "red")
    raise typer.Exit(2)


def require_torch(program: str) -> None:
    """Leave with code 2 where only the light install is there."""
    from airframe.engine import installed

    if not all(map(installed, ("torch", "torchvision", "lightning", "albumentations"))):
        tell(
            f"{program}: takes PyTorch, which the light install leaves out; install all of it: "
            "make demo, or pip install --group run -c constraints.txt",
            "red",
        )
        raise typer.Exit(2)


def to_nowhere(stream: TextIO) -> None:
    """Let a stream whose reader has left swallow what is still written to it."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def print_table(records: Sequence[dict[str, Any]], left_out: int) -> None:
    """The table of answers on standard output, and how many more there are."""
    out = _Table()
    if not out.is_terminal:
        # Piped or logged: rich would guess 80 columns and fold every cell.
        out = _Table(width=140)
    out.print(records_table(list(records)))
    if left_out:
        out.print(f"… and {left_out} more; --output writes them all")
