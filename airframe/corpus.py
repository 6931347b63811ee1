"""From a manifest to what training, calibration and evaluation need: classes, labels, weights."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from airframe.config import Config, ConfigError, DataConfig
from data.manifest import Box, Sample, read_manifest
from data.splits import assign_splits, read_splits
from data.synthetic import airframe_types
from data.synthetic.export import write_set
from data.taxonomy import Taxonomy


@dataclass(frozen=True)
class Corpus:
    """Split samples and the label space that they carry.

    `taxonomy` holds only `classes`, the types that the network can answer. `outside` are samples
    of the full taxonomy whose label none of them can meet.
    """

    samples: tuple[Sample, ...]
    outside: tuple[Sample, ...]
    taxonomy: Taxonomy
    classes: tuple[str, ...]

    def split(self, name: str) -> list[Sample]:
        """The samples of one split, in the manifest's order."""
        return [sample for sample in self.samples if sample.split == name]


def build_corpus(config: Config, *, draw: bool = True) -> Corpus:
    """Read, check and split the config's manifest, with the drawn pictures.

    Without `draw` these are read as another process has drawn them.
    Raises ManifestError, SplitError, TaxonomyError, or ConfigError where fewer than two classes
    or no labelled calibration sample would remain.
    """
    data = config.data
    full = Taxonomy.load(data.taxonomy)
    samples = split_samples(config, full, draw=draw)
    classes = choose_classes(samples, full, data)
    if len(classes) < 2:
        raise ConfigError(
            f"data: {len(classes)} type(s) have enough train pictures "
            f"(min_pictures {data.min_pictures}, min_views {data.min_views}); two are needed"
        )
    kept, outside = relabel(samples, full, classes)
    for needed in ("train", "val", "calibration"):
        if not any(s.split == needed and s.node for s in kept):
            raise ConfigError(
                f"data: no labelled sample in the {needed} split; give data.fractions a share "
                "for it, or name it in the manifest's split column"
            )
    return Corpus(tuple(kept), tuple(outside), full.restricted(classes), classes)


def split_samples(config: Config, taxonomy: Taxonomy, *, draw: bool = True) -> list[Sample]:
    """The manifest's samples and the drawn ones, each with its split.

    What `data.splits` names keeps the split that it has there; the rest is dealt.
    Raises ManifestError, SplitError, and ConfigError for a kind that no sample is of.
    """
    data = config.data
    samples = _read(config, taxonomy, draw)
    _check_kinds(data, samples)
    if data.splits:
        samples = read_splits(samples, data.splits)
    return assign_splits(
        samples, data.fractions, seed=config.seed, train_only_kinds=data.train_only_kinds
    )


def _read(config: Config, taxonomy: Taxonomy, draw: bool) -> list[Sample]:
    """The manifest's samples and the drawn ones, which are drawn into the run folder."""
    data, samples = config.data, []
    if data.manifest:
        samples = read_manifest(
            data.manifest,
            taxonomy,
            root=data.root,
            background_kinds=data.background_kinds,
            boxes=data.boxes,
        )
        if data.dropped:
            samples = without_dropped(samples, data.dropped)
    if data.drawn_per_type:
        drawn = _draw(config, taxonomy) if draw else config.run_folder / "drawn" / "manifest.csv"
        samples += read_manifest(drawn, taxonomy)
    return samples


def _draw(config: Config, taxonomy: Taxonomy) -> Path:
    """Draw into the run folder and return the manifest of it."""
    width, height = config.data.drawn_size
    return write_set(
        config.run_folder / "drawn",
        [name for name in airframe_types() if f"type:{name}" in taxonomy],
        config.data.drawn_per_type,
        seed=config.seed,
        width=width,
        height=height,
    )


