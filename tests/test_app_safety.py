"""app/: the page is safe to leave running: limits, hostile names and files, many at once."""

import json
import re
import shutil
import socket
import zlib
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from clips import numbered, write
from serving import ask, call, given, serving, until, upload

from airframe.predictor import Predictor, Settings
from app.__main__ import _knows
from app.answers import Answers
from app.limits import PageLimits
from app.page import build_page
from app.wiring import _Desk

ROOT = Path(__file__).parent.parent
SMALL = PageLimits(max_bytes=2 * 2**20, max_files=3, clip_seconds=2.0, sweep_seconds=1, queue=128)


@pytest.fixture(scope="module")
def predictor(tiny_checkpoint):
    return Predictor(tiny_checkpoint, "cpu")


@pytest.fixture(scope="module")
def address(predictor, tmp_path_factory):
    with serving(predictor, tmp_path_factory.mktemp("reviews"), SMALL) as (_, where):
        yield where


@pytest.fixture
def still(drawn_set, tmp_path):
    return Path(shutil.copy(next(drawn_set.parent.rglob("*.jpg")), tmp_path / "still.jpg"))


def test_an_upload_beyond_the_limit_is_413_and_leaves_nothing(address, tmp_path):
    large = tmp_path / "large.jpg"
    large.write_bytes(b"\xff\xd8" + bytes(SMALL.max_bytes))
    assert upload(address, [large]).status_code == 413


def bomb(side=40_000):
    """A PNG of a few hundred KiB whose pixels would take gigabytes."""

    def chunk(kind, data):
        body = kind + data
        return len(data).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")

    header = side.to_bytes(4, "big") * 2 + b"\x08\x00\x00\x00\x00"
    pixels = zlib.compress(bytes(side + 1) * 64, 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels)


def test_a_bomb_is_refused_by_its_header(address, tmp_path):
    path = tmp_path / "bomb.png"
    path.write_bytes(bomb())
    record = ask(address, path)[2]
    assert record["failure"]["code"] == "too_large"
    assert "Mpx" in record["reason"]


@pytest.mark.parametrize(
    "name",
    [
        "<img src=x onerror=alert(1)>.jpg",
        "{{value}} ${alert(1)} {% x %}.jpg",
        "'\"; DROP TABLE reviews; --.jpg",
        "‮gpj.exe.jpg",
        "a" * 200 + ".jpg",
    ],
)
def test_a_hostile_name_is_text_and_nothing_else(address, still, name):
    where = upload(address, [still]).json()
    told = json.loads(call(address, [[given(where[0], name)]]).split("data: ")[-1])
    assert told[2]["source"]["path"] == name
    for html in told[:2]:
        assert "<img src=x" not in html
        assert "onerror=alert(1)>" not in html


@pytest.mark.parametrize("name", ["../../../../tmp/evil.jpg", "..\\..\\evil.jpg", "/etc/evil.jpg"])
def test_an_upload_lands_nowhere_but_in_its_own_folder(address, still, name):
    files = {"files": (name, still.read_bytes())}
    (where,) = httpx.post(f"{address}gradio_api/upload", files=files).json()
    assert Path(where).resolve().is_relative_to(Path(where).parents[1])
    assert ".." not in Path(where).parts
    assert not Path("/tmp/evil.jpg").exists()
    assert not Path("/etc/evil.jpg").exists()


@pytest.mark.parametrize("path", ["/etc/passwd", str(ROOT / "pyproject.toml"), "../../etc/passwd"])
def test_a_path_that_was_not_uploaded_is_neither_answered_nor_served(address, path):
    events = call(address, [[given(path, "a.jpg")]])
    assert "event: error" in events
    assert "root:" not in events
    assert httpx.get(f"{address}gradio_api/file={path}").status_code in (403, 404)
    bare = call(address, [[{"path": path}]])
    assert "event: error" in bare


def test_not_even_the_examples_are_listed_or_served(address):
    example = next((ROOT / "examples").glob("*.jpg"))
    assert httpx.get(f"{address}gradio_api/file={example}").status_code == 403
    assert httpx.get(f"{address}gradio_api/file={example.parent}").status_code == 403


def test_a_hundred_requests_at_once_are_all_answered(address, still):
    (where,) = upload(address, [still]).json()

    def one(number):
        events = call(address, [[given(where, f"{number}.jpg")]], timeout=300)
        assert "event: complete" in events
        told = json.loads(events.split("data: ")[-1])
        return told[2]["source"]["path"], told[2]["status"]

    with ThreadPoolExecutor(100) as pool:
        answered = list(pool.map(one, range(100)))
    assert [name for name, _ in answered] == [f"{n}.jpg" for n in range(100)]
    assert "failed" not in {status for _, status in answered}


def test_the_queue_is_bounded_and_says_so(predictor, tmp_path, still):
    model = Future()  # never there while the queue fills
    limits = PageLimits(queue=4, at_once=1)
    with serving(predictor, tmp_path, limits, model=model) as (_, address):
        (where,) = upload(address, [still]).json()
        api = f"{address}gradio_api/call/answer"
        body = {"data": [[given(where, "a.jpg")]]}
        codes = [httpx.post(api, json=body).status_code for _ in range(12)]
        model.set_result(Answers(predictor, limits))
    assert set(codes) == {200, 503}
    assert codes.count(503) >= 6


