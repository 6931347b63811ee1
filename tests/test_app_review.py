"""app/review.py, app/about.py: what a person said of the answers, and what is learnt of it."""

import csv
import io
import re
from pathlib import Path
from threading import Thread

import pytest
from pictures import one_line
from records import doubt, failed, record, unknown

from airframe.config import load_config
from app import about
from app.loading import measured
from app.review import MANIFEST, ReviewError, Reviews
from data.manifest import read_manifest
from data.taxonomy import Taxonomy

ROOT = Path(__file__).parent.parent
TAXONOMY = Taxonomy.load()


@pytest.fixture
def reviews(tmp_path):
    return Reviews(tmp_path / "reviews", TAXONOMY)


def of(letter, **changes):
    """A record of another file."""
    return record(source=record()["source"] | {"sha256": letter * 64}, **changes)


def test_what_is_kept_is_a_manifest_that_training_reads_most_doubtful_first(reviews):
    sure = of("a", box=[64, 40, 320, 200], uncertainty=doubt(entropy=0.1))
    vague = of("b", uncertainty=doubt(entropy=4.0))
    reviews.keep(sure, "confirmed", None, b"one", ".jpeg")
    reviews.keep(of("c"), "corrected", "family:Flanker", b"two", ".png")
    reviews.keep(vague, "confirmed", None, b"three", ".jpeg")
    reviews.keep(of("d"), "set aside", None, b"four", ".jpeg")
    reviews.manifest()
    samples = read_manifest(reviews.folder / MANIFEST, TAXONOMY)
    assert [s.node for s in samples] == ["family:Flanker", "type:Su-24", "type:Su-24"]
    assert [s.path.read_bytes() for s in samples] == [b"two", b"three", b"one"]
    assert samples[2].boxes == ((0.1, 0.1, 0.5, 0.5),)
    assert {s.kind for s in samples} == {"reviewed"}


def test_a_picture_of_nothing_is_one_that_training_takes_for_background(reviews):
    reviews.keep(of("a", box=[0, 0, 64, 40]), "no aircraft", None, b"sky", ".jpeg")
    reviews.keep(of("a", box=[64, 40, 320, 200]), "no aircraft", None, b"sky", ".jpeg")
    reviews.keep(of("b"), "confirmed", None, b"x", ".jpeg")
    reviews.manifest()
    for name in ("fast", "strong", "localizer"):
        kinds = load_config(ROOT / "configs" / f"{name}.yaml").data.background_kinds
        samples = read_manifest(reviews.folder / MANIFEST, TAXONOMY, background_kinds=kinds)
        (empty,) = [sample for sample in samples if sample.node is None]
        assert empty.path.read_bytes() == b"sky"
        assert empty.boxes == ()
        assert len(samples) == 2


def test_a_picture_in_which_another_review_names_an_aircraft_is_not_one_of_nothing(reviews):
    reviews.keep(of("a", box=[0, 0, 64, 40]), "no aircraft", None, b"x", ".jpeg")
    reviews.keep(of("a", box=[64, 40, 320, 200]), "confirmed", None, b"x", ".jpeg")
    reviews.manifest()
    assert [s.node for s in read_manifest(reviews.folder / MANIFEST, TAXONOMY)] == ["type:Su-24"]


def test_a_name_where_no_aircraft_is_counts_as_wrong_at_what_it_stated(reviews):
    reviews.keep(of("a"), "no aircraft", None, b"x", ".jpeg")  # Su-24, 87 %
    (one,) = reviews.bins()
    assert (one.n, one.right, one.mean) == (1, 0, 0.87)
    assert reviews.denials() == (0, 0)


def test_an_answer_that_there_is_none_counts_without_a_probability(reviews):
    for letter, verdict in (("a", "confirmed"), ("b", "no aircraft"), ("c", "corrected")):
        empty = unknown(source=record()["source"] | {"sha256": letter * 64})
        empty["status"] = "no_aircraft"
        reviews.keep(empty, verdict, "type:Su-24", b"x", ".jpeg")
    assert reviews.bins() == []
    assert reviews.denials() == (3, 2)
    html = about.reliability_html([], 0, reviews.denials())
    assert "3 answer(s) said that there is no aircraft" in html
    assert "2 right" in html


def test_an_unknown_where_no_aircraft_is_is_neither_right_nor_wrong(reviews):
    reviews.keep(unknown(), "no aircraft", None, b"x", ".jpeg")
    assert reviews.agrees(reviews.rows()[0]) is None
    assert (reviews.bins(), reviews.denials()) == ([], (0, 0))


def test_two_aircraft_of_one_type_are_one_row_and_two_boxes(reviews):
    for box in ([0, 0, 64, 40], [64, 40, 128, 80]):
        reviews.keep(of("a", box=box), "confirmed", None, b"x", ".jpeg")
    reviews.keep(of("a", box=[0, 0, 9, 9]), "corrected", "type:Su-34", b"x", ".jpeg")
    reviews.manifest()
    samples = read_manifest(reviews.folder / MANIFEST, TAXONOMY)
    assert sorted(len(s.boxes) for s in samples) == [1, 2]


