"""Regressors whose target is transformed: what they predict is transformed back, in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from modelport.convert.sklearn_nodes import DOUBLE, Nodes, register_regressor
from modelport.errors import UnsupportedModel


def register() -> None:
    """Let skl2onnx convert them."""
    from sklearn.compose import TransformedTargetRegressor

    register_regressor(TransformedTargetRegressor, _write)


def _write(nodes: Nodes) -> None:
    model = nodes.estimator
    (inner,) = nodes.inner(model.regressor_)
    nodes.answer(_back(nodes, nodes.add("Cast", inner, to=DOUBLE), model.transformer_), 0)


def _back(nodes: Nodes, predicted: str, transformer: Any) -> str:
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    if type(transformer) is StandardScaler:
        at = predicted
        if transformer.with_std:
            at = nodes.add("Mul", at, np.asarray(transformer.scale_, dtype=float))
        return nodes.add("Add", at, np.asarray(transformer.mean_)) if transformer.with_mean else at
    function = getattr(transformer, "inverse_func", transformer)
    if type(transformer) is FunctionTransformer and not transformer.inv_kw_args:
        for known, write in _FUNCTIONS:
            if function is known:
                return write(nodes, predicted)
    name = getattr(function, "__name__", type(function).__name__)
    raise UnsupportedModel(f"a TransformedTargetRegressor's {name} has no converter")


_ONE, _TWO = np.array(1.0), np.array(2.0)
_FUNCTIONS: list[tuple[Any, Callable[[Nodes, str], str]]] = [
    (None, lambda _, given: given),
    (np.exp, lambda nodes, given: nodes.add("Exp", given)),
    (np.expm1, lambda nodes, given: nodes.add("Sub", nodes.add("Exp", given), _ONE)),
    (np.exp2, lambda nodes, given: nodes.add("Pow", _TWO, given)),
    (np.log, lambda nodes, given: nodes.add("Log", given)),
    (np.log1p, lambda nodes, given: nodes.add("Log", nodes.add("Add", given, _ONE))),
    (np.sqrt, lambda nodes, given: nodes.add("Sqrt", given)),
    (np.square, lambda nodes, given: nodes.add("Mul", given, given)),
]
"""What undoes a function, with the same in ONNX."""
