"""The same run over many machines: Ray's workers read and answer, the driver alone writes.

Files go out in parts; a worker answers a part by `airframe.batch.answer_all`, the road of a local
run, and a file's records come back together. Ray gives a part whose worker died to another one.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import socket
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, redirect_stdout
from pathlib import Path
from typing import Any

from airframe.batch import Found, Known, Task, answer_all
from airframe.engine import installed
from airframe.predictor import RELEASED, Predictor, checkpoint_folder
from airframe.record import Record, failure_record
from data.images import StillError
from data.images.file import plain
from data.remote import UrlError, check_url, is_url
from data.video import VIDEO_SUFFIXES
from models.card import CheckpointError

_PASSES = 4  # batches of stills in a part: the next one is opened while one is answered
_SHARE = 4  # parts a worker at least, where there are few files: so that none waits for another
_TRIES = 2  # of a file by itself, after a worker was lost with all of a part
_OBJECTS = 200 * 2**20  # bytes of a local cluster's object store; records are small
_REACHED_S = 5.0

Row = dict[str, Any]


class ClusterError(RuntimeError):
    """There is no cluster, or it cannot go on; one line says why and what to do."""


class Cluster:
    """Ray, connected: the cluster that RAY_ADDRESS names, else this machine's own `cpus` cores.

    `checkpoint` is fast, strong or a folder, the same on every machine. Raises ClusterError.
    """

    def __init__(self, checkpoint: str, cpus: int | None = None) -> None:
        if not installed("ray"):
            raise ClusterError("ray is not installed; pip install --group cluster")
        # Workers have released checkpoints beside their own code.
        self._checkpoint = checkpoint if checkpoint in RELEASED else os.path.abspath(checkpoint)
        # Read by Ray when it is imported: its makers are told nothing, and it says less.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        import ray

        self._own = not ray.is_initialized()
        if self._own:
            _connect(cpus)

    def close(self) -> None:
        """Leave the cluster; a local one ends."""
        import ray

        if self._own:
            ray.shutdown()

    def answer_all(
        self,
        found: Iterable[Found],
        predictor: Predictor,
        task: Task,
        on_file: Callable[[str], None] = lambda path: None,
        warn: Callable[[str], None] = lambda line: None,
        known: Known | None = None,
    ) -> Generator[Record, None, None]:
        """As `airframe.batch.answer_all`, but file by file in the order in which they are done.

        Raises ClusterError where a worker cannot answer as this machine would, or all are lost.
        """
        found, known = list(found), known or Known()
        faulty = [item for item in found if item[1] is not None]
        yield from answer_all(faulty, predictor, task, on_file, warn, known)
        paths = [path for path, error in found if error is None]
        waiting = set(paths)
        # Ray tells of every lost worker on standard output, where our records may go.
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), closing(self):
            for row in self._rows(paths, predictor, task, known):
                if "fault" in row:
                    raise ClusterError(row["fault"])
                if "lost" in row:
                    warn(
                        f"a worker was lost; another one answered the {row['lost']} file(s) it had"
                    )
                    continue
                if row["path"] not in waiting:
                    continue  # done before: once is enough
                waiting.remove(row["path"])
                for line in row["warnings"]:
                    warn(line)
                if row["recalled"]:
                    yield from known.recall(row["path"], row["recalled"])
                yield from row["records"]
                on_file(row["path"])
        if waiting:
            raise ClusterError(f"{len(waiting)} file(s) came back without an answer")

    def _rows(
        self, paths: Sequence[str], predictor: Predictor, task: Task, known: Known
    ) -> Iterator[Row]:
        """What the workers say, as they say it."""
        import ray
        import ray.data
        from ray.exceptions import RayError
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        if not paths:
            return
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.execution_no_progress_timeout_s = -1  # a long clip is one part
        context.max_consecutive_actor_init_deaths = -1  # Ray's limit is 0: a kill then ends the run
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)
        resources: Any = ray.cluster_resources
        cores = max(1, int(resources().get("CPU", 1)))
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        lasting = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1}
        ledger: Any = ray.remote(Ledger)
        ledger = ledger.options(scheduling_strategy=here, **lasting).remote()
        contents = ray.put(known.contents())
        said = self._checkpoint, task, predictor.fingerprint(task.settings), contents, ledger
        parts = _parts(paths, task.batch_size, cores)
        rows = [{"part": json.dumps(part)} for part in parts]  # ASCII: a name may be no text
        answers = ray.data.from_items(rows, override_num_blocks=len(rows)).flat_map(
            Worker,
            fn_constructor_args=(*said, os.getcwd()),
            compute=ray.data.ActorPoolStrategy(min_size=1, initial_size=cores),
            num_cpus=1,
        )
        try:
            for row in answers.iter_rows():
                yield json.loads(row["answer"])
        except RayError as error:
            raise ClusterError(_first_line(error)) from error


class Ledger:
    """What was begun and not ended: where that is begun again, its worker was lost."""

    def __init__(self) -> None:
        self._begun: Counter[str] = Counter()

    def begin(self, what: str) -> int:
        """How often it was begun, this time counted."""
        self._begun[what] += 1
        return self._begun[what]

    def end(self, what: str) -> None:
        """It is done."""
        del self._begun[what]


class Worker:
    """An actor: answers part after part with a checkpoint that is loaded for the first of them.

    What it cannot answer as the driver would is told in a row with `fault`.
    """

    def __init__(
        self,
        checkpoint: str,
        task: Task,
        fingerprint: str,
        contents: Any,
        ledger: Any,
        folder: str,
    ) -> None:
        import ray

        self._checkpoint, self._task, self._fingerprint = checkpoint, task, fingerprint
        self._known = _Told(ray.get(contents))
        self._ledger = ledger
        self._predictor: Predictor | None = None
        self._folder = folder

    def __call__(self, row: Row) -> Iterator[Row]:
        """The rows of a part: one a file, each a JSON object."""
        for answer in self._part(json.loads(row["part"])):
            yield {"answer": json.dumps(answer)}

    def _part(self, paths: list[str]) -> Iterator[Row]:
        import ray

        name = json.dumps(paths)
        lost = ray.get(self._ledger.begin.remote(name)) > 1
        try:
            self._load()
            if not all(map(is_url, paths)):  # which nobody needs a folder for
                os.chdir(self._folder)
            for url in {path.split("://")[0]: path for path in paths if is_url(path)}.values():
                check_url(url)
        except (CheckpointError, UrlError, OSError) as error:
            yield {"fault": f"worker {platform.node()}: {_first_line(error)}"}
            return
        if not lost:
            yield from self._answers(paths)
        else:
            yield {"lost": len(paths)}
            for path in paths:
                yield from self._alone(path)
        self._ledger.end.remote(name)

    def _alone(self, path: str) -> Iterator[Row]:
        """One file by itself: one of those that a worker was lost over may have been its end."""
        import ray

        assert self._predictor is not None
        if ray.get(self._ledger.begin.remote(path)) <= _TRIES:
            yield from self._answers([path])
        else:
            said = (
                f"{plain(path)}: its worker died over it {_TRIES + 1} times; look at it by itself"
            )
            error = StillError("inference_error", said)
            failed = failure_record(path, error, self._predictor, self._task.settings)
            yield _row(path, [failed])
        ray.get(self._ledger.end.remote(path))

    def _answers(self, paths: Iterable[str]) -> list[Row]:
        assert self._predictor is not None
        rows: list[Row] = []
        records: list[Record] = []
        warnings: list[str] = []

        def end(path: str) -> None:
            recalled = self._known.asked.pop(path, None)
            rows.append(_row(path, list(records), recalled=recalled, warnings=list(warnings)))
            records.clear()
            warnings.clear()

        found = ((path, None) for path in paths)
        predictor, task = self._predictor, self._task
        for record in answer_all(found, predictor, task, end, warnings.append, self._known):
            records.append(record)
        return rows

    def _load(self) -> None:
        if self._predictor is not None:
            return
        predictor = Predictor(checkpoint_folder(self._checkpoint), engine="auto")
        if predictor.fingerprint(self._task.settings) != self._fingerprint:
            raise CheckpointError(
                f"checkpoint {self._checkpoint} is not the one that is here; copy it there"
            )
        self._predictor = predictor


class _Told(Known):
    """What the driver's journal knows; `asked` are the SHA-256 of what it is to recall itself."""

    def __init__(self, contents: Known) -> None:
        self._contents = contents
        self.asked: dict[str, str] = {}

    def knows(self, path: str, sha256: str) -> bool:
        return self._contents.knows(path, sha256)

    def recall(self, path: str, sha256: str) -> Iterator[Record]:
        self.asked[path] = sha256
        return iter(())


