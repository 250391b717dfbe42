"""A benchmark in words and figures: one source for the notebook and the terminal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelport.render import figures
from modelport.render.comparison import SUBJECTS, load

if TYPE_CHECKING:
    from modelport.render.facts import Fact
    from modelport.reports import Benchmark, Latency, Subject

HEADER = (
    *("p50, ms", "p90, ms", "p95, ms", "p99, ms", "max, ms"),
    *("requests/s", "rows/s", "spread"),
)
_NOISY = 0.25


@dataclass(frozen=True)
class Series:
    """The loads of one subject with one batch size, by concurrency.

    `subject` and `batch` count from 0, over the subjects and batch sizes there are.
    """

    name: str
    subject: int
    batch: int
    loads: tuple[Latency, ...]


def title(benchmark: Benchmark) -> str:
    """Say what was measured, and how."""
    how = f"over HTTP, {benchmark.protocol.upper()}" if benchmark.protocol else "in process"
    return f"{benchmark.target} · {how}"


def in_order(benchmark: Benchmark) -> tuple[Latency, ...]:
    """Return the measurements by subject, batch size and concurrency."""
    return tuple(
        sorted(
            benchmark.measurements,
            key=lambda one: (SUBJECTS.index(one.subject), one.batch_size, one.concurrency),
        )
    )


def cells(one: Latency) -> tuple[str, ...]:
    """Return a load's figures, for the columns of `HEADER`."""
    times = (one.p50_ms, one.p90_ms, one.p95_ms, one.p99_ms, one.max_ms)
    spread = figures.NOTHING if one.spread is None else f"{one.spread:.0%}"
    return (
        *(figures.significant(ms) for ms in times),
        rate(one.throughput),
        rate(one.rows_per_second),
        spread,
    )


def rate(per_second: float) -> str:
    """Return a throughput with no more digits than it deserves: `14,200`, `92.1`."""
    return (
        f"{round(per_second, -2):,.0f}" if per_second >= 10_000 else figures.significant(per_second)
    )


def label(one: Latency) -> str:
    """Name a load with its subject."""
    return f"{one.subject}, {load(one)}"


def series(benchmark: Benchmark) -> tuple[Series, ...]:
    """Return the curves of latency over throughput."""
    ordered = in_order(benchmark)
    subjects = list(dict.fromkeys(one.subject for one in ordered))
    sizes = sorted({one.batch_size for one in ordered})
    found = []
    for subject in subjects:
        for size in sizes:
            own = tuple(o for o in ordered if (o.subject, o.batch_size) == (subject, size))
            name = f"{subject}, {figures.count(size, 'row')} a request"
            found.append(Series(name, subjects.index(subject), sizes.index(size), own))
    return tuple(one for one in found if one.loads)


def key_figures(benchmark: Benchmark) -> tuple[Fact, ...]:
    """Return the few figures worth a large type, as (figure, caption)."""
    ordered = in_order(benchmark)
    if not ordered:
        return ()
    subject = ordered[-1].subject  # what is served, where there are two
    own = [one for one in ordered if one.subject == subject]
    fastest = max(own, key=lambda one: one.throughput)
    most_rows = max(own, key=lambda one: one.rows_per_second)
    facts = [
        (f"{figures.significant(own[0].p50_ms)} ms", f"p50, {load(own[0])}"),
        (f"{figures.significant(own[0].p99_ms)} ms", f"p99, {load(own[0])}"),
        (f"{rate(fastest.throughput)}/s", f"requests, {load(fastest)}"),
    ]
    if most_rows is not fastest:
        facts.append((f"{rate(most_rows.rows_per_second)}/s", f"rows, {load(most_rows)}"))
    faster = _than_native(ordered[0], own[0])
    return (faster, *facts) if faster else tuple(facts)


def _than_native(native: Latency, converted: Latency) -> Fact | None:
    if native.subject == converted.subject:
        return None
    said = figures.change(native.p50_ms, converted.p50_ms, "faster", "slower")
    ratio, _, word = said.partition(" ")
    return (ratio, f"{word} than native, p50") if word else None


def footprint_facts(benchmark: Benchmark) -> tuple[Fact, ...]:
    """Return load time and memory of every subject, and the best batch size."""
    found = []
    for subject, one in benchmark.footprints.items():
        memory = figures.size(one.memory_bytes) if one.memory_bytes else "no growth of memory"
        loading = figures.seconds(one.load_seconds)
        found.append((f"{subject} model", f"loads in {loading}, {memory}{_held_by(subject)}"))
    if benchmark.best_batch_size is not None:
        rows = figures.count(benchmark.best_batch_size, "row")
        found.append(("best batch", f"{rows} a request: most rows a second with one caller"))
    return tuple(found)


def _held_by(subject: Subject) -> str:
    return " held by its processes" if subject == "live" else ""


def warnings(benchmark: Benchmark) -> tuple[str, ...]:
    """Return what keeps the figures from being taken at their word."""
    measured = in_order(benchmark)
    return tuple(
        told
        for told in (_failures(measured), _ceiling(measured), _noise(measured), benchmark.note)
        if told
    )


def _failures(measured: tuple[Latency, ...]) -> str:
    failed = [one for one in measured if one.failures]
    if not failed:
        return ""
    counted = figures.count(sum(one.failures for one in failed), "request")
    return f"{counted} failed, at {load(failed[0])} first: {failed[0].first_error}"


def _ceiling(measured: tuple[Latency, ...]) -> str:
    near = [one for one in measured if one.near_ceiling]
    if not near:
        return ""
    worst = max(near, key=lambda one: one.throughput / (one.ceiling or 1.0))
    return (
        f"the load generator is near its own ceiling at {figures.count(len(near), 'load')}, so the "
        f"endpoint may be faster than shown: {rate(worst.throughput)} of "
        f"{rate(worst.ceiling or 0.0)} requests/s at {load(worst)}"
    )


def _noise(measured: tuple[Latency, ...]) -> str:
    noisy = [one for one in measured if (one.spread or 0.0) > _NOISY]
    if not noisy:
        return ""
    worst = max(noisy, key=lambda one: one.spread or 0.0)
    return (
        f"a noisy machine: at {len(noisy)} of {figures.count(len(measured), 'load')} the rounds "
        f"differ by more than {_NOISY:.0%}, most at {label(worst)}: {worst.spread:.0%}"
    )


def ceiling_note(benchmark: Benchmark) -> str:
    """Say what the load generator reaches by itself; empty for a benchmark in process."""
    ceilings = [one.ceiling for one in benchmark.measurements if one.ceiling is not None]
    if not ceilings:
        return ""
    least, most = rate(min(ceilings)), rate(max(ceilings))
    reached = least if least == most else f"{least} to {most}"
    return f"the load generator itself reaches {reached} requests/s at these loads"


def settings_rule(benchmark: Benchmark) -> str:
    """Say how the settings were chosen, and what was not tried."""
    rule = "More threads are chosen where they are 20% faster: replicas share the cores."
    return f"{rule} Not tried: {benchmark.not_tried}." if benchmark.not_tried else rule
