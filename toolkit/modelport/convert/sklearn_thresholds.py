"""Classifiers of two classes with a threshold of their own, which skl2onnx leaves out."""

from __future__ import annotations

from typing import Any

import numpy as np

from modelport.convert.sklearn_nodes import Nodes, register_classifier
from modelport.errors import UnsupportedModel


def register() -> None:
    """Let skl2onnx convert them with their thresholds."""
    from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV

    register_classifier(FixedThresholdClassifier, _fixed)
    register_classifier(TunedThresholdClassifierCV, _tuned)


def _fixed(nodes: Nodes) -> None:
    model = nodes.estimator
    inner = getattr(model, "estimator_", model.estimator)
    threshold = 0.5 if model.threshold == "auto" else model.threshold
    _write(nodes, inner, threshold, model.pos_label)


def _tuned(nodes: Nodes) -> None:
    model = nodes.estimator
    _write(nodes, model.estimator_, model.best_threshold_, model._curve_scorer._get_pos_label())


def _write(nodes: Nodes, inner: Any, threshold: float, positive: Any) -> None:
    method = nodes.estimator.response_method
    if method == "decision_function" or not hasattr(inner, "predict_proba"):
        raise UnsupportedModel(
            f"{type(nodes.estimator).__name__} has a threshold for decision_function, "
            "which a graph does not answer"
        )
    classes = np.asarray(nodes.estimator.classes_)
    place = 1 if positive is None else int(np.flatnonzero(classes == positive)[0])
    _, shares = nodes.inner(inner, outputs=2)
    share = nodes.add("Gather", nodes.add("Cast", shares, to=11), np.array(place), axis=1)
    above = nodes.add("GreaterOrEqual", share, np.array(float(threshold)))
    nodes.pick(nodes.add("Cast", above, to=7), classes[[1 - place, place]])
    nodes.answer(shares, 1)
