"""Bootstrap intervals: whole groups, the binomial's width, and the fast roads to the same."""

import math

import numpy as np
import pytest

from airframe.metrics import bootstrap, bootstrap_ece, bootstrap_mean, bootstrap_sums, ece

PAIR = np.array([0.5, 0.9])


def test_bootstrap_resamples_whole_groups():
    groups = np.array(["b", "a", "b", "c", "a", "c", "c"])
    seen = []

    def statistic(index):
        seen.append(index)
        return float(len(index))

    bootstrap(statistic, groups, rounds=50)
    np.testing.assert_array_equal(seen[0], np.arange(7))
    sizes = {"a": 2, "b": 2, "c": 3}
    for index in seen[1:]:
        times = {name: (groups[index] == name).sum() / size for name, size in sizes.items()}
        assert sum(times.values()) == 3
        for name, count in times.items():
            for member in np.flatnonzero(groups == name):
                assert (index == member).sum() == count
    assert len({tuple(index) for index in seen}) > 5


def test_bootstrap_interval_is_that_of_the_binomial():
    correct = np.arange(400) % 4 != 0
    estimate = bootstrap(lambda index: correct[index].mean(), np.arange(400), rounds=4000)
    assert (estimate.value, estimate.n) == (0.75, 400)
    half = 1.96 * math.sqrt(0.75 * 0.25 / 400)
    assert estimate.low == pytest.approx(0.75 - half, abs=0.004)
    assert estimate.high == pytest.approx(0.75 + half, abs=0.004)
    # ten copies of every sample are no new evidence, once they are said to be one group
    copies = np.repeat(np.arange(400), 10)
    grouped = bootstrap(lambda index: correct[copies[index]].mean(), copies, rounds=4000)
    assert grouped.n == 4000
    assert grouped.high - grouped.low == pytest.approx(2 * half, abs=0.008)


def test_bootstrap_is_repeatable_and_a_single_group_gives_no_interval():
    values = np.random.default_rng(0).random(50)
    runs = [bootstrap(lambda i: values[i].mean(), np.arange(50), seed=s) for s in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]
    alone = bootstrap(lambda i: values[i].mean(), np.zeros(50))
    assert alone.value == values.mean()
    assert math.isnan(alone.low)
    assert math.isnan(alone.high)


def test_fast_intervals_are_those_of_the_bootstrap():
    """The same draws, so the same bounds: for a mean, and for the ECE."""
    rng = np.random.default_rng(0)
    confidence, groups = rng.random(90).round(2), rng.integers(0, 20, 90)
    correct = rng.random(90) < confidence
    slow = bootstrap(lambda i: float(confidence[i].mean()), groups)
    fast = bootstrap_mean(confidence, groups)
    assert vars(fast) == pytest.approx(vars(slow))
    slow = bootstrap(lambda i: ece(confidence[i], correct[i], 10), groups)
    fast = bootstrap_ece(confidence, correct, groups, 10)
    assert vars(fast) == pytest.approx(vars(slow))


def test_a_fast_interval_over_one_group_is_none_and_nonsense_is_refused():
    alone = bootstrap_mean(np.array([1.0, 0.0]), np.array(["a", "a"]))
    assert alone.value == 0.5
    assert np.isnan([alone.low, alone.high]).all()
    with pytest.raises(ValueError, match=r"parts must be \(N, K\)"):
        bootstrap_sums(np.ones((3, 1)), np.arange(2), lambda sums: sums[:, 0])
    with pytest.raises(ValueError, match="rounds must be 1 or more"):
        bootstrap_sums(np.ones((3, 1)), np.arange(3), lambda sums: sums[:, 0], rounds=0)
    with pytest.raises(ValueError, match="NaN"):
        bootstrap_sums(np.ones((3, 1)), np.arange(3), lambda sums: sums[:, 0] * np.nan)
    with pytest.raises(ValueError, match="values"):
        bootstrap_mean(np.array([np.nan]), np.array(["a"]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bootstrap(len, np.array([])), "groups must be non-empty"),
        (lambda: bootstrap(len, np.array([0.5, np.nan])), "groups holds NaN"),
        (lambda: bootstrap(len, PAIR, rounds=0), "rounds must be 1 or more"),
        (lambda: bootstrap(lambda index: math.nan, PAIR), "the statistic is NaN"),
    ],
)
def test_refusals_name_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call()
