"""The table that sets the native, the converted and the live model side by side."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from modelport.render import figures

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from modelport.reports import Footprint, Latency, ReleaseReport, Subject

SUBJECTS: tuple[Subject, ...] = ("native", "converted", "live")


@dataclass(frozen=True)
class Line:
    """One quantity for every subject that has it, and its change from native to converted."""

    name: str
    values: Mapping[Subject, str]
    change: str = ""


@dataclass(frozen=True)
class Group:
    """Lines of one kind. `note` stands in their place, or explains them."""

    title: str
    lines: tuple[Line, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Comparison:
    """The whole table.

    `loads` says under which load each subject's latency was measured; it is empty where one
    load holds for all and the latency's note says so.
    """

    subjects: tuple[Subject, ...]
    groups: tuple[Group, ...]
    loads: Mapping[Subject, str] = field(default_factory=dict)
    other_loads: tuple[Latency, ...] = ()

    @property
    def has_changes(self) -> bool:
        """True when there is a native and a converted value to compare."""
        return any(line.change for group in self.groups for line in group.lines)


def compare(report: ReleaseReport) -> Comparison:
    """Set side by side what the release measured; nothing is filled in."""
    latencies = _latencies(report)
    main = main_latencies(report)
    footprints = report.benchmark.footprints if report.benchmark else {}
    loads = {subject: load(latency) for subject, latency in main.items()}
    common = len(set(loads.values())) == 1
    note = next(iter(loads.values())) if common else ""
    groups = (_accuracy(report), _latency(main, note), _footprint(footprints))
    shown = {subject for group in groups for line in group.lines for subject in line.values}
    return Comparison(
        subjects=tuple(subject for subject in SUBJECTS if subject in shown),
        groups=groups,
        loads={} if common else loads,
        other_loads=tuple(one for one in latencies if one is not main[one.subject]),
    )


def main_latencies(report: ReleaseReport) -> dict[Subject, Latency]:
    """Return each subject's latency under its lightest load: fewest rows, fewest callers."""
    latencies = _latencies(report)
    found = {}
    for subject in SUBJECTS:
        own = [latency for latency in latencies if latency.subject == subject]
        if own:
            found[subject] = min(own, key=lambda one: (one.batch_size, one.concurrency))
    return found


def metrics(report: ReleaseReport) -> dict[Subject, dict[str, float]]:
    """Return the metrics of every subject; the live ones come from the verification."""
    measured = dict(report.evaluation.metrics) if report.evaluation else {}
    if report.verification and report.verification.metrics:
        measured["live"] = report.verification.metrics
    return measured


def load(latency: Latency) -> str:
    """Return the load as `1 row x 1 caller`, with a multiplication sign."""
    rows = figures.count(latency.batch_size, "row")
    return f"{rows} {figures.TIMES} {figures.count(latency.concurrency, 'caller')}"


def _latencies(report: ReleaseReport) -> tuple[Latency, ...]:
    before = report.benchmark.measurements if report.benchmark else ()
    return before + (report.verification.latencies if report.verification else ())


def _accuracy(report: ReleaseReport) -> Group:
    evaluation = report.evaluation
    if evaluation is None:
        return Group("Accuracy", note="not measured: the release did not get that far")
    if not evaluation.measured:
        return Group("Accuracy", note=f"not measured: {evaluation.reason or 'no reason given'}")
    measured = metrics(report)
    names = dict.fromkeys(name for values in measured.values() for name in values)
    rows = figures.count(evaluation.rows, "labelled row")
    return Group("Accuracy", tuple(_metric(name, measured) for name in names), note=rows)


def _metric(name: str, measured: Mapping[Subject, Mapping[str, float]]) -> Line:
    values = {subject: own[name] for subject, own in measured.items() if name in own}
    shown = {subject: figures.metric(value) for subject, value in values.items()}
    return Line(name.replace("_", " "), shown, _between(values, figures.shift))


def _latency(main: Mapping[Subject, Latency], note: str) -> Group:
    if not main:
        return Group("Latency", note="not measured: the release did not get that far")
    percentiles = tuple(
        _line(f"{name}, ms", {subject: getattr(one, f"{name}_ms") for subject, one in main.items()})
        for name in ("p50", "p95", "p99")
    )
    throughput = {subject: one.throughput for subject, one in main.items()}
    return Group("Latency", (*percentiles, _line_more("requests/s", throughput)), note)


def _footprint(footprints: Mapping[Subject, Footprint]) -> Group:
    loading = {subject: one.load_seconds for subject, one in footprints.items()}
    memory = {subject: one.memory_bytes for subject, one in footprints.items()}
    if not footprints:
        return Group("Footprint")
    return Group(
        "Footprint",
        (
            Line("load time", _shown(loading, figures.seconds), _between(loading, _faster)),
            Line("memory", _shown(memory, _growth), _between(memory, _smaller)),
        ),
    )


def _growth(size: float) -> str:
    """Show the growth of resident memory; a small model may fit into pages that were there."""
    return figures.size(size) if size else "no growth"


def _line(name: str, values: Mapping[Subject, float]) -> Line:
    return Line(name, _shown(values, figures.significant), _between(values, _faster))


def _line_more(name: str, values: Mapping[Subject, float]) -> Line:
    return Line(name, _shown(values, figures.significant), _between(values, _more))


def _shown(values: Mapping[Subject, float], show: Callable[[float], str]) -> dict[Subject, str]:
    return {subject: show(value) for subject, value in values.items()}


def _between(values: Mapping[Subject, float], say: Callable[[float, float], str]) -> str:
    if "native" in values and "converted" in values:
        return say(values["native"], values["converted"])
    return ""


def _faster(before: float, after: float) -> str:
    return figures.change(before, after, "faster", "slower")


def _smaller(before: float, after: float) -> str:
    return figures.change(before, after, "smaller", "larger")


def _more(before: float, after: float) -> str:
    return figures.change(after, before, "more", "fewer")
