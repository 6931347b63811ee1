"""Files that show the same: re-posts, re-encoded, resized or captioned copies, frames of a clip.

A hundred copies of one picture are one sighting. Likeness is that of `data.images.likeness`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from airframe.record import Record

# Bits of 256 in which two hashes of one picture may differ; measured in
# tests/test_airframe_near_duplicates.py.
THRESHOLD = 56
_SHARE = 0.5  # of a clip's different frames: so many must be in another for the two to be one
_ROWS, _COLUMNS = 64, 4096  # compared at once: what fits into a processor's cache

Indices = NDArray[np.int64]


@dataclass
class _Pictures:
    """The pictures of many files: of each its file's number and its hash."""

    paths: dict[str, int] = field(default_factory=dict)
    clips: set[int] = field(default_factory=set)
    files: list[int] = field(default_factory=list)
    hashes: list[bytes] = field(default_factory=list)
    contents: dict[str, int] = field(default_factory=dict)
    copies: list[tuple[int, int]] = field(default_factory=list)

    def add(self, record: Record) -> None:
        source = record["source"]
        known = len(self.paths)
        number = self.paths.setdefault(source["path"], known)
        if number == known and source["sha256"]:
            first = self.contents.setdefault(source["sha256"], number)
            if first != number:
                self.copies.append((first, number))
        if source["frame"]:
            self.clips.add(number)
        if source["perceptual_hash"]:
            self.files.append(number)
            self.hashes.append(bytes.fromhex(source["perceptual_hash"]))


def duplicate_groups(records: Iterable[Record]) -> dict[str, int]:
    """Path → number of its group, from 1 in the order of the records; none where a file is alone.

    Two stills are linked where their hashes differ in at most `THRESHOLD` bits; two clips where so
    much of one is also in the other; a still with the first clip that has it. Links are followed
    from file to file, but never through a still from clip to clip: a title card ties nothing.
    """
    pictures = _Pictures()
    for record in records:
        pictures.add(record)
    links = [np.array(pictures.copies, np.int64).reshape(-1, 2)]
    if pictures.hashes:
        links += _links(pictures)
    edges = np.concatenate(links)
    count = len(pictures.paths)
    graph = sparse.coo_matrix((np.ones(len(edges)), edges.T), (count, count))
    _, labels = connected_components(graph, directed=False)
    sizes = np.bincount(labels, minlength=1)
    numbers: dict[int, int] = {}
    return {
        path: numbers.setdefault(int(label), len(numbers) + 1)
        for path, label in zip(pictures.paths, labels, strict=True)
        if sizes[label] > 1
    }


def _links(pictures: _Pictures) -> Iterator[Indices]:
    """Pairs (K, 2) of files that are one."""
    hashes = np.frombuffer(b"".join(pictures.hashes), np.uint8).reshape(len(pictures.hashes), -1)
    different, which = np.unique(hashes, axis=0, return_inverse=True)
    files, which = np.array(pictures.files), which.reshape(-1)
    size = len(different)
    a, b = _near(different.view(np.uint64))
    rows, columns = np.r_[a, b, np.arange(size)], np.r_[b, a, np.arange(size)]
    near = sparse.csr_matrix((np.ones(len(rows), np.int32), (rows, columns)), (size, size))
    of_clip = np.isin(files, np.fromiter(pictures.clips, np.int64, len(pictures.clips)))
    yield from _clip_links(files[of_clip], which[of_clip], near)
    stills, theirs = files[~of_clip], which[~of_clip]
    present = np.zeros(size, bool)
    present[theirs] = True
    kept = present[rows] & present[columns]
    graph = sparse.coo_matrix((np.ones(kept.sum()), (rows[kept], columns[kept])), (size, size))
    _, label = connected_components(graph, directed=False)
    first = np.full(size, -1)
    first[label[theirs[::-1]]] = stills[::-1]  # the first still of each label
    yield np.stack([first[label[theirs]], stills], 1)
    # Of all the frames like any still of a label, the first clip's.
    clip_of = np.full(size, np.iinfo(np.int64).max)
    np.minimum.at(clip_of, which[of_clip], files[of_clip])
    nearest = np.full(size, np.iinfo(np.int64).max)
    np.minimum.at(nearest, rows, clip_of[columns])
    best = np.full(size, np.iinfo(np.int64).max)
    np.minimum.at(best, label[theirs], nearest[theirs])
    met = best[label[theirs]] < np.iinfo(np.int64).max
    yield np.stack([best[label[theirs]][met], stills[met]], 1)


def _clip_links(files: Indices, which: Indices, near: sparse.csr_matrix) -> Iterator[Indices]:
    """Pairs of clips of which one has at least `_SHARE` of its different frames in the other."""
    if not len(files):
        return
    clips, row = np.unique(files, return_inverse=True)
    shape = len(clips), near.shape[0]
    has = sparse.csr_matrix((np.ones(len(row), np.int32), (row, which)), shape) > 0
    has = has.astype(np.int32)
    like = (has @ near > 0).astype(np.int32).T.tocsr()  # (pictures, clips): has it, or nearly
    wanted = np.asarray(has.sum(axis=1)).ravel() * _SHARE
    for start in range(0, len(clips), _ROWS):
        shared = (has[start : start + _ROWS] @ like).tocoo()
        enough = shared.data >= wanted[start + shared.row]
        yield np.stack([clips[start + shared.row[enough]], clips[shared.col[enough]]], 1)


def _near(hashes: NDArray[np.uint64]) -> tuple[Indices, Indices]:
    """Pairs a < b of rows of hashes (N, 4) that differ in at most THRESHOLD bits.

    All are compared with all: half a minute on one core for 100,000 different pictures.
    """
    found: list[tuple[Indices, Indices]] = [(np.zeros(0, np.int64), np.zeros(0, np.int64))]
    words = np.ascontiguousarray(hashes.T)
    both, bits = np.empty((_ROWS, _COLUMNS), np.uint64), np.empty((_ROWS, _COLUMNS), np.uint8)
    apart = np.empty((_ROWS, _COLUMNS), np.uint16)
    for top in range(0, len(hashes), _ROWS):
        for left in range(top, len(hashes), _COLUMNS):
            tile = np.s_[: min(_ROWS, len(hashes) - top), : min(_COLUMNS, len(hashes) - left)]
            apart[tile] = 0
            for word in words:
                one, other = word[top : top + _ROWS, None], word[None, left : left + _COLUMNS]
                np.bitwise_count(np.bitwise_xor(one, other, out=both[tile]), out=bits[tile])
                apart[tile] += bits[tile]
            a, b = np.nonzero(apart[tile] <= THRESHOLD)
            a, b = a + top, b + left
            found.append((a[a < b], b[a < b]))
    return np.concatenate([a for a, _ in found]), np.concatenate([b for _, b in found])
