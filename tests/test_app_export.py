"""app/export.py: a case to keep."""

import csv
import io
import json
import re

from records import failed, record, unknown

from airframe.batch import RecordWriter
from app import export


def test_jsonl_is_to_the_byte_what_the_command_line_writes():
    records = [record(reason="“ä”"), failed()]
    file = io.StringIO()
    writer = RecordWriter(file, as_csv=False)
    for one in records:
        writer.write(one)
    assert export.jsonl(records) == file.getvalue()
    assert [json.loads(line) for line in export.jsonl(records).splitlines()] == records


def test_csv_has_a_row_a_record():
    rows = list(csv.DictReader(io.StringIO(export.csv([record(), failed()]))))
    assert [row["source.path"] for row in rows] == ["still.jpg", "text.jpg"]
    assert rows[0]["answer.label"] == "Su-24 (Fencer)"


def test_the_report_stands_alone_and_says_what_it_does_not_prove():
    html = export.report_html(
        [([record(), unknown()], "data:image/jpeg;base64,AA"), ([failed()], "")]
    )
    assert not re.findall(r"(?:src|href)=\"(?!data:)", html)
    assert "<script" not in html
    assert "default-src 'none'" in html
    for said in ("never proof of an operator", "ab" * 32, "cd" * 32, "ef" * 32, "torch 2"):
        assert said in html
    assert "2. Nothing here is sure enough to name" in html
    assert "text.jpg: not a picture" in html
    assert html.count("<article>") == 2


def test_a_hostile_name_is_text_in_the_report():
    evil = "<script>alert(1)</script>"
    made = record(source=record()["source"] | {"path": evil})
    assert "<script" not in export.report_html([([made], "")], evil)


def test_a_report_says_who_flew_it_where_that_was_asked():
    said = {"theatre": "syria-2015", "date": None, "decisive": False, "says": "Flown by both."}
    said |= {"note": "No proof.", "sources": ["One, 2015"]}
    html = export.report_html([([record(operators=said)], "")])
    assert "<details open>" in html
    for part in ("Flown by both.", "not decisive", "No proof.", "One, 2015"):
        assert part in html
