"""Rounds of calls in this process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import numpy as np
import psutil

from modelport.benchmarking.rounds import Round
from modelport.reports import Footprint

_WARM_UP_CALLS = 3
_WARM_UP_SECONDS = 0.02
_MAX_CALLS = 20_000
_LEAST_SECONDS = 0.5

Call = Callable[[], object]
T = TypeVar("T")


def run(call: Call, seconds: float, callers: int = 1, least: int = 1) -> Round:
    """Call again and again for a while, after a warm-up that is left out.

    Args:
        call: One request; must be safe to call from several threads for several callers.
        seconds: How long each caller goes on.
        least: Calls that each makes at the least, as far as 0.5 s suffice for them.
    """
    _warm_up(call)
    taken: list[list[float]] = [[] for _ in range(callers)]
    begin = time.perf_counter()
    _in_threads([partial(_repeat, call, seconds, least, kept) for kept in taken])
    elapsed = time.perf_counter() - begin
    return Round(np.concatenate([np.asarray(kept) for kept in taken]), elapsed)


def once(call: Call) -> float:
    """Return the seconds that a call takes, not counting one before it."""
    call()
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


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


def _warm_up(call: Call) -> None:
    begin = time.perf_counter()
    for _ in range(_WARM_UP_CALLS):
        call()
        if time.perf_counter() - begin > _WARM_UP_SECONDS:
            return


def _repeat(call: Call, seconds: float, least: int, kept: list[float]) -> None:
    clock = time.perf_counter
    begin = clock()
    while len(kept) < _MAX_CALLS:
        start = clock()
        call()
        end = clock()
        kept.append(end - start)
        spent = end - begin
        if (spent >= seconds and len(kept) >= least) or spent >= max(seconds, _LEAST_SECONDS):
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