def without_dropped(samples: Sequence[Sample], path: Path) -> list[Sample]:
    """The samples that a CSV file `path,fault,note` does not name.

    Raises ConfigError where the file cannot be read, or names a picture that the manifest lacks.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if "path" not in (reader.fieldnames or ()):
                raise KeyError("path")
            named = {row["path"] for row in reader}
    except OSError as error:
        raise ConfigError(f"data.dropped: {path}: cannot be read: {error}") from error
    except (UnicodeDecodeError, csv.Error, KeyError) as error:
        what = "a CSV file with a column path, in UTF-8"
        raise ConfigError(f"data.dropped: {path}: is not {what}") from error
    strange = sorted(named - {sample.key for sample in samples})
    if strange:
        raise ConfigError(
            f"data.dropped: {path}: {strange[0]!r} ({len(strange)} in all) is not in the manifest"
        )
    return [sample for sample in samples if sample.key not in named]


def choose_classes(
    samples: Sequence[Sample], taxonomy: Taxonomy, data: DataConfig
) -> tuple[str, ...]:
    """The types with at least `min_pictures` train pictures, or `min_views` train-only views.

    Raises ConfigError for a family in `left_out` that the taxonomy does not have.
    """
    left_out = {f"family:{name}" for name in data.left_out}
    strange = sorted(node for node in left_out if node not in taxonomy)
    if strange:
        raise ConfigError(f"data.left_out: {strange[0]} is not in the taxonomy")
    pictures: Counter[str] = Counter()
    views: Counter[str] = Counter()
    for sample in samples:
        if sample.split == "train" and sample.node and sample.node.startswith("type:"):
            counter = views if sample.kind in data.train_only_kinds else pictures
            counter[sample.node.removeprefix("type:")] += 1
    return tuple(
        name
        for name in taxonomy.types
        if left_out.isdisjoint(node.id for node in taxonomy.path(f"type:{name}"))
        and (pictures[name] >= data.min_pictures or views[name] >= data.min_views)
    )


def relabel(
    samples: Sequence[Sample], taxonomy: Taxonomy, classes: tuple[str, ...]
) -> tuple[list[Sample], list[Sample]]:
    """Samples with labels that `classes` can meet, and those outside.

    A type that is no class falls back to its family where that has one: a Mirage III still
    teaches, and is answered by, the Mirage deltas.
    """
    kept: list[Sample] = []
    outside: list[Sample] = []
    for sample in samples:
        if sample.node is None:
            kept.append(sample)
            continue
        path = [node.id for node in taxonomy.path(sample.node) if node.rank != "role"]
        fit = [node for node in reversed(path) if taxonomy.members(node, classes)]
        if fit:
            kept.append(replace(sample, node=fit[0]))
        else:
            outside.append(sample)
    return kept, outside


def with_boxes(
    corpus: Corpus,
    config: Config,
    boxes_of: Callable[[Sample], tuple[Box, ...]],
    path: Path,
    progress: Callable[[list[Sample]], Iterable[Sample]],
) -> Corpus:
    """The corpus with the boxes that training and calibration look at, `boxes_of` a picture.

    Train samples keep boxes that they have; val and calibration do without, as inference has to.
    Cut-outs need none, test pictures are not opened. Boxes found are kept at `path` as
    `path,box`, and read from there where a run goes on.
    """
    known = _read_boxes(path)
    wanted = [
        s
        for s in corpus.samples
        if s.split != "test"
        and s.kind not in config.data.cutout_kinds
        and not (s.split == "train" and s.boxes)
    ]
    new = not path.exists() or not path.stat().st_size
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        if new:
            writer.writerow(("path", "box"))
        for sample in progress([s for s in wanted if s.key not in known]):
            known[sample.key] = boxes_of(sample)
            said = ";".join(" ".join(f"{edge:.4f}" for edge in box) for box in known[sample.key])
            writer.writerow((sample.key, said))
    known = _read_boxes(path)  # rounded, as who reads them later has them
    chosen = {id(s) for s in wanted}
    samples = [replace(s, boxes=known[s.key]) if id(s) in chosen else s for s in corpus.samples]
    return replace(corpus, samples=tuple(samples))


def _read_boxes(path: Path) -> dict[str, tuple[Box, ...]]:
    if not path.exists():
        return {}
    known: dict[str, tuple[Box, ...]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            boxes = [tuple(map(float, b.split())) for b in row["box"].split(";") if b]
            known[row["path"]] = tuple((b[0], b[1], b[2], b[3]) for b in boxes)
    return known


def without_boxes(corpus: Corpus) -> Corpus:
    """The corpus for a classifier that looks at whole frames."""
    return replace(corpus, samples=tuple(replace(s, boxes=()) for s in corpus.samples))


def allowed_matrix(
    samples: Sequence[Sample], taxonomy: Taxonomy, classes: tuple[str, ...]
) -> NDArray[np.bool_]:
    """(N, C): the classes that each sample may be; a row of False is background."""
    members: dict[str | None, NDArray[np.bool_]] = {None: np.zeros(len(classes), np.bool_)}
    rows = []
    for sample in samples:
        if sample.node is not None and sample.node not in members:
            row = np.zeros(len(classes), np.bool_)
            row[list(taxonomy.members(sample.node, classes))] = True
            members[sample.node] = row
        rows.append(members[sample.node])
    return np.array(rows, np.bool_).reshape(len(samples), len(classes))


def ancestor_index(
    taxonomy: Taxonomy, classes: tuple[str, ...], rank: str
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """For each class the position (C,) of its ancestor at `rank`, and the ancestors' node ids."""
    ancestors = [taxonomy.ancestor(f"type:{name}", rank) for name in classes]
    ids = [node.id for node in ancestors if node is not None]
    order = tuple(dict.fromkeys(ids))
    return np.array([order.index(node) for node in ids], np.int64), order


def sampling_weights(
    samples: Sequence[Sample], shares: Mapping[str, float], balance: float
) -> NDArray[np.float64]:
    """Probability (N,) of drawing each sample.

    Each kind gets its share of the draws (equal to its count where no shares are given); within a
    kind a label with n samples gets n^(1 - balance) of them: 0 as they come, 1 all labels alike.
    Raises ConfigError where no sample is of a kind with a share.
    """
    labels = Counter((s.kind, s.node) for s in samples)
    within = np.array([labels[s.kind, s.node] ** -balance for s in samples])
    kinds = np.array([s.kind for s in samples])
    counts = Counter(kinds.tolist())
    weights = np.zeros(len(samples))
    for kind in sorted(counts):
        share = shares.get(kind, 0.0) if shares else counts[kind]
        mine = kinds == kind
        weights[mine] = share * within[mine] / within[mine].sum()
    if not weights.any():
        raise ConfigError(
            f"data.shares: no train sample is of a kind with a share above 0: {shares}"
        )
    return np.asarray(weights / weights.sum(), np.float64)


def _check_kinds(data: DataConfig, samples: Sequence[Sample]) -> None:
    known = {sample.kind for sample in samples}
    for key in ("background_kinds", "train_only_kinds", "cutout_kinds", "backdrop_kinds", "shares"):
        strange = sorted(set(getattr(data, key)) - known)
        if strange:
            raise ConfigError(
                f"data.{key}: kind {strange[0]!r} is in no sample; "
                f"there are {', '.join(sorted(known))}"
            )
