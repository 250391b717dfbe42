"""Accuracy on labelled rows: the task's own metrics, from scikit-learn."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from modelport.convert.base import LABEL, PREDICTION, PROBABILITIES, Task
from modelport.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

    from modelport.convert.base import Model
    from modelport.data import Rows

Answers = dict[str, np.ndarray[Any, Any]]

_BATCH_VALUES = 2_000_000  # numbers of a batch of tensors: what layers make of them fits in memory


def in_time(model: Model, rows: Rows, seconds: float) -> Rows:
    """Return as many of the rows as the model answers in so many seconds, by a first batch.

    Tables are returned whole: a big tensor, such as an image, takes a network a second.
    """
    if not isinstance(rows.inputs, np.ndarray):
        return rows
    first = rows.inputs[: batch_size(rows.inputs)]
    began = time.perf_counter()
    model.answer(first)
    a_row = (time.perf_counter() - began) / len(first)
    return rows.sample(max(len(first), int(seconds / a_row)))


def batch_size(rows: Any) -> int:
    """Return how many of n rows fit in memory at once: of a table all of them."""
    if not isinstance(rows, np.ndarray):
        return len(rows)
    return max(1, _BATCH_VALUES // max(1, int(rows[:1].size)))


def answers(model: Model, rows: Any, size: int) -> Answers:
    """Answer n rows in batches of a size."""
    parts = [model.answer(rows[start : start + size]) for start in range(0, len(rows), size)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def score(labels: pd.Series, answers: Answers, task: Task) -> tuple[Task, dict[str, float]]:
    """Score n answers against n labels.

    A network's scores [n, k] of classes 0 to k-1 are scored by the highest one. Classification:
    accuracy, f1 (macro average) and, with probabilities, roc_auc (one against
    the rest). Regression: rmse, mae, r2, in the target's unit. A model of unknown task is
    scored by what its answers and labels look like.

    Raises:
        DataError: The labels hold missing values, or do not fit the answers.
    """
    if labels.isna().any():
        raise DataError(
            f"the target column {labels.name!r} holds missing values", "drop those rows first"
        )
    named = next((name for name in (LABEL, PREDICTION) if name in answers), None)
    predicted = np.asarray(answers[named] if named else next(iter(answers.values())))
    if task != "regression" and _are_scores(labels, predicted):
        task, predicted = "classification", predicted.argmax(axis=1)
    task = _task(labels, predicted) if task == "unknown" else task
    try:
        if task == "classification":
            return task, _classification(labels.to_numpy(), predicted, answers.get(PROBABILITIES))
        return task, _regression(labels.to_numpy(), predicted)
    except (ValueError, TypeError) as error:
        raise DataError(
            f"the target column {labels.name!r} does not fit the model's answers ({error})",
            "name the column that the model was trained to predict",
        ) from error


def _are_scores(labels: pd.Series, predicted: np.ndarray[Any, Any]) -> bool:
    """Tell whether answers are a number for each class, and labels the classes' numbers."""
    return (
        predicted.ndim == len(("rows", "classes"))
        and predicted.shape[1] > 1
        and predicted.dtype.kind == "f"
        and labels.dtype.kind in "iu"
        and bool(labels.between(0, predicted.shape[1] - 1).all())
    )


def _task(labels: pd.Series, predicted: np.ndarray[Any, Any]) -> Task:
    floats = labels.dtype.kind == "f" or predicted.dtype.kind == "f"
    whole = floats and bool(np.all(np.mod(predicted.astype(float), 1) == 0))
    return "classification" if not floats or whole else "regression"


def _classification(
    labels: np.ndarray[Any, Any],
    predicted: np.ndarray[Any, Any],
    probabilities: np.ndarray[Any, Any] | None,
) -> dict[str, float]:
    from sklearn import metrics

    if (
        labels.dtype.kind != predicted.dtype.kind
        and "O" in labels.dtype.kind + predicted.dtype.kind
    ):
        labels, predicted = labels.astype(str), predicted.astype(str)
    scores = {
        "accuracy": float(metrics.accuracy_score(labels, predicted)),
        "f1": float(metrics.f1_score(labels, predicted, average="macro")),
    }
    area = _roc_auc(labels, probabilities)
    return scores if area is None else {**scores, "roc_auc": area}


def _roc_auc(
    labels: np.ndarray[Any, Any], probabilities: np.ndarray[Any, Any] | None
) -> float | None:
    """Area under the curve; None where it is not defined (a class without rows)."""
    from sklearn import metrics

    classes = np.unique(labels)
    if probabilities is None or probabilities.shape[1] != len(classes) or len(classes) < 2:
        return None
    if len(classes) == 2:
        return float(metrics.roc_auc_score(labels == classes[1], probabilities[:, 1]))
    # Rows sum to 1 in float32 only to 7 digits; scikit-learn asks for more.
    shares = probabilities.astype(float)
    shares /= shares.sum(axis=1, keepdims=True)
    return float(metrics.roc_auc_score(labels, shares, multi_class="ovr"))


def _regression(labels: np.ndarray[Any, Any], predicted: np.ndarray[Any, Any]) -> dict[str, float]:
    from sklearn import metrics

    predicted = predicted.reshape(labels.shape)
    return {
        "rmse": float(metrics.root_mean_squared_error(labels, predicted)),
        "mae": float(metrics.mean_absolute_error(labels, predicted)),
        "r2": float(metrics.r2_score(labels, predicted)),
    }
