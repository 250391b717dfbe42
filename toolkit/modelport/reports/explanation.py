"""What a model's answers rest on."""

from __future__ import annotations

from modelport.reports.base import Record, Report


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