def _row(
    path: str, records: list[Record], *, recalled: str | None = None, warnings: Sequence[str] = ()
) -> Row:
    return {"path": path, "records": records, "recalled": recalled, "warnings": warnings}


def _parts(paths: Sequence[str], batch_size: int, workers: int) -> list[list[str]]:
    """Clips, which take longest, first, each by itself; then stills, some at a time."""
    clips = [path for path in paths if Path(path).suffix.lower() in VIDEO_SUFFIXES]
    apart = set(clips)
    stills = [path for path in paths if path not in apart]
    size = max(1, min(_PASSES * batch_size, len(stills) // (_SHARE * workers)))
    return [[clip] for clip in clips] + [stills[i : i + size] for i in range(0, len(stills), size)]


def _connect(cpus: int | None) -> None:
    import ray
    from ray.exceptions import RayError

    address = os.environ.get("RAY_ADDRESS") or "local"
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address == "local":
        options |= {"num_cpus": cpus, "include_dashboard": False, "object_store_memory": _OBJECTS}
    else:
        _reach(address)
    try:
        ray.init(address, **options)
    except (OSError, ValueError, RuntimeError, RayError) as error:
        where = "a local cluster" if address == "local" else f"RAY_ADDRESS {address}"
        raise ClusterError(f"{where}: cannot be used ({_first_line(error)})") from error


def _reach(address: str) -> None:
    """Raises ClusterError at once where Ray would try for minutes."""
    host, _, port = address.rpartition(":")
    if "://" in address:
        raise ClusterError(
            f"RAY_ADDRESS {address}: start this on a machine of the cluster and give host:port"
        )
    if not port.isdecimal():
        return  # auto, or what Ray refuses itself
    try:
        socket.create_connection((host.strip("[]"), int(port)), _REACHED_S).close()
    except (OSError, OverflowError) as error:
        what = getattr(error, "strerror", None) or error
        raise ClusterError(
            f"RAY_ADDRESS {address}: no cluster is reached there ({what}); start one with "
            "`ray start --head`, or unset RAY_ADDRESS"
        ) from error


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
