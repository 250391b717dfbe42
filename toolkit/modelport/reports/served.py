"""Why a live service answers as it does."""

from __future__ import annotations

from modelport.reports.base import Report
from modelport.reports.explanation import RowExplanation


class ServedExplanation(Report):
    """What a service's explainer tells of some rows.

    Attributes:
        method: How SHAP found the values: `exact` or `permutation`.
        background_rows: How many rows of the training data stood for "not known".
        features: The names, in the order of each row's values.
        rows: The rows, in the order in which they were sent.
        outputs: What is explained of each: `prediction`, `probabilities[1]`.
    """

    service: str
    method: str
    background_rows: int
    features: tuple[str, ...]
    rows: tuple[RowExplanation, ...]
    outputs: tuple[str, ...]
