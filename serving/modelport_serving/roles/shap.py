"""SHAP values of any model, found by asking its predictor (Lundberg & Lee, 2017).

The only user of shap. A feature that is masked takes the values that it has in the background
rows. shap sees numbers that say which value a cell takes: 0 is the row's own, i is that of
background row i. So text columns are masked as numbers are, and every cell keeps its type.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from modelport_serving.errors import InvalidInput, ModelLoadFailed, NotSupported
from modelport_serving.roles.explainer import Explainer, Explanations, Predict
from modelport_serving.roles.tables import Background, Table

if TYPE_CHECKING:
    from modelport_serving.roles.context import Context
    from modelport_serving.tensors import Array, Tensors

MOST_ROWS = 64
"""Rows that one request may have explained."""

OUTPUT = "output"
"""The request's parameter that says which class, or which of several outputs, is explained."""

_PROBABILITIES = "probabilities"
_EXACT_FEATURES = 8
"""Up to so many features every combination is asked for: the values are exact."""

_EVALUATIONS = 20_000
"""Rows that the predictor is asked to explain one, where one permutation needs no more."""

_MOST_PERMUTATIONS = 10
_MOST_CELLS = 8_000_000
"""Values that one permutation may hold: 64 MB."""

_ROWS_A_CALL = 4096
"""Rows in one request to the predictor: others get their turn between two."""

Answer = Callable[["Array"], "Array"]


