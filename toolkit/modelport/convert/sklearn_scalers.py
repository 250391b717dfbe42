"""Scalers that compute in float64, as scikit-learn's own do.

skl2onnx scales in float32. A tree behind the scaler has its thresholds in the middle between
two scaled values, so of whole numbers many lie exactly on one: rounded otherwise, they go the
other way. Here the same operations are done in the same order in float64, and rounded once.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from modelport.convert.sklearn_nodes import Nodes

Steps = list[tuple[str, np.ndarray[Any, Any]]]


def register() -> None:
    """Let skl2onnx convert the scalers this way."""
    from skl2onnx import update_registered_converter
    from sklearn import preprocessing

    for name in _STEPS:
        update_registered_converter(
            getattr(preprocessing, name), f"Sklearn{name}Exact", _shape, _convert
        )


def operations(step: Any) -> Steps | None:
    """Return the operators and numbers that a fitted scaler is made of; None of anything else."""
    known = _STEPS.get(type(step).__name__)
    return known(step) if known and type(step).__module__.startswith("sklearn.") else None


def _standard(scaler: Any) -> Steps:
    return _centred(
        scaler.mean_ if scaler.with_mean else None, scaler.scale_ if scaler.with_std else None
    )


def _robust(scaler: Any) -> Steps:
    return _centred(
        scaler.center_ if scaler.with_centering else None,
        scaler.scale_ if scaler.with_scaling else None,
    )


def _centred(center: Any, scale: Any) -> Steps:
    steps = [("Sub", center), ("Div", scale)]
    return [(name, values) for name, values in steps if values is not None]


def _min_max(scaler: Any) -> Steps:
    steps: Steps = [("Mul", scaler.scale_), ("Add", scaler.min_)]
    if scaler.clip:
        low, high = scaler.feature_range
        steps += [("Max", np.array([float(low)])), ("Min", np.array([float(high)]))]
    return steps


def _max_abs(scaler: Any) -> Steps:
    clip: Steps = [("Max", np.array([-1.0])), ("Min", np.array([1.0]))]
    return [("Div", scaler.scale_), *(clip if getattr(scaler, "clip", False) else [])]


_STEPS = {
    "StandardScaler": _standard,
    "MinMaxScaler": _min_max,
    "MaxAbsScaler": _max_abs,
    "RobustScaler": _robust,
}


def _shape(operator: Any) -> None:
    """Give the output the inputs' columns, in float32, or float64 where the inputs are."""
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType

    rows = operator.inputs[0].type.shape[0]
    wide = all(isinstance(value.type, DoubleTensorType) for value in operator.inputs)
    widths = [value.type.shape[1] for value in operator.inputs]
    width = sum(widths) if all(isinstance(one, int) for one in widths) else None
    operator.outputs[0].type = (DoubleTensorType if wide else FloatTensorType)([rows, width])


def _convert(scope: Any, operator: Any, container: Any) -> None:
    nodes = Nodes(scope, operator, container)
    at = nodes.matrix()
    for name, values in operations(nodes.estimator) or ():
        at = nodes.add(name, at, np.asarray(values, dtype=float))
    nodes.answer(at, 0)
