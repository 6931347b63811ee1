"""Letterbox, normalising, augmentation, and the degradations: each degrades as it claims."""

import numpy as np
import pytest
import torch
from pictures import BLUE, RED, noise, picture

from data.degrade import OverlaidText, VideoCompression, h264, haze, low_light, overlay_text
from data.transforms import (
    ROOM,
    composite,
    eval_transform,
    oversized,
    to_tensor,
    training_augmentation,
)
from data.views import InputSpec, letterbox

SPEC = InputSpec(64, 96)


def textured(width=96, height=64):
    """A smooth picture with contrast and no flat part."""
    return np.ascontiguousarray(noise(width, height))


@pytest.mark.parametrize(
    "changes",
    [
        {"height": 16},
        {"width": 4096},
        {"height": 64.5},
        {"margin": -0.1},
        {"margin": 1.5},
        {"mean": (0.5, 0.5)},
        {"mean": (0.5, 0.5, 124.0)},  # a mean for 0-255
        {"std": (0.2, 0.0, 0.2)},
        {"std": (0.2, -0.2, 0.2)},
        {"std": (0.2, float("nan"), 0.2)},
        {"std": (0.2, 0.2, 0.2, 0.2)},
    ],
)
def test_input_spec_refuses_nonsense(changes):
    with pytest.raises(ValueError, match=r"input size|margin|mean|std"):
        InputSpec.from_dict({**SPEC.to_dict(), **changes})


def test_input_spec_round_trip_and_fill():
    assert InputSpec.from_dict({**SPEC.to_dict(), "mean": [0.0, 0.5, 1.0]}) == InputSpec(
        64, 96, mean=(0.0, 0.5, 1.0)
    )
    assert SPEC.fill == (124, 116, 104)  # 255 x (0.485, 0.456, 0.406) = 123.7, 116.3, 103.5


@pytest.mark.parametrize(
    ("size", "shape"),
    [
        # (width, height) of the picture -> (rows, columns) that it covers of 64 x 96
        ((48, 32), (64, 96)),  # the same shape: all of it
        ((96, 32), (32, 96)),  # wide: half the rows, above and below padded
        ((30, 60), (64, 32)),  # tall: 64 / 60 of 30 columns
        ((400, 100), (24, 96)),
    ],
)
def test_letterbox_keeps_proportions_and_pads_with_fill(size, shape):
    fill = (1, 2, 3)
    boxed = letterbox(np.full((size[1], size[0], 3), 200, np.uint8), 64, 96, fill)
    assert boxed.shape == (64, 96, 3)
    assert boxed.dtype == np.uint8
    inside = (boxed == 200).all(axis=2)
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    assert (len(rows), len(columns)) == shape
    assert inside.sum() == shape[0] * shape[1]
    assert (boxed[~inside] == fill).all()
    # in the middle
    assert rows[0] == (64 - shape[0]) // 2
    assert columns[0] == (96 - shape[1]) // 2


def test_letterbox_neither_mirrors_nor_turns_and_survives_a_sliver():
    boxed = letterbox(picture(48, 32), 64, 96, (0, 0, 0))
    assert tuple(boxed[5, 5]) == RED
    assert tuple(boxed[-5, 5]) == BLUE
    assert letterbox(np.zeros((1, 1000, 3), np.uint8), 64, 96, (9, 9, 9)).shape == (64, 96, 3)


def test_to_tensor_by_hand():
    rgb = np.zeros((32, 32, 3), np.uint8)
    rgb[1, 2] = (255, 51, 0)
    spec = InputSpec(32, 32, mean=(0.5, 0.1, 0.0), std=(0.25, 0.1, 2.0))
    tensor = to_tensor(rgb, spec)
    assert tensor.shape == (3, 32, 32)
    assert tensor.dtype == torch.float32
    # (1 - 0.5) / 0.25, (51 / 255 - 0.1) / 0.1, (0 - 0) / 2; elsewhere black: -0.5 / 0.25, ...
    torch.testing.assert_close(tensor[:, 1, 2], torch.tensor([2.0, 1.0, 0.0]))
    torch.testing.assert_close(tensor[:, 2, 1], torch.tensor([-2.0, -1.0, 0.0]))


def test_padding_is_nought_to_the_network():
    tensor = eval_transform(np.full((20, 96, 3), 255, np.uint8), SPEC)
    assert tensor[:, 0].abs().max() < 0.5 / 255 / 0.224  # half a grey level, from rounding
    assert tensor[:, 32].min() > 2


