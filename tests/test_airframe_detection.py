"""Boxes found and missed: by hand, and against torchvision's IoU and COCO's own evaluation."""

import math

import numpy as np
import pytest
import torch
from boxes import founds, hits, truths
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torchvision.ops import box_iou

from airframe.detection import (
    SIZES,
    average_precision,
    iou_matrix,
    match,
    recall_at,
    threshold_at,
)

SEEDS = st.integers(0, 10_000)
SOME = settings(max_examples=30, deadline=None, derandomize=True)
NO_LIMIT = math.inf


def random_boxes(rng, n):
    """Boxes of sides from 8 to 250 px, log-uniform: of all three sizes."""
    sides = np.exp(rng.uniform(np.log(8), np.log(250), (n, 1))) * rng.uniform(0.7, 1.4, (n, 2))
    corner = rng.uniform(0, 300, (n, 2))
    return np.hstack([corner, corner + sides])


def random_pictures(seed, n=8):
    """Pictures with and without aircraft: found boxes near true ones, doubled, missed, invented.

    Scores have two digits, so that many tie.
    """
    rng = np.random.default_rng(seed)
    found, truth = [], []
    for _ in range(n):
        true = random_boxes(rng, int(rng.integers(0, 6)))
        near = true.repeat(rng.integers(0, 3, len(true)), axis=0)
        side = np.sqrt(np.prod(near[:, 2:] - near[:, :2], axis=1, keepdims=True))
        near = near + rng.normal(0, 0.1, near.shape) * side
        near = near[(near[:, 2:] > near[:, :2]).all(axis=1)]
        boxes = np.vstack([near, random_boxes(rng, int(rng.integers(0, 4)))])
        scores = rng.random((len(boxes), 1)).round(2)
        truth.append(true)
        found.append(np.hstack([boxes, scores]))
    return found, truth


# --- overlap --------------------------------------------------------------------------------------


@SOME
@given(SEEDS, st.integers(0, 6), st.integers(0, 6))
def test_iou_matches_torchvision(seed, n, m):
    rng = np.random.default_rng(seed)
    a, b = random_boxes(rng, n), random_boxes(rng, m)
    expected = box_iou(torch.from_numpy(a), torch.from_numpy(b)).numpy()
    assert iou_matrix(a, b).shape == (n, m)
    np.testing.assert_allclose(iou_matrix(a, b), expected, rtol=1e-12)
    np.testing.assert_array_equal(iou_matrix(a, b).T, iou_matrix(b, a))


def test_iou_by_hand():
    a = truths([0, 0, 10, 10], [5, 5, 5, 20])
    b = truths([0, 0, 10, 10], [5, 0, 15, 10], [10, 0, 20, 10], [30, 0, 20, 10])
    # the same; 50 of 150; they only touch; the second's right edge is left of its left
    np.testing.assert_allclose(iou_matrix(a, b), [[1, 1 / 3, 0, 0], [0, 0, 0, 0]])
    nothing = truths([5, 5, 5, 5])
    assert iou_matrix(nothing, nothing) == 0  # and not NaN


# --- matching -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("y1", "right"), [(5, True), (4.99, False)])
def test_half_an_overlap_is_enough(y1, right):
    # 10 x 5 of 10 x 10 is an IoU of exactly 0.5
    matched = match(founds([0, 0, 10, y1, 0.9]), truths([0, 0, 10, 10]))
    assert matched.right.tolist() == [right]
    assert matched.scores.tolist() == [0.9]
    assert matched.n_true == 1


def test_a_true_box_is_found_once_and_by_the_surest():
    good, better = [0, 0, 10, 8], [0, 0, 10, 10]
    matched = match(founds([*better, 0.6], [*good, 0.7]), truths(better))
    assert matched.scores.tolist() == [0.7, 0.6]
    assert matched.right.tolist() == [True, False]


def test_a_found_box_takes_the_true_one_that_it_fits_best():
    left, right = [0, 0, 10, 10], [4, 0, 14, 10]
    # The first fits `left` with 8.5 / 11.5 and `right` with 7.5 / 12.5, the second `right` alone,
    # with 7 / 13: it is right only where the first has not taken that.
    first, second = [1.5, 0, 11.5, 10, 0.9], [7, 0, 17, 10, 0.8]
    for order in ((left, right), (right, left)):
        assert match(founds(first, second), truths(*order)).right.tolist() == [True, True]
    # One that fits `left` better, 9 / 11, finds it taken and goes to `right`: 7 / 13.
    late = [1, 0, 11, 10, 0.8]
    assert match(founds(first, late), truths(left, right)).right.tolist() == [True, True]


def test_of_equal_scores_the_first_comes_first():
    matched = match(
        founds([0, 0, 10, 10, 0.5], [50, 50, 60, 60, 0.5]), truths([0, 0, 10, 10], [90, 90, 95, 95])
    )
    assert matched.right.tolist() == [True, False]
    assert matched.n_true == 2


