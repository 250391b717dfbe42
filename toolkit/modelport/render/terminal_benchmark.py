"""A benchmark for the terminal; legible without colour too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.console import Group as Stack
from rich.panel import Panel

from modelport.render import facts, figures, loads
from modelport.render.terminal_layout import columns, pairs, text, titled

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from modelport.reports import Benchmark, Latency

_BAR = 20  # columns of the longest bar


def benchmark_renderable(benchmark: Benchmark) -> RenderableType:
    """Return the benchmark for `show`, good from 80 columns on."""
    parts = [_head(benchmark)]
    parts += [text(f"! {told}", "yellow") for told in loads.warnings(benchmark)]
    note = loads.ceiling_note(benchmark)
    parts.append(titled("Latency, ms", _latencies(loads.in_order(benchmark))))
    parts.append(titled("Throughput", _throughputs(loads.in_order(benchmark)), note))
    if benchmark.candidates:
        parts.append(titled("ONNX Runtime settings", _settings(benchmark), "one row, one caller"))
    if shown := loads.footprint_facts(benchmark):
        parts.append(titled("Footprint", pairs(shown)))
    return Stack(*parts)


def _head(benchmark: Benchmark) -> RenderableType:
    lines = [text("Benchmark", "bold"), text(loads.title(benchmark), "dim")]
    return Panel(Stack(*lines), box=box.ROUNDED)


def _latencies(measured: tuple[Latency, ...]) -> Table:
    table = columns("load", "p50", "p90", "p95", "p99", "max")
    for one in measured:
        times = (one.p50_ms, one.p90_ms, one.p95_ms, one.p99_ms, one.max_ms)
        table.add_row(text(loads.label(one)), *(figures.significant(ms) for ms in times))
    return table


def _throughputs(measured: tuple[Latency, ...]) -> Table:
    most = max(one.rows_per_second for one in measured)
    table = columns("load", "requests/s", "rows/s", "spread", "")
    table.columns[-1].justify = "left"
    for one in measured:
        drawn = text(figures.bar(one.rows_per_second / most, _BAR), "blue")
        table.add_row(text(loads.label(one)), *loads.cells(one)[-3:], drawn)
    return table


def _settings(benchmark: Benchmark) -> RenderableType:
    table = columns("settings", "p50, ms", "requests/s", "")
    for one in benchmark.candidates:
        table.add_row(
            text(facts.settings(one.settings)),
            figures.significant(one.p50_ms),
            loads.rate(one.throughput),
            "✓ chosen" if one.chosen else "",
        )
    return Stack(table, text(loads.settings_rule(benchmark), "dim"))