def augmented(augmentation, rgb, seed):
    """The view of a picture and what is left of it after its degradation."""
    for step in augmentation:
        step.set_random_seed(seed)
    view, spoil = augmentation
    seen = view(image=rgb)["image"]
    return seen, spoil(image=seen)["image"]


@pytest.mark.parametrize("boxed", [False, True])
def test_augmentation_gives_pictures_of_the_networks_size(boxed):
    augmentation = training_augmentation(SPEC, 2.0, boxed=boxed)
    big = oversized(textured(200, 130), SPEC)
    assert big.shape == (85, 128, 3)
    for seed in range(25):
        for view in augmented(augmentation, big, seed):
            assert view.shape == (64, 96, 3)
            assert view.dtype == np.uint8


def test_augmentation_repeats_with_its_seed_and_spares_its_input():
    big = oversized(textured(), SPEC)
    before, views = big.copy(), []
    for seed in [*range(25), *range(25)]:
        views.append(augmented(training_augmentation(SPEC, 2.0), big, seed)[1])
    assert all(np.array_equal(a, b) for a, b in zip(views[:25], views[25:], strict=True))
    assert not np.array_equal(views[0], views[1])
    assert np.array_equal(big, before)


def test_strength_nought_moves_the_picture_but_degrades_nothing():
    # A picture of the fill colour has nothing that a view could change: whatever else comes out
    # was made by a degradation.
    flat = np.empty((85, 128, 3), np.uint8)
    flat[:] = SPEC.fill
    degraded = {}
    for strength in (0.0, 1.0):
        augmentation = training_augmentation(SPEC, strength)
        degraded[strength] = 0
        for seed in range(40):
            degraded[strength] += bool((augmented(augmentation, flat, seed)[1] != flat[0, 0]).any())
    assert degraded[0.0] == 0
    assert degraded[1.0] > 20
    still, _ = training_augmentation(SPEC, 0.0)
    still.set_random_seed(1)
    assert len({still(image=oversized(textured(), SPEC))["image"].tobytes() for _ in range(8)}) == 8


