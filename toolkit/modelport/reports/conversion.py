"""Which model a release carries, and what it was converted to."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from modelport.reports.base import Record, Report

Precision = Literal["float32", "float16", "int8"]


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


class PrecisionCandidate(Record):
    """One line of the table from which the precision was chosen.

    `reason` says why it did not pass, or what its certificate says; `p50_ms` is one row's time.
    """

    precision: Precision
    passed: bool
    reason: str
    p50_ms: float | None = None
    size_bytes: int = 0
    chosen: bool = False


class Conversion(Report):
    """Step 2: the model as ONNX, or why it stays in its own flavour."""

    converted: bool
    flavour: str
    reason: str | None = None
    converter: str | None = None
    opset: int | None = None
    precision: Precision = "float32"
    libraries: dict[str, str] = Field(default_factory=dict)
    inputs: tuple[Tensor, ...] = ()
    outputs: tuple[Tensor, ...] = ()
    size_bytes: int = 0
    precisions: tuple[PrecisionCandidate, ...] = ()
