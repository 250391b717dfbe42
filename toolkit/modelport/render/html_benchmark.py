"""A benchmark as HTML, and the parts of it that a release report shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelport.render import facts, figures, loads
from modelport.render.latency_plot import latency_plot
from modelport.render.layout import facts as fact_list
from modelport.render.layout import folded, fragment, part, passed, row, table
from modelport.render.markup import Html, tag

if TYPE_CHECKING:
    from collections.abc import Iterable

    from modelport.reports import Benchmark, Latency


def benchmark_html(benchmark: Benchmark) -> str:
    """Return the benchmark as one self-contained HTML fragment, for light and dark themes."""
    parts = (
        _head(benchmark),
        _warnings(benchmark),
        tiles(loads.key_figures(benchmark)),
        _plot(benchmark),
        _loads(benchmark),
        _settings(benchmark),
        _footprints(benchmark),
    )
    return fragment(f"Benchmark of {benchmark.target}", *parts)


def tiles(shown: Iterable[facts.Fact]) -> Html | None:
    """Return (figure, caption) pairs in large type."""
    found = [tag("div", tag("dt", caption), tag("dd", figure)) for figure, caption in shown]
    return tag("dl", *found, class_="mp-figures") if found else None


def loads_table(measured: Iterable[Latency], label: str) -> Html:
    """Return the figures of loads, a row each."""
    rows = (row(loads.label(one), *loads.cells(one)) for one in measured)
    return table(("load", *loads.HEADER), rows, label)


def settings_table(benchmark: Benchmark) -> Html:
    """Return the ONNX Runtime settings that were tried, and what was not."""
    rows = (
        row(
            facts.settings(one.settings),
            figures.significant(one.p50_ms),
            loads.rate(one.throughput),
            passed(ok=True, text="chosen") if one.chosen else None,
        )
        for one in benchmark.candidates
    )
    whole = table(("settings", "p50, ms", "requests/s", ""), rows, "Settings that were tried")
    rule = loads.settings_rule(benchmark)
    return tag("div", whole, tag("p", rule, class_="mp-soft"))


def candidates(benchmark: Benchmark | None) -> Html | None:
    """Return the settings that were tried, behind a line that opens them."""
    if benchmark is None or not benchmark.candidates:
        return None
    return folded("Settings that were tried", settings_table(benchmark))


def _head(benchmark: Benchmark) -> Html:
    heading = tag("div", tag("b", "Benchmark"), class_="mp-outcome", role="heading", aria_level="2")
    subtitle = tag("div", loads.title(benchmark), class_="mp-soft")
    return tag("div", heading, subtitle, class_="mp-head mp-good")


def _warnings(benchmark: Benchmark) -> Html | None:
    found = loads.warnings(benchmark)
    if not found:
        return None
    return tag("div", *(tag("p", told) for told in found), class_="mp-alert", role="note")


def _plot(benchmark: Benchmark) -> Html | None:
    drawn = latency_plot(benchmark)
    return part("Latency over throughput", drawn) if drawn else None


def _loads(benchmark: Benchmark) -> Html:
    whole = loads_table(loads.in_order(benchmark), "Latency and throughput of every load")
    return part("Loads", whole, note=loads.ceiling_note(benchmark))


def _settings(benchmark: Benchmark) -> Html | None:
    if not benchmark.candidates:
        return None
    return part("ONNX Runtime settings", settings_table(benchmark), note="one row, one caller")


def _footprints(benchmark: Benchmark) -> Html | None:
    shown = loads.footprint_facts(benchmark)
    return part("Footprint", fact_list(shown)) if shown else None
