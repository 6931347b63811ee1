"""A z-buffer in NumPy: every covered sample of every triangle at once, the nearest one kept."""

import numpy as np


def rasterise(corners: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Which face is nearest at each sample of a square picture.

    corners (F, 3, 3): x right and y down in samples, z the depth (smaller is nearer).
    Returns face (size, size) int32, -1 where nothing is drawn, and depth (size, size) float32,
    infinite where nothing is drawn. Degenerate and off-picture faces draw nothing.
    """
    nearest = np.full(size * size, np.inf, dtype=np.float32)
    face = np.full(size * size, -1, dtype=np.int32)
    x, y, z = (corners[:, :, i].astype(np.float64) for i in range(3))
    area = (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (x[:, 2] - x[:, 0]) * (y[:, 1] - y[:, 0])
    kept = np.flatnonzero(np.abs(area) > 1e-9)
    x, y, z, area = x[kept], y[kept], z[kept], area[kept]
    owner, row = _rows(y, size)
    left, right = _spans(x, y, area, owner, row, size)
    count = np.maximum(right - left, 0)
    span = np.repeat(np.arange(len(count)), count)
    column = left[span] + np.arange(len(span)) - np.repeat(np.cumsum(count) - count, count)
    at = row[span] * size + column
    across, down = _slopes(x, y, z, area)
    start = z[owner, 0] + across[owner] * (left + 0.5 - x[owner, 0])
    start += down[owner] * (row + 0.5 - y[owner, 0])
    depth = (start[span] + across[owner][span] * (column - left[span])).astype(np.float32)
    np.minimum.at(nearest, at, depth)
    wins = depth <= nearest[at]
    face[at[wins]] = kept[owner[span[wins]]]
    return face.reshape(size, size), nearest.reshape(size, size)


def _rows(y: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """One entry for each sample row that a face crosses: the face's position and the row."""
    first = np.clip(np.ceil(y.min(axis=1) - 0.5), 0, size).astype(np.int64)
    stop = np.clip(np.floor(y.max(axis=1) - 0.5) + 1, 0, size).astype(np.int64)
    count = np.maximum(stop - first, 0)
    owner = np.repeat(np.arange(len(y)), count)
    row = first[owner] + np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
    return owner, row


def _spans(
    x: np.ndarray, y: np.ndarray, area: np.ndarray, owner: np.ndarray, row: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """First and one-past-last sample column inside the face on each row.

    Each edge is a half plane a·x + b·y + c >= 0; on one row it bounds x from one side.
    """
    low, high = np.full(len(owner), -0.5), np.full(len(owner), size + 0.5)
    sign = np.sign(area)
    middle = row + 0.5
    for i in range(3):
        j = (i + 1) % 3
        a = (y[:, i] - y[:, j]) * sign
        b = (x[:, j] - x[:, i]) * sign
        steep = np.where(np.abs(a) > 1e-12, a, 1.0)
        cut = (x[:, i] + b / steep * y[:, i])[owner] - (b / steep)[owner] * middle
        side = a[owner]
        low = np.where(side > 1e-12, np.maximum(low, cut), low)
        high = np.where(side < -1e-12, np.minimum(high, cut), high)
    left = np.clip(np.ceil(low - 0.5), 0, size).astype(np.int64)
    right = np.clip(np.ceil(high - 0.5), 0, size).astype(np.int64)
    return left, right


def _slopes(
    x: np.ndarray, y: np.ndarray, z: np.ndarray, area: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """How the depth changes per sample, across and down, on each face's plane."""
    x1, x2 = x[:, 1] - x[:, 0], x[:, 2] - x[:, 0]
    y1, y2 = y[:, 1] - y[:, 0], y[:, 2] - y[:, 0]
    z1, z2 = z[:, 1] - z[:, 0], z[:, 2] - z[:, 0]
    return (z1 * y2 - z2 * y1) / area, (z2 * x1 - z1 * x2) / area
