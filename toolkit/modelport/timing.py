"""How fast the models of a release are, in process: the runtime's settings are chosen by it."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

from modelport import benchmark
from modelport.config import settings
from modelport.convert import session
from modelport.journal import say

if TYPE_CHECKING:
    import pandas as pd

    from modelport.material import Material
    from modelport.reports import Candidate, Footprint, Latency, RuntimeSettings


def time_native(
    material: Material, batches: dict[int, pd.DataFrame]
) -> tuple[list[Latency], Footprint]:
    """Load the native model anew, and time it on batches (by their size)."""
    say("timing the native model")
    seconds = settings().limits.benchmark_seconds
    native, footprint = benchmark.loaded(material.load_native)
    measured = [
        benchmark.measure("native", partial(native.predict, batch), seconds, batch_size=size)
        for size, batch in batches.items()
    ]
    return measured, footprint


def time_converted(
    graph: bytes, chosen: RuntimeSettings, batches: dict[int, pd.DataFrame]
) -> tuple[list[Latency], Footprint]:
    """Load the converted model with the chosen settings, and time it on the same batches."""
    say("timing the converted model")
    seconds = settings().limits.benchmark_seconds
    model, footprint = benchmark.loaded(partial(session.OnnxModel, graph, chosen))
    measured = [
        benchmark.measure("converted", partial(model.run, feed), seconds, batch_size=size)
        for size, feed in ((size, model.feed(batch)) for size, batch in batches.items())
    ]
    return measured, footprint


def choose_settings(
    graph: bytes, one: pd.DataFrame
) -> tuple[RuntimeSettings, tuple[Candidate, ...]]:
    """Choose the session options on which one row is answered fastest."""
    say("choosing the runtime's settings")

    def prepare(candidate: RuntimeSettings) -> benchmark.Call:
        model = session.OnnxModel(graph, candidate)
        feed = model.feed(one)
        return partial(model.run, feed)

    seconds = settings().limits.benchmark_seconds / 2
    return benchmark.choose_settings(prepare, os.cpu_count() or 1, seconds)
