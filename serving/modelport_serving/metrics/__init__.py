"""What the server counts and times, right over all its workers.

Counting is a few additions in memory. Each worker has a slot of its own and, for each version of
a model, a file of cells (`cells.py`) in a directory that all workers know; whoever is asked for
the metrics adds up all files. So the counters of a worker that died stay in the sums.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import threading
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from modelport_serving.errors import StartFailed

# Name by name: looking each up in its module again would cost a third of what counting costs.
from modelport_serving.metrics.cells import (
    ANSWERS,
    ARRIVED,
    BATCH,
    CACHE_BYTES,
    CACHE_HITS,
    CACHE_MISSES,
    CODES,
    DROPPED,
    LATENCY,
    LOAD_SECONDS,
    PID,
    POSTPROCESS,
    POSTPROCESS_SUM,
    PREDICT,
    PREDICT_SUM,
    PREPROCESS,
    PREPROCESS_SUM,
    QUEUED,
    ROWS,
    SECONDS,
    STAGES,
    WAIT,
    WARM_UP_SECONDS,
    Dropped,
    Owner,
    Stage,
    finished,
    from_bytes,
    in_file,
    in_memory,
)

_SUFFIX = ".cells"
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - mkdtemp makes an unguessable, private directory


@contextmanager
def shared_directory() -> Iterator[Path]:
    """Make the directory that workers share, for the owner alone; it is removed at the end.

    In memory where possible: a page that is being written to a disk would make its writer wait.
    """
    parent = _SHARED_MEMORY if os.access(_SHARED_MEMORY, os.W_OK) else None
    try:
        directory = tempfile.mkdtemp(prefix="modelport-metrics-", dir=parent)
    except OSError as error:
        raise StartFailed(
            f"no place for the workers' metrics ({error.strerror}): set TMPDIR to a writable folder"
        ) from error
    try:
        yield Path(directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


class ModelMetrics:
    """The numbers of one version of a model, written by one thread. Durations are in seconds.

    Each request is counted by `arrived` and then by exactly one of `answered`, `finished`,
    `explained` and `failed`; between the two it is in flight. `protocol` is v1, v2 or grpc.
    """

    __slots__ = ("_cells",)

    def __init__(self, cells: memoryview[float]) -> None:
        self._cells = cells

    def arrived(self) -> None:
        """Count a request that is being worked on from now on."""
        self._cells[ARRIVED] += 1.0

    def answered(
        self, protocol: str, preprocess: float, predict: float, postprocess: float, total: float
    ) -> None:
        """Count a prediction that was answered, with the time of each stage and of all."""
        cells = self._cells
        # Written out: calls of a function would cost more than what they do.
        cells[PREPROCESS + bisect_left(SECONDS, preprocess)] += 1.0
        cells[PREPROCESS_SUM] += preprocess
        cells[PREDICT + bisect_left(SECONDS, predict)] += 1.0
        cells[PREDICT_SUM] += predict
        cells[POSTPROCESS + bisect_left(SECONDS, postprocess)] += 1.0
        cells[POSTPROCESS_SUM] += postprocess
        latency = LATENCY[protocol]
        cells[latency + bisect_left(SECONDS, total)] += 1.0
        cells[latency - 1] += total

    def observe(self, stage: Stage, seconds: float) -> None:
        """Count the time of one stage, where stages are not known all at once."""
        self._time(STAGES[stage], seconds)

    def finished(self, protocol: str, total: float) -> None:
        """Count a prediction that was answered and whose stages were observed one by one."""
        self._time(LATENCY[protocol], total)

    def explained(self, protocol: str) -> None:
        """Count an explanation that was answered."""
        self.failed(protocol, 0 if protocol == "grpc" else 200)

    def failed(self, protocol: str, code: int) -> None:
        """Count a request by the HTTP status or, for grpc, the gRPC code that it ended with."""
        self._cells[ANSWERS[protocol] + min(code, CODES - 1)] += 1.0

    def batched(self, rows: int, waited: float) -> None:
        """Count one call of the model: its rows, and how long its first request had waited."""
        cells = self._cells
        cells[BATCH + bisect_left(ROWS, rows)] += 1.0
        cells[BATCH - 1] += rows
        cells[WAIT + bisect_left(SECONDS, waited)] += 1.0
        cells[WAIT - 1] += waited

    @property
    def queued(self) -> int:
        """How many requests wait for the model now."""
        return int(self._cells[QUEUED])

    @queued.setter
    def queued(self, length: int) -> None:
        self._cells[QUEUED] = length

    def cache_hit(self) -> None:
        """Count an answer that was taken from the cache."""
        self._cells[CACHE_HITS] += 1.0

    def cache_miss(self) -> None:
        """Count an answer that was looked for in the cache in vain."""
        self._cells[CACHE_MISSES] += 1.0

    def loaded(self, seconds: float) -> None:
        """Keep how long the last load took."""
        self._cells[LOAD_SECONDS] = seconds

    def warmed_up(self, seconds: float) -> None:
        """Keep how long the last warm-up took."""
        self._cells[WARM_UP_SECONDS] = seconds

    def _time(self, histogram: int, seconds: float) -> None:
        self._cells[histogram + bisect_left(SECONDS, seconds)] += 1.0
        self._cells[histogram - 1] += seconds


class Metrics:
    """What one worker counts, and the metrics of all workers.

    `directory` is what the workers share (`shared_directory`), `slot` this worker's number among
    them: one that is started in the place of another goes on with its numbers. Without a
    directory there is only this worker.
    """

    def __init__(self, directory: Path | None = None, slot: int = 0) -> None:
        self._directory = directory
        self._slot = slot
        self._rows: dict[Owner, memoryview[float]] = {}
        self._models: dict[Owner, ModelMetrics] = {}
        self._counting = threading.Lock()
        for owner in self._left_behind():
            _end_gauges(self._row(owner))
        self._own = self._row(Owner(slot, "", None))
        self._own[PID] = os.getpid()
        self._unmatched = ModelMetrics(self._own)

    def model(self, name: str, version: str | None = None) -> ModelMetrics:
        """Return the numbers of a model's version. They stay when it is unloaded."""
        owner = Owner(self._slot, name, version)
        if owner not in self._models:
            self._models[owner] = ModelMetrics(self._row(owner))
        return self._models[owner]

    def unmatched(self, protocol: str, code: int) -> None:
        """Count a request for no model of this server: it has no `model_name`."""
        self._unmatched.failed(protocol, code)

    def dropped(self, what: Dropped) -> None:
        """Count something that was given up rather than let an answer wait. From any thread."""
        with self._counting:
            self._own[DROPPED[what]] += 1.0

    @property
    def cache_bytes(self) -> int:
        """How many bytes of answers this worker keeps in its memory."""
        return int(self._own[CACHE_BYTES])

    @cache_bytes.setter
    def cache_bytes(self, size: int) -> None:
        self._own[CACHE_BYTES] = size

    def expose(self, accept: str | None = None) -> tuple[bytes, str]:
        """Return the metrics of all workers and their content type.

        `accept` is the HTTP header: OpenMetrics for those who ask for it, else Prometheus' text.
        The first call imports prometheus_client; it is meant for a thread.
        """
        from modelport_serving.metrics.exposition import expose

        return expose(self._all(), accept)

    def _all(self) -> Sequence[tuple[Owner, memoryview[float]]]:
        if self._directory is None:
            return list(self._rows.items())
        files = self._directory.glob(f"*{_SUFFIX}")
        return [from_bytes(file.read_bytes()) for file in sorted(files)]

    def _left_behind(self) -> list[Owner]:
        """Return whose numbers an earlier worker in this slot left."""
        return [owner for owner, _ in self._all() if owner.slot == self._slot]

    def _row(self, owner: Owner) -> memoryview[float]:
        if owner not in self._rows:
            self._rows[owner] = self._new_row(owner)
        return self._rows[owner]

    def _new_row(self, owner: Owner) -> memoryview[float]:
        if self._directory is None:
            return in_memory()
        try:
            return in_file(self._directory / _file_name(owner), owner)
        except OSError as error:
            raise StartFailed(
                f"no room for metrics in {self._directory} ({error.strerror}): make some"
            ) from error


def _file_name(owner: Owner) -> str:
    """Name an owner's file; the model's name may have any length and any characters."""
    return f"{owner.slot}-{hashlib.sha256(owner.header()).hexdigest()[:32]}{_SUFFIX}"


def _end_gauges(cells: memoryview[float]) -> None:
    """Let nothing wait or be in flight, in a worker that has only just begun."""
    cells[QUEUED] = cells[CACHE_BYTES] = 0.0
    cells[ARRIVED] = finished(cells)
