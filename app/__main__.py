"""Serve the page: upload a still, read the answer.

python -m app --port 7860
"""

from __future__ import annotations

import os
import socket
from typing import Annotated

import typer
from rich.console import Console

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

console = Console(stderr=True)


def main(
    host: Annotated[
        str, typer.Option(help="The address to listen at; 0.0.0.0 lets the whole network in.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port to listen at.")] = 7860,
    checkpoint: Annotated[
        str, typer.Option(help="fast, strong, or the folder of another checkpoint.")
    ] = "fast",
) -> None:
    """Serve a page that names the airframe type in a still and says how sure that is.

    Exit code 2: wrong usage, checkpoint or port.
    """
    _check_port(host, port)
    # Imported late: what is wrong should be told at once, not after torch and gradio have loaded.
    from airframe.predictor import Predictor, checkpoint_folder
    from models.checkpoint import CheckpointError

    try:
        predictor = Predictor(checkpoint_folder(checkpoint))
    except CheckpointError as error:
        _refuse(str(error))
    from app.page import build_page, serve_page

    page = build_page(predictor)
    try:
        address = serve_page(page, host, port)
    except OSError as error:  # the port was taken meanwhile
        _refuse(f"--host {host} --port {port}: cannot be served: {error}")
    console.print(f"Airframe is at {address}  (Ctrl+C stops it)", highlight=False, markup=False)
    page.block_thread()


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
