"""Serve the page: drop stills and clips, read the answers.

python -m app --port 7860
"""

from __future__ import annotations

import os
import socket
from concurrent.futures import Future
from hmac import compare_digest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

if TYPE_CHECKING:
    from app.answers import Answers

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
# PyTorch's threads otherwise spin while they wait for one another: beside other work (the visitor's
# browser is some) an answer then takes many times as long. Read when torch loads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

console = Console(stderr=True)


def main(
    host: Annotated[
        str, typer.Option(help="The address to listen at; 0.0.0.0 lets the whole network in.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port to listen at.")] = 7860,
    checkpoint: Annotated[
        str, typer.Option(help="fast, strong, or the folder of another checkpoint.")
    ] = "fast",
    engine: Annotated[
        str, typer.Option(help="auto, onnx (ONNX Runtime, CPU) or torch; auto: onnx on the CPU.")
    ] = "auto",
    auth: Annotated[
        Path | None, typer.Option(help="A file of lines name:password; only these people get in.")
    ] = None,
    reviews: Annotated[
        Path, typer.Option(help="The folder that keeps reviews and their pictures.")
    ] = Path("out/reviews"),
) -> None:
    """Serve a page that names the airframe type in stills and clips and says how sure that is.

    Exit code 2: wrong usage, checkpoint or port.
    """
    _check_port(host, port)
    people = None if auth is None else _people(auth)
    # Imported late: what is wrong should be told at once, not after torch and gradio have loaded.
    from app.limits import PageLimits
    from app.loading import load, load_beside, there

    limits = PageLimits()
    if not there(checkpoint):
        try:
            load(checkpoint, limits, engine)  # which says what is missing
        except ValueError as error:
            _refuse(str(error))
    from app.page import build_page, serve_page

    model: Future[Answers] = Future()
    page = build_page(model, limits, reviews)
    allowed = None if people is None else lambda name, word: _knows(people, name, word)
    try:
        address = serve_page(page, host, port, limits, allowed)
    except OSError as error:  # the port was taken meanwhile
        _refuse(f"--host {host} --port {port}: cannot be served: {error}")
    # Only now: PyTorch and gradio loaded at once hold each other up, and the page comes later.
    load_beside(checkpoint, limits, engine, model)
    console.print(f"Airframe is at {address}  (Ctrl+C stops it)", highlight=False, markup=False)
    if people is None and host not in ("127.0.0.1", "localhost", "::1"):
        console.print("Everyone on the network can use it; --auth FILE asks for a password.")
    try:
        model.result()
    except ValueError as error:  # CheckpointError is one
        page.close()
        _refuse(str(error))
    page.block_thread()


def _people(path: Path) -> dict[str, str]:
    """Names and passwords from a file of lines name:password."""
    try:
        lines = [line.strip() for line in path.read_text("utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        _refuse(f"--auth {path}: cannot be read: {error}")
    people = {}
    for number, line in enumerate(lines, 1):
        name, colon, word = line.partition(":")
        if line and not line.startswith("#"):
            if not (name and colon and word):
                _refuse(f"--auth {path}: line {number}: write name:password")
            people[name] = word
    if not people:
        _refuse(f"--auth {path}: names nobody; write a line name:password for each person")
    return people


def _knows(people: dict[str, str], name: str, word: str) -> bool:
    """Takes as long for a wrong name as for a wrong password."""
    known = people.get(name, "")
    return compare_digest(known.encode(), word.encode()) and name in people


def _check_port(host: str, port: int) -> None:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        why = error.strerror or str(error)
        _refuse(f"--host {host} --port {port}: cannot listen there: {why}; give another --port")


def _refuse(message: str) -> None:
    console.print(
        f"python -m app: {message}", style="red", markup=False, highlight=False, soft_wrap=True
    )
    raise typer.Exit(2)


if __name__ == "__main__":
    typer.run(main)
