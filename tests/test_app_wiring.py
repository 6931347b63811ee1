"""app/wiring.py: what each event of the page does, without a browser."""

import shutil
from pathlib import Path

import gradio as gr
import pytest
from serving import ready

from airframe.predictor import Predictor
from app.answers import Answers
from app.limits import PageLimits
from app.review import Reviews
from app.wiring import Session, _Desk, theatres
from data.taxonomy import Taxonomy

ANSWER, STAGE, RECORD, TABLE, KEEPING, TOLD, NOTE = range(7)


@pytest.fixture(scope="module")
def answers(cropping_checkpoint):
    return Answers(Predictor(cropping_checkpoint, "cpu"), PageLimits())


@pytest.fixture
def desk(answers, still, tmp_path):
    reviews = Reviews(tmp_path / "reviews", Taxonomy.load())
    return _Desk(ready(answers), [still], PageLimits(), reviews)


@pytest.fixture
def still(drawn_set, tmp_path):
    return Path(shutil.copy(next(drawn_set.parent.rglob("*.jpg")), tmp_path / "still.jpg"))


@pytest.fixture
def session(desk, still):
    """A visitor who has dropped two files."""
    made = Session()
    given = [{"path": str(still), "orig_name": name} for name in ("a.jpg", "b.jpg")]
    list(desk.on_files(given, made))
    return made


def event(**data):
    return gr.EventData(None, data)


def test_files_are_shown_as_they_come_and_the_drop_zone_is_free_again(desk, still):
    made = Session()
    steps = list(desk.on_files([{"path": str(still), "orig_name": "a.jpg"}], made))
    assert "a.jpg" in steps[0][ANSWER]
    assert "af-busy" in steps[0][ANSWER]
    assert "data-said" in steps[-1][ANSWER]
    assert all(len(step) == 9 for step in steps)
    assert steps[-1][-1] is None
    assert steps[-1][NOTE] == ""


def test_nothing_given_changes_nothing(desk):
    (step,) = desk.on_files([], Session())
    assert len(step) == 9


def test_an_example_is_one_of_those_that_are_shown(desk):
    assert list(desk.on_example(Session(), event(index=7))) == []
    assert list(desk.on_example(Session(), event(index="0"))) == []
    steps = list(desk.on_example(Session(), event(what="example", index=0)))
    assert "still.jpg" in steps[-1][ANSWER]


def test_another_file_is_shown_when_it_is_picked(desk, session):
    shown = desk.on_pick(session, event(what="entry", index=1))
    assert "b.jpg" in shown[ANSWER]
    assert len(shown) == 6


@pytest.mark.parametrize(
    "box", [None, "x", [0, 0, 1], [0.5, 0.5, 0.5, 0.9], [0, 0, 2, 1], [[]] * 4]
)
def test_what_is_no_box_is_not_answered(desk, session, box):
    before = len(session.case.entry.records)
    desk.on_draw(session, event(box=box))
    assert len(session.case.entry.records) == before


def test_a_drawn_box_is_shown_as_the_answer(desk, session):
    shown = desk.on_draw(session, event(box=[0.2, 0.2, 0.8, 0.8]))
    assert "your box" in shown[ANSWER]
    assert session.case.record["located"]["by"] == "user"


def test_a_box_on_a_deleted_upload_is_told(desk, session, still):
    still.unlink()
    shown = desk.on_draw(session, event(box=[0.2, 0.2, 0.8, 0.8]))
    assert "no such file" in shown[TOLD]
    assert str(still) not in shown[TOLD]


def test_stop_keeps_what_is_done_and_tells_the_rest(desk, session):
    session.case.waiting = 4
    shown = desk.on_stop(session)
    assert "4 not looked at" in shown[NOTE]
    assert shown[TABLE].count("<tr data-status") == 2


