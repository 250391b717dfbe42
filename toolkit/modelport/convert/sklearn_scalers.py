"""Scalers that compute in float64, as scikit-learn's own do.

skl2onnx scales in float32. A tree behind the scaler has its thresholds in the middle between
two scaled values, so of whole numbers many lie exactly on one: rounded otherwise, they go the
other way. Here the same operations are done in the same order in float64, and rounded once.
"""

from __future__ import annotations

from typing import Any

import numpy as np

_DOUBLE, _FLOAT = 11, 1  # onnx.TensorProto's types

Steps = list[tuple[str, np.ndarray[Any, Any]]]


def register() -> None:
    """Let skl2onnx convert the scalers this way."""
    from skl2onnx import update_registered_converter
    from sklearn import preprocessing

    for name, steps in _STEPS.items():
        kind = getattr(preprocessing, name)
        update_registered_converter(kind, f"Sklearn{name}Exact", _shape, _converter(steps))


def _standard(scaler: Any) -> Steps:
    steps: Steps = []
    if scaler.with_mean:
        steps.append(("Sub", scaler.mean_))
    if scaler.with_std:
        steps.append(("Div", scaler.scale_))
    return steps


def _min_max(scaler: Any) -> Steps:
    steps: Steps = [("Mul", scaler.scale_), ("Add", scaler.min_)]
    if scaler.clip:
        low, high = scaler.feature_range
        steps += [("Max", np.array([float(low)])), ("Min", np.array([float(high)]))]
    return steps


def _max_abs(scaler: Any) -> Steps:
    clip: Steps = [("Max", np.array([-1.0])), ("Min", np.array([1.0]))]
    return [("Div", scaler.scale_), *(clip if getattr(scaler, "clip", False) else [])]


def _robust(scaler: Any) -> Steps:
    steps: Steps = []
    if scaler.with_centering:
        steps.append(("Sub", scaler.center_))
    if scaler.with_scaling:
        steps.append(("Div", scaler.scale_))
    return steps


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


def _converter(steps: Any) -> Any:
    def convert(scope: Any, operator: Any, container: Any) -> None:
        from skl2onnx.common.data_types import DoubleTensorType

        wide = isinstance(operator.outputs[0].type, DoubleTensorType)
        at = _joined(scope, operator, container)
        for name, values in steps(operator.raw_operator):
            at = _step(scope, container, name, at, np.asarray(values, dtype=float))
        container.add_node(
            "Cast",
            at,
            operator.outputs[0].full_name,
            name=scope.get_unique_operator_name("Cast"),
            to=_DOUBLE if wide else _FLOAT,
        )

    return convert


def _joined(scope: Any, operator: Any, container: Any) -> str:
    """Return the inputs as one float64 matrix."""
    casts = []
    for value in operator.inputs:
        casts.append(scope.get_unique_variable_name("exact"))
        name = scope.get_unique_operator_name("Cast")
        container.add_node("Cast", value.full_name, casts[-1], name=name, to=_DOUBLE)
    if len(casts) == 1:
        return str(casts[0])
    joined = scope.get_unique_variable_name("exact")
    name = scope.get_unique_operator_name("Concat")
    container.add_node("Concat", casts, joined, name=name, axis=1, op_version=13)
    return str(joined)


def _step(scope: Any, container: Any, name: str, given: str, values: np.ndarray[Any, Any]) -> str:
    constant = scope.get_unique_variable_name("by")
    container.add_initializer(constant, _DOUBLE, [1, len(values)], values.tolist())
    result = scope.get_unique_variable_name("exact")
    container.add_node(
        name,
        [given, constant],
        result,
        name=scope.get_unique_operator_name(name),
        op_version=13 if name in {"Max", "Min"} else 14,
    )
    return str(result)
