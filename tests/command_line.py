"""The command line in this process, and the folder that its tests go over."""

from typer.testing import CliRunner

import infer

_app = infer.typer.Typer()
_app.command()(infer.main)


def run(*arguments, given=None):
    """The result of `infer.py` with these arguments; `given` is its standard input."""
    return CliRunner().invoke(_app, [str(a) for a in arguments], input=given)


def assert_one_line(result, said):
    """That nothing but one line on stderr is said. Where a bar had been begun it leaves a blank."""
    [line] = [line for line in result.stderr.splitlines() if line.strip()]
    assert line.startswith("infer.py: ")
    assert said in line


def eighty_and_a_bad_one(place, drawn_set):
    """`place`, made a folder of eighty pictures and one bad file."""
    place.mkdir()
    for number in range(80):
        data = sorted(drawn_set.parent.rglob("*.jpg"))[number % 24].read_bytes()
        (place / f"{number:03}.jpg").write_bytes(data + bytes(number))
    (place / "bad.jpg").write_text("no picture")
    return place