def test_a_new_case_is_empty(desk, session):
    shown = desk.on_clear(session)
    assert "af-waiting" in shown[ANSWER]
    assert shown[STAGE] == shown[TABLE] == ""
    assert shown[RECORD] is None


def choose(desk, session, theatre, day="", prior=False):
    """What is shown last."""
    *_, shown = desk.on_theatre(session, theatre, day, prior)
    return shown


def test_a_new_case_is_asked_about_the_theatre_that_the_controls_show(desk, session):
    choose(desk, session, "syria-2015", "2015-10-03")
    desk.on_clear(session)
    assert session.case.entries == []
    assert session.case.settings.theatre.id == "syria-2015"


def test_a_theatre_is_told_of_every_file_and_taken_back(desk, session):
    choose(desk, session, "syria-2015", "2015-10-03")
    for entry in session.case.entries:
        for record in entry.records:
            assert record["operators"] or record["status"] == "no_aircraft"
            assert record["theatre_prior"] is None
    choose(desk, session, "")
    assert all(r["operators"] is None for e in session.case.entries for r in e.records)


def test_the_inventories_are_counted_in_beside_the_answer_and_taken_back(desk, session):
    desk.on_draw(session, event(box=[0.2, 0.2, 0.8, 0.8]))
    before = [r["answer"] for e in session.case.entries for r in e.records]
    shown = choose(desk, session, "syria-2015", "2015-10-03", True)
    records = [r for e in session.case.entries for r in e.records]
    assert [r["answer"] for r in records] == before
    for record in records:
        assert record["theatre_prior"] or record["status"] == "no_aircraft"
    assert session.case.record["located"]["by"] == "user"
    if session.case.record["theatre_prior"]:
        assert "Picture alone" in shown[ANSWER]
        assert "a circle" in shown[ANSWER]
    choose(desk, session, "syria-2015", "2015-10-03")
    assert all(r["theatre_prior"] is None for e in session.case.entries for r in e.records)


def test_without_a_theatre_no_inventory_is_counted_in(desk, session):
    choose(desk, session, "", "", True)
    assert session.case.settings.theatre_prior is False


def test_a_file_that_is_gone_keeps_its_answer_and_says_so(desk, session, still):
    before = session.case.entry.records
    still.unlink()
    shown = choose(desk, session, "syria-2015", "", True)
    assert "2 file(s) could not be answered again" in shown[TOLD]
    assert str(still) not in shown[TOLD]
    assert session.case.entry.records == before


@pytest.mark.parametrize("day", ["yesterday", "1999-01-01"])
def test_a_day_that_is_none_is_told_and_changes_nothing(desk, session, day):
    before = session.case.entry.records
    shown = choose(desk, session, "syria-2015", day)
    assert "date" in shown[TOLD]
    assert session.case.entry.records == before


def test_a_visitor_names_no_file_of_the_server_as_a_theatre(desk, session):
    choose(desk, session, "../../etc/passwd.yaml")
    assert session.case.settings.theatre is None
    assert "syria-2015" in theatres()


def test_a_review_is_kept_and_an_empty_one_is_told(desk, session):
    said, _ = desk.reviewer("corrected")(session, "type:Su-24")
    assert "Corrected, and kept" in said
    assert len(desk.reviews.rows()) == 1
    said, _ = desk.reviewer("corrected")(session, None)
    assert "choose the type" in said
    said, _ = desk.reviewer("confirmed")(Session())
    assert "no answer to review" in said


def test_the_manifest_is_written_and_handed_out(desk, session):
    said, made = desk.on_manifest()
    assert "no review names" in said
    desk.reviewer("corrected")(session, "type:Su-24")
    said, made = desk.on_manifest()
    assert made[:2] == ["manifest.csv", "text/csv"]
    assert "Su-24" in made[2]


def test_a_second_save_is_a_change_too(desk, session):
    save = desk.saver("csv")
    first, second = save(session), save(session)
    assert first[:3] == second[:3]
    assert first != second
