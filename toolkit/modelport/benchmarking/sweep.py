"""ONNX Runtime's settings: which are tried, and which one a deployment gets."""

from __future__ import annotations

import os
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

from modelport.benchmarking import calls
from modelport.benchmarking.rounds import Loads, Point, measure
from modelport.convert.session import OnnxModel
from modelport.reports import Candidate, RuntimeSettings

if TYPE_CHECKING:
    from modelport.benchmarking.calls import Call
    from modelport.convert.base import Rows

_CLEARLY = 0.8


class Tuned:
    """A converted model with the settings under which it answers one row fastest.

    Attributes:
        footprint: What loading it takes.
        table: Every setting that was tried.
        not_tried: Which were not, and why.
        settings: The chosen ones.
    """

    def __init__(self, graph: bytes, row: Rows, loads: Loads) -> None:
        first, self.footprint = calls.loaded(partial(OnnxModel, graph))
        models = {RuntimeSettings(): first}
        tried, self.not_tried = candidates(graph, len(os.sched_getaffinity(0)))
        models |= {one: OnnxModel(graph, one) for one in tried if one not in models}
        feed = first.feed(row)
        self.table = choose({one: partial(models[one].run, feed) for one in tried}, loads)
        self.settings = next(one.settings for one in self.table if one.chosen)
        self._model = models[self.settings]

    def call(self, rows: Rows) -> Call:
        """Return a request of these rows."""
        return partial(self._model.run, self._model.feed(rows))


def candidates(graph: bytes, cores: int) -> tuple[tuple[RuntimeSettings, ...], str]:
    """Return the settings to try, with the fewest threads first; and what is left out, and why.

    Threads within an operator: one, half of the cores, all. Threads between operators are used
    in parallel mode alone, which has something to do only where the graph has branches.
    """
    if cores == 1:
        return (RuntimeSettings(),), "more threads and parallel execution: there is one core"
    threads = sorted({1, cores // 2, cores})
    found = [RuntimeSettings(intra_op_num_threads=count) for count in threads]
    if not has_branches(graph):
        return tuple(found), "parallel execution: the graph is a chain, without branches"
    found.append(RuntimeSettings(inter_op_num_threads=cores, execution_mode="parallel"))
    return tuple(found), ""


def has_branches(graph: bytes) -> bool:
    """Whether any two of the graph's nodes could run at the same time."""
    import onnx

    depths: dict[str, int] = {}  # of every value: how many nodes come one after the other before it
    levels: Counter[int] = Counter()
    for node in onnx.load_from_string(graph).graph.node:  # in topological order, as ONNX demands
        depth = 1 + max((depths.get(name, 0) for name in node.input), default=0)
        depths |= dict.fromkeys(node.output, depth)
        levels[depth] += 1
    return any(nodes > 1 for nodes in levels.values())


def choose(requests: dict[RuntimeSettings, Call], loads: Loads) -> tuple[Candidate, ...]:
    """Time one-row requests under each of the settings, and choose.

    The first wins unless a later one is 20% faster, and so on: replicas share the cores.
    """
    points = [
        Point("converted", 1, 1, partial(calls.run, call, loads.seconds))
        for call in requests.values()
    ]
    measured = measure(points, loads.repeats, most_seconds=loads.most_seconds)
    best = 0
    for place, latency in enumerate(measured):
        if latency.p50_ms < measured[best].p50_ms * _CLEARLY:
            best = place
    return tuple(
        Candidate(
            settings=settings,
            p50_ms=latency.p50_ms,
            throughput=latency.throughput,
            chosen=place == best,
        )
        for place, (settings, latency) in enumerate(zip(requests, measured, strict=True))
    )
