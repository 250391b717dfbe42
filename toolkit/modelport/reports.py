"""The typed, versioned records that the steps of a release exchange and MLflow keeps.

Every record is one JSON file. Times are seconds unless the name says `_ms`; sizes are bytes.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

SCHEMA_VERSION: Literal[1] = 1

Subject = Literal["native", "converted", "live"]
StepState = Literal["waiting", "running", "done", "failed", "skipped"]


class Record(BaseModel):
    """A part of a report: frozen, and strict about unknown fields."""

    # JSON has no infinity, which is what a missing output differs by: it is written as text.
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class Report(Record):
    """A record that travels between steps as a file of its own."""

    schema_version: Literal[1] = SCHEMA_VERSION

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read a report; `pydantic.ValidationError` when it is of another kind or version."""
        return cls.model_validate_json(Path(path).read_bytes())

    def write(self, path: str | Path) -> None:
        """Write the report whole or not at all: to a temporary file, then renamed."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.{os.getpid()}")
        partial.write_text(self.model_dump_json(indent=2))
        partial.replace(target)


class Column(Record):
    """One input or output as the MLflow signature names it.

    `type` is MLflow's own word (double, long, string, tensor(float32), ...);
    `shape` is set for tensors only, -1 for a variable dimension.
    """

    name: str | None
    type: str
    required: bool = True
    shape: tuple[int, ...] | None = None


class Resolution(Report):
    """Step 1: which model this release carries.

    `uri` is pinned to a version (`models:/churn/3`), whatever alias was asked for.
    """

    source: str
    uri: str
    name: str | None = None
    version: str | None = None
    run_id: str | None = None
    flavour: str
    inputs: tuple[Column, ...] = ()
    outputs: tuple[Column, ...] = ()
    has_input_example: bool = False


class Tensor(Record):
    """An input or output of an ONNX graph, with the Open Inference Protocol's datatype."""

    name: str
    datatype: str
    shape: tuple[int, ...]


class Conversion(Report):
    """Step 2: the model as ONNX, or why it stays in its own flavour."""

    converted: bool
    flavour: str
    reason: str | None = None
    converter: str | None = None
    opset: int | None = None
    libraries: dict[str, str] = Field(default_factory=dict)
    inputs: tuple[Tensor, ...] = ()
    outputs: tuple[Tensor, ...] = ()
    size_bytes: int = 0


class WorstRow(Record):
    """A row on which native and converted model differ most."""

    row: int
    origin: str
    native: str
    converted: str
    difference: float


class Certificate(Report):
    """Step 3: the parity record of a conversion.

    Differences compare every numeric output, element by element. A label flip is a row
    whose label differs. The relative difference leaves out native values of at most
    `tolerance_abs`. `rows` counts by origin (data, input example, synthetic).
    """

    verdict: Literal["passed", "failed", "not applicable"]
    reason: str
    rows: dict[str, int] = Field(default_factory=dict)
    max_abs_difference: float = 0.0
    max_rel_difference: float = 0.0
    p999_abs_difference: float = 0.0
    label_flips: int = 0
    batch_sizes: tuple[int, ...] = ()
    tolerance_abs: float = 0.0
    tolerance_rel: float = 0.0
    tolerance_reason: str = ""
    worst: tuple[WorstRow, ...] = ()

    @property
    def passed(self) -> bool:
        """True unless native and converted model were seen to differ."""
        return self.verdict != "failed"

    @property
    def rows_compared(self) -> int:
        """All rows that both models answered."""
        return sum(self.rows.values())


class Evaluation(Report):
    """Step 4: the task's own metrics on labelled rows, for each subject that was measured."""

    measured: bool
    reason: str | None = None
    task: Literal["classification", "regression", "unknown"] = "unknown"
    rows: int = 0
    metrics: dict[Subject, dict[str, float]] = Field(default_factory=dict)


class Latency(Record):
    """One measured load: `concurrency` callers, each request `batch_size` rows.

    `throughput` counts requests per second with every caller busy.
    """

    subject: Subject
    batch_size: int
    concurrency: int
    requests: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    throughput: float


class RuntimeSettings(Record):
    """The ONNX Runtime session options that a deployment gets."""

    intra_op_num_threads: int = 1
    inter_op_num_threads: int = 1
    execution_mode: Literal["sequential", "parallel"] = "sequential"


class Candidate(Record):
    """One line of the table from which the settings were chosen."""

    settings: RuntimeSettings
    p50_ms: float
    chosen: bool


class Footprint(Record):
    """What loading a model costs. `memory_bytes` is the growth of resident memory."""

    load_seconds: float
    memory_bytes: int


class Benchmark(Report):
    """Step 5: latency and throughput in process, native against converted."""

    measurements: tuple[Latency, ...] = ()
    footprints: dict[Subject, Footprint] = Field(default_factory=dict)
    settings: RuntimeSettings = RuntimeSettings()
    candidates: tuple[Candidate, ...] = ()

    def of(self, subject: Subject, batch_size: int = 1) -> Latency | None:
        """Return the measurement of one subject at one batch size, if there is one."""
        return next(
            (m for m in self.measurements if m.subject == subject and m.batch_size == batch_size),
            None,
        )


class Feature(Record):
    """A feature's global importance: the mean absolute SHAP value, in the output's unit."""

    name: str
    importance: float


class Explanation(Report):
    """Step 6: what the model's answers rest on.

    `residual` is the largest violation of additivity: |base + sum(values) - output|.
    """

    explained: bool
    reason: str | None = None
    method: str | None = None
    output: str | None = None
    rows: int = 0
    base_value: float | None = None
    residual: float | None = None
    features: tuple[Feature, ...] = ()


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
