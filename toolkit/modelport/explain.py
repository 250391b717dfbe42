"""What a model's answers rest on: SHAP values (Lundberg & Lee, 2017). The only user of shap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from modelport.convert.base import LABEL, PREDICTION, PROBABILITIES, NativeModel
from modelport.reports import Explanation, Feature

if TYPE_CHECKING:
    import pandas as pd

_EVALUATIONS_PER_FEATURE = 2
_PERMUTATION_ROWS = 20


@dataclass(frozen=True)
class _Values:
    """SHAP values [rows, features, outputs], base values and outputs [rows, outputs]."""

    method: str
    values: np.ndarray[Any, Any]
    base: np.ndarray[Any, Any]
    output: np.ndarray[Any, Any]


def explain(model: NativeModel, rows: pd.DataFrame, background_rows: int) -> Explanation:
    """Explain the rows: global importance, and how well the values add up.

    Trees get shap's exact tree explainer; every other numeric model the permutation explainer
    on a bounded sample. What cannot be explained says why, and never fails a release.
    """
    if not all(dtype.kind in "iufb" for dtype in rows.dtypes):
        return Explanation(explained=False, reason="columns of text have no SHAP values yet")
    try:
        values = _tree(model, rows) or _permutation(model, rows, background_rows)
    except Exception as error:  # noqa: BLE001 - shap raises what it likes, and is only advice here
        return Explanation(explained=False, reason=f"shap gave up: {_first_line(error)}")
    return _explanation(values, [str(name) for name in rows.columns])


def _tree(model: NativeModel, rows: pd.DataFrame) -> _Values | None:
    import shap

    try:
        explainer = shap.TreeExplainer(model.estimator)
    except Exception:  # noqa: BLE001 - shap's only way of saying 'not a tree model'
        return None
    explained = explainer(rows, check_additivity=False)
    values = _outputs_last(explained.values)
    base = np.broadcast_to(_columns(explained.base_values, len(rows)), values[:, 0, :].shape)
    # The trees' own output: probabilities for forests, log-odds for boosted trees.
    output = _columns(explainer.model.predict(rows.to_numpy()), len(rows))
    return _Values("tree", values, base, output)


def _permutation(model: NativeModel, rows: pd.DataFrame, background_rows: int) -> _Values:
    import shap

    background = shap.maskers.Independent(rows, max_samples=background_rows)
    few = rows.iloc[:_PERMUTATION_ROWS]

    def predict(given: Any) -> np.ndarray[Any, Any]:
        import pandas as pd

        frame = pd.DataFrame(given, columns=rows.columns).astype(rows.dtypes)
        return _numbers(model, frame)

    explainer = shap.PermutationExplainer(predict, background, seed=0)
    budget = _EVALUATIONS_PER_FEATURE * (2 * len(rows.columns) + 1)
    explained = explainer(few, max_evals=budget, silent=True)
    values = _outputs_last(explained.values)
    base = _columns(explained.base_values, len(few))
    return _Values("permutation", values, base, _columns(predict(few), len(few)))


def _explanation(found: _Values, names: list[str]) -> Explanation:
    output = _shown_output(found)
    values, base = found.values[:, :, output], found.base[:, output]
    importance = np.abs(values).mean(axis=0)
    order = np.argsort(-importance)
    residual = np.abs(base + values.sum(axis=1) - found.output[:, output]).max()
    return Explanation(
        explained=True,
        method=found.method,
        output=f"class {output}" if found.values.shape[2] > 1 else None,
        rows=len(values),
        base_value=float(base.mean()),
        residual=float(residual),
        features=tuple(Feature(name=names[i], importance=float(importance[i])) for i in order),
    )


def _shown_output(found: _Values) -> int:
    """Two classes mirror each other: show the second. Of more, show the most explained."""
    outputs = int(found.values.shape[2])
    if outputs <= 2:
        return outputs - 1
    return int(np.argmax(np.abs(found.values).sum(axis=(0, 1))))


def _numbers(model: NativeModel, rows: pd.DataFrame) -> np.ndarray[Any, Any]:
    answers = model.answer(rows)
    chosen = next(name for name in (PROBABILITIES, PREDICTION, LABEL) if name in answers)
    return np.asarray(answers[chosen], dtype=float)


def _outputs_last(values: Any) -> np.ndarray[Any, Any]:
    array = np.asarray(values, dtype=float)
    return array[:, :, None] if array.ndim == 2 else array


def _columns(values: Any, rows: int) -> np.ndarray[Any, Any]:
    array = np.asarray(values, dtype=float)
    if array.ndim == 2:
        return array
    return array[:, None] if array.shape == (rows,) else np.broadcast_to(array, (rows, array.size))


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]
