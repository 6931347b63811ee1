"""Files at URLs: in a store in memory, in one that speaks S3, or on this disk."""

import os

import pytest
from clips import animation, write
from pictures import encoded, noise, picture

from airframe.batch import Task, answer_all, find_files
from airframe.contact_sheet import thumbnail
from airframe.predictor import Predictor, Settings
from airframe.verify import verify_records
from data.images import Limits, StillError
from data.remote import UrlError, at_hand, is_url, read_any
from data.sampling import Sampling
from data.video import open_clip

fsspec = pytest.importorskip("fsspec")


@pytest.fixture
def folder(tmp_path):
    """Stills, a clip, an animation and a still GIF, a bad picture, a bad clip, a text."""
    (tmp_path / "deep er").mkdir()
    (tmp_path / "a.jpg").write_bytes(encoded(picture(96, 64), "JPEG"))
    (tmp_path / "deep er" / "b#1.PNG").write_bytes(encoded(noise(96, 64), "PNG"))
    write(tmp_path / "c.mp4", [noise(96, 64), noise(96, 64)[::-1]], stamps=[0, 100])
    animation(tmp_path / "d.gif", 2)
    (tmp_path / "e.gif").write_bytes(encoded(picture(96, 64), "GIF"))
    (tmp_path / "f.jpg").write_bytes(b"text")
    (tmp_path / "g.mp4").write_bytes(b"text")
    (tmp_path / "notes.txt").write_text("left alone")
    return tmp_path


def fill(store, folder, name):
    store.mkdir(name)
    for path in folder.rglob("*.*"):
        store.pipe(f"{name}/{path.relative_to(folder)}", path.read_bytes())


@pytest.fixture
def in_memory(folder):
    """The same in a store in memory: its URL."""
    store = fsspec.filesystem("memory")
    fill(store, folder, "/bucket")
    yield "memory:///bucket"
    store.rm("/bucket", recursive=True)


@pytest.fixture(params=["memory", "s3"])
def bucket(folder, request):
    """The same in a store in memory, and in one that speaks S3: its URL."""
    if request.param == "memory":
        yield request.getfixturevalue("in_memory")
        return
    store = request.getfixturevalue("s3")
    fill(store, folder, "bucket")
    yield "s3://bucket"
    store.rm("bucket", recursive=True)


@pytest.fixture(scope="module")
def predictor(tiny_checkpoint):
    return Predictor(tiny_checkpoint, "cpu", "auto")


def answered(given, predictor):
    task = Task(Settings(), 2, Sampling("all"))
    return list(answer_all(find_files([str(given)]), predictor, task))


def bare(record, root):
    """A record without its time, and with what is below `root` alone of its path."""
    record["run"].pop("created_utc")
    record["source"]["path"] = record["source"]["path"].removeprefix(f"{root}/")
    if record["failure"]:
        said = record["failure"]["message"].replace(f"{root}/", "")
        record["failure"]["message"] = record["reason"] = said
    return record


def test_a_folder_at_a_url_is_answered_as_the_same_folder_here(folder, bucket, predictor):
    there = [bare(record, bucket) for record in answered(bucket, predictor)]
    here = [bare(record, folder) for record in answered(folder, predictor)]
    assert there == here
    assert len({record["source"]["path"] for record in there}) == 7
    assert sum(record["status"] == "failed" for record in there) == 2


def test_patterns_single_urls_and_what_is_not_there(bucket, predictor):
    found = list(find_files([f"{bucket}/*.gif", f"{bucket}/notes.txt", f"{bucket}/gone.jpg"]))
    assert found == [
        (f"{bucket}/{name}", None) for name in ("d.gif", "e.gif", "notes.txt", "gone.jpg")
    ]
    [record] = answered(f"{bucket}/gone.jpg", predictor)
    assert record["failure"]["code"] == "missing"
    assert record["failure"]["message"] == f"{bucket}/gone.jpg: no such file; check the URL"
    [record] = answered(f"{bucket}/gone.mp4", predictor)
    assert record["failure"]["code"] == "missing"
    [(given, error)] = find_files([f"{bucket}/*.bmp"])
    assert (given, error.code) == (f"{bucket}/*.bmp", "empty")


def test_what_is_too_large_is_told_before_all_of_it_is_there(bucket):
    with pytest.raises(StillError, match="MiB allowed") as caught:
        read_any(f"{bucket}/a.jpg", Limits(max_bytes=100))
    assert caught.value.code == "too_large"
    with pytest.raises(StillError, match="MiB allowed"), at_hand(f"{bucket}/c.mp4", Limits(100)):
        pass


