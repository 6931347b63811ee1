"""axe-core on every part of the page: WCAG 2.2 A and AA, in light and in dark."""

import shutil
from pathlib import Path

import pytest
from browsing import answered, draw, drop
from clips import numbered, write
from serving import serving

from airframe.predictor import Predictor

axe = pytest.importorskip("axe_playwright_python", reason="axe is not installed")
SCRIPT = Path(axe.__file__).with_name("axe.min.js")
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
# What gradio draws and no setting of ours changes: rule id -> (what it is at, why it stands).
GRADIO: dict[str, tuple[str, str]] = {}


@pytest.fixture(scope="module")
def address(cropping_checkpoint, tmp_path_factory):
    predictor = Predictor(cropping_checkpoint, "cpu")
    with serving(predictor, tmp_path_factory.mktemp("reviews")) as (_, where):
        yield where


def violations(page):
    """`rule: where` of each serious or critical violation that is not gradio's own."""
    page.evaluate(SCRIPT.read_text("utf-8"))
    options = {"runOnly": {"type": "tag", "values": TAGS}, "resultTypes": ["violations"]}
    found = page.evaluate("(options) => axe.run(document, options)", options)["violations"]
    return [
        f"{rule['id']}: {node['target']} {node['failureSummary']}"
        for rule in found
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
        if not _gradios(rule["id"], str(node["target"]))
    ]


def _gradios(rule, target):
    return rule in GRADIO and GRADIO[rule][0] in target


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_part_of_the_page_keeps_anybody_out(opened, address, drawn_set, tmp_path, scheme):
    page = opened(address, color_scheme=scheme)
    page.locator("#status .af-ready").wait_for()
    found = {"empty": violations(page)}

    still = Path(shutil.copy(next(drawn_set.parent.rglob("*.jpg")), tmp_path / "still.jpg"))
    drop(page, still)
    answered(page)
    draw(page)
    page.locator("#answer .af-evidence", has_text="your box").wait_for()
    page.locator("#theatre input").click()
    page.get_by_role("option", name="syria-2015").click()
    page.locator("#answer .af-flown").wait_for()
    page.locator("#prior input").click()
    page.locator("#answer .af-prior").wait_for()
    page.locator("#answer details").evaluate_all("all => all.forEach(one => { one.open = true; })")
    found["answer"] = violations(page)

    (tmp_path / "text.jpg").write_text("no picture")
    drop(page, write(tmp_path / "pass.mp4", numbered(60)), tmp_path / "text.jpg")
    page.locator("#progress", has_text="failed").wait_for()
    page.locator("#table tbody tr", has_text="pass.mp4").get_by_role("button").click()
    page.locator("#answer .af-row button").first.wait_for()
    found["batch and clip"] = violations(page)

    page.get_by_role("tab", name="Review").click()
    found["review"] = violations(page)
    page.get_by_role("tab", name="About").click()
    page.get_by_text("What it can't do").wait_for()
    found["about"] = violations(page)
    assert found == {part: [] for part in found}


def test_the_audit_finds_what_is_wrong(opened, address):
    page = opened(address)
    page.locator("#status .af-ready").wait_for()
    page.evaluate(
        """() => document.querySelector('#answer').insertAdjacentHTML('beforeend',
          '<img src="data:,"><p style="color:#999;background:#fff">faint</p><input>')"""
    )
    rules = {found.split(":")[0] for found in violations(page)}
    assert {"image-alt", "color-contrast", "label"} <= rules
