"""Views for the localizer: every box lies around what shows, and around nothing else."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from data import composites
from data.composites import CompositeDataset, clipped, zoomed
from data.manifest import Sample
from data.synthetic.render import draw_airframe

SOME = settings(max_examples=60, deadline=None, derandomize=True)
SIZE = HEIGHT, WIDTH = 160, 240
MAGENTA = (255, 0, 255)  # a colour that no airframe has, in any light
GREEN, RED, YELLOW = (20, 120, 40), (230, 20, 20), (240, 230, 20)


def sample(path, kind, node=None, boxes=()):
    return Sample(path, node, kind, path.name, None, tuple(boxes), path.name)


def flat(colour, width, height):
    return np.full((height, width, 3), colour, np.uint8)


def saved(path, pixels, **options):
    Image.fromarray(pixels).save(path, **options)
    return path


@pytest.fixture
def magenta_sky(monkeypatch):
    monkeypatch.setattr(
        composites, "draw_sky", lambda rng, width, height: flat(MAGENTA, width, height)
    )


@pytest.fixture(scope="module")
def cutouts(tmp_path_factory):
    """Two views of a Su-27 and one of a Mi-24, as PNG and WebP."""
    folder, made = tmp_path_factory.mktemp("cutouts"), []
    for number, (type_, azimuth, elevation) in enumerate(
        [("Su-27", 60, -20), ("Su-27", 150, -50), ("Mi-24", 90, -10)]
    ):
        rgba = draw_airframe(type_, azimuth_deg=azimuth, elevation_deg=elevation, size_px=200)
        name, options = (f"{number}.webp", {"lossless": True}) if number else ("0.png", {})
        path = saved(folder / name, rgba, **options)
        made.append(sample(path, "render", f"type:{type_}"))
    return made


@pytest.fixture(scope="module")
def boxed(tmp_path_factory):
    """A green picture of one two-coloured aircraft, red before and yellow behind."""
    picture = flat(GREEN, 900, 600)
    picture[240:360, 180:315], picture[240:360, 315:450] = RED, YELLOW
    path = tmp_path_factory.mktemp("boxed") / "boxed.png"
    box = (0.2, 0.4, 0.5, 0.6)
    return sample(saved(path, picture), "photo", "type:Su-27", [box])


@pytest.fixture(scope="module")
def backdrop(tmp_path_factory):
    path = tmp_path_factory.mktemp("backdrop") / "backdrop.jpg"
    return sample(saved(path, flat(GREEN, 300, 200), quality=95), "other")


def dataset(samples, size=SIZE, seed=0, strength=0.0):
    return CompositeDataset(
        samples,
        size,
        seed=seed,
        strength=strength,
        cutout_kinds=["render"],
        backdrop_kinds=["other"],
    )


def pixels_of(image):
    """A view's picture, int (H, W, 3) in 0-255."""
    return (image.permute(1, 2, 0) * 255).round().to(int).numpy()


def near(picture, colour, within=60):
    """Where the picture has about that colour."""
    return (np.abs(np.asarray(picture, int) - colour) < within).all(axis=-1)


def red_or_yellow(picture):
    """Masks of what is red and what is yellow, to the middle of a blurred edge with GREEN."""
    aircraft = picture[..., 0] > (RED[0] + GREEN[0]) / 2
    return aircraft & (picture[..., 1] < GREEN[1]), aircraft & (picture[..., 1] >= GREEN[1])


def extent(mask):
    """The box (x0, y0, x1, y1) of a mask, x1 and y1 just past the last pixel."""
    ys, xs = np.nonzero(mask)
    return np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])


def inside(box, size):
    return 0 <= box[0] < box[2] <= size[1] and 0 <= box[1] < box[3] <= size[0]


# --- pasted ---------------------------------------------------------------------------------------


def test_boxes_are_tight_around_what_was_pasted(cutouts, magenta_sky):
    views, several, cut_off = dataset(cutouts), 0, 0
    for turn in range(150):
        image, boxes = views[turn % 3]
        assert image.shape == (3, *SIZE)
        assert len(boxes) >= 1
        changed = (pixels_of(image) != MAGENTA).any(axis=2)
        outside = changed.copy()
        for box in boxes.numpy():
            assert inside(box, SIZE)
            x0, y0, x1, y1 = box.astype(int)
            seen = extent(changed[y0:y1, x0:x1]) + np.array([x0, y0, x0, y0])
            # A wing tip of hardly any alpha may round to the sky's own colour.
            assert np.abs(seen - box).max() <= 2
            outside[y0:y1, x0:x1] = False
            cut_off += x0 == 0 or y0 == 0 or x1 == WIDTH or y1 == HEIGHT
        assert not outside.any()
        several += len(boxes) > 1
    # Three in ten are formations, and a fifth of an aircraft may lie outside.
    assert several > 15
    assert cut_off > 15


