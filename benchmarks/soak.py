"""Half the peak for minutes: whether memory and latency stay as they are."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

from benchmarks import models, protocols
from benchmarks.load import at_rate, measure
from benchmarks.progress import say
from benchmarks.runtime import modelport
from benchmarks.servers import ask

_CONNECTIONS = 16
_PEAK_SECONDS = 3
_GROWTH = 1.05
"""Memory that is larger at the end than a third of the way in, by more, is not flat."""
_SLOWER = 1.5
"""The same for p99, which an idle machine's own noise moves by a fifth or so."""


def run(seconds: int = 600, window: int = 30) -> dict[str, Any]:
    """Send V2 JSON at half the peak; memory and p99 are read once per window."""
    forest = models.forest()
    request = protocols.v2(forest)
    windows: list[dict[str, float]] = []
    with modelport(forest.onnx, request) as (server, port):
        measure(port, request, _CONNECTIONS, 1)
        peak = measure(port, request, _CONNECTIONS, min(window, _PEAK_SECONDS)).per_second
        count = math.ceil(seconds / window)
        for number in range(count):
            load = at_rate(port, request, _CONNECTIONS, window, peak / 2)
            seen = {
                "per_second": load.per_second,
                "p99_ms": load.p99_ms,
                "memory_mb": server.resident_mb(),
            }
            windows.append(seen)
            say(
                f"  Window {number + 1} of {count}: {seen['per_second']:,.0f} requests/s, "
                f"p99 {seen['p99_ms']:.2f} ms, {seen['memory_mb']:.1f} MB"
            )
        ask(port, request)
    return {"seconds": seconds, "peak_per_second": peak, "windows": windows, **verdict(windows)}


def verdict(windows: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Compare the last third of the windows with the third before; the first is warming up."""
    third = max(1, len(windows) // 3)
    before, after = windows[-2 * third : -third] or windows[:third], windows[-third:]
    growth = _ratio("memory_mb", before, after)
    slower = _ratio("p99_ms", before, after)
    return {
        "memory_growth": growth,
        "p99_growth": slower,
        "flat": growth <= _GROWTH and slower <= _SLOWER,
    }


def describe(result: dict[str, Any]) -> str:
    """Return the Markdown of a result."""
    first, last = result["windows"][0], result["windows"][-1]
    return (
        f"{result['seconds'] / 60:.0f} minutes at half the peak "
        f"({result['peak_per_second'] / 2:,.0f} req/s): memory {first['memory_mb']:.0f} MB in the "
        f"first window and {last['memory_mb']:.0f} MB in the last, p99 {first['p99_ms']:.2f} ms "
        f"and {last['p99_ms']:.2f} ms: {'flat' if result['flat'] else 'not flat'}."
    )


def _ratio(
    figure: str, before: Sequence[dict[str, float]], after: Sequence[dict[str, float]]
) -> float:
    medians = [statistics.median(one[figure] for one in part) for part in (before, after)]
    return medians[1] / medians[0]
