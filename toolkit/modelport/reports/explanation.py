"""What a model's answers rest on."""

from __future__ import annotations

from pydantic import Field

from modelport.reports.base import Record, Report


class Feature(Record):
    """A feature's global importance: the mean absolute SHAP value, in the output's unit."""

    name: str
    importance: float


class RowExplanation(Record):
    """One row's SHAP values: `base_value` and all `values` add up to `output_value`.

    `values` are in the order of the explanation's features; `shown` is the row itself, one
    text a feature. `residual` is what is left over: |base + sum(values) - output|.
    """

    row: int
    base_value: float
    output_value: float
    values: tuple[float, ...]
    shown: tuple[str, ...]
    residual: float


class Swarm(Record):
    """One feature's line of a beeswarm plot: a SHAP value a row.

    `shades` says how high the feature's own value is among the rows, from 0 (lowest) to 1
    (highest); None for text and missing values.
    """

    feature: str
    values: tuple[float, ...]
    shades: tuple[float | None, ...]


class ImageExplanation(Record):
    """One image's SHAP values, on a grid of superpixels: `values[down][across]`.

    `thumbnail` is the image itself, small, as PNG in base64. The other fields are those of a
    row's explanation; `output` is the class explained, the one that the model sees in the image.
    """

    row: int
    output: str
    base_value: float
    output_value: float
    values: tuple[tuple[float, ...], ...]
    residual: float
    thumbnail: str


class Explanation(Report):
    """Step 6: what the model's answers rest on.

    Attributes:
        output: What is explained: `probability of malignant`, `log-odds of class 1`.
        rows: How many rows were explained.
        sampled: What they are a sample of: `200 of 4,000 rows, background 50 rows`.
        residual: The largest violation of additivity, |base + sum(values) - output|, where the
            output is the model's own.
        features: Every feature, the most important first.
        beeswarm: The most important of them, in the same order.
        examples: A few single rows, by what they are examples of: `highest output`.
        images: In place of features, for a model that takes images.
    """

    explained: bool
    reason: str | None = None
    method: str | None = None
    output: str | None = None
    rows: int = 0
    sampled: str | None = None
    base_value: float | None = None
    residual: float | None = None
    features: tuple[Feature, ...] = ()
    beeswarm: tuple[Swarm, ...] = ()
    examples: dict[str, RowExplanation] = Field(default_factory=dict)
    images: tuple[ImageExplanation, ...] = ()
