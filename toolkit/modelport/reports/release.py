"""The rest of a release: scores, gates, deployment, and everything together."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from modelport.reports.base import Record, Report, Subject
from modelport.reports.benchmark import Benchmark, Latency
from modelport.reports.certificate import Certificate
from modelport.reports.conversion import Conversion, Resolution
from modelport.reports.explanation import Explanation

StepState = Literal["waiting", "running", "done", "failed", "skipped"]


class Evaluation(Report):
    """Step 4: the task's own metrics on labelled rows, for each subject that was measured."""

    measured: bool
    reason: str | None = None
    task: Literal["classification", "regression", "unknown"] = "unknown"
    rows: int = 0
    metrics: dict[Subject, dict[str, float]] = Field(default_factory=dict)


class Registration(Report):
    """Step 7: where MLflow keeps the release and its model version.

    `run_url` is the run's page; a store that is no server has none, but has `view_command`,
    which starts one.
    """

    run_id: str
    run_url: str | None
    view_command: str | None = None
    model_uri: str


class Verdict(Record):
    """One gate, judged before the deployment or on the live endpoint."""

    gate: str
    metric: str
    stage: Literal["before", "live"]
    measured: str | None
    passed: bool
    reason: str


class Gates(Report):
    """Step 8: every gate with its verdict. No gate is a pass."""

    verdicts: tuple[Verdict, ...] = ()

    @property
    def passed(self) -> bool:
        """True when every verdict is."""
        return all(verdict.passed for verdict in self.verdicts)


class Deployment(Report):
    """Step 9: the InferenceService that took the model.

    `previous` is the manifest that it replaced, to go back to.
    """

    service: str
    namespace: str
    revision: str
    url: str
    target: str
    ready_seconds: float
    previous: dict[str, Any] | None = None


class Verification(Report):
    """Step 10: the live endpoint's answers, compared with the certified ones.

    `example` is the first row as it was sent: a V1 instance that works in a curl line.
    """

    rows: int
    rows_differing: int = 0
    max_abs_difference: float
    label_flips: int
    latencies: tuple[Latency, ...]
    metrics: dict[str, float] = Field(default_factory=dict)
    verdicts: tuple[Verdict, ...] = ()
    example: dict[str, Any] | list[Any] | None = None

    @property
    def passed(self) -> bool:
        """True when every live gate is met."""
        return all(verdict.passed for verdict in self.verdicts)


class Dossier(Report):
    """What is known of a release once MLflow keeps it: the ground for gate and deployment."""

    release_id: str
    model: str
    service: str
    namespace: str
    started_at: str
    resolution: Resolution
    conversion: Conversion
    certificate: Certificate
    evaluation: Evaluation
    benchmark: Benchmark
    explanation: Explanation
    registration: Registration

    @property
    def subject(self) -> Literal["native", "converted"]:
        """Which of the two models is served."""
        return "converted" if self.conversion.converted else "native"


class StepRecord(Record):
    """How one step of the release went."""

    name: str
    state: StepState
    seconds: float | None = None
    message: str = ""


class ReleaseReport(Report):
    """Everything about one release: what the cell shows.

    MLflow keeps it as `report.json`, which a step writes before the release is over: there it
    has neither steps nor the time that all took.
    """

    release_id: str
    model: str
    service: str
    namespace: str
    started_at: str
    seconds: float
    outcome: Literal["deployed", "stopped", "failed", "interrupted"]
    error: str | None = None
    steps: tuple[StepRecord, ...] = ()
    resolution: Resolution | None = None
    conversion: Conversion | None = None
    certificate: Certificate | None = None
    evaluation: Evaluation | None = None
    benchmark: Benchmark | None = None
    explanation: Explanation | None = None
    registration: Registration | None = None
    gates: Gates | None = None
    deployment: Deployment | None = None
    verification: Verification | None = None
