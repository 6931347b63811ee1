"""Copies are found, different pictures are not, and what is in a group says so."""

import io
import time

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from airframe.near_duplicates import THRESHOLD, duplicate_groups
from data.images.likeness import BITS, perceptual_hash
from data.synthetic.scene import draw_scene
from data.synthetic.sky import draw_sky

TYPES = ("Su-24", "MiG-29", "Mi-24", "Tu-95")


@pytest.fixture(scope="module")
def pictures():
    """Forty drawn scenes and eight empty skies, all different."""
    scenes = [
        draw_scene(name, np.random.default_rng([kind, number]), width=320, height=200).rgb
        for kind, name in enumerate(TYPES)
        for number in range(10)
    ]
    skies = [draw_sky(np.random.default_rng(n), 320, 200, "broken") for n in range(8)]
    return [Image.fromarray(rgb) for rgb in (*scenes, *skies)]


def jpeg(image, quality):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def resized(image, factor):
    return image.resize((int(image.width * factor), int(image.height * factor)))


def captioned(image):
    image = image.copy()
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, image.height * 0.84, image.width, image.height), fill="black")
    font = ImageFont.load_default(image.height // 14)
    draw.text((8, image.height * 0.87), "Latakia, 12 October", fill="white", font=font)
    return image


def marked(image):
    image = image.copy()
    draw = ImageDraw.Draw(image)
    draw.rectangle((image.width * 0.85, 6, image.width * 0.97, image.height * 0.14), fill="red")
    return image


def brighter(image):
    return image.point(lambda value: min(255, int(value * 1.15 + 8)))


def cropped(image):
    x, y = image.width // 50, image.height // 50
    return image.crop((x, y, image.width - x, image.height - y))


def posted(image):
    """All that a re-post goes through, one after the other."""
    return jpeg(resized(marked(captioned(image)), 0.6), 45)


def distance(a, b):
    return (int(a, 16) ^ int(b, 16)).bit_count()


def hash_of(image):
    return perceptual_hash(np.asarray(image))


@pytest.mark.parametrize(
    ("copy", "found"),
    [
        (lambda image: jpeg(image, 40), 1.0),
        (lambda image: resized(image, 0.5), 1.0),
        (lambda image: jpeg(resized(image, 2.0), 60), 1.0),
        (captioned, 1.0),
        (brighter, 1.0),
        (marked, 1.0),
        (posted, 1.0),
        (cropped, 0.9),
    ],
)
def test_copies_differ_by_less_than_the_threshold(pictures, copy, found):
    """The measured part of what chose THRESHOLD: how many copies are under it."""
    apart = [distance(hash_of(image), hash_of(copy(image))) for image in pictures]
    assert np.mean(np.array(apart) <= THRESHOLD) >= found, sorted(apart)


def test_different_pictures_differ_by_much_more(pictures):
    """The other part: the nearest two of 1,128 pairs are far above it."""
    hashes = [hash_of(image) for image in pictures]
    apart = [distance(a, b) for n, a in enumerate(hashes) for b in hashes[:n]]
    assert min(apart) > THRESHOLD + 16
    assert abs(np.median(apart) - BITS / 2) < 6


def test_a_flat_picture_has_no_hash():
    noise = np.random.default_rng(0).integers(0, 6, (120, 160, 3), np.uint8)
    assert perceptual_hash(noise) is None  # black, but for the sensor
    assert perceptual_hash(np.zeros((1, 1, 3), np.uint8)) is None
    ramp = np.tile(np.linspace(0, 255, 160).astype(np.uint8)[None, :, None], (120, 1, 3))
    assert len(perceptual_hash(ramp)) == BITS // 4


# --- groups ---------------------------------------------------------------------------------------


def still(path, code, sha256=None):
    return record(path, code, None, sha256)


def record(path, code, frame, sha256=None):
    return {
        "source": {
            "path": path,
            "sha256": sha256 or path,
            "perceptual_hash": code,
            "frame": None if frame is None else {"index": frame, "time_s": float(frame)},
        }
    }


def clip(path, codes):
    """A clip's records: frames with these hashes, then what sums it up."""
    frames = [record(path, code, number) for number, code in enumerate(codes)]
    return [*frames, record(path, None, None)]


def codes(count, seed=0):
    drawn = np.random.default_rng(seed).integers(0, 256, (count, BITS // 8), np.uint8)
    return [row.tobytes().hex() for row in drawn]


def turned(code, bits, seed=0):
    """A hash that differs from `code` in that many bits."""
    number = int(code, 16)
    for bit in np.random.default_rng(seed).choice(BITS, bits, replace=False).tolist():
        number ^= 1 << bit
    return f"{number:064x}"


def test_near_stills_are_a_group_and_the_rest_is_alone():
    a, b, c = codes(3)
    near, far = turned(a, THRESHOLD), turned(b, THRESHOLD + 1)
    given = [still("1", a), still("2", b), still("3", near), still("4", far), still("5", c)]
    assert duplicate_groups(given) == {"1": 1, "3": 1}
    assert duplicate_groups(iter(given[:2])) == {}
    assert duplicate_groups([]) == {}


def test_several_aircraft_of_one_still_are_no_copies():
    a, b = codes(2)
    assert duplicate_groups([still("1", a), still("1", a), still("2", b)]) == {}


def test_equal_bytes_are_copies_whatever_they_show():
    given = [still("1", None, "x"), still("2", None, "y"), still("3", None, "x")]
    assert duplicate_groups(given) == {"1": 1, "3": 1}
    unread = [still("1", None), still("2", None)]
    for one in unread:
        one["source"]["sha256"] = None
    assert duplicate_groups(unread) == {}


def test_a_clip_is_a_copy_where_half_of_it_is_in_another():
    a, b = codes(10, 1), codes(10, 2)
    again = [turned(code, 20) for code in a[2:8]]
    whole = clip("whole.mp4", a)
    assert duplicate_groups([*whole, *clip("part.mp4", again)]) == {"whole.mp4": 1, "part.mp4": 1}
    # The shorter one may be the first, and some of its own beside.
    mixed = clip("mixed.mp4", again[:3] + b[:3])
    assert duplicate_groups([*mixed, *whole]) == {"mixed.mp4": 1, "whole.mp4": 1}
    # A title or a logo in common is not enough, and a still of it ties no clips together.
    one, other = clip("one.mp4", a[:1] + a[5:9]), clip("other.mp4", a[:1] + b[:4])
    assert duplicate_groups([*one, *other]) == {}
    title = still("title.jpg", a[0])
    assert duplicate_groups([*one, *other, title]) == {"one.mp4": 1, "title.jpg": 1}
    assert duplicate_groups([title, *other, *one]) == {"title.jpg": 1, "other.mp4": 1}


def test_a_clips_own_frames_are_no_copies():
    a = codes(1)[0]
    assert duplicate_groups(clip("still.mp4", [a] * 30)) == {}


def test_groups_are_numbered_in_the_order_of_the_records():
    a, b = codes(2)
    given = [still("1", a), still("2", b), still("3", b), still("4", a)]
    assert duplicate_groups(given) == {"1": 1, "2": 2, "3": 2, "4": 1}


def test_what_is_close_in_a_large_archive_is_found_in_seconds():
    many = codes(6000, 3)
    given = [still(str(n), code) for n, code in enumerate(many)]
    given += [still(f"copy {n}", turned(many[n], THRESHOLD, n)) for n in range(0, 6000, 600)]
    started = time.monotonic()
    groups = duplicate_groups(given)
    assert groups == {
        name: number
        for number, n in enumerate(range(0, 6000, 600), 1)
        for name in (str(n), f"copy {n}")
    }
    assert time.monotonic() - started < 20