def test_boxes_of_another_size_are_neither_wanted_nor_mistakes():
    small, middle = [0, 0, 20, 20], [100, 100, 150, 150]
    found = founds(
        [0, 0, 20, 20, 0.9],  # the small one, found
        [100, 100, 150, 150, 0.8],  # the middle one, found
        [300, 300, 310, 310, 0.7],  # a small one that is none
        [300, 100, 350, 150, 0.6],  # a middle one that is none
        [0, 0, 20, 20, 0.5],  # the small one, found again
    )
    of = {name: match(found, truths(small, middle), size) for name, size in SIZES.items()}
    assert of["all"].right.tolist() == [True, True, False, False, False]
    assert of["under 32 px"].scores.tolist() == [0.9, 0.7, 0.5]
    assert of["under 32 px"].right.tolist() == [True, False, False]
    # The second box on the small one fits none that is free: small itself, it is ignored here.
    assert of["32-96 px"].scores.tolist() == [0.8, 0.6]
    assert of["32-96 px"].right.tolist() == [True, False]
    assert len(of["over 96 px"].scores) == 0
    assert [of[name].n_true for name in SIZES] == [2, 1, 1, 0]


def test_a_wanted_box_is_preferred_to_a_better_fit_of_another_size():
    # 30 x 30 is under 32 px, 36 x 30 not (its root is 32.9); the found box is the first to the
    # pixel and 900 / 1080 = 0.83 of the second.
    small, middle = [0, 0, 30, 30], [0, 0, 36, 30]
    matched = match(founds([*small, 0.9]), truths(small, middle), SIZES["32-96 px"])
    assert matched.right.tolist() == [True]
    # and a box of another size counts as right where it fits a wanted one
    assert match(founds([*small, 0.9]), truths(middle), SIZES["32-96 px"]).right.tolist() == [True]


@pytest.mark.parametrize(
    ("side", "size"), [(31.99, "under 32 px"), (32, "32-96 px"), (96, "over 96 px")]
)
def test_a_box_on_the_border_is_of_one_size(side, size):
    wanted = {
        name: match(founds(), truths([5, 5, 5 + side, 5 + side]), s).n_true
        for name, s in SIZES.items()
    }
    assert wanted == {**dict.fromkeys(SIZES, 0), "all": 1, size: 1}


def test_nothing_found_and_nothing_there():
    assert match(founds(), truths([0, 0, 9, 9])).n_true == 1
    assert match(founds([0, 0, 9, 9, 0.5]), truths()).right.tolist() == [False]
    assert match(founds(), truths()).n_true == 0


# --- average precision, recall --------------------------------------------------------------------


def test_average_precision_by_hand():
    # Right, false, right of two: precision 1 at recall 1/2, 2/3 at recall 1. Of the 101 recalls
    # 0, 0.01 ... 0.50 are 51; the other 50 have the best precision from there on, 2/3.
    assert average_precision([hits("RFR", n_true=2)]) == pytest.approx((51 + 50 * 2 / 3) / 101)
    # The third true box is never found: nothing beyond 2/3, so 0.00-0.33 (34) and 0.34-0.66 (33).
    assert average_precision([hits("RFR", n_true=3)]) == pytest.approx((34 + 33 * 2 / 3) / 101)
    # A low precision early on does not count where a better one follows.
    assert average_precision([hits("FRR", n_true=2)]) == pytest.approx(2 / 3)


def test_average_precision_of_all_and_nothing():
    assert average_precision([hits("RR", n_true=2)]) == 1
    assert average_precision([hits("FF", n_true=2)]) == 0
    assert average_precision([hits("", n_true=2)]) == 0


def test_boxes_are_ranked_over_all_pictures():
    apart = [hits("RF", [0.9, 0.4], 1), hits("FR", [0.7, 0.6], 1)]
    # 0.9 right, 0.7 false, 0.6 right, 0.4 false
    assert average_precision(apart) == pytest.approx((51 + 50 * 2 / 3) / 101)
    assert average_precision(apart) == average_precision(apart[::-1])


def test_without_a_true_box_there_is_no_precision_and_no_recall():
    for matched in ([hits("FF")], [hits(""), hits("")]):
        assert math.isnan(average_precision(matched))
        assert math.isnan(recall_at(matched))


@pytest.mark.parametrize(
    ("false_a_picture", "recall", "threshold"),
    [
        # Two pictures: 0, 1, 2 and 3 false boxes are allowed among R F R F F R of four true ones.
        (0.0, 1 / 4, 0.9),
        (0.49, 1 / 4, 0.9),  # not even one
        (0.5, 2 / 4, 0.7),
        (1.0, 2 / 4, 0.6),  # as many, but a lower score has no more false ones
        (1.5, 3 / 4, 0.4),
        (9.0, 3 / 4, 0.4),
    ],
)
def test_recall_and_threshold_by_hand(false_a_picture, recall, threshold):
    matched = [hits("RF", [0.9, 0.8], 3), hits("RFFR", [0.7, 0.6, 0.5, 0.4], 1)]
    assert recall_at(matched, false_a_picture) == recall
    assert threshold_at(matched, false_a_picture) == threshold


