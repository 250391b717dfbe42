"""What a release report says, in words: one source for the notebook and the terminal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from modelport.render import figures
from modelport.render.comparison import SUBJECTS, main_latencies, metrics

if TYPE_CHECKING:
    from collections.abc import Iterable

    from modelport.reports import (
        Certificate,
        Conversion,
        Explanation,
        Feature,
        PrecisionCandidate,
        ReleaseReport,
        RuntimeSettings,
        StepRecord,
        StepState,
        Verdict,
        Verification,
    )

Tone = Literal["good", "bad"]
Fact = tuple[str, str]

TOP_FEATURES = 10
PRECISION_HEADER = ("precision", "p50, ms", "size", "verdict")
MARKS: dict[StepState, str] = {
    "waiting": "·",
    "running": "▸",
    "done": "✓",
    "failed": "✗",
    "skipped": "-",
}


@dataclass(frozen=True)
class Headline:
    """The outcome in a few words, and how good it is."""

    outcome: str
    tone: Tone


@dataclass(frozen=True)
class GateRow:
    """One gate with its verdict before the deployment and its verdict on the live endpoint."""

    gate: str
    before: Verdict | None = None
    live: Verdict | None = None


def headline(report: ReleaseReport) -> Headline:
    """Say how the release ended and, if it did not deploy, what ended it."""
    if report.outcome == "deployed":
        return Headline("Deployed", "good")
    cause = _stopped_by(report) if report.outcome == "stopped" else None
    if cause:
        return Headline(f"Stopped by {cause}", "bad")
    last = next((step.name for step in report.steps if step.state == "failed"), None)
    word = report.outcome.capitalize()
    return Headline(f"{word} in step {last}" if last else word, "bad")


def _stopped_by(report: ReleaseReport) -> str | None:
    failed = failed_verdicts(report)
    if failed:
        more = f" and {len(failed) - 1} more" if failed[1:] else ""
        return f"gate {failed[0].gate}{more}"
    if report.certificate and not report.certificate.passed:
        return "the certificate"
    return None


def failed_verdicts(report: ReleaseReport) -> tuple[Verdict, ...]:
    """Return the verdicts that ended the release, those before the deployment first."""
    return tuple(verdict for verdict in _verdicts(report) if not verdict.passed)


def untold_verdicts(report: ReleaseReport) -> tuple[Verdict, ...]:
    """Return the failed verdicts of which the report's error does not tell already."""
    told = report.error or ""
    return tuple(verdict for verdict in failed_verdicts(report) if verdict.gate not in told)


def _verdicts(report: ReleaseReport) -> tuple[Verdict, ...]:
    before = report.gates.verdicts if report.gates else ()
    return before + (report.verification.verdicts if report.verification else ())


def gate_rows(report: ReleaseReport) -> tuple[GateRow, ...]:
    """Return one row per gate, in the order in which the gates were given."""
    by_gate: dict[str, dict[str, Verdict]] = {}
    for verdict in _verdicts(report):
        by_gate.setdefault(verdict.gate, {})[verdict.stage] = verdict
    return tuple(
        GateRow(gate, before=found.get("before"), live=found.get("live"))
        for gate, found in by_gate.items()
    )


def keeps_serving(report: ReleaseReport) -> str | None:
    """Say what an unfinished release leaves behind; None for one that deployed."""
    if report.outcome == "deployed":
        return None
    return f"Nothing changed for callers: what {report.service} served before, it serves still."


def subtitle(report: ReleaseReport) -> str:
    """Return `models:/churn/3 -> churn-00002 in default, 9.4 s`, with an arrow."""
    model = report.resolution.uri if report.resolution else report.model
    deployed = report.deployment if report.outcome == "deployed" else None
    revision = f" → {deployed.revision}" if deployed else ""
    took = f" · {figures.seconds(report.seconds)}" if report.seconds else ""
    return f"{model}{revision} · namespace {report.namespace}{took}"


def key_figures(report: ReleaseReport) -> tuple[Fact, ...]:
    """Return the few figures worth a large type, as (figure, caption); only measured ones."""
    return tuple(
        fact
        for fact in (
            _live_latency(report),
            _speed_up(report),
            _main_metric(report),
            _parity(report.certificate),
        )
        if fact
    )


def _live_latency(report: ReleaseReport) -> Fact | None:
    live = main_latencies(report).get("live")
    return (f"{figures.significant(live.p99_ms)} ms", "live p99") if live else None


def _speed_up(report: ReleaseReport) -> Fact | None:
    found = main_latencies(report)
    if "native" not in found or "converted" not in found:
        return None
    said = figures.change(found["native"].p50_ms, found["converted"].p50_ms, "faster", "slower")
    ratio, _, word = said.partition(" ")
    return (ratio, f"{word} than native, p50") if word else None


def _main_metric(report: ReleaseReport) -> Fact | None:
    measured = metrics(report)
    subject = next((one for one in reversed(SUBJECTS) if measured.get(one)), None)
    if subject is None:
        return None
    own = measured[subject]
    name = "accuracy" if "accuracy" in own else next(iter(own))
    return figures.metric(own[name]), f"{name.replace('_', ' ')}, {subject}"