def test_a_case_takes_no_more_files_than_allowed_and_says_so(address, still, tmp_path):
    paths = [Path(shutil.copy(still, tmp_path / f"{n}.jpg")) for n in range(5)]
    *_, table, note = ask(address, *paths)
    assert table.count("<tr data-status") == SMALL.max_files
    assert "2 files were left out" in note


def test_a_clip_that_is_too_long_is_refused_with_its_length(address, tmp_path):
    path = write(tmp_path / "long.mp4", numbered(100))  # 4 s of 25 frames each
    record = ask(address, path)[2]
    assert record["failure"]["code"] == "too_large"
    assert "4 s, more than the 2 s the page takes" in record["reason"]


def test_a_clip_that_lies_about_its_length_is_stopped_on_the_way(predictor, tmp_path, monkeypatch):
    path = write(tmp_path / "long.mp4", numbered(150))
    answers = Answers(predictor, SMALL)
    monkeypatch.setattr(answers, "_check_length", lambda path: None)
    records = list(answers.records(str(path), "long.mp4", Settings()))
    assert records[-1]["failure"]["code"] == "too_large"
    assert max(r["source"]["frame"]["time_s"] for r in records[:-1]) <= 3


def test_uploads_are_deleted_when_their_time_is_over(predictor, tmp_path, still):
    limits = PageLimits(keep_seconds=1, sweep_seconds=1)
    other = tmp_path / "other.jpg"
    other.write_bytes(still.read_bytes() + b"\0")  # of its own hash, so of its own folder
    with serving(predictor, tmp_path, limits) as (_, address):
        (where,) = upload(address, [other]).json()
        assert Path(where).exists()
        until(lambda: not Path(where).exists())


def test_that_time_is_an_hour_unless_a_test_says_otherwise(predictor, tmp_path):
    every, age = build_page(Future(), PageLimits(), tmp_path).delete_cache
    assert age == 3600
    assert every <= 300


def test_the_server_fetches_nothing_for_a_visitor(address, monkeypatch):
    names = []
    real = socket.getaddrinfo

    def asked(host, *rest, **options):
        names.append(host)
        return real(host, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", asked)
    assert httpx.get(f"{address}gradio_api/file=https://example.org/").status_code == 403
    far = given("https://huggingface.co/x.jpg", "x.jpg")
    assert "event: error" in call(address, [[far]])
    assert {n for n in names if n not in ("127.0.0.1", b"127.0.0.1")} == set()


def test_nothing_on_the_way_to_an_answer_connects_elsewhere(
    predictor, tmp_path, still, monkeypatch
):
    """Every connection that is not to this machine is refused, and recorded."""
    refused = []
    real = socket.socket.connect

    def connect(self, target):
        if isinstance(target, tuple) and target[0] not in ("127.0.0.1", "::1", "localhost"):
            refused.append(target)
            raise ConnectionRefusedError(f"offline: {target}")
        return real(self, target)

    monkeypatch.setattr(socket.socket, "connect", connect)
    with serving(predictor, tmp_path) as (page, address):
        assert "af-card" in ask(address, still)[0]
        html = httpx.get(address).text
        theme = httpx.get(f"{address}theme.css").text
    assert refused == []
    assert page.share is False
    assert page.analytics_enabled is False
    assert "@import" not in theme
    assert "@font-face" not in theme
    assert "http" not in theme.replace("http://www.w3.org/2000/svg", "")
    assert not re.findall(r"<(?:link|script|img)[^>]+(?:href|src)=.https?://", html)


def test_with_auth_nobody_else_gets_in(predictor, tmp_path, still):
    people = {"anna": "secret"}
    allowed = lambda name, word: _knows(people, name, word)  # noqa: E731
    with serving(predictor, tmp_path, auth=allowed) as (_, address):
        assert upload(address, [still]).status_code == 401
        wrong = httpx.post(f"{address}login", data={"username": "anna", "password": "x"})
        assert wrong.status_code == 400
        with httpx.Client() as client:
            asked = {"username": "anna", "password": "secret"}
            assert client.post(f"{address}login", data=asked).status_code == 200
            (where,) = upload(address, [still], client).json()
            assert "event: complete" in call(address, [[given(where, "a.jpg")]], client)


def test_passwords_are_compared_whole():
    people = {"anna": "secret"}
    assert _knows(people, "anna", "secret")
    for name, word in (("anna", "secre"), ("anna", ""), ("", ""), ("bert", "secret"), ("bert", "")):
        assert not _knows(people, name, word)


def test_a_model_that_cannot_be_loaded_is_told_on_the_page():
    model = Future()
    model.set_exception(ValueError("checkpoint x: is damaged"))
    desk = _Desk(model, [], PageLimits(), None)
    assert "checkpoint x: is damaged" in desk.on_load()[0]
    assert desk.on_load()[1] == ""