@dataclass(frozen=True)
class _Method:
    """How rows are explained: shap's explainer, background rows and masks for each row."""

    name: str
    background_rows: int
    masks: int

    @classmethod
    def of(cls, features: int, background_rows: int) -> _Method:
        """Choose for a model; `ModelLoadFailed` when it has more features than can be masked."""
        if features <= _EXACT_FEATURES:
            return cls("exact", min(background_rows, _EVALUATIONS >> features), 2**features)
        masks = 2 * features + 1  # each feature is taken in and out once
        rows = min(background_rows, _MOST_CELLS // (masks * features))
        if rows == 0:
            raise ModelLoadFailed(f"{features} features are too many for SHAP's permutations")
        permutations = min(_MOST_PERMUTATIONS, max(1, _EVALUATIONS // (masks * rows)))
        return cls("permutation", rows, masks * permutations)


class ShapExplainer(Explainer):
    """Says how much each feature of a row adds to the answer: `--explainer shap`.

    Needs `explainer/background.json` in the model folder (`contract.py`). Of two classes the
    second is explained, of more the one that is most probable for the row, unless the request's
    parameter `output` names another. The same row gets the same values every time.
    """

    def load(self) -> None:
        """Read the background and import shap, so that a ready explainer explains at once."""
        if self.model_dir is None:
            raise ModelLoadFailed("--explainer shap needs the model's folder: --model_dir")
        self._shap = _shap()
        self._background = Background.read(self.model_dir)
        rows = self._background.rows
        self._method = _Method.of(len(rows.names), len(rows))
        self._random = threading.Lock()  # shap draws permutations from numpy's global generator

    def explain(self, inputs: Tensors, predict: Predict, context: Context) -> Explanations:
        """Explain each row, as `_told` describes it; `InvalidInput` for more than `MOST_ROWS`."""
        rows = Table.of(inputs, self._background.rows.names)
        if len(rows) > MOST_ROWS:
            raise InvalidInput(
                f"{len(rows)} rows are too many to explain at once: send at most {MOST_ROWS}"
            )
        outputs = self._outputs(predict(rows.tensors(rows.columns)))
        chosen = self._chosen(outputs, context.parameters.get(OUTPUT))
        found = [self._explained(rows, row, predict, output) for row, output in enumerate(chosen)]
        values = np.array([row_values for _, row_values in found]).reshape(len(rows), -1)
        return self._told(
            np.array([base for base, _ in found]),
            values,
            outputs[np.arange(len(rows)), chosen],
            [self._title(output, outputs.shape[1]) for output in chosen],
        )

    def _explained(
        self, rows: Table, row: int, predict: Predict, output: int
    ) -> tuple[float, Array]:
        """Return the base value and the features' values [features] of one row."""
        cells = self._cells(rows, row)

        def answer(codes: Array) -> Array:
            whole = codes.astype(np.intp)
            answers = []
            for start in range(0, len(whole), _ROWS_A_CALL):
                part = whole[start : start + _ROWS_A_CALL]
                columns = [column[part[:, i]] for i, column in enumerate(cells)]
                answers.append(self._outputs(predict(rows.tensors(columns)))[:, output])
            return np.concatenate(answers)

        return self._values(answer, cells)

    def _cells(self, rows: Table, row: int) -> list[Array]:
        """Return the values that each cell of a row can take: its own, then the background's."""
        background = self._background.rows.columns
        return [
            np.concatenate([column[row : row + 1], known[: self._method.background_rows]])
            for column, known in zip(rows.columns, background, strict=True)
        ]

    def _values(self, answer: Answer, cells: list[Array]) -> tuple[float, Array]:
        """Let shap ask for masked rows, given as codes [m, features] into each column's cells."""
        shap = self._shap
        own = np.zeros((1, len(cells)))
        others = np.arange(1.0, len(cells[0]))[:, None]
        # A background value that is the row's own needs no asking.
        same = np.stack([column[1:] == column[0] for column in cells], axis=1)
        masker = shap.maskers.Independent(np.where(same, own, others), max_samples=len(others))
        with self._random:
            if self._method.name == "exact":
                explainer = shap.explainers.Exact(answer, masker)
            else:
                explainer = shap.explainers.Permutation(answer, masker, seed=0)
            explained = explainer(own, max_evals=self._method.masks, silent=True)
        return float(explained.base_values[0]), explained.values[0]

    def _outputs(self, answers: Tensors) -> Array:
        """Return the explained output as numbers [n, k]."""
        name = self._background.output
        if name not in answers and len(answers) == 1:
            (name,) = answers  # V1 does not name a lone output
        if name not in answers:
            raise NotSupported(f"the predictor has no output {name!r}, only {list(answers)}")
        array = answers[name]
        if array.dtype.kind not in "fiub":
            raise NotSupported(f"the output {name!r} is text: there is no number to explain")
        return array.reshape(len(array), -1).astype(np.float64)

    def _chosen(self, outputs: Array, wanted: Any) -> Array:
        """Return which of the k outputs is explained, for each row."""
        rows, count = outputs.shape
        if wanted is not None:
            if type(wanted) is not int or not 0 <= wanted < count:
                raise InvalidInput(f"parameter {OUTPUT!r} is 0 to {count - 1}, not {wanted!r}")
            return np.full(rows, wanted)
        if self._background.output != _PROBABILITIES:
            return np.zeros(rows, np.intp)
        return np.argmax(outputs, axis=1) if count > 2 else np.full(rows, count - 1)

    def _title(self, output: int, count: int) -> str:
        name = self._background.output
        return name if count == 1 else f"{name}[{output}]"

    def _told(self, base: Array, values: Array, answers: Array, titles: list[str]) -> Explanations:
        """Return n rows' explanations as V1 and V2 tell them.

        `base_value` and `values` add up to `output_value`; `residual` is what is left over.
        """
        residuals = np.abs(base + values.sum(axis=1) - answers)
        names = self._background.rows.names
        rows = [
            {
                "output": titles[row],
                "output_value": answers[row],
                "base_value": base[row],
                "values": dict(zip(names, values[row].tolist(), strict=True)),
                "residual": residuals[row],
                "method": self._method.name,
                "background_rows": self._method.background_rows,
            }
            for row in range(len(values))
        ]
        tensors = {
            "values": values,
            "base_values": base,
            "output_values": answers,
            "residuals": residuals,
            "outputs": np.array(titles, np.object_),
            "features": np.array(names, np.object_),
            "method": np.array([self._method.name], np.object_),
        }
        return Explanations(rows, tensors)


def _shap() -> Any:
    """Import shap with its loops as plain Python.

    To compile them takes numba six seconds and 120 MB at every start, and saves 15 ms a row.
    """
    try:
        import numba

        disabled = numba.config.DISABLE_JIT
        numba.config.DISABLE_JIT = True
        try:
            import shap
        finally:
            numba.config.DISABLE_JIT = disabled
    except ModuleNotFoundError as error:
        raise ModelLoadFailed(
            f"{error.name} is not installed: pip install 'modelport[explainer]'"
        ) from error
    return shap
