"""Gates: SLOs such as `p99<50ms, accuracy>=0.9`, and their verdicts."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from modelport.errors import UsageError
from modelport.reports import Evaluation, Latency, Verdict

_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_MILLISECONDS = {"us": 0.001, "µs": 0.001, "ms": 1.0, "s": 1000.0}
_LATENCIES = ("p50", "p95", "p99")
QUALITIES = ("accuracy", "f1", "roc_auc", "rmse", "mae", "r2")
_THROUGHPUT = "throughput"
_CLAUSE = re.compile(
    r"(?P<metric>[a-z][a-z0-9_]*)\s*(?P<op><=|>=|<|>)\s*(?P<bound>\d+(?:\.\d+)?)\s*(?P<unit>[a-zµ/%]*)",
    re.IGNORECASE,
)
METRICS = (*_LATENCIES, _THROUGHPUT, *QUALITIES)


@dataclass(frozen=True)
class Gate:
    """One SLO: a metric, a comparison and a bound.

    The bound's unit is milliseconds for latencies, requests per second for throughput and
    the metric's own for accuracy and its kin.
    """

    text: str
    metric: str
    comparison: str
    bound: float

    def judge(self, value: float | None, stage: Literal["before", "live"], why: str) -> Verdict:
        """Judge a measured value; what was not measured does not pass, `why` says why not."""
        if value is None:
            return self._verdict(stage, None, passed=False, reason=f"not measured: {why}")
        passed = _COMPARE[self.comparison](value, self.bound)
        return self._verdict(stage, self.show(value), passed=passed, reason=self._distance(value))

    def show(self, value: float) -> str:
        """Write a value with its unit."""
        if self.metric in _LATENCIES:
            return f"{value:.3g} ms"
        if self.metric == _THROUGHPUT:
            return f"{value:,.0f}/s"
        return f"{value:.4f}"

    def _distance(self, value: float) -> str:
        gap = value - self.bound
        side = "above" if gap > 0 else "below"
        return f"{self.show(abs(gap))} {side} the bound" if gap else "exactly at the bound"

    def _verdict(
        self, stage: Literal["before", "live"], measured: str | None, *, passed: bool, reason: str
    ) -> Verdict:
        return Verdict(
            gate=self.text,
            metric=self.metric,
            stage=stage,
            measured=measured,
            passed=passed,
            reason=reason,
        )


def parse(slo: str | None) -> tuple[Gate, ...]:
    """Parse a comma-separated list of SLOs; `UsageError` names the clause that is wrong."""
    clauses = [clause.strip() for clause in (slo or "").split(",")]
    return tuple(_gate(clause) for clause in clauses if clause)


def judge(
    gates: Sequence[Gate],
    latency: Latency | None,
    evaluation: Evaluation,
    metrics: Mapping[str, float],
    stage: Literal["before", "live"],
) -> tuple[Verdict, ...]:
    """Judge every gate on one subject's latency and quality metrics."""
    measured: dict[str, float] = dict(metrics)
    if latency is not None:
        measured |= {
            "p50": latency.p50_ms,
            "p95": latency.p95_ms,
            "p99": latency.p99_ms,
            _THROUGHPUT: latency.throughput,
        }
    return tuple(
        gate.judge(measured.get(gate.metric), stage, _why(gate.metric, evaluation))
        for gate in gates
    )


def _why(metric: str, evaluation: Evaluation) -> str:
    if metric not in QUALITIES:
        return "the benchmark did not run"
    return evaluation.reason or f"a {evaluation.task} model has no {metric}"


def _gate(clause: str) -> Gate:
    match = _CLAUSE.fullmatch(clause)
    if match is None:
        raise UsageError(f"SLO {clause!r} does not read", "write, for example, 'p99<50ms'")
    metric = match["metric"].lower()
    if metric not in METRICS:
        raise UsageError(
            f"SLO {clause!r} names no known metric", f"use one of {', '.join(METRICS)}"
        )
    return Gate(
        text=f"{metric}{match['op']}{match['bound']}{match['unit']}",
        metric=metric,
        comparison=match["op"],
        bound=float(match["bound"]) * _scale(metric, match["unit"].lower(), clause),
    )


def _scale(metric: str, unit: str, clause: str) -> float:
    if metric in _LATENCIES:
        allowed = _MILLISECONDS
        advice = "give a latency in us, ms or s, such as 'p99<50ms'"
    elif metric == _THROUGHPUT:
        allowed, advice = {"": 1.0, "/s": 1.0, "rps": 1.0}, "give throughput in requests a second"
    else:
        allowed, advice = {"": 1.0, "%": 0.01}, "give a number such as 0.9, or 90%"
    if unit not in allowed:
        raise UsageError(f"SLO {clause!r} has the wrong unit", advice)
    return allowed[unit]
