"""A still filmed: as many frames as asked, each of one size, and the same for the same seed."""

import numpy as np
import pytest
from pictures import noise, picture

from data.footage import filmed, h264_clip


def film(rgb, frames=5, seed=0, long_side=96):
    return filmed(rgb, frames, np.random.default_rng(seed), long_side)


@pytest.mark.parametrize(
    ("shape", "long_side", "size"),
    [
        ((160, 120), 96, (96, 72)),  # landscape: 120 x 96 / 160
        ((120, 160), 96, (72, 96)),  # portrait
        ((64, 64), 96, (96, 96)),  # smaller than asked: enlarged
        ((161, 119), 96, (96, 70)),  # 70.96: an odd 71 could not be coded, so two times 35
        ((200, 10), 96, (96, 16)),  # 4.8 would be too thin to code
    ],
)
def test_frames_have_one_even_size_with_the_asked_longer_side(shape, long_side, size):
    pictures = film(noise(*shape), 3, long_side=long_side)
    assert len(pictures) == 3
    assert {p.shape for p in pictures} == {(size[1], size[0], 3)}
    assert {p.dtype for p in pictures} == {np.dtype(np.uint8)}


@pytest.mark.parametrize("frames", [1, 2, 13])
def test_as_many_frames_come_as_are_asked_for(frames):
    assert len(film(noise(), frames)) == frames


def test_a_seed_makes_the_same_clip_and_another_makes_another():
    first, again, other = (film(noise(), seed=seed) for seed in (3, 3, 4))
    for a, b, c in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert np.abs(a.astype(int) - c).mean() > 2


def test_no_two_frames_are_alike_and_all_show_the_still():
    still = noise()
    pictures = film(still, 6, seed=1)
    for i, a in enumerate(pictures):
        for b in pictures[:i]:
            assert np.abs(a.astype(int) - b).mean() > 1
    # Blurred alike, frames are much nearer to each other than to those of another still.
    others = film(picture(160, 120), 6, seed=1)
    apart = np.abs(np.mean(pictures, axis=0) - np.mean(others, axis=0)).mean()
    assert max(np.abs(p - np.mean(pictures, axis=0)).mean() for p in pictures) < apart


def test_the_still_itself_is_left_as_it_was():
    still = noise()
    before = still.copy()
    film(still)
    np.testing.assert_array_equal(still, before)


def drifting(count, width=96, height=64):
    """A brownish texture that moves four pixels a frame; H.264 keeps light better than colour."""
    wide = noise(width + 4 * count, height).mean(axis=2, keepdims=True) * (0.9, 0.8, 0.6)
    wide = wide.astype(np.uint8)
    return [wide[:, 4 * i : 4 * i + width] for i in range(count)]


@pytest.mark.parametrize("count", [1, 2, 9])
def test_a_clip_gives_back_as_many_frames_in_order_and_nearly_equal_at_a_low_rate_factor(count):
    pictures = drifting(count)
    coded = h264_clip(pictures, 4)
    assert len(coded) == count
    for given, seen in zip(pictures, coded, strict=True):
        assert seen.shape == given.shape
        assert seen.dtype == np.uint8
        assert np.abs(given.astype(int) - seen).mean() < 2
    if count > 1:  # a frame late would be much further off
        assert np.abs(pictures[1].astype(int) - coded[0]).mean() > 8


def test_a_higher_rate_factor_loses_more():
    pictures = drifting(5)

    def lost(crf):
        pairs = zip(pictures, h264_clip(pictures, crf), strict=True)
        return np.mean([np.abs(a.astype(int) - b).mean() for a, b in pairs])

    assert lost(4) < lost(28) < lost(45)
