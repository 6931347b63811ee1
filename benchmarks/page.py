"""How long a visitor waits: python benchmarks/page.py --output benchmarks/page.json

The page is started as a user starts it and opened in Chromium without a window. Three times are
taken: from starting the program to its address, from opening the page (model still loading) to its
heading, and, once the model is there, from clicking an example to its answer. Needs chromium on the
PATH and a free port.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).parent.parent
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


def main(
    output: Annotated[Path, typer.Option(help="Where the figures go, as JSON.")],
    checkpoint: Annotated[str, typer.Option(help="fast, strong, or a folder.")] = "fast",
    port: Annotated[int, typer.Option(help="A free port.")] = 7899,
    repeats: Annotated[int, typer.Option(min=1, help="Answers of each example.")] = 3,
) -> None:
    """Measure what a visitor waits for, in seconds."""
    command = [sys.executable, "-m", "app", "--port", str(port), "--checkpoint", checkpoint]
    with tempfile.TemporaryDirectory() as reviews:
        started = time.monotonic()
        server = subprocess.Popen(
            [*command, "--reviews", reviews], cwd=ROOT, stderr=subprocess.PIPE, text=True
        )
        try:
            assert server.stderr is not None
            line = server.stderr.readline()
            if "Airframe is at" not in line:
                raise SystemExit(f"the page did not start: {line.strip()}")
            figures = {"start_s": round(time.monotonic() - started, 2)}
            figures |= _visit(f"http://127.0.0.1:{port}/", repeats)
        finally:
            server.terminate()
            server.wait()
    load = os.getloadavg()[0]
    made = {
        "checkpoint": checkpoint,
        "cores": os.cpu_count(),
        "load": round(load, 2),
        "made_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        **figures,
    }
    output.write_text(json.dumps(made, indent=1) + "\n", "utf-8")
    print(json.dumps(made, indent=1))


def _visit(address: str, repeats: int) -> dict[str, Any]:
    """First paint while the model loads, then the answers of every example, in seconds."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page()
        page.set_default_timeout(120_000)
        opened = time.monotonic()
        page.goto(address)
        page.get_by_role("heading", name="Airframe", exact=True).wait_for()
        paint = time.monotonic() - opened
        loading = page.locator("#status .af-ready").count() == 0
        page.locator("#status .af-ready").wait_for()
        names = page.locator("#examples button").all_inner_texts()
        times = {name: [_answer(page, i) for _ in range(repeats)] for i, name in enumerate(names)}
        browser.close()
    first = next(iter(times.values()))[0]
    return {
        "first_paint_s": round(paint, 2),
        "painted_before_the_model": loading,
        "first_answer_s": first,
        "answers_s": {name: round(median(taken), 2) for name, taken in times.items()},
        "slowest_s": max(max(taken) for taken in times.values()),
    }


def _answer(page: Page, index: int) -> float:
    """From the click on an example to its answer in an empty case."""
    clicked = time.monotonic()
    page.locator("#examples button").nth(index).click()
    page.locator("#answer .af-card[data-said]").wait_for()
    taken = time.monotonic() - clicked
    page.locator("#clear").click()
    page.locator("#answer .af-waiting ul").wait_for()
    return round(taken, 2)


if __name__ == "__main__":
    typer.run(main)
