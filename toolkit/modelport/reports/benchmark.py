"""Latency, throughput and memory, and the settings that were chosen by them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from modelport.reports.base import Record, Report, Subject

_NEAR = 0.7


class Latency(Record):
    """One measured load: `concurrency` callers, each request `batch_size` rows.

    `requests` are those answered, of all rounds together, and the percentiles are theirs;
    `failures` are those that were not, or not with success, and `first_error` says why.
    `throughput` counts requests answered per second with every caller busy. `spread` is its
    range over the rounds, relative to their median; None after a single round. `ceiling` is the
    throughput that the load generator itself reaches at this load; None in process.
    """

    subject: Subject
    batch_size: int
    concurrency: int
    requests: int
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    throughput: float
    spread: float | None = None
    failures: int = 0
    first_error: str = ""
    ceiling: float | None = None

    @property
    def rows_per_second(self) -> float:
        """Throughput in rows."""
        return self.throughput * self.batch_size

    @property
    def near_ceiling(self) -> bool:
        """Whether the generator was so busy that the endpoint may be faster than measured."""
        return self.ceiling is not None and self.throughput >= _NEAR * self.ceiling


class RuntimeSettings(Record):
    """The ONNX Runtime session options that a deployment gets."""

    intra_op_num_threads: int = 1
    inter_op_num_threads: int = 1
    execution_mode: Literal["sequential", "parallel"] = "sequential"


class Candidate(Record):
    """One line of the table from which the settings were chosen: one row, one caller."""

    settings: RuntimeSettings
    p50_ms: float
    throughput: float
    chosen: bool


class Footprint(Record):
    """What loading a model costs.

    `memory_bytes` is the growth of resident memory; of a live endpoint, which was loaded before,
    all that its processes hold.
    """

    load_seconds: float
    memory_bytes: int


class Benchmark(Report):
    """Step 5: latency and throughput in process, native against converted.

    A benchmark on its own may also be one of a live endpoint; `target` then names it, and
    `protocol` is what it was asked in. `not_tried` says which settings were left out, and why;
    `note` what else one has to know. `best_batch_size` is the one at which the served model
    answers most rows a second, of those measured with one caller.
    """

    target: str = ""
    protocol: Literal["v1", "v2"] | None = None
    measurements: tuple[Latency, ...] = ()
    footprints: dict[Subject, Footprint] = Field(default_factory=dict)
    settings: RuntimeSettings = RuntimeSettings()
    candidates: tuple[Candidate, ...] = ()
    not_tried: str = ""
    best_batch_size: int | None = None
    note: str = ""

    def of(self, subject: Subject, batch_size: int = 1) -> Latency | None:
        """Return the measurement of one subject at one batch size, if there is one."""
        return next(
            (m for m in self.measurements if m.subject == subject and m.batch_size == batch_size),
            None,
        )
