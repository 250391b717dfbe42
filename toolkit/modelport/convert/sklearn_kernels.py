"""One-class support vector machines, in float64: their scores are small sums of large numbers."""

from __future__ import annotations

import numpy as np

from modelport.convert.sklearn_nodes import Nodes, replace
from modelport.errors import UnsupportedModel


def register() -> None:
    """Let skl2onnx convert them this way."""
    from sklearn.svm import OneClassSVM

    replace(OneClassSVM, "SklearnOneClassSVM", _one_class)


def _one_class(nodes: Nodes) -> None:
    model = nodes.estimator
    weighted = nodes.add("MatMul", _kernel(nodes), model.dual_coef_.T)
    scores = nodes.add("Add", weighted, model.intercept_)
    inside = nodes.add("Greater", scores, np.array(0.0))
    nodes.answer(nodes.add("Where", inside, np.array(1), np.array(-1)), 0)
    nodes.answer(scores, 1)


def _kernel(nodes: Nodes) -> str:
    """Return the kernel of n rows and the support vectors, [n, vectors]."""
    model = nodes.estimator
    rows, vectors = nodes.matrix(), model.support_vectors_
    products = nodes.add("MatMul", rows, vectors.T)
    if model.kernel == "linear":
        return products
    gamma = np.array(float(model._gamma))
    if model.kernel == "rbf":
        sizes = nodes.add("ReduceSumSquare", rows, np.array([1]), keepdims=1)
        gaps = nodes.add(
            "Sub",
            nodes.add("Add", sizes, (vectors**2).sum(axis=1)),
            nodes.add("Mul", products, np.array(2.0)),
        )
        return nodes.add("Exp", nodes.add("Mul", gaps, -gamma))
    shifted = nodes.add("Add", nodes.add("Mul", products, gamma), np.array(float(model.coef0)))
    if model.kernel == "sigmoid":
        return nodes.add("Tanh", shifted)
    if model.kernel == "poly":
        return nodes.add("Pow", shifted, np.array(float(model.degree)))
    raise UnsupportedModel(f"a OneClassSVM with the kernel {model.kernel} has no converter")
