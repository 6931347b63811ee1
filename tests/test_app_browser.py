"""The page in a real browser, as a visitor uses it. Skipped where there is none."""

import csv
import json
import re
import shutil
import time
from concurrent.futures import Future
from pathlib import Path

import pytest
from browsing import answered, draw, drop
from clips import numbered, write
from records import record
from serving import ready, serving

from airframe.predictor import Predictor
from app.answers import Answers
from app.limits import PageLimits
from app.review import Reviews
from data.taxonomy import Taxonomy

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
ROOT = Path(__file__).parent.parent
expect = playwright.expect
expect.set_options(timeout=60_000)


@pytest.fixture(scope="module")
def predictor(cropping_checkpoint):
    return Predictor(cropping_checkpoint, "cpu")


@pytest.fixture(scope="module")
def address(predictor, tmp_path_factory):
    with serving(predictor, tmp_path_factory.mktemp("reviews")) as (_, where):
        yield where


@pytest.fixture
def still(drawn_set, tmp_path):
    return Path(shutil.copy(next(drawn_set.parent.rglob("*.jpg")), tmp_path / "still.jpg"))


def test_the_page_shows_before_the_model_and_answers_when_it_is_there(
    opened, predictor, tmp_path, still
):
    model = Future()
    with serving(predictor, tmp_path, model=model) as (_, address):
        page = opened(address)
        expect(page.get_by_role("heading", name="Airframe", exact=True)).to_be_visible()
        expect(page.locator("#status")).to_contain_text("Loading the model")
        drop(page, still)
        expect(page.locator("#answer")).to_contain_text("still.jpg")
        model.set_result(Answers(predictor, PageLimits()))
        answered(page)
        expect(page.locator("#status")).to_contain_text("Checkpoint tiny")


def test_a_still_is_answered_in_words_first_and_told_to_screen_readers(opened, address, still):
    page = opened(address)
    drop(page, still)
    answered(page)
    card = page.locator("#answer .af-card")
    assert card.bounding_box()["y"] < 600
    expect(page.locator("#af-live")).to_have_text(card.get_attribute("data-said"))
    expect(page.locator("#stage img.af-picture")).to_have_attribute("alt", _starts("still.jpg, "))
    expect(page.locator("#answer")).to_contain_text("never proof of an operator")
    # The drop zone is free again for the next file.
    expect(page.locator("#upload input[type=file]")).to_have_count(1)


def _starts(text):
    return re.compile("^" + re.escape(text))


def test_an_example_is_answered_by_keyboard_alone(opened, address):
    page = opened(address)
    first = page.locator("#examples button").first
    first.focus()
    page.keyboard.press("Enter")
    answered(page)


def test_a_hostile_name_is_shown_as_it_is(opened, address, still, tmp_path):
    name = "{{value}} ${alert(1)} <img src=x onerror=alert(1)>.jpg"
    page = opened(address)
    drop(page, shutil.copy(still, tmp_path / name))
    answered(page)
    expect(page.locator("#answer .af-evidence")).to_contain_text(name)


def test_a_box_is_drawn_by_mouse_and_moved_by_keys(opened, address, still):
    page = opened(address)
    drop(page, still)
    answered(page)
    draw(page)
    expect(page.locator("#answer .af-evidence")).to_contain_text("your box")
    before = page.locator("#answer .af-evidence").inner_text()
    page.locator("#stage .af-stage").focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowDown")
    expect(page.locator("#stage .af-draft")).to_be_visible()
    page.keyboard.press("Enter")
    expect(page.locator("#answer .af-evidence")).not_to_have_text(before)
    expect(page.locator("#answer .af-evidence")).to_contain_text("your box")


def test_the_map_comes_and_goes_with_its_caution(opened, address, still):
    page = opened(address)
    drop(page, still)
    answered(page)
    button = page.get_by_role("button", name="What carried it")
    button.click()
    expect(page.locator("#stage .af-heat")).to_have_count(1)
    expect(page.locator("#stage figcaption")).to_contain_text("not a proof")
    button.click()
    expect(page.locator("#stage .af-heat")).to_have_count(0)


def test_many_files_are_sorted_filtered_and_opened(opened, address, still, tmp_path):
    names = ["b.jpg", "a.jpg", "c.jpg"]
    paths = [shutil.copy(still, tmp_path / name) for name in names]
    (tmp_path / "d.jpg").write_text("no picture")
    page = opened(address)
    drop(page, *paths, tmp_path / "d.jpg")
    rows = page.locator("#table tbody tr:visible")
    expect(rows).to_have_count(4)
    expect(page.locator("#progress")).to_contain_text("3 of 4 answered, 1 failed")
    head = page.locator("#table th", has_text="File")
    head.get_by_role("button").click()
    expect(head).to_have_attribute("aria-sort", "ascending")
    assert [r.split("\n")[0].split("\t")[0].strip() for r in _files(page)] == sorted(
        [*names, "d.jpg"]
    )
    page.locator("#table [data-filter=failed]").click()
    expect(rows).to_have_count(1)
    rows.get_by_role("button").click()
    expect(page.locator("#answer")).to_contain_text("d.jpg: not a picture")
    # Picking redraws the table, but not what was asked of it.
    expect(page.locator("#table tbody tr:visible")).to_have_count(1)


