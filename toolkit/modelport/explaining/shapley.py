"""SHAP values (Lundberg & Lee, 2017). The only user of shap, and slow to import: import it late.

Values have the shape [n, features, outputs], base values and outputs [n, outputs].
"""

from __future__ import annotations

import copy
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np

# To compile shap's loops takes numba four seconds, and saves milliseconds a row.
_compiling, numba.config.DISABLE_JIT = numba.config.DISABLE_JIT, True
try:
    import shap
finally:
    numba.config.DISABLE_JIT = _compiling

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Values:
    """SHAP values [n, features, outputs] and base values [n, outputs] of n rows."""

    values: Array
    base: Array

    @property
    def total(self) -> Array:
        """What they add up to: the outputs [n, outputs], if they are right."""
        return np.asarray(self.base + self.values.sum(axis=1))


def tree(estimator: Any) -> Callable[[Any], Values]:
    """Explain rows of a tree model exactly, from how its training rows went down the trees.

    Whatever shap raises says that this is no tree model that it knows.
    """
    with _quietly():
        explainer = shap.TreeExplainer(estimator)

    def explain(given: Any) -> Values:
        with _quietly():
            explained = explainer(given, check_additivity=False)
        return _values(explained.values, explained.base_values)

    return explain


def linear(estimator: Any, background: Array) -> Callable[[Array], Values]:
    """Explain rows of a linear model exactly: coefficient times distance from the mean.

    Whatever shap raises says that this is no linear model that it knows.
    """
    masker = shap.maskers.Independent(background, max_samples=len(background))
    with _quietly():
        explainer = shap.LinearExplainer(estimator, masker)

    def explain(given: Array) -> Values:
        with _quietly():
            explained = explainer(given)
        return _values(explained.values, explained.base_values)

    return explain


def deep(module: Any, background: Array) -> Callable[[Array], Values]:
    """Explain rows of a PyTorch module that takes one matrix (DeepLIFT).

    Raises:
        TypeError: It is no PyTorch module.
    """
    torch = sys.modules.get("torch")  # it is imported, if the module is one of its
    if torch is None or not isinstance(module, torch.nn.Module):
        raise TypeError("not a PyTorch module")

    def tensor(rows: Array) -> Any:
        return torch.from_numpy(np.array(rows, np.float32))

    with _quietly():
        # A copy: shap hooks into the layers, and leaves its hooks there when it fails.
        explainer = shap.DeepExplainer(copy.deepcopy(module).eval(), tensor(background))

    def explain(given: Array) -> Values:
        with _quietly():
            values = explainer.shap_values(tensor(given), check_additivity=False)
        return _values(values, explainer.expected_value)

    return explain


def permutation(
    predict: Callable[[Array], Array], rows: Array, background: Array, permutations: int
) -> Values:
    """Explain n rows of any model; what a feature is without is taken from the background.

    Additive by construction, and exact where no more than two features act together.

    Args:
        predict: Answers rows [m, features] with outputs [m, k].
        rows: What is explained, shape [n, features].
        background: Rows that stand for 'feature absent'.
        permutations: How many orders of the features are tried, each forwards and backwards.
    """
    masker = shap.maskers.Independent(background, max_samples=len(background))
    evaluations = permutations * evaluations_of(rows.shape[1])
    with _quietly():
        explainer = shap.PermutationExplainer(predict, masker, seed=0)
        explained = explainer(rows, max_evals=evaluations, silent=True)
    return _values(explained.values, explained.base_values)


def evaluations_of(features: int) -> int:
    """Return how often one permutation asks the model with every background row."""
    return 2 * features + 1


def _values(values: Any, base: Any) -> Values:
    array = np.asarray(values, dtype=float)
    if array.ndim == 2:
        array = array[:, :, None]
    rows, _, outputs = array.shape
    bases = np.asarray(base, dtype=float)
    bases = bases[:, None] if bases.shape == (rows,) and outputs == 1 else bases
    return Values(array, np.broadcast_to(bases, (rows, outputs)))


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep libraries' warnings from the cell, and numpy's random state as it was."""
    state = np.random.get_state()  # shap seeds the global generator
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            np.random.set_state(state)