def test_what_is_boxed_is_blurred_as_far_as_footage_of_its_aircraft_goes():
    edge = np.zeros((192, 288, 3), np.uint8)
    edge[:, 144:] = 255
    spec = InputSpec(192, 288)

    def smears(boxed):
        # Over how many columns the edge is smeared, by blur as by all else.
        _, spoil = training_augmentation(spec, 1.0, boxed=boxed)
        rows = []
        for seed in range(150):
            spoil.set_random_seed(seed)
            row = spoil(image=edge)["image"][90:100].mean(axis=(0, 2))
            low, high = row[:60].mean(), row[-60:].mean()
            if high - low > 100:  # neither dusk nor a caption hides it
                rows.append(
                    ((row > low + 0.2 * (high - low)) & (row < high - 0.2 * (high - low))).sum()
                )
        return sorted(rows)

    near, frame = smears(True), smears(False)
    assert min(len(near), len(frame)) > 100
    # An aircraft some 230 pixels long moves by 0.18 of that at most, and three fifths of the ramp
    # lie between those levels; but few move straight across the edge.
    assert near[-8] > 5 > frame[-8]
    # Most views stay sharp: what cannot be read teaches nothing.
    assert near[len(near) // 2] <= 2


@pytest.mark.parametrize("strength", [-0.1, 2.1, float("nan")])
def test_a_strength_out_of_range_is_refused(strength):
    with pytest.raises(ValueError, match=r"outside 0\.\.2"):
        training_augmentation(SPEC, strength)


def test_haze_lowers_contrast_and_lifts_black_by_koschmieders_law():
    clear = textured()
    hazy = haze(clear, density=0.5, airlight=200)
    assert hazy.std() == pytest.approx(clear.std() / 2, abs=0.5)
    # 0.5 x 0 + 0.5 x 200, and 0.5 x 255 + 100
    assert haze(np.array([[[0, 100, 255]]], np.uint8), 0.5, 200).tolist() == [[[100, 150, 227]]]
    assert np.array_equal(haze(clear, 0.0, 200), clear)


def test_low_light_dims_and_is_noisier_the_darker_it_is():
    flat = np.full((64, 96, 3), 200, np.uint8)
    grain = np.random.default_rng(0).normal(0, 8, flat.shape).astype(np.float32)
    dusk, night = low_light(flat, 0.6, grain), low_light(flat, 0.3, grain)
    assert dusk.mean() == pytest.approx(120, abs=1)  # 0.6 x 200
    assert night.mean() == pytest.approx(60, abs=1)
    assert night.std() > 1.2 * dusk.std()  # (1.5 - 0.3) / (1.5 - 0.6) = 1.33
    # 0.5 x 200 with 1.0 x -150 and 1.0 x 200 added: clipped, not wrapped around
    assert low_light(flat, 0.5, np.full_like(grain, -150)).max() == 0
    assert low_light(flat, 0.5, np.full_like(grain, 200)).min() == 255


@pytest.mark.parametrize("size", [(96, 64), (97, 65), (33, 48)])
def test_h264_keeps_the_size_and_loses_more_at_a_higher_rate_factor(size):
    # Grey: the codec halves the resolution of colour at any rate factor.
    clear = np.repeat(textured(*size)[..., :1], 3, axis=2)

    def error(crf):
        coded = h264(clear, crf)
        assert coded.shape == clear.shape
        assert coded.dtype == np.uint8
        even = (slice(0, size[1] // 2 * 2), slice(0, size[0] // 2 * 2))
        return np.abs(coded[even].astype(int) - clear[even]).mean()

    fine, coarse, coarsest = error(10), error(32), error(44)
    assert 0 < fine < coarse < coarsest
    assert fine < 6  # it is the picture still, not the moved one before it


def test_h264_gives_the_picture_and_not_the_shifted_frame_before_it():
    clear = textured()
    shifted = np.roll(clear, 6, axis=1).astype(int)
    coded = h264(clear, 30, shift=6).astype(int)
    assert np.abs(coded - clear).mean() < 0.5 * np.abs(coded - shifted).mean()


def test_a_caption_changes_some_of_the_picture_and_keeps_the_rest():
    clear = textured()
    shown = overlay_text(clear, "TEST", (10, 40), 0.6, 255)
    changed = (shown != clear).any(axis=2)
    assert 0.01 < changed.mean() < 0.3
    assert not changed[:15].any()  # letters of 0.6 x 22 px stand above the baseline at 40
    assert not changed[50:].any()
    assert (shown[changed].min(axis=1) > 240).any()  # the letters
    assert (shown[changed].max(axis=1) < 15).any()  # their rim


@pytest.mark.parametrize(
    "transform",
    [OverlaidText(p=1.0), OverlaidText(most=8, p=1.0), VideoCompression(p=1.0)],
    ids=["text", "texts", "video"],
)
def test_random_degradations_change_the_picture_and_repeat_with_their_seed(transform):
    clear = textured()
    views = []
    for seed in (1, 1, 2):
        transform.set_random_seed(seed)
        views.append(transform(image=clear)["image"])
    assert np.array_equal(views[0], views[1])
    assert not np.array_equal(views[0], views[2])
    assert not np.array_equal(views[0], clear)


@pytest.mark.parametrize("size", [(40, 30), (200, 20), (10, 150)])
def test_composite_lies_in_the_middle_whole_at_its_proportions_as_a_found_box_would(size):
    spec = InputSpec(64, 96)
    background = np.zeros((64, 96, 3), np.uint8)
    cut = np.zeros((size[1] + 20, size[0] + 20, 4), np.uint8)
    cut[10:-10, 10:-10] = 255  # a rim of alpha 0 does not count
    fit = min(96 / size[0], 64 / size[1])
    for seed in range(30):
        result = composite(cut, background, np.random.default_rng(seed), spec)
        assert result.shape == background.shape
        ys, xs = np.nonzero(result.any(axis=2))
        width, height = np.ptp(xs) + 1, np.ptp(ys) + 1
        # a cut-out is never thinner than 4 px, nor its edge off by more than rounding; about it
        # lies the margin of the input and the room that training keeps
        seen = fit * size[0] / (ROOM * (1 + 2 * spec.margin))
        assert max(4, 0.85 * seen) - 1 <= width <= max(4, 1.15 * seen) + 1
        assert abs(xs.min() + xs.max() - 95) <= 2
        assert abs(ys.min() + ys.max() - 63) <= 2
        if min(width, height) > 4:
            assert width * size[1] == pytest.approx(height * size[0], abs=max(size))
        assert len(ys) == width * height
    assert not background.any()  # the background is copied, not painted on


def test_composite_of_nothing_leaves_the_background():
    cut = np.full((30, 40, 4), 255, np.uint8)
    cut[..., 3] = 0
    background = textured()
    result = composite(cut, background, np.random.default_rng(0), InputSpec())
    assert np.array_equal(result, background)
