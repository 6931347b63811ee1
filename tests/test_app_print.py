"""The report printed to PDF by a browser: what a person files. Skipped where there is none."""

import io

import numpy as np
import pytest
from records import clip_records, failed, record, unknown

from app import export, pictures

pypdf = pytest.importorskip("pypdf")
HEIGHTS = (300, 720, 500, 720, 420)  # so that breaks fall at different places


def case(number, height):
    """A file of its own name with two answers and a picture no other has."""
    grey = np.full((height, 960, 3), 40 * number, np.uint8)
    source = record()["source"] | {"path": f"case-{number}.jpg"}
    made = [record(source=source, box=[10.0, 10.0, 200.0, 120.0]), unknown(source=source)]
    return made, pictures.jpeg_uri(pictures.boxed(grey, made))


@pytest.fixture(scope="module")
def report():
    cases = [case(number, height) for number, height in enumerate(HEIGHTS, 1)]
    return export.report_html([*cases, (clip_records()[-1:], ""), ([failed()], "")])


@pytest.fixture
def printed(browser, report):
    page = browser.new_page(color_scheme="dark")
    page.set_content(report)
    yield pypdf.PdfReader(io.BytesIO(page.pdf(format="A4", print_background=True)))
    page.close()


def test_a_printed_report_has_each_picture_whole_with_its_name_and_caption(printed):
    shown = [(page.extract_text(), len(page.images)) for page in printed.pages]
    assert len(shown) > 1
    # A picture that a break cuts is drawn on both pages.
    assert sum(pictures for _, pictures in shown) == len(HEIGHTS)
    for text, pictures_on in shown:
        names = [line for line in text.splitlines() if line.strip().startswith("case-")]
        assert len(names) >= pictures_on
        assert text.count("The picture, with the boxes") == pictures_on


def test_a_printed_report_says_all_that_the_page_says(printed):
    text = " ".join(" ".join(page.extract_text() for page in printed.pages).split())
    for said in ("never proof of an operator", "pass.mp4", "text.jpg: not a picture", "torch 2"):
        assert said in text
    assert all(f"case-{number}.jpg" in text for number in range(1, len(HEIGHTS) + 1))
    assert text.replace(" ", "").count("ab" * 32) >= len(HEIGHTS)


def test_a_report_is_dark_on_white_on_paper_and_where_everything_else_is_dark(browser, report):
    page = browser.new_page(color_scheme="dark")
    page.set_content(report)
    page.emulate_media(media="print")
    looks = "getComputedStyle(document.body)"
    assert page.evaluate(f"{looks}.backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate(f"{looks}.color") == "rgb(26, 32, 44)"
    page.close()
