"""What a visitor does on the page, for the tests in a browser: its fixtures are in conftest.py."""

import shutil

CHROMIUM = next((p for p in map(shutil.which, ("chromium", "chromium-browser")) if p), None)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


def drop(page, *paths):
    page.locator("#upload input[type=file]").set_input_files([str(path) for path in paths])


def answered(page):
    page.locator("#answer .af-card[data-said]").wait_for()


def draw(page):
    """A box from the picture's corner to its middle."""
    page.get_by_role("button", name="Draw a box").click()
    stage = page.locator("#stage .af-stage")
    stage.scroll_into_view_if_needed()
    area = stage.bounding_box()
    page.mouse.move(area["x"] + 2, area["y"] + 2)
    page.mouse.down()
    page.mouse.move(area["x"] + area["width"] / 2, area["y"] + area["height"] / 2, steps=4)
    page.mouse.up()
