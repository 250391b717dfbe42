"""Dummies: every row is answered the same."""

from __future__ import annotations

from typing import Any

import numpy as np

from modelport.convert.sklearn_nodes import Nodes, register_classifier, register_regressor
from modelport.errors import UnsupportedModel


def register() -> None:
    """Let skl2onnx convert them."""
    from sklearn import dummy

    register_classifier(dummy.DummyClassifier, _classifier)
    register_regressor(dummy.DummyRegressor, _regressor)


def _classifier(nodes: Nodes) -> None:
    model = nodes.estimator
    if model.strategy in ("stratified", "uniform"):
        raise UnsupportedModel(f"a DummyClassifier answers by chance ({model.strategy})")
    if model.n_outputs_ > 1:
        raise UnsupportedModel("a DummyClassifier of several targets has no converter")
    shares = np.asarray(model.predict_proba(np.zeros((1, 1))), dtype=float)
    place = int(np.flatnonzero(model.classes_ == model.predict(np.zeros((1, 1)))[0])[0])
    nodes.pick(nodes.add("Expand", np.array([place]), nodes.rows()), model.classes_)
    nodes.answer(_repeated(nodes, shares), 1)


def _regressor(nodes: Nodes) -> None:
    nodes.answer(_repeated(nodes, np.asarray(nodes.estimator.constant_, dtype=float)), 0)


def _repeated(nodes: Nodes, values: np.ndarray[Any, Any]) -> str:
    """Return [1, k] numbers for each of n rows, [n, k]."""
    shape = nodes.add("Concat", nodes.rows(), np.array([values.shape[1]]), axis=0)
    return nodes.add("Expand", values, shape)
