"""Calibrated classifiers: sigmoids, isotonic regressions and temperatures, in float64.

skl2onnx rounds isotonic calibration to the nearest threshold, and knows no temperature.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from modelport.convert.sklearn_isotonic import interpolated
from modelport.convert.sklearn_nodes import DOUBLE, Nodes, register_classifier
from modelport.errors import UnsupportedModel


def register() -> None:
    """Let skl2onnx convert them this way."""
    from sklearn.calibration import CalibratedClassifierCV

    register_classifier(CalibratedClassifierCV, _write)


def _write(nodes: Nodes) -> None:
    members = nodes.estimator.calibrated_classifiers_
    shares = [_member(nodes, member) for member in members]
    mean = shares[0]
    for other in shares[1:]:
        mean = nodes.add("Add", mean, other)
    mean = nodes.add("Div", mean, np.array(float(len(shares))))
    nodes.label(mean, nodes.estimator.classes_)
    nodes.answer(mean, 1)


def _member(nodes: Nodes, member: Any) -> str:
    """Return the probabilities [n, classes] of one classifier with its calibrators."""
    if len(member.classes) != len(member.estimator.classes_):
        raise UnsupportedModel("a CalibratedClassifierCV has folds without all classes")
    scores = _scores(nodes, member.estimator)
    if member.method == "temperature":
        return _tempered(nodes, member, scores)
    calibrate = _sigmoid if member.method == "sigmoid" else interpolated
    first = 1 if len(member.classes) == 2 else 0
    columns = [
        calibrate(nodes, nodes.add("Gather", scores, np.array([place]), axis=1), one)
        for place, one in enumerate(member.calibrators, start=first)
    ]
    if len(member.classes) == 2:
        return nodes.add("Concat", nodes.add("Sub", np.array(1.0), *columns), *columns, axis=1)
    joined = nodes.add("Concat", *columns, axis=1)
    total = nodes.add("ReduceSum", joined, np.array([1]), keepdims=1)
    none = nodes.add("Equal", total, np.array(0.0))
    even = np.array(1 / len(columns))
    return nodes.add("Where", none, even, nodes.add("Div", joined, total))


def _scores(nodes: Nodes, inner: Any) -> str:
    """Return a classifier's decision function [n, classes], or its probabilities if it has none."""
    if hasattr(inner, "decision_function") and not nodes.asks_scores(inner):
        raise UnsupportedModel(
            f"skl2onnx does not convert the decision function of {type(inner).__name__}, "
            "which a CalibratedClassifierCV takes"
        )
    _, scores = nodes.inner(inner, outputs=2)
    return nodes.add("Cast", scores, to=DOUBLE)


def _sigmoid(nodes: Nodes, scores: str, calibrator: Any) -> str:
    scaled = nodes.add("Mul", scores, np.array(-float(calibrator.a_)))
    return nodes.add("Sigmoid", nodes.add("Sub", scaled, np.array(float(calibrator.b_))))


def _tempered(nodes: Nodes, member: Any, scores: str) -> str:
    if not hasattr(member.estimator, "decision_function"):
        logits = nodes.add("Log", nodes.add("Add", scores, np.array(1e-12)))
    elif len(member.classes) == 2:
        score = nodes.add("Gather", scores, np.array([1]), axis=1)
        logits = nodes.add("Concat", nodes.add("Neg", score), score, axis=1)
    else:
        logits = scores
    beta = np.array(float(member.calibrators[0].beta_))
    return nodes.add("Softmax", nodes.add("Mul", logits, beta), axis=1)
