"""data/images/exif.py and tags.py: what a camera wrote, and what a hostile file wrote instead."""

import io
import json
import os
import struct
import threading
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import encoded, failure, picture
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from data.images import Still, open_bytes, read_size
from data.images.exif import LONGEST, MOST
from data.images.tags import LARGEST_EXIF

NORTH = (IFDRational(33), IFDRational(30), IFDRational(4971, 100))


def camera():
    """A block as a camera and a phone write it, with a maker's own part."""
    exif = Image.Exif()
    exif[271], exif[272], exif[274] = "NIKON \0\0", "D750", 1
    exif[315] = "Жанна".encode()
    exif[0x9C9B] = "Алеппо\0".encode("utf-16-le")
    shot = exif.get_ifd(0x8769)
    shot[33434], shot[33437] = IFDRational(1, 250), IFDRational(28, 10)
    shot[36864], shot[36867] = b"0230", "2015:10:07 14:03:22"
    shot[37500] = b"maker\xff" * 50
    shot[37510] = b"UNICODE\0" + "one\ntwo".encode("utf-16")
    place = exif.get_ifd(0x8825)
    place[1], place[2] = "N", NORTH
    place[3], place[4] = "W", (IFDRational(0), IFDRational(7), IFDRational(39))
    place[7] = (IFDRational(14), IFDRational(3), IFDRational(22))
    return exif


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_tags_are_told_by_name_in_plain_text(file_format):
    exif = camera()
    if file_format == "TIFF":  # into which Pillow writes inner blocks only where they are tags
        exif[0x8769], exif[0x8825] = exif.get_ifd(0x8769), exif.get_ifd(0x8825)
    told = open_bytes(encoded(picture(), file_format, exif=exif), "x").exif
    wanted = {
        "Make": "NIKON",
        "Model": "D750",
        "Orientation": "1",
        "Artist": "Жанна",
        "XPTitle": "Алеппо",
        "ExposureTime": "1/250",
        "FNumber": "2.8",
        "ExifVersion": "0230",
        "DateTimeOriginal": "2015:10:07 14:03:22",
        "UserComment": "one two",
        "GPSLatitudeRef": "N",
        "GPSLatitude": "33.5138083",
        "GPSLongitudeRef": "W",
        "GPSLongitude": "0.1275",
        "GPSTimeStamp": "14 3 22",
    }
    assert {name: told.get(name) for name in wanted} == wanted
    assert "MakerNote" not in told
    assert file_format == "TIFF" or set(told) == set(wanted)


@pytest.mark.parametrize(
    "latitude",
    [
        (IFDRational(33, 0), IFDRational(0, 0), IFDRational(1)),
        (IFDRational(999), IFDRational(0), IFDRational(0)),
        (IFDRational(33), IFDRational(30)),
    ],
)
def test_what_is_no_latitude_is_told_as_it_stands(latitude):
    exif = Image.Exif()
    exif.get_ifd(0x8825)[2] = latitude
    told = open_bytes(encoded(picture(), "JPEG", exif=exif), "x").exif["GPSLatitude"]
    assert told.split()[0] in ("33/0", "999", "33")
    assert len(told.split()) == len(latitude)


def test_without_tags_there_is_none():
    assert open_bytes(encoded(picture(), "PNG"), "x").exif is None
    assert (
        open_bytes(encoded(picture(), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xffx"), "x").exif
        is None
    )
    assert Still(picture(), "x", "", 0, 48, 32, "PNG", None).exif is None


def block(entries, values=b"", order="<"):
    """A block of EXIF: entries of (tag, kind, count, value or offset), and what lies behind."""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}LH", 8, len(entries))
    packed = b"".join(struct.pack(f"{order}HHLL", *entry) for entry in entries)
    return head + packed + bytes(4) + values


def harmless(told):
    assert told is None or len(told) <= MOST
    for name, text in (told or {}).items():
        assert name.isprintable()
        assert 0 < len(text) <= LONGEST
        assert text.isprintable()
    json.dumps(told, allow_nan=False).encode()


@pytest.mark.parametrize("order", ["<", ">"])
def test_no_control_signs_no_end_and_no_number_that_json_lacks(order):
    text = b"\x1b[2J\r\n<script>\0" + bytes(range(256)) * 40
    apart = 8 + 2 + 12 * 8 + 4
    float_ = apart + len(text)
    entries = [
        (270, 2, len(text), apart),  # as text
        (0x9C9C, 1, len(text), apart),  # Windows', with half characters
        (37510, 7, len(text), apart),
        (0xC000, 7, len(text), apart),  # a tag without a name
        (0xC001, 11, 2, float_),  # nan, inf
        (0xC002, 5, 1, float_ + 8),  # 0/0
        (0xC003, 3, 2000, apart),  # a long list
        (34665, 4, 1, 8),  # the Exif block is this very one
    ]
    more = struct.pack(f"{order}ff", float("nan"), float("inf")) + bytes(8)
    data = encoded(picture(), "PNG", exif=block(entries, text + more, order))
    still = open_bytes(data, "x")
    harmless(still.exif)
    assert still.exif["0xc000"] == f"({len(text)} bytes)"
    assert still.exif["0xc001"] == "nan inf"
    assert still.exif["0xc002"] == "0/0"
    assert still.exif["0xc003"].endswith("…")


def test_of_a_thousand_tags_so_many_are_told():
    entries = [(0xA500 + n, 3, 1, n + 1) for n in range(1000)]
    assert len(open_bytes(encoded(picture(), "PNG", exif=block(entries)), "x").exif) == MOST


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([270, 271, 306, 2, 4, 34665, 34853, 36867, 37510, 0x9C9B, 0xC000]),
            st.integers(0, 14),
            st.one_of(st.integers(0, 40), st.just(2**32 - 1)),
            st.one_of(st.integers(0, 300), st.integers(0, 2**32 - 1)),
        ),
        max_size=12,
    ),
    st.binary(max_size=200),
    st.sampled_from("<>"),
    st.sampled_from(["JPEG", "PNG"]),
)
def test_whatever_the_block_holds_the_picture_is_read(entries, values, order, file_format):
    data = encoded(picture(), file_format, exif=b"Exif\0\0" + block(entries, values, order))
    harmless(open_bytes(data, "x").exif)


