"""app/: the page is served and asked as a browser would, without one."""

import hashlib
import json
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from airframe.batch import Task, answer_all
from airframe.predictor import Predictor, Settings
from app import page as wiring
from data.images import IMAGE_SUFFIXES, Limits

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def predictor(tiny_checkpoint):
    return Predictor(tiny_checkpoint, "cpu")


@pytest.fixture(scope="module")
def served(predictor):
    """(page, address) of the page on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    page = wiring.build_page(predictor)
    yield page, wiring.serve_page(page, "127.0.0.1", port)
    page.close()


@pytest.fixture
def still(drawn_set, tmp_path):
    """A drawn JPEG under a name with signs that gradio strips from a path."""
    target = tmp_path / "Latakia {2} <b>x</b>".replace("/", "-")
    return shutil.copy(next(drawn_set.parent.rglob("*.jpg")), target.with_suffix(".JPG"))


def ask(served, path):
    """(preview, answer HTML, record) of a file, uploaded and asked about in a browser's words."""
    api = f"{served[1]}gradio_api"
    with open(path, "rb") as file:
        upload = httpx.post(f"{api}/upload", files={"files": (Path(path).name, file)})
    (where,) = upload.json()
    given = {"path": where, "orig_name": Path(path).name, "meta": {"_type": "gradio.FileData"}}
    call = httpx.post(f"{api}/call/answer", json={"data": [given]})
    events = httpx.get(f"{api}/call/answer/{call.json()['event_id']}", timeout=60).text
    assert "event: complete" in events
    return json.loads(events.split("data: ")[-1])


def test_the_record_is_that_of_the_uploaded_file(served, predictor, still):
    *_, record = ask(served, still)
    data = Path(still).read_bytes()
    assert record["source"]["sha256"] == hashlib.sha256(data).hexdigest()
    assert record["source"]["bytes"] == len(data)
    assert record["source"]["path"] == Path(still).name


def test_the_page_and_the_command_line_give_the_same_record(served, predictor, still):
    *_, record = ask(served, still)
    (expected,) = answer_all([(str(still), None)], predictor, Task(Settings()))
    expected["source"]["path"] = Path(still).name
    for one in (record, expected):
        one["run"].pop("created_utc")
    assert record == expected


def test_a_file_that_is_no_picture_gives_its_sentence_and_the_page_goes_on(served, tmp_path, still):
    path = tmp_path / "notes.jpg"
    path.write_text("no picture at all")
    _, html, record = ask(served, path)
    assert record["failure"]["code"] == "not_an_image"
    assert record["reason"].startswith("notes.jpg: not a picture")
    assert "Traceback" not in html
    assert "notes.jpg: not a picture" in html
    assert ask(served, still)[2]["failure"] is None


def test_html_in_a_file_name_is_escaped(served, still):
    _, html, _ = ask(served, still)
    assert "<b>" not in html
    assert "Latakia {2} &lt;b&gt;x&lt;-b&gt;.JPG" in html


def test_a_failing_network_is_told_in_one_sentence(predictor, still, monkeypatch):
    monkeypatch.setattr(predictor, "predict", lambda *_: 1 / 0)
    seen, [record] = wiring.answer_file(str(still), "x.jpg", predictor)
    assert seen is not None
    assert record["failure"]["code"] == "inference_error"
    assert "\n" not in record["reason"]


def test_the_preview_is_upright_and_small(served, tmp_path):
    turned = ROOT / "examples" / "l-39-sideways.jpg"
    preview, _, record = ask(served, turned)
    assert preview is not None
    assert record["source"]["width"] > record["source"]["height"]


def test_only_uploads_and_examples_are_served(served, tmp_path):
    files = f"{served[1]}gradio_api/file="
    example = next((ROOT / "examples").glob("*.jpg"))
    assert httpx.get(f"{files}{example}").status_code == 200
    for path in (ROOT / "pyproject.toml", "/etc/passwd"):
        assert httpx.get(f"{files}{path}").status_code == 403


def test_the_server_fetches_nothing_for_a_visitor(served, monkeypatch):
    names = []
    real = socket.getaddrinfo

    def asked(host, *rest, **options):
        names.append(host)
        return real(host, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", asked)
    address = served[1]
    assert httpx.get(f"{address}gradio_api/file=https://example.org/").status_code == 403
    given = {"path": "https://huggingface.co/x.jpg", "meta": {"_type": "gradio.FileData"}}
    call = f"{address}gradio_api/call/answer"
    event = httpx.post(call, json={"data": [given]}).json()["event_id"]
    assert "event: error" in httpx.get(f"{call}/{event}", timeout=30).text
    assert {n for n in names if n not in ("127.0.0.1", b"127.0.0.1")} == set()


def test_the_limits_are_those_of_the_opener(served):
    page, _ = served
    assert page.max_file_size == Limits().max_bytes
    (upload,) = [c for c in page.config["components"] if c["props"].get("elem_id") == "upload"]
    assert set(upload["props"]["file_types"]) == set(IMAGE_SUFFIXES)


def test_the_page_loads_nothing_from_elsewhere(served):
    page, address = served
    html = httpx.get(address).text
    assert not re.findall(r"<(?:link|script|img)[^>]+(?:href|src)=.https?://", html)
    theme = httpx.get(f"{address}theme.css").text
    assert "@import" not in theme
    assert "http" not in theme.replace("http://www.w3.org/2000/svg", "")
    assert "@font-face" not in theme
    assert page.share is False
    assert page.analytics_enabled is False


def run_door(*arguments):
    command = [sys.executable, "-m", "app", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


def test_the_door_refuses_a_taken_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = run_door("--port", str(taken.getsockname()[1]))
    assert done.returncode == 2
    assert "cannot listen there" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_door_refuses_a_folder_without_a_checkpoint(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    done = run_door("--port", str(port), "--checkpoint", str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "no checkpoint.json there" in done.stderr
    assert "Traceback" not in done.stderr
