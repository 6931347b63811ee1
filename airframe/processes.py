"""Several processes that train one network: which of them this is, its share, who waits for what.

The one of rank zero alone checks, draws, looks for aircraft, probes and writes. Where Lightning
starts the others it does so after all that; a scheduler, `torchrun` or a user on another node
starts all at once, so that the others wait until a file in the run folder says that it is done.
"""

from __future__ import annotations

import logging
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException

from airframe.config import Config, ConfigError, TrainConfig, dump_config

_STRIDE = 1_000_003  # between the seeds of two ranks: far from any seed that a config gives
_PREPARED = "prepared"  # the file that others wait for; it holds the config that it is true of
_POLL = 1.0  # seconds


@dataclass(frozen=True)
class Process:
    """One of `count` processes that train together; that of rank 0 writes, the others read."""

    rank: int = 0
    count: int = 1

    def share(self, batch: int) -> int:
        """This process's part of a batch. Raises ConfigError where the parts would differ."""
        if batch % self.count:
            raise ConfigError(
                f"train.batch_size: {batch} is that of all processes together, and {self.count} "
                f"cannot share it; give a multiple of {self.count}"
            )
        return batch // self.count

    def seed(self, seed: int) -> int:
        """A seed of its own, where two processes must not do the same; rank 0 keeps `seed`."""
        return seed + _STRIDE * self.rank


ALONE = Process()


def hardware(train: TrainConfig) -> dict[str, Any]:
    """What a trainer of Lightning's is told of the machines."""
    return {
        "accelerator": train.accelerator,
        "devices": train.devices,
        "num_nodes": train.nodes,
    }


def emulates_bf16(train: TrainConfig) -> bool:
    """Whether training is to run in bf16 on a CPU that has no instructions for it."""
    on_cpu = train.accelerator == "cpu" or (
        train.accelerator == "auto" and not torch.accelerator.is_available()
    )
    supported = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return train.precision == "bf16-mixed" and on_cpu and not supported


def this_process(train: TrainConfig) -> Process:
    """Which one Lightning makes of this process, on this node or another.

    From here on `rank_zero_only.rank` is its rank among all. Raises ConfigError where the machine
    has no such accelerator, or fewer devices.
    """
    quiet()
    try:
        trainer = pl.Trainer(
            **hardware(train),
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
    except (MisconfigurationException, ValueError) as error:
        raise ConfigError(f"train.accelerator, train.devices: {error}") from error
    return Process(trainer.global_rank, trainer.world_size)


def quiet() -> None:
    """Keep Lightning from saying what is as it should be: few cores, a run folder that holds the
    config already, its own deprecated calls, the ranks of its processes."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    folder = "exists and is not empty"
    for known in ("num_workers", "many workers", folder, "LeafSpec", "all_gather is deprecated"):
        warnings.filterwarnings("ignore", message=f".*{known}.*")


def is_prepared(run: Path, config: Config) -> bool:
    """Whether all that rank zero does before training has been done for this very config."""
    try:
        return (run / _PREPARED).read_text("utf-8") == dump_config(config)
    except OSError:
        return False


def prepared(run: Path, config: Config) -> None:
    """Let the others begin."""
    (run / _PREPARED).write_text(dump_config(config), "utf-8")


def wait_until_prepared(run: Path, config: Config) -> None:
    """Return when rank zero has called `prepared`; without an end, for as long as that takes."""
    while not is_prepared(run, config):
        time.sleep(_POLL)


def alone_again(threads: int) -> None:
    """Part from the others after training, all at once: rank zero goes on without them, with as
    many `threads` as it had before Lightning gave each process its share of the cores."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
        torch.set_num_threads(threads)
