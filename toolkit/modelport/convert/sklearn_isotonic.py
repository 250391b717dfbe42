"""Isotonic regression: straight lines between its thresholds, as numpy.interp draws them."""

from __future__ import annotations

from typing import Any

import numpy as np

from modelport.convert.sklearn_nodes import INT64, Nodes, register_regressor
from modelport.errors import UnsupportedModel


def register() -> None:
    """Let skl2onnx convert it."""
    from sklearn.isotonic import IsotonicRegression

    register_regressor(IsotonicRegression, _write)


def _write(nodes: Nodes) -> None:
    nodes.answer(interpolated(nodes, nodes.matrix(), nodes.estimator), 0)


def interpolated(nodes: Nodes, values: str, isotonic: Any) -> str:
    """Return what a fitted isotonic regression makes of values [n, 1] in float64; [n, 1].

    Values are compared with its bounds as float32, which the graph's inputs are: the smallest
    value that it was trained on stays inside.

    Raises:
        UnsupportedModel: It raises an error where a value lies outside of its bounds.
    """
    if isotonic.out_of_bounds == "raise":
        raise UnsupportedModel("an IsotonicRegression raises errors out of bounds (out_of_bounds)")
    x = np.asarray(isotonic.X_thresholds_, dtype=float)
    y = np.asarray(isotonic.y_thresholds_, dtype=float)
    low, high = np.array(x[0]), np.array(x[-1])
    within = nodes.add("Min", nodes.add("Max", values, low), high)
    if len(x) == 1:
        lines = nodes.add("Add", nodes.add("Mul", within, np.array(0.0)), y)
    else:
        above = nodes.add("Cast", nodes.add("GreaterOrEqual", within, x[1:-1]), to=INT64)
        line = nodes.add("ReduceSum", above, np.array([1]), keepdims=1)
        slope = nodes.add("Gather", np.diff(y) / np.diff(x), line)
        run = nodes.add("Sub", within, nodes.add("Gather", x, line))
        lines = nodes.add("Add", nodes.add("Gather", y, line), nodes.add("Mul", slope, run))
    if isotonic.out_of_bounds == "clip":
        return lines
    below = nodes.add("Less", values, low.astype(np.float32).astype(float))
    beyond = nodes.add("Greater", values, high.astype(np.float32).astype(float))
    return nodes.add("Where", nodes.add("Or", below, beyond), np.array(np.nan), lines)
