"""app/table.py, app/timeline.py: many files, and what a clip showed when."""

import re
from dataclasses import dataclass, field

from records import clip_records, failed, record, unknown

from app import table, timeline


@dataclass
class Entry:
    answers: list
    name: str = "still.jpg"
    thumb: str = ""
    more: dict = field(default_factory=dict)


def test_one_file_needs_no_table():
    assert table.table_html([Entry([record()])], 0) == ""


def test_rows_carry_what_they_are_sorted_and_filtered_by():
    html = table.table_html([Entry([record()]), Entry([failed()]), Entry([unknown()] * 3)], 1)
    assert re.findall(r'<tr data-status="(\w+)"', html) == ["type", "failed", "unknown"]
    assert 'data-value="0.87">87 %' in html
    assert 'data-value="0.7">0.70' in html
    assert "text.jpg: not a picture" in html
    assert "(+2 more)" in html
    assert html.count('aria-current="true"') == 1


def test_filters_count_only_what_is_there():
    html = table.table_html([Entry([record()]), Entry([record()]), Entry([failed()])], 0)
    chips = re.findall(r'data-filter="(\w*)"[^>]*>([^<]+)<', html)
    assert chips == [("", "All 3"), ("type", "● Type 2"), ("failed", "✕ Failed 1")]


def test_a_hostile_name_is_text():
    html = table.table_html([Entry([record()], "<img src=x onerror=1>")] * 2, 0)
    assert "<img src=x" not in html
    assert "<img" not in table.progress_html(1, 3, 4.0, "<img src=x>")


def test_progress_tells_the_time_left_once_a_file_is_done():
    assert "left" not in table.progress_html(0, 10, 0.0, "a.jpg")
    html = table.progress_html(5, 10, 60.0, "b.mp4", "12 s into it")
    assert "5 of 10 answered, about 60 s left" in html
    assert "b.mp4, 12 s into it" in html
    assert 'aria-valuenow="5"' in html


def test_the_end_tells_failures_and_what_was_cancelled():
    said = table.done_html([Entry([record()]), Entry([failed()])], 3)
    assert "1 of 2 answered, 1 failed with the reason in the table" in said
    assert "cancelled, what was done is kept, 3 not looked at" in said
    assert "cancelled" not in table.done_html([Entry([record()])])


def test_the_timeline_has_a_cell_a_frame_and_marks_what_carried():
    *frames, summary = clip_records()
    row = timeline.cells(frames, summary)
    assert [(c.index, c.time_s, c.carried) for c in row] == [
        (0, 0.0, False),
        (25, 1.0, True),
        (50, 2.0, False),
        (75, 3.0, False),
    ]
    assert timeline.spans(row) == [("unknown", 0.0, 0.0), ("Su-24 (Fencer)", 1.0, 3.0)]


def test_a_long_clip_keeps_the_frames_that_carried_it():
    *frames, summary = clip_records(400)
    row = timeline.cells(frames, summary)
    assert len(row) == timeline.CELLS
    assert 25 in [c.index for c in row if c.carried]
    assert [c.index for c in row] == sorted(c.index for c in row)


def test_frames_of_another_aircraft_are_in_its_own_row():
    *frames, summary = clip_records()
    others = clip_records(3, number=2)
    html = timeline.timeline_html(
        [*frames, *others[:-1]], [summary, others[-1]], {25: "data:x"}, 25
    )
    assert html.count("af-row") >= 2
    assert "Aircraft 1: Su-24" in html
    assert "Aircraft 2: Su-24" in html
    assert html.count("aria-current") == 2
    assert "1 s, +2.5 nats" in html
    assert 'src="data:x"' in html


def test_a_clip_without_aircraft_has_no_timeline():
    assert timeline.timeline_html([], [unknown()], {}, None) == ""
