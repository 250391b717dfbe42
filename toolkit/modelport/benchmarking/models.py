"""Native against converted, in this process; and the settings that the converted one is to have."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from modelport.benchmarking import calls, sweep
from modelport.benchmarking.calls import Call
from modelport.benchmarking.rounds import Loads, Point, Say, best_batch_size, measure
from modelport.reports import Benchmark, Footprint, RuntimeSettings, Subject

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelport.convert.base import Model, Rows

_LEAST_CALLS = 7  # of one row in a round, so that there are some twenty for the percentiles

Prepare = Callable[["Rows"], Call]


def compare(
    load_native: Callable[[], Model],
    graph: bytes | None,
    rows: Rows,
    loads: Loads,
    say: Say,
    most_seconds: float = math.inf,
) -> Benchmark:
    """Measure both models under the same loads.

    Args:
        load_native: Loads the native model anew.
        graph: The converted model; None where there is none.
        rows: What requests are made of.
        most_seconds: Batches that would take longer are left out, which the report then notes.
    """
    sizes = sorted(loads.batch_sizes)
    say("loading the native model")
    native, footprint = calls.loaded(load_native)
    footprints: dict[Subject, Footprint] = {"native": footprint}
    prepared: dict[Subject, Prepare] = {"native": lambda batch: partial(native.predict, batch)}
    tuned = None
    if graph is not None:
        say("choosing the runtime's settings")
        tuned = sweep.Tuned(graph, _batch(rows, 1), loads)
        footprints["converted"] = tuned.footprint
        prepared["converted"] = tuned.call
    requests = {
        subject: _affordable(prepare, rows, sizes, most_seconds)
        for subject, prepare in prepared.items()
    }
    measured = measure(_points(requests, loads), loads.repeats, say, loads.most_seconds)
    return Benchmark(
        measurements=measured,
        footprints=footprints,
        settings=tuned.settings if tuned else RuntimeSettings(),
        candidates=tuned.table if tuned else (),
        not_tried=tuned.not_tried if tuned else "",
        best_batch_size=best_batch_size(measured, "converted" if graph else "native"),
        note=_left_out(requests, sizes, most_seconds),
    )


def _batch(rows: Rows, size: int) -> Rows:
    drawn = np.random.default_rng(0).integers(0, len(rows), size)
    return rows[drawn] if isinstance(rows, np.ndarray) else rows.iloc[drawn]


def _affordable(
    prepare: Prepare, rows: Rows, sizes: Sequence[int], most_seconds: float
) -> dict[int, Call]:
    """Return calls by their batch size, up to the one that would take too long.

    What a size takes is told from the one before it, as if a row cost the same in any batch.
    """
    found: dict[int, Call] = {}
    taken = 0.0
    for size in sizes:
        if found and taken * size / max(found) > most_seconds:
            break
        found[size] = prepare(_batch(rows, size))
        taken = calls.once(found[size])
    return found


def _points(requests: dict[Subject, dict[int, Call]], loads: Loads) -> list[Point]:
    return [
        Point(subject, size, callers, partial(calls.run, call, loads.seconds, callers, least))
        for subject, by_size in requests.items()
        for size, call in by_size.items()
        for callers in loads.concurrency
        for least in [_LEAST_CALLS if size == callers == 1 else 1]
    ]


def _left_out(
    requests: dict[Subject, dict[int, Call]], sizes: Sequence[int], most_seconds: float
) -> str:
    told = []
    for subject, by_size in requests.items():
        large = ", ".join(str(size) for size in sizes if size not in by_size)
        if large:
            told.append(f"{subject}: batches of {large} would take over {most_seconds:g} s each")
    return "; ".join(told)
