"""Latency and throughput: in process and against a live endpoint."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import numpy as np
import psutil

from modelport.reports import Candidate, Footprint, Latency, RuntimeSettings, Subject

_WARM_UP_CALLS = 3
_MIN_CALLS = 20
_MIN_BATCH_CALLS = 8
_MAX_CALLS = 20_000
_MAX_SECONDS = 5.0

Call = Callable[[], object]
T = TypeVar("T")


def measure(
    subject: Subject, call: Call, seconds: float, *, batch_size: int = 1, concurrency: int = 1
) -> Latency:
    """Call again and again for a while, after a warm-up that is left out.

    Args:
        call: One request of `batch_size` rows; must be safe to call from several threads
            when `concurrency` is above 1.
        seconds: How long each caller goes on; at least 20 calls are made (8 of whole
            batches), within 5 s.
    """
    for _ in range(_WARM_UP_CALLS):
        call()
    least = _MIN_CALLS if batch_size == 1 else _MIN_BATCH_CALLS
    taken: list[list[float]] = [[] for _ in range(concurrency)]
    begin = time.perf_counter()
    _in_threads([partial(_repeat, call, seconds, least, kept) for kept in taken])
    elapsed = time.perf_counter() - begin
    times = np.concatenate([np.asarray(kept) for kept in taken]) * 1000.0
    p50, p95, p99 = (float(q) for q in np.quantile(times, [0.5, 0.95, 0.99]))
    return Latency(
        subject=subject,
        batch_size=batch_size,
        concurrency=concurrency,
        requests=len(times),
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        max_ms=float(times.max()),
        throughput=len(times) / elapsed,
    )


def loaded(load: Callable[[], T]) -> tuple[T, Footprint]:
    """Load a model; return it with the time and the growth of resident memory that took."""
    process = psutil.Process()
    before = process.memory_info().rss
    begin = time.perf_counter()
    model = load()
    return model, Footprint(
        load_seconds=time.perf_counter() - begin,
        memory_bytes=max(0, process.memory_info().rss - before),
    )


def choose_settings(
    prepare: Callable[[RuntimeSettings], Call], cores: int, seconds: float
) -> tuple[RuntimeSettings, tuple[Candidate, ...]]:
    """Time one-row requests under each candidate setting; the best median wins.

    One thread is tried first, and wins unless more are 20% faster: replicas share the cores.
    """
    threads = sorted({1, max(1, cores)})
    candidates = [RuntimeSettings(intra_op_num_threads=count) for count in threads]
    medians = [measure("converted", prepare(c), seconds).p50_ms for c in candidates]
    best = 0
    for index, median in enumerate(medians):
        if median < medians[best] * 0.8:
            best = index
    table = tuple(
        Candidate(settings=candidate, p50_ms=median, chosen=index == best)
        for index, (candidate, median) in enumerate(zip(candidates, medians, strict=True))
    )
    return candidates[best], table


def _repeat(call: Call, seconds: float, least: int, kept: list[float]) -> None:
    clock = time.perf_counter
    begin = clock()
    while len(kept) < _MAX_CALLS:
        start = clock()
        call()
        end = clock()
        kept.append(end - start)
        spent = end - begin
        if (spent >= seconds and len(kept) >= least) or spent >= _MAX_SECONDS:
            return


def _in_threads(jobs: Sequence[Callable[[], Any]]) -> None:
    """Run every job in a thread of its own; re-raise the first error of any."""
    if len(jobs) == 1:
        jobs[0]()
        return
    errors: list[BaseException] = []

    def guarded(job: Callable[[], Any]) -> None:
        try:
            job()
        except BaseException as error:  # noqa: BLE001 - handed over to the calling thread
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