def test_recall_is_at_one_false_box_a_picture_by_default():
    matched = [hits("FRFRFR", n_true=3), hits("")]
    assert recall_at(matched) == recall_at(matched, 1.0) == 2 / 3


def test_where_the_surest_box_is_one_false_too_many_nothing_is_found():
    assert threshold_at([hits("FR", n_true=1)], 0.5) == 1.0
    assert recall_at([hits("FR", n_true=1)], 0.5) == 0
    assert threshold_at([hits("", n_true=1)], 1.0) == 1.0


def false_boxes(matched, threshold):
    return sum(int((~m.right[m.scores >= threshold]).sum()) for m in matched)


@SOME
@given(SEEDS, st.sampled_from([0.0, 0.25, 0.5, 1.0, 2.0]))
def test_the_threshold_is_the_lowest_that_keeps_the_promise(seed, allowed):
    found, truth = random_pictures(seed)
    rng = np.random.default_rng(seed)
    for boxes in found:  # no two alike
        boxes[:, 4] = rng.random(len(boxes))
    matched = [match(f, t) for f, t in zip(found, truth, strict=True)]
    least = threshold_at(matched, allowed)
    assert false_boxes(matched, least) <= allowed * len(matched)
    lower = [s for m in matched for s in m.scores if s < least]
    if lower:
        assert false_boxes(matched, max(lower)) > allowed * len(matched)
    total = sum(m.n_true for m in matched)
    right = sum(int(m.right[m.scores >= least].sum()) for m in matched)
    assert recall_at(matched, allowed) == right / total


def test_of_boxes_with_one_score_all_are_above_the_threshold_or_none():
    # At 0.5 there are two false boxes in one picture, so the threshold must stay above it.
    matched = [hits("RRFF", [0.9, 0.5, 0.5, 0.5], 2)]
    assert false_boxes(matched, threshold_at(matched, 1.0)) <= 1
    assert recall_at(matched, 1.0) == 1 / 2


# --- COCO's own evaluation ------------------------------------------------------------------------


def coco_figures(found, truth):
    """AP at IoU 0.5 and the recall of all boxes for each of SIZES, as pycocotools has them."""
    corners = [(i, *row) for i, boxes in enumerate(truth, 1) for row in boxes.tolist()]
    known = COCO()
    known.dataset = {
        "images": [{"id": i} for i in range(1, len(truth) + 1)],
        "categories": [{"id": 1}],
        "annotations": [
            {
                "id": number,
                "image_id": i,
                "category_id": 1,
                "iscrowd": 0,
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "area": (x1 - x0) * (y1 - y0),
            }
            for number, (i, x0, y0, x1, y1) in enumerate(corners, 1)
        ],
    }
    known.createIndex()
    results = known.loadRes(
        [
            {"image_id": i, "category_id": 1, "bbox": [x0, y0, x1 - x0, y1 - y0], "score": score}
            for i, boxes in enumerate(found, 1)
            for x0, y0, x1, y1, score in boxes.tolist()
        ]
    )
    evaluation = COCOeval(known, results, "bbox")
    evaluation.params.iouThrs = np.array([0.5])
    evaluation.params.maxDets = [1000]
    evaluation.params.areaRngLbl = list(SIZES)
    evaluation.params.areaRng = [[low**2, min(high, 1e5) ** 2] for low, high in SIZES.values()]
    evaluation.evaluate()
    evaluation.accumulate()
    # (IoU, recall, category, size, boxes a picture) and (IoU, category, size, boxes a picture)
    precision = evaluation.eval["precision"][0, :, 0, :, 0].mean(axis=0)
    recall = evaluation.eval["recall"][0, 0, :, 0]
    return dict(zip(SIZES, zip(precision.tolist(), recall.tolist(), strict=True), strict=True))


@settings(SOME, max_examples=100)
@given(SEEDS)
def test_average_precision_and_recall_are_cocos(seed):
    found, truth = random_pictures(seed)
    expected = coco_figures(found, truth)
    for name, size in SIZES.items():
        matched = [match(f, t, size) for f, t in zip(found, truth, strict=True)]
        ap, recall = expected[name]
        if sum(m.n_true for m in matched):
            assert average_precision(matched) == pytest.approx(ap, abs=1e-9), name
            assert recall_at(matched, NO_LIMIT) == pytest.approx(recall, abs=1e-9), name
        else:
            assert ap == recall == -1  # COCO's word for nothing to find


def test_the_pictures_for_coco_are_worth_comparing():
    # Not all right, not all wrong, every size among them, and scores that tie.
    values = {name: [] for name in SIZES}
    for seed in range(20):
        found, truth = random_pictures(seed)
        for name, size in SIZES.items():
            matched = [match(f, t, size) for f, t in zip(found, truth, strict=True)]
            values[name].append(average_precision(matched))
        scores = np.concatenate(found)[:, 4]
        assert len(np.unique(scores)) < len(scores)
    for name in SIZES:
        assert 0.1 < np.nanmean(values[name]) < 0.9
        assert np.nanstd(values[name]) > 0.05