def _files(page):
    return page.locator("#table tbody tr td:nth-child(2)").all_inner_texts()


def test_stop_keeps_what_is_done(opened, predictor, tmp_path, still, monkeypatch):
    answers = Answers(predictor, PageLimits())
    real = answers.records

    def slow(*given):
        time.sleep(1)
        yield from real(*given)

    monkeypatch.setattr(answers, "records", slow)
    with serving(predictor, tmp_path, model=ready(answers)) as (_, address):
        page = opened(address)
        drop(page, *[shutil.copy(still, tmp_path / f"{n}.jpg") for n in range(12)])
        expect(page.locator("#table tbody tr").nth(1)).to_be_visible()
        page.locator("#stop").click()
        expect(page.locator("#progress")).to_contain_text("what was done is kept")
        done = page.locator("#table tbody tr").count()
        assert 2 <= done < 12
        page.wait_for_timeout(2500)
        assert page.locator("#table tbody tr").count() == done


def test_a_clip_has_a_timeline_whose_frames_open(opened, address, tmp_path):
    page = opened(address)
    drop(page, write(tmp_path / "pass.mp4", numbered(90)))
    answered(page)
    cells = page.locator("#answer .af-row button")
    expect(cells.first).to_be_visible()
    cells.nth(1).click()
    expect(page.locator("#stage figcaption")).to_contain_text("Frame 25, at 1 s")


def test_a_box_drawn_on_a_frame_of_a_clip_is_answered_for_that_frame(opened, address, tmp_path):
    page = opened(address)
    drop(page, write(tmp_path / "pass.mp4", numbered(90)))
    answered(page)
    page.locator("#answer .af-row button").nth(1).click()
    expect(page.locator("#stage figcaption")).to_contain_text("Frame 25, at 1 s")
    draw(page)
    expect(page.locator("#answer .af-evidence")).to_contain_text("your box")
    expect(page.locator("#answer .af-evidence")).to_contain_text("number 25, at 1 s")
    expect(page.locator("#stage figcaption")).to_contain_text("Frame 25, at 1 s")
    page.locator("#answer .af-row button").first.click()  # another frame is not that box's
    expect(page.locator("#stage figcaption")).to_contain_text("Frame 0, at 0 s")
    expect(page.locator("#answer .af-evidence")).not_to_contain_text("your box")


def test_a_pasted_picture_is_answered(opened, address, still):
    page = opened(address)
    expect(page.locator("#examples button").first).to_be_visible()
    # The page listens from a script that a busy machine may start late: pasted until it is heard.
    page.evaluate(
        """(bytes) => {
          const heard = () => document.querySelector('#answer .af-card[data-said]');
          const paste = () => {
            if (heard()) return;
            const given = new DataTransfer();
            given.items.add(new File([new Uint8Array(bytes)], 'pasted.jpg', {type: 'image/jpeg'}));
            const pasted = {clipboardData: given, bubbles: true};
            document.dispatchEvent(new ClipboardEvent('paste', pasted));
            setTimeout(paste, 5000);
          };
          paste();
        }""",
        list(still.read_bytes()),
    )
    answered(page)
    expect(page.locator("#answer .af-evidence")).to_contain_text("pasted.jpg")


def test_a_case_is_saved_as_records_and_as_a_report(opened, address, still):
    page = opened(address)
    drop(page, still)
    answered(page)
    for how, name, part in (
        ("jsonl", "airframe.jsonl", '"schema": "airframe.record/1"'),
        ("csv", "airframe.csv", "source.sha256"),
        ("html", "airframe-report.html", "never proof of an operator"),
    ):
        with page.expect_download() as waiting:
            page.locator(f"#save-{how}").click()
        assert waiting.value.suggested_filename == name
        assert part in Path(waiting.value.path()).read_text("utf-8")


def test_a_correction_is_kept_and_exported(opened, predictor, tmp_path, still):
    with serving(predictor, tmp_path / "reviews") as (_, address):
        page = opened(address)
        drop(page, still)
        answered(page)
        page.locator("#node input").fill("Su-24")
        page.get_by_role("option", name="Su-24").first.click()
        page.locator("#correct").click()
        expect(page.locator("#told")).to_contain_text("Corrected, and kept in")
        page.get_by_role("tab", name="Review").click()
        with page.expect_download() as waiting:
            page.locator("#manifest").click()
        assert "Su-24" in Path(waiting.value.path()).read_text("utf-8")