def _parity(certificate: Certificate | None) -> Fact | None:
    if certificate is None or certificate.verdict == "not applicable":
        return None
    rows = figures.count(certificate.rows_compared, "row")
    return figures.difference(certificate.max_abs_difference), f"largest difference, {rows}"


def served_how(conversion: Conversion) -> str:
    """Say in which form the model is served, and why when it is not ONNX."""
    if conversion.converted:
        narrowed = "" if conversion.precision == "float32" else f"{conversion.precision}, "
        opset = f" ({narrowed}opset {conversion.opset})" if conversion.opset else ""
        by = f" by {conversion.converter}" if conversion.converter else ""
        size = f", {figures.size(conversion.size_bytes)}" if conversion.size_bytes else ""
        return f"ONNX{opset}, converted from {conversion.flavour}{by}{size}"
    reason = (conversion.reason or "no converter takes it").rstrip(". ")
    return (
        f"its own {conversion.flavour} flavour because {reason}; pickle is allowed for this service"
    )


def serving_facts(report: ReleaseReport) -> tuple[Fact, ...]:
    """Return how and where the model is served, as (name, value) pairs."""
    conversion, found = report.conversion, []
    if conversion:
        name = "served as" if report.outcome == "deployed" else "to be served as"
        found.append((name, served_how(conversion)))
    if conversion and conversion.libraries:
        by_name = (f"{name} {version}" for name, version in conversion.libraries.items())
        found.append(("converted with", ", ".join(by_name)))
    if conversion and conversion.converted and report.benchmark:
        found.append(("ONNX Runtime", settings(report.benchmark.settings)))
    if report.deployment and report.outcome == "deployed":
        ready = figures.seconds(report.deployment.ready_seconds)
        found.append(("target", f"{report.deployment.target}, ready after {ready}"))
    if report.verification:
        found.append(("live answers", _replayed(report.verification)))
    return tuple(found)


def precisions(report: ReleaseReport) -> tuple[PrecisionCandidate, ...]:
    """Return the precisions that were tried, where there was a choice."""
    return report.conversion.precisions if report.conversion else ()


def precision_cells(one: PrecisionCandidate) -> tuple[str, ...]:
    """Return a tried precision's cells, under `PRECISION_HEADER`."""
    mark = "✓" if one.passed else "✗"
    return (
        one.precision,
        figures.NOTHING if one.p50_ms is None else figures.significant(one.p50_ms),
        figures.size(one.size_bytes) if one.size_bytes else figures.NOTHING,
        f"{mark} {'chosen: ' if one.chosen else ''}{one.reason}",
    )


def _replayed(live: Verification) -> str:
    differing = f"{live.rows_differing:,} differ" if live.rows_differing else "none differs"
    flips = figures.count(live.label_flips, "label flip")
    largest = figures.difference(live.max_abs_difference)
    rows = figures.count(live.rows, "row")
    return f"{rows} replayed, {differing}, {flips}, largest difference {largest}"


def step_time(step: StepRecord) -> str:
    """Return a step's time, after its state unless it is done: `1.8 s`, `failed, 0.4 s`."""
    time = "" if step.seconds is None else figures.seconds(step.seconds)
    return ", ".join(filter(None, ("" if step.state == "done" else step.state, time)))


def settings(chosen: RuntimeSettings) -> str:
    """Return ONNX Runtime's session options in one line, under their own names."""
    return (
        f"intra_op_num_threads {chosen.intra_op_num_threads} · "
        f"inter_op_num_threads {chosen.inter_op_num_threads} · {chosen.execution_mode}"
    )


def top_features(explanation: Explanation) -> tuple[Feature, ...]:
    """Return the most important features, largest first."""
    ranked = sorted(explanation.features, key=lambda one: one.importance, reverse=True)
    return tuple(ranked[:TOP_FEATURES])


def explanation_facts(explanation: Explanation) -> tuple[Fact, ...]:
    """Return what the SHAP values rest on, as (name, value) pairs."""
    base, residual = explanation.base_value, explanation.residual
    facts = (
        ("method", explanation.method),
        ("output", explanation.output),
        ("explained", explanation.sampled or figures.count(explanation.rows, "row")),
        ("base value", None if base is None else figures.significant(base)),
        ("additivity residual", None if residual is None else figures.difference(residual)),
    )
    return tuple((name, value) for name, value in facts if value)


def rest_of_features(explanation: Explanation) -> str:
    """Say how many features the plot leaves out; empty when it shows all."""
    left = len(explanation.features) - TOP_FEATURES
    return f"{figures.count(left, 'more feature')}, each less important" if left > 0 else ""


def joined(facts: Iterable[Fact]) -> str:
    """Return facts as one line: `rows 200 · base value 0.37`."""
    return " · ".join(f"{name} {value}" for name, value in facts)