def test_a_later_review_of_the_same_box_replaces_the_first(reviews):
    reviews.keep(of("a"), "confirmed", None, b"x", ".jpeg")
    reviews.keep(of("a"), "corrected", "type:Su-34", b"x", ".jpeg")
    (row,) = reviews.rows()
    assert row["node"] == "type:Su-34"
    assert reviews.agrees(row) is False


def test_frames_of_one_clip_are_one_group(reviews):
    source = record()["source"] | {"sha256": "e" * 64}
    for index in (0, 25):
        frame = record(source=source | {"frame": {"index": index, "time_s": 0.0}})
        reviews.keep(frame, "confirmed", None, bytes([index]), ".png")
    rows = list(csv.DictReader(io.StringIO(reviews.manifest())))
    assert len({row["path"] for row in rows}) == 2
    assert len({row["group"] for row in rows}) == 1


def test_a_coarser_answer_agrees_with_what_lies_under_it(reviews):
    answer = {"node": "family:Flanker", "rank": "family", "label": "x", "probability": 0.8}
    reviews.keep(of("a", answer=answer), "corrected", "type:Su-30", b"x", ".jpeg")
    assert reviews.agrees(reviews.rows()[0]) is True


@pytest.mark.parametrize(
    ("made", "verdict", "node", "said"),
    [
        (unknown(), "confirmed", None, "nothing to confirm"),
        (record(), "corrected", None, "choose the type"),
        (record(), "corrected", "type:Su-99", "choose the type"),
        (record(), "perhaps", None, "is none of"),
    ],
)
def test_what_cannot_be_kept_is_refused_in_one_line(reviews, made, verdict, node, said):
    with pytest.raises(ReviewError) as caught:
        reviews.keep(made, verdict, node, b"x", ".jpeg")
    one_line(caught, said)
    assert not reviews.folder.exists()


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ReviewError) as caught:
        Reviews(tmp_path / "file", TAXONOMY).keep(record(), "confirmed", None, b"x", ".jpeg")
    one_line(caught, "cannot be kept")


def test_without_a_label_there_is_no_manifest(reviews):
    with pytest.raises(ReviewError):
        reviews.manifest()
    reviews.keep(of("a"), "set aside", None, b"x", ".jpeg")
    with pytest.raises(ReviewError):
        reviews.manifest()


def test_several_people_lose_no_review(reviews):
    def keep(letter):
        reviews.keep(of(letter), "confirmed", None, b"x", ".jpeg")

    threads = [Thread(target=keep, args=(letter,)) for letter in "0123456789abcdef"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(reviews.rows()) == 16


def test_bins_hold_each_answer_once_and_an_interval_around_its_share(reviews):
    for letter, probability, verdict in [
        ("a", 0.72, "confirmed"),
        ("b", 0.78, "corrected"),
        ("c", 1.0, "confirmed"),
        ("d", 0.8, "set aside"),
    ]:
        answer = record()["answer"] | {"probability": probability}
        reviews.keep(of(letter, answer=answer), verdict, "type:Su-34", b"x", ".jpeg")
    middle, high = reviews.bins()
    assert (middle.n, middle.right, middle.mean) == (2, 1, 0.75)
    assert (high.n, high.right) == (1, 1)
    # Wilson (1927) for 1 of 2 at z = 1.96, by hand: (0.5 + 0.9604 -+ 1.0914) / 2.9208 … symmetric.
    assert middle.floor == pytest.approx(1 - middle.ceiling)
    assert middle.floor == pytest.approx(0.0945, abs=1e-3)
    assert 0.2 < high.floor < 0.21
    assert high.ceiling == pytest.approx(1.0)


def test_the_plot_says_the_same_in_a_table(reviews):
    reviews.keep(of("a"), "confirmed", None, b"x", ".jpeg")
    html = about.reliability_html(reviews.bins(), 1)
    assert html.count("<circle") == 1
    assert re.findall(r"<td>([^<]+)</td>", html)[:4] == ["80 to 90 %", "1", "87 %", "100 %"]
    assert "<svg" not in about.reliability_html([], 0)


def test_a_failure_cannot_be_confirmed(reviews):
    with pytest.raises(ReviewError):
        reviews.keep(failed(), "confirmed", None, b"x", ".jpeg")


def test_about_tells_the_checkpoint_its_figures_and_limits():
    figure = {"value": 0.593, "low": 0.46, "high": 0.71, "n": 59}
    metrics = {"split": "val", "kinds": {"field": {"family_top1": figure, "type_ece": figure}}}
    html = about.about_html(record()["model"], metrics, ["a look"], 91)
    assert "59 % [46, 71]" in html
    assert "0.593 [0.460, 0.710]" in html
    assert "(n = 59)" in html
    assert "val split" in html
    assert "does not tell the operator" in html
    assert "cd" * 32 in html
    assert "carries no figures" in about.about_html(record()["model"], {}, [], 91)


def test_figures_beside_a_checkpoint_count_only_for_that_checkpoint(tmp_path):
    assert measured(tmp_path, "ab") is None
    (tmp_path / "metrics.json").write_text('{"checkpoint": {"sha256": "ab"}, "split": "test"}')
    assert measured(tmp_path, "ab")["split"] == "test"
    assert measured(tmp_path, "cd") is None
    (tmp_path / "metrics.json").write_text("[]")
    assert measured(tmp_path, "ab") is None