def test_a_fetched_copy_is_called_by_its_url_and_goes_again(bucket):
    with at_hand(f"{bucket}/c.mp4", Limits()) as place:
        clip = open_clip(place, name=f"{bucket}/c.mp4")
        assert clip.info.path == f"{bucket}/c.mp4"
        assert len(list(clip.frames(Sampling("all")))) == 2
        with pytest.raises(StillError, match=f"^{bucket}/c.mp4: it has no frame 9"):
            clip.frame(9)
    assert not os.path.exists(os.path.dirname(place))


def test_a_file_here_is_read_where_it_lies(folder):
    with at_hand(str(folder / "a.jpg"), Limits()) as place:
        assert place == str(folder / "a.jpg")
    assert read_any(str(folder / "a.jpg"), Limits()) == (folder / "a.jpg").read_bytes()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nonsense://a/b.jpg", "nonsense://a/b.jpg: Protocol not known: nonsense"),
        ("zip://*.jpg::file:///a.zip", "URLs within URLs are not read"),
    ],
)
def test_what_nothing_opens_is_refused_in_one_line(url, said):
    with pytest.raises(UrlError) as caught:
        list(find_files([url]))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_store_that_fails_costs_its_file_alone(in_memory, predictor, monkeypatch):
    whole = type(fsspec.filesystem("memory")).open

    def broken(self, path, *args, **more):
        if path.endswith("a.jpg"):
            raise RuntimeError("the network is down\nand a long trace")
        return whole(self, path, *args, **more)

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "open", broken)
    records = {r["source"]["path"]: r for r in answered(in_memory, predictor)}
    message = records[f"{in_memory}/a.jpg"]["failure"]["message"]
    assert message.startswith(f"{in_memory}/a.jpg: cannot be read (the network is down)")
    assert records[f"{in_memory}/deep er/b#1.PNG"]["failure"] is None


def test_a_store_that_cannot_be_listed_is_refused(in_memory, monkeypatch):
    def denied(*args, **more):
        raise PermissionError(13, "Access denied")

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "find", denied)
    with pytest.raises(UrlError, match=r"bucket: cannot be listed \(Access denied\)"):
        list(find_files([in_memory]))


def test_a_store_without_credentials_is_told_in_one_line(s3, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    s3.clear_instance_cache()
    with pytest.raises(UrlError, match=r"^s3://bucket: cannot be listed \(Unable to locate cred"):
        list(find_files(["s3://bucket"]))
    with pytest.raises(
        StillError, match=r"^s3://bucket/a.jpg: cannot be read \(Unable to"
    ) as caught:
        read_any("s3://bucket/a.jpg", Limits())
    assert caught.value.code == "missing"
    s3.clear_instance_cache()


def test_more_objects_than_a_store_tells_at_once_are_all_found(s3):
    names = [f"many/{i:02}.jpg" for i in range(20)]
    s3.mkdir("many")
    s3.pipe(dict.fromkeys(names, b"x"))
    told = s3.call_s3("list_objects_v2", Bucket="many")
    assert told["IsTruncated"]
    for given in ("s3://many", "s3://many/*.jpg"):
        assert list(find_files([given])) == [(f"s3://{name}", None) for name in names]


def test_a_bucket_that_is_not_there_is_missing(s3, predictor):
    [record] = answered("s3://nobody/a.jpg", predictor)
    assert record["failure"]["code"] == "missing"
    [(given, error)] = find_files(["s3://nobody/*.jpg"])
    assert (given, error.code) == ("s3://nobody/*.jpg", "empty")


def test_only_urls_are_urls():
    assert is_url("s3://bucket/a.jpg")
    assert not any(map(is_url, ("a.jpg", "/a://b", "C:\\a.jpg", "C:/a.jpg", "فيديو://a", "a:b")))


def test_a_thumbnail_is_made_of_a_still_at_a_url(bucket, predictor):
    [record] = answered(f"{bucket}/a.jpg", predictor)
    assert thumbnail(record).startswith(b"\xff\xd8")


def test_verify_opens_only_urls_that_it_is_given(bucket, predictor, tmp_path, monkeypatch):
    from airframe.record import json_line

    path = tmp_path / "x.jsonl"
    path.write_text("".join(map(json_line, answered(f"{bucket}/a.jpg", predictor))))
    given = [found for found, _ in find_files([bucket])]
    [finding] = verify_records(path, predictor, places=given)
    assert finding.state == "same", finding.what
    monkeypatch.setattr("airframe.batch.read_any", lambda *given: pytest.fail("it was opened"))
    [finding] = verify_records(path, predictor)
    assert finding.state == "missing"
    assert "opened only where it or its folder is given" in finding.what[0]


def test_without_fsspec_a_url_is_refused_and_files_are_not(folder, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UrlError, match="URLs need fsspec, which is not installed"):
        list(find_files(["memory:///a"]))
    assert len(list(find_files([str(folder)]))) == 7
