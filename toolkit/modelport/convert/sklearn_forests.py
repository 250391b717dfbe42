"""Forests of two classes, of whose trees half may say this and half say that.

scikit-learn gives such a row the first class. A graph adds up shares divided by the number of
trees, in float32: with 20 or 50 trees, half of them make a little more than one half, and with it
the second class. What that sum has too much is taken off every answer.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def register() -> None:
    """Let skl2onnx convert such forests this way."""
    from skl2onnx import update_registered_converter
    from skl2onnx.common._registration import get_converter, get_shape_calculator
    from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier

    for kind in (ExtraTreesClassifier, RandomForestClassifier):
        alias = f"Sklearn{kind.__name__}"
        theirs = get_converter(alias)
        update_registered_converter(
            kind,
            alias,
            get_shape_calculator(alias),
            _levelled(theirs),
            options=theirs.get_allowed_options(),
        )


def excess(trees: int) -> float:
    """Return by how much half of the trees' equal shares exceed one half in float32, at least 0."""
    if trees % 2:
        return 0.0
    shares = np.full(trees // 2, 1 / trees, np.float32)
    return max(0.0, float(np.cumsum(shares, dtype=np.float32)[-1]) - 0.5)


def _levelled(theirs: Any) -> Any:
    def convert(scope: Any, operator: Any, container: Any) -> None:
        from onnx import helper

        theirs(scope, operator, container)
        forest = operator.raw_operator
        much = excess(len(forest.estimators_))
        if forest.n_outputs_ == 1 and len(forest.classes_) == 2 and much:
            node = next(n for n in reversed(container.nodes) if n.op_type == _ENSEMBLE)
            node.attribute.append(helper.make_attribute("base_values", [-much]))

    return convert


_ENSEMBLE = "TreeEnsembleClassifier"
