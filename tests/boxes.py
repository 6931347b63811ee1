"""Boxes for tests of what is found and missed."""

import numpy as np

from airframe.detection import Matched


def truths(*boxes):
    return np.array(boxes, np.float64).reshape(-1, 4)


def founds(*boxes):
    return np.array(boxes, np.float64).reshape(-1, 5)


def hits(text, scores=None, n_true=0):
    """One picture's boxes, R right and F false, surest first: scores 0.9, 0.8, ... by default."""
    scores = scores or [round(0.9 - i / 10, 1) for i in range(len(text))]
    return Matched(np.array(scores), np.array([c == "R" for c in text], np.bool_), n_true)