# --- bombs ----------------------------------------------------------------------------------------


def bomb(size, order="<"):
    """A block of that many bytes, each of whose tags is all of it."""
    number = min((size - 200) // 12, 40_000)
    entries = [(0x1000 + n, 7, size - 200, 8) for n in range(number)]
    return block(entries, order=order).ljust(size, b"a")


def segments(exif):
    """A JPEG with a block of any length, in as many segments as it takes."""
    data, parts = encoded(picture(), "JPEG"), []
    for start in range(0, len(exif), 65_000):
        part = b"Exif\0\0" + exif[start : start + 65_000]
        parts.append(b"\xff\xe1" + struct.pack(">H", len(part) + 2) + part)
    # Not behind the JFIF header, which tells a resolution: Pillow looks for one in the EXIF.
    return data[:2] + b"".join(parts) + data[20:]


def most_memory(work):
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_bomb_of_tags_costs_its_tags_alone_where_pillow_reads_them_late(order):
    data = encoded(picture(), "PNG", exif=bomb(300_000, order))  # else it takes 7 GB
    still = []
    assert most_memory(lambda: still.append(open_bytes(data, "x"))) < 8 * 2**20
    assert still[0].exif is None
    assert np.array_equal(still[0].rgb, picture())


@pytest.mark.parametrize("data", [segments(bomb(300_000)), bomb(300_000), bomb(300_000, ">")])
def test_a_bomb_that_pillow_would_open_is_refused(tmp_path, data):
    def refused():
        assert failure(data) == "too_large"

    assert most_memory(refused) < 8 * 2**20
    (tmp_path / "x.jpg").write_bytes(data)
    with pytest.raises(Exception, match="save it again without them"):
        read_size(tmp_path / "x.jpg")


def test_inner_directories_count_too():
    size = 200_000
    many = [(0x1000 + n, 7, size - 200, 8) for n in range(2000)]
    inner = struct.pack("<H", len(many)) + b"".join(struct.pack("<HHLL", *e) for e in many)
    for kind in (3, 4):  # a pointer may be a short number
        data = block([(34665, kind, 1, 26)], inner).ljust(size, b"a")
        assert most_memory(
            lambda data=data: open_bytes(encoded(picture(), "PNG", exif=data), "x")
        ) < (8 * 2**20)


def test_what_is_large_and_no_bomb_is_opened():
    exif = camera()
    exif[0xC000] = bytes(60_000)
    assert open_bytes(encoded(picture(), "JPEG", exif=exif), "x").exif["Make"] == "NIKON"
    strips = encoded(Image.new("RGB", (3000, 3000)), "TIFF")
    assert open_bytes(strips, "x").format == "TIFF"
    exif[0xC000] = bytes(LARGEST_EXIF)
    assert open_bytes(encoded(picture(), "PNG", exif=exif), "x").exif is None


def test_tags_are_read_from_several_threads():
    data, told = encoded(picture(), "JPEG", exif=camera()), []

    def work():
        told.extend(open_bytes(data, os.fspath("x")).exif["Make"] for _ in range(20))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told == ["NIKON"] * 80


def test_a_profile_of_text_as_imagemagick_writes_it_is_read_and_bounded():
    from PIL.PngImagePlugin import PngInfo

    for exif, wanted in ((camera().tobytes(), "NIKON"), (bomb(200_000), None)):
        info = PngInfo()
        lines = "\n".join(exif.hex()[i : i + 72] for i in range(0, 2 * len(exif), 72))
        info.add_text("Raw profile type exif", f"\nexif\n{len(exif):8}\n{lines}\n", zip=True)
        data = io.BytesIO()
        Image.fromarray(picture()).save(data, "PNG", pnginfo=info)
        told = open_bytes(data.getvalue(), "x").exif
        assert (told or {}).get("Make") == wanted
