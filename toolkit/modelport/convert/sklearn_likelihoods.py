"""Discriminant analyses and naive Bayes, in float64: their class scores are large sums.

skl2onnx makes a softmax of a linear discriminant analysis of two classes, answers one row of
whatever many with a quadratic one, and adds up logarithms in float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from modelport.convert.sklearn_nodes import DOUBLE, Nodes, register_classifier


def register() -> None:
    """Let skl2onnx convert them this way."""
    from sklearn import discriminant_analysis, naive_bayes

    register_classifier(discriminant_analysis.LinearDiscriminantAnalysis, _linear, scores=True)
    register_classifier(
        discriminant_analysis.QuadraticDiscriminantAnalysis, _quadratic, scores=True
    )
    register_classifier(naive_bayes.MultinomialNB, _multinomial)
    register_classifier(naive_bayes.ComplementNB, _complement)
    register_classifier(naive_bayes.BernoulliNB, _bernoulli)


def _linear(nodes: Nodes) -> None:
    model = nodes.estimator
    weights, intercept = model.coef_, model.intercept_
    if len(model.classes_) == 2:  # one score, whose sigmoid is a softmax beside zero
        weights = np.vstack([np.zeros_like(weights), weights])
        intercept = np.append(0.0, intercept)
    _answer(nodes, _scores(nodes, weights, intercept))


def _multinomial(nodes: Nodes) -> None:
    model = nodes.estimator
    _answer(nodes, _scores(nodes, model.feature_log_prob_, model.class_log_prior_))


def _complement(nodes: Nodes) -> None:
    model = nodes.estimator
    prior = model.class_log_prior_ if len(model.classes_) == 1 else np.zeros(len(model.classes_))
    _answer(nodes, _scores(nodes, model.feature_log_prob_, prior))


def _bernoulli(nodes: Nodes) -> None:
    model = nodes.estimator
    rows = nodes.matrix()
    if model.binarize is not None:
        above = nodes.add("Greater", rows, np.array(float(np.float32(model.binarize))))
        rows = nodes.add("Cast", above, to=DOUBLE)
    absent = np.log(1 - np.exp(model.feature_log_prob_))
    weights = model.feature_log_prob_ - absent
    _answer(nodes, _scores(nodes, weights, model.class_log_prior_ + absent.sum(axis=1), rows))


def _quadratic(nodes: Nodes) -> None:
    model = nodes.estimator
    rows = nodes.matrix()
    distances = []
    for mean, rotation, scaling in zip(
        model.means_, model.rotations_, model.scalings_, strict=True
    ):
        turned = nodes.add("MatMul", nodes.add("Sub", rows, mean), rotation * scaling**-0.5)
        distances.append(nodes.add("ReduceSumSquare", turned, np.array([1]), keepdims=1))
    spread = np.array([np.log(scaling).sum() for scaling in model.scalings_])
    halved = nodes.add("Mul", nodes.add("Concat", *distances, axis=1), np.array(-0.5))
    _answer(nodes, nodes.add("Add", halved, np.log(model.priors_) - 0.5 * spread))


def _scores(
    nodes: Nodes,
    weights: np.ndarray[Any, Any],
    intercept: np.ndarray[Any, Any],
    rows: str | None = None,
) -> str:
    given = rows or nodes.matrix()
    product = nodes.add("MatMul", given, np.asarray(weights, dtype=float).T)
    return nodes.add("Add", product, np.asarray(intercept, dtype=float))


def _answer(nodes: Nodes, scores: str) -> None:
    nodes.label(scores, nodes.estimator.classes_)
    if not nodes.scores_asked:
        nodes.answer(nodes.add("Softmax", scores, axis=1), 1)
        return
    if len(nodes.estimator.classes_) == 2:  # the second class's score, beside the first's
        scores = nodes.add("Sub", scores, nodes.add("Gather", scores, np.array([0]), axis=1))
    nodes.answer(scores, 1)
