"""The page served on a free port, and asked in a browser's words, for the tests of app/."""

import json
import socket
import time
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

import httpx

from app.answers import Answers
from app.limits import PageLimits
from app.page import build_page, serve_page


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ready(answers):
    """A model that has been loaded."""
    model = Future()
    model.set_result(answers)
    return model


@contextmanager
def serving(predictor, reviews, limits=None, model=None, auth=None):
    """(page, address), closed at the end."""
    limits = limits or PageLimits()
    page = build_page(model or ready(Answers(predictor, limits)), limits, reviews)
    try:
        yield page, serve_page(page, "127.0.0.1", free_port(), limits, auth)
    finally:
        page.close()


def upload(address, paths, client=httpx):
    """What the server says of uploaded files."""
    files = [("files", (Path(p).name, Path(p).read_bytes())) for p in paths]
    return client.post(f"{address}gradio_api/upload", files=files, timeout=120)


def given(where, name):
    """An uploaded file as a browser names it."""
    return {"path": where, "orig_name": name, "meta": {"_type": "gradio.FileData"}}


def call(address, data, client=httpx, timeout=120):
    """The text of all events of one request for an answer."""
    api = f"{address}gradio_api/call/answer"
    event = client.post(api, json={"data": data}, timeout=timeout).json()["event_id"]
    return client.get(f"{api}/{event}", timeout=timeout).text


def ask(address, *paths):
    """(answer HTML, picture HTML, record or records, table HTML, note) of files, as told last."""
    names = [Path(path).name for path in paths]
    where = upload(address, paths).json()
    events = call(address, [[given(*pair) for pair in zip(where, names, strict=True)]])
    assert "event: complete" in events, events[-2000:]
    told = json.loads(events.split("data: ")[-1])
    return [told[0], told[1], told[2], told[3], told[6]]


def until(happened, seconds=30):
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.1)