def test_pasted_aircraft_are_of_all_sizes_and_hide_no_other(cutouts, magenta_sky):
    views, sides = dataset(cutouts, (64, 96)), []
    for _ in range(200):
        boxes = views[0].boxes.numpy()
        sides += (boxes[:, 2:] - boxes[:, :2]).max(axis=1).tolist()
        for i, a in enumerate(boxes):
            for b in boxes[i + 1 :]:
                assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
    sides = np.array(sides)
    # Log-uniform: many under 15 pixels, and some as large as the window.
    assert (sides < 15).mean() > 0.1
    assert (sides > 80).sum() > 5


@pytest.fixture
def bars(tmp_path):
    """Cut-outs of two types: the first lies, 60 x 20 px, the second stands, 20 x 60."""

    def bar(name, width, height, node):
        rgba = np.zeros((80, 80, 4), np.uint8)
        rgba[40 - height // 2 : 40 + height // 2, 40 - width // 2 : 40 + width // 2] = (
            0,
            0,
            0,
            255,
        )
        return sample(saved(tmp_path / f"{name}.png", rgba), "render", node)

    return [
        bar("a", 60, 20, "type:lying"),
        bar("b", 60, 20, "type:lying"),
        bar("c", 20, 60, "type:standing"),
    ]


def test_a_formation_is_of_one_type_and_about_one_size(bars, magenta_sky):
    views, formations = dataset(bars), 0
    for turn in range(120):
        index = turn % 3
        boxes = views[index].boxes.numpy()
        whole = boxes[(boxes[:, :2] > 0).all(axis=1) & (boxes[:, 2:] < (WIDTH, HEIGHT)).all(axis=1)]
        sides = whole[:, 2:] - whole[:, :2]
        if len(whole) > 1:
            formations += 1
            # each is drawn from 0.8 to 1.25 of one size; rounding on top
            longest = sides.max(axis=1)
            assert longest.max() + 1 <= 1.25 / 0.8 * (longest.min() + 1) + 1
        for width, height in sides:
            assert width > height if index < 2 else height > width
    assert formations > 15


def test_both_skies_and_pictures_without_aircraft_are_pasted_on(cutouts, backdrop, magenta_sky):
    views = dataset([*cutouts, backdrop])
    on_sky = on_picture = 0
    for _ in range(60):
        image, boxes = views[0]
        picture = pixels_of(image)
        free = np.ones(SIZE, bool)
        for x0, y0, x1, y1 in boxes.int().numpy():
            free[y0:y1, x0:x1] = False
        if near(picture, MAGENTA)[free].all():
            on_sky += 1
        else:
            on_picture += 1
            assert near(picture, GREEN)[free].all()
            # What would be lost in a picture's detail is not pasted there: 0.8 x 28 px and more.
            sides = (boxes[:, 2:] - boxes[:, :2]).max(dim=1).values
            assert sides.min() >= 0.8 * 0.8 * 28 - 1
    assert on_sky > 15
    assert on_picture > 10


# --- pictures -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "size",
    [
        (900, 600),
        (1500, 300),
        (300, 600),
        (60, 40),
    ],
    ids=["alike", "wide", "tall", "magnified"],
)
def test_zooming_keeps_boxes_on_what_they_held(size):
    width, height = size
    picture = flat(GREEN, width, height)
    x0, y0, x1, y1 = (round(v) for v in np.array([0.2, 0.4, 0.5, 0.6]) * [*size, *size])
    picture[y0:y1, x0:x1] = RED
    box = x0 / width, y0 / height, x1 / width, y1 / height
    sides = []
    for seed in range(60):
        view, boxes = zoomed(picture, [box], SIZE, np.random.default_rng(seed))
        assert view.shape == (*SIZE, 3)
        assert view.dtype == np.uint8
        [found] = boxes
        assert inside(found, SIZE)
        np.testing.assert_allclose(extent(red_or_yellow(view)[0]), found, atol=1)
        sides.append((found[2:] - found[:2]).max())
    assert max(sides) > 2 * min(sides)


def test_each_aircraft_keeps_its_own_box_and_those_mostly_outside_have_none():
    picture = flat(GREEN, 900, 600)
    picture[60:180, 60:240], picture[420:540, 690:840] = RED, YELLOW
    pixels = np.array([[60, 60, 240, 180], [690, 420, 840, 540]])
    boxes = (pixels / (900, 600, 900, 600)).tolist()
    numbers = []
    for seed in range(60):
        view, found = zoomed(picture, boxes, SIZE, np.random.default_rng(seed))
        numbers.append(len(found))
        left = list(found)
        for seen in red_or_yellow(view):
            if not seen.any():
                continue
            edges = extent(seen)
            mine = [i for i, box in enumerate(left) if np.abs(edges - box).max() <= 1]
            if mine:
                left.pop(mine[0])
            else:  # cut off by the view's edge
                assert edges[0] == 0 or edges[1] == 0 or edges[2] == WIDTH or edges[3] == HEIGHT
        assert not left
    assert set(numbers) == {1, 2}


def test_a_picture_without_boxes_gives_a_view_without_boxes():
    for seed in range(20):
        view, boxes = zoomed(flat(GREEN, 300, 200), (), SIZE, np.random.default_rng(seed))
        assert boxes.shape == (0, 4)
        assert boxes.dtype == np.float32
        assert np.array_equal(view, flat(GREEN, WIDTH, HEIGHT))  # its room is of its mean colour


