"""Latency, throughput and memory, and the settings that were chosen by them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from modelport.reports.base import Record, Report, Subject


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
