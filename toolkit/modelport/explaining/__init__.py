"""What a model's answers rest on: SHAP values, of a table's columns or an image's superpixels."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from modelport.convert.base import first_line
from modelport.explaining.background import keep_background
from modelport.reports import Explanation

if TYPE_CHECKING:
    from modelport.config import Limits
    from modelport.convert.base import Model, Rows

__all__ = ["explain", "keep_background"]


def explain(
    model: Model, rows: Rows, limits: Limits, tell: Callable[[str], None] = lambda _: None
) -> Explanation:
    """Explain a model's answers to rows: the features that matter, and single rows.

    What cannot be explained says why, and never fails a release.

    Args:
        model: Anything with `answer`: a native model, or a converted one. What has an
            `estimator` too is explained by its structure, which is exact.
        rows: A table, a matrix [n, columns], or images [n, c, h, w] or [n, h, w, c].
        limits: How many rows are explained at the most, and for how long.
        tell: Gets a line about the progress of what takes longer than a second.
    """
    try:
        return _explain(model, rows, limits, tell)
    except Exception as error:  # noqa: BLE001 - models and shap raise what they like
        return Explanation(explained=False, reason=f"shap gave up: {first_line(error)}")


def _explain(model: Model, rows: Rows, limits: Limits, tell: Callable[[str], None]) -> Explanation:
    from modelport.explaining import pictures, record, tabular
    from modelport.explaining.timed import Clock

    clock = Clock(limits.explain_seconds, tell)
    if isinstance(rows, np.ndarray) and pictures.are_images(rows):
        return record.of_images(pictures.explain(model, rows, clock), len(rows))
    if rows.ndim != len(("rows", "columns")):
        shape = "x".join(map(str, rows.shape[1:]))
        return Explanation(explained=False, reason=f"rows of {shape} are neither table nor image")
    table = tabular.Table(model, rows, limits.explained_rows, limits.background_rows, clock)
    return record.of(tabular.explain(table), table.rows)