@pytest.mark.parametrize("kind", ["photo", "other"])
def test_negatives_have_no_boxes_in_the_shape_of_boxes(backdrop, kind):
    views = dataset([sample(backdrop.path, kind)])
    for _ in range(5):
        image, boxes = views[0]
        assert boxes.shape == (0, 4)
        assert boxes.dtype == image.dtype
        assert near(pixels_of(image), GREEN).all()


def test_a_mirrored_picture_has_mirrored_boxes(boxed):
    views, mirrored = dataset([boxed]), 0
    for _ in range(60):
        image, boxes = views[0]
        [box] = boxes.numpy()
        red, yellow = red_or_yellow(pixels_of(image))
        np.testing.assert_allclose(extent(red | yellow), box, atol=1)
        if red.any() and yellow.any():
            mirrored += extent(red)[0] > extent(yellow)[0]
    assert 15 < mirrored < 45


# --- the edge of the view -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((10, 20, 50, 60), (10, 20, 50, 60)),
        ((-10, 20, 50, 60), (0, 20, 50, 60)),  # 5/6 of it inside
        ((200, 140, 280, 180), None),  # 40 of 80 by 20 of 40 inside is a quarter
        ((200, 140, 280, 170), (200, 140, 240, 160)),  # 40 of 80 by 20 of 30 is a third
        ((-70, 20, 30, 60), (0, 20, 30, 60)),  # exactly three tenths
        ((-71, 20, 29, 60), None),
        ((-50, -50, 500, 500), None),  # 240 x 160 of 550 x 550 is an eighth
        ((-10, -10, 250, 170), (0, 0, 240, 160)),  # larger than the view
        ((250, 20, 300, 60), None),
        ((10, 20, 15, 23), (10, 20, 15, 23)),  # five pixels are an aircraft
        ((10, 20, 14.9, 23), None),
        ((10, 20, 60, 20.9), None),  # a line is not
    ],
)
def test_boxes_are_cut_off_at_the_edge_and_left_out_where_little_shows(box, expected):
    found = clipped(np.array([box], np.float64), SIZE)
    assert found.dtype == np.float32
    assert found.shape == (int(expected is not None), 4)
    if expected:
        np.testing.assert_array_equal(found[0], expected)


def test_clipping_keeps_the_order_and_takes_none():
    edges = np.array([[10, 20, 50, 60], [300, 20, 340, 60], [100, 100, 150, 150]], np.float64)
    np.testing.assert_array_equal(clipped(edges, SIZE), edges[[0, 2]])
    assert clipped(np.zeros((0, 4)), SIZE).shape == (0, 4)


EDGE = st.floats(-300, 400, allow_subnormal=False)


@SOME
@given(st.lists(st.tuples(EDGE, EDGE, EDGE, EDGE), max_size=4))
def test_what_is_clipped_lies_inside_and_is_of_some_size(corners):
    edges = np.sort(np.array(corners, np.float64).reshape(-1, 2, 2), axis=1).reshape(-1, 4)
    for box in clipped(edges, SIZE):
        assert inside(box, SIZE)
        assert (box[2:] - box[:2]).max() >= 5 - 1e-4
        assert (box[2:] - box[:2]).min() >= 1 - 1e-4


# --- draws ----------------------------------------------------------------------------------------


def drawn(samples, seed=0, strength=1.0, turns=12):
    views = dataset(samples, (64, 96), seed, strength)
    return [views[turn % len(samples)] for turn in range(turns)]


def same(a, b):
    return a.boxes.equal(b.boxes) and a.image.equal(b.image)


def test_views_repeat_with_their_seed(cutouts, boxed):
    samples = [*cutouts, boxed]
    first, again, other = (drawn(samples, seed) for seed in (1, 1, 2))
    assert all(same(a, b) for a, b in zip(first, again, strict=True))
    assert not any(same(a, b) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("name", ["cutouts", "boxed"])
def test_every_draw_of_a_sample_is_another(request, name):
    made = request.getfixturevalue(name)
    one = made[0] if name == "cutouts" else made
    views = drawn([one])
    assert not any(same(a, b) for i, a in enumerate(views) for b in views[:i])
    assert len({tuple(v.boxes.flatten().tolist()) for v in views}) == len(views)


def test_footage_like_views_keep_boxes_inside(cutouts, boxed, backdrop):
    for image, boxes in drawn([*cutouts, boxed, backdrop], strength=2.0, turns=40):
        assert image.shape == (3, 64, 96)
        assert 0 <= image.min() < image.max() <= 1
        assert boxes.shape == (len(boxes), 4)
        assert all(inside(box, (64, 96)) for box in boxes.tolist())


def test_strength_degrades_and_moves_nothing(cutouts, magenta_sky):
    clean, degraded = drawn(cutouts, strength=0.0), drawn(cutouts, strength=2.0)
    for a, b in zip(clean, degraded, strict=True):
        assert a.boxes.equal(b.boxes)
    assert sum(not same(a, b) for a, b in zip(clean, degraded, strict=True)) > 8
