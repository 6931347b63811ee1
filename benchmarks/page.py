"""How long a visitor waits: the page standing, the model ready, an example's answer, in Chromium.

python benchmarks/page.py [--checkpoint FOLDER] [--starts 5] [--output results.json]

Each start is `python -m app` in a process of its own and a fresh browser window. Needs Chromium
and the dev group's playwright. Other work on the machine is in every figure; its load is written
beside them.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # it is run from anywhere, never installed
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
PATIENCE_S = 180.0
# Clicks an example and waits until its answer has been painted, in seconds by the browser's own
# clock: no trip to the browser and back is in the figure. Gradio changes the card in place, so that
# an answer is one that comes after a card without one.
CLICK = """(index) => new Promise((done) => {
  const answered = () => document.querySelector('#answer [data-said]');
  let from = 0, covered = !answered();
  const seen = new MutationObserver(() => {
    covered ||= !answered();
    if (!covered || !answered()) return;
    seen.disconnect();
    requestAnimationFrame(() => setTimeout(() => done((performance.now() - from) / 1000)));
  });
  seen.observe(document.body, {
    childList: true, subtree: true, attributes: true, attributeFilter: ['data-said'],
  });
  from = performance.now();
  document.querySelectorAll('#examples button')[index].click();
})"""
ROWS = {
    "page": "from the command to the page standing",
    "ready": "from the command to the model ready",
    "first": "first answer: an example that is a still",
    "later": "later answers: the other stills",
    "clip": "the example that is a clip of 4 s",
}


def main(
    checkpoint: Annotated[
        str, typer.Option(help="fast, strong, or the folder of another checkpoint.")
    ] = "fast",
    starts: Annotated[int, typer.Option(min=1, help="How often the page is started anew.")] = 5,
    output: Annotated[Path | None, typer.Option(help="A JSON file to write.")] = None,
) -> None:
    """Start the page, click every example, and time each; the first one changes with the start."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        raise typer.BadParameter("no chromium on the PATH: apt-get install chromium")
    taken: dict[str, list[float]] = {name: [] for name in ROWS}
    loads = []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=FLAGS)
        for start in range(starts):
            loads.append(os.getloadavg()[0])
            with tempfile.TemporaryDirectory() as reviews, browser.new_context() as context:
                _visit(context.new_page(), checkpoint, reviews, start, taken)
        browser.close()
    results = {
        "checkpoint": checkpoint,
        "starts": starts,
        "seconds": {name: _summary(values) for name, values in taken.items()},
        "cores": os.cpu_count(),
        "load_before_each_start": loads,
    }
    _show(results)
    if output:
        output.write_text(json.dumps(results, indent=1) + "\n", "utf-8")


def _visit(
    page: Any, checkpoint: str, reviews: str, start: int, taken: dict[str, list[float]]
) -> None:
    """One start of the page, and a click on every example."""
    page.set_default_timeout(1000 * PATIENCE_S)
    began = time.perf_counter()
    with _serving(checkpoint, reviews) as (address, alive):
        while not _listens(address):
            assert alive(), "python -m app ended: run it by hand to see why"
            assert time.perf_counter() - began < PATIENCE_S, "the page did not come"
            time.sleep(0.02)
        page.goto(f"http://{address[0]}:{address[1]}/")
        page.locator("#examples button").first.wait_for()
        taken["page"].append(time.perf_counter() - began)
        page.locator("#status .af-ready").wait_for()
        taken["ready"].append(time.perf_counter() - began)
        for number, (index, kind) in enumerate(_order(page, start)):
            seconds = page.evaluate(CLICK, index)
            taken["first" if number == 0 else kind].append(seconds)


def _order(page: Any, start: int) -> list[tuple[int, str]]:
    """(position, row) of every example: stills by turns, from another one at each start, then the
    clips."""
    from app.page import example_files

    names = [path.name for path in example_files()]
    assert page.locator("#examples button").count() == len(names)
    stills = [i for i, name in enumerate(names) if not name.endswith(".mp4")]
    turn = start % len(stills)
    clips = [(i, "clip") for i, name in enumerate(names) if name.endswith(".mp4")]
    return [(i, "later") for i in stills[turn:] + stills[:turn]] + clips


@contextmanager
def _serving(checkpoint: str, reviews: str) -> Iterator[tuple[tuple[str, int], Any]]:
    """`python -m app` as a user starts it: (address, whether it still runs), stopped at the end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = probe.getsockname()
    command = [sys.executable, "-m", "app", "--port", str(address[1])]
    command += ["--checkpoint", checkpoint, "--reviews", reviews]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        try:
            yield address, lambda: process.poll() is None
        finally:
            process.terminate()


def _listens(address: tuple[str, int]) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(address) == 0


def _summary(values: list[float]) -> dict[str, float]:
    return {
        "n": len(values),
        "median": round(statistics.median(values), 2),
        "least": round(min(values), 2),
        "most": round(max(values), 2),
    }


def _show(results: dict[str, Any]) -> None:
    title = f"{results['checkpoint']}, {results['starts']} starts, {results['cores']} cores"
    table = Table(title=title, title_justify="left")
    for column in ("seconds", "n", "median", "least", "most"):
        table.add_column(column, justify="left" if column == "seconds" else "right")
    for name, said in ROWS.items():
        row = results["seconds"][name]
        table.add_row(said, str(row["n"]), *(f"{row[k]:.2f}" for k in ("median", "least", "most")))
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