def test_who_flew_it_is_asked_by_theatre(opened, address, still):
    page = opened(address)
    drop(page, still)
    answered(page)
    page.locator("#theatre input").click()
    page.get_by_role("option", name="syria-2015").click()
    page.wait_for_timeout(2000)
    with page.expect_download() as waiting:
        page.locator("#save-jsonl").click()
    told = json.loads(Path(waiting.value.path()).read_text("utf-8").splitlines()[0])
    assert told["status"] == "no_aircraft" or told["operators"]["theatre"] == "syria-2015"


def test_the_inventories_are_counted_in_only_when_asked_and_beside_the_answer(
    opened, address, still
):
    page = opened(address)
    drop(page, still)
    answered(page)
    draw(page)  # of a box there is always something to say
    expect(page.locator("#answer .af-evidence")).to_contain_text("your box")
    said = page.locator("#answer .af-card").get_attribute("data-said")
    page.locator("#theatre input").click()
    page.get_by_role("option", name="syria-2015").click()
    expect(page.locator("#answer .af-flown")).to_be_visible()
    expect(page.locator("#answer .af-prior")).to_have_count(0)
    page.locator("#prior input").click()
    table = page.locator("#answer .af-prior")
    expect(table).to_contain_text("Picture alone")
    expect(table).to_contain_text("Never argue from it who flew the aircraft")
    assert page.locator("#answer .af-card").get_attribute("data-said") == said
    page.locator("#prior input").click()
    expect(table).to_have_count(0)


@pytest.mark.parametrize("many", [0, 1, 50])
def test_the_plot_of_reviews_is_seen_however_many_there_are(
    opened, predictor, tmp_path, still, many
):
    reviews = Reviews(tmp_path / "reviews", Taxonomy.load())
    with serving(predictor, reviews.folder) as (_, address):
        page = opened(address, 390)
        expect(page.locator("#status")).to_contain_text("Checkpoint tiny")
        for number in range(many):  # after the page was opened: what is drawn then is drawn unseen
            answer = record()["answer"] | {"probability": 0.3 + 0.69 * number / many}
            source = record()["source"] | {"sha256": f"{number:064d}"}
            verdict = "corrected" if number % 4 else "confirmed"
            reviews.keep(record(source=source, answer=answer), verdict, "type:Su-34", b"", ".jpg")
        drop(page, still)
        answered(page)
        page.locator("#aside").click()
        expect(page.locator("#told")).to_contain_text("kept in")
        page.get_by_role("tab", name="Review").click()
        expect(page.locator("#plot svg.af-plot")).to_have_count(min(many, 1))
        shown = page.locator("#plot svg.af-plot" if many else "#plot .af-hint")
        expect(shown).to_be_visible()
        assert shown.bounding_box()["width"] > 200
        counts = page.locator("#plot tbody td:nth-child(2)").all_inner_texts()
        assert sum(map(int, counts)) == many
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_no_aircraft_is_a_review_and_background_in_the_manifest(opened, predictor, tmp_path, still):
    with serving(predictor, tmp_path / "reviews") as (_, address):
        page = opened(address)
        drop(page, still)
        answered(page)
        page.locator("#empty").click()
        expect(page.locator("#told")).to_contain_text("No aircraft, and kept in")
        page.get_by_role("tab", name="Review").click()
        with page.expect_download() as waiting:
            page.locator("#manifest").click()
        (row,) = csv.DictReader(Path(waiting.value.path()).read_text("utf-8").splitlines())
        assert (row["kind"], row["type"], row["family"], row["box"]) == ("other", "", "", "")


def test_thumbnails_in_the_table_are_pictures_and_not_slivers(opened, address, still, tmp_path):
    page = opened(address, 390)
    drop(page, still, shutil.copy(still, tmp_path / "b.jpg"))
    expect(page.locator("#table tbody tr")).to_have_count(2)
    assert page.locator("#table tbody img").first.bounding_box()["width"] == 64
    answer = page.locator("#table tbody td:nth-child(4)").first.bounding_box()
    assert answer["x"] + answer["width"] <= 390  # in view without a swipe


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_reaches_beyond_the_window(opened, address, still, width, scheme):
    page = opened(address, width, color_scheme=scheme)
    drop(page, still, ROOT / "examples" / "empty-sky.jpg")
    answered(page)
    expect(page.locator("#table tbody tr")).to_have_count(2)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("document.body.classList.contains('dark')") == (scheme == "dark")
    if width < 500:  # the answer stands above its picture and the examples
        tops = [
            page.locator(part).bounding_box()["y"] for part in ("#answer", "#stage", "#examples")
        ]
        assert tops == sorted(tops)


def test_about_tells_checkpoint_and_limits(opened, address):
    page = opened(address)
    page.get_by_role("tab", name="About").click()
    expect(page.get_by_text("What it can't do")).to_be_visible()
    expect(page.locator(".af-about")).to_contain_text("does not tell the operator", timeout=60_000)
