"""CatBoost: through its own export to ONNX.

A classifier answers `label` and `probabilities`, every other model `prediction`.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from modelport import tracking
from modelport.convert import boosters, graphs
from modelport.convert.base import (
    LABEL,
    PREDICTION,
    PROBABILITIES,
    Answers,
    Graph,
    NativeModel,
    Rows,
    Task,
    first_line,
)
from modelport.convert.trees import LEAF, Grove, Tree
from modelport.errors import UnsupportedModel

if TYPE_CHECKING:
    from modelport.reports import Resolution

# Losses whose models predict the exponential of what their trees add up to.
_LOG_LINKED = {"Poisson", "Tweedie"}


class CatboostModel:
    """One of CatBoost's classes."""

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator
        classifies = hasattr(estimator, "predict_proba")
        self.classes = np.asarray(estimator.classes_) if classifies else None
        self.task: Task = "classification" if classifies else "regression"

    def answer(self, rows: Rows) -> Answers:
        """Answer n rows: label [n] and probabilities [n, classes], or prediction."""
        predicted = np.asarray(self.predict(rows))
        if self.classes is None:
            return {PREDICTION: predicted}
        # Several classes are predicted as [n, 1], two as [n].
        shares = self.estimator.predict_proba(rows)
        return {LABEL: predicted.reshape(len(predicted)), PROBABILITIES: shares}

    def predict(self, rows: Rows) -> Any:
        """Answer as the model's own `predict` does."""
        return self.estimator.predict(rows)

    def groves(self) -> Sequence[Grove]:
        """Return the trees, if they look at numbers alone; CatBoost compares in float32."""
        model = _described(self.estimator)
        after = {
            feature["flat_feature_index"]: feature["nan_value_treatment"] != "AsTrue"
            for feature in model["features_info"].get("float_features", ())
        }
        if model["features_info"].get("categorical_features"):
            return ()
        trees = [_oblivious(tree["splits"], after) for tree in model.get("oblivious_trees", ())]
        trees += [_free(tree, after) for tree in model.get("trees", ())]
        return (Grove(tuple(trees), lambda rows: boosters.matrix(rows, {})),)

    def categories(self) -> Mapping[str, Sequence[Any]]:
        """Return none: CatBoost hashes its categories."""
        return {}


def load(folder: Path, resolution: Resolution) -> CatboostModel:
    """Load the model as the class that it was logged as."""
    del resolution
    return CatboostModel(tracking.load_model("catboost", folder))


def convert(native: NativeModel, resolution: Resolution) -> Graph:
    """Convert with CatBoost's own export."""
    import catboost

    del resolution
    proto = graph(native.estimator, len(native.estimator.feature_names_))
    return Graph(
        onnx=proto.SerializeToString(),
        converter=f"catboost {catboost.__version__}",
        libraries=libraries(),
    )


def graph(estimator: Any, width: int) -> Any:
    """Convert a model of `width` features to an ONNX model of one matrix.

    Raises:
        UnsupportedModel: CatBoost does not export it.
    """
    import onnx

    try:
        proto = onnx.load_from_string(_saved(estimator, "onnx"))
    except Exception as error:  # CatBoost raises classes of its own
        raise UnsupportedModel(f"CatBoost does not export it ({first_line(error)})") from error
    (given,) = proto.graph.input
    graphs.rename(proto.graph, {given.name: boosters.INPUT})
    graphs.set_shape(proto.graph.input[0], [None, width])
    classifies = hasattr(estimator, "predict_proba")
    if classifies != (len(proto.graph.output) > 1):
        raise UnsupportedModel(
            f"CatBoost exports the loss {estimator.get_all_params()['loss_function']} of "
            f"{type(estimator).__name__} with other answers than its own"
        )
    boosters.finish(proto, np.asarray(estimator.classes_) if classifies else None)
    if estimator.get_all_params()["loss_function"].partition(":")[0] in _LOG_LINKED:
        graphs.apply(proto.graph, PREDICTION, "Exp")
    return proto


def estimators() -> Sequence[type]:
    """Return the classes that may be part of a scikit-learn pipeline."""
    import catboost

    return catboost.CatBoostClassifier, catboost.CatBoostRegressor


def libraries() -> dict[str, str]:
    """Return the versions of what converts."""
    import catboost

    return {"catboost": catboost.__version__}


def _saved(estimator: Any, form: str) -> bytes:
    """Return the model in one of CatBoost's formats; it writes files alone."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        estimator.save_model(str(path), format=form)
        return path.read_bytes()


def _described(estimator: Any) -> Any:
    return json.loads(_saved(estimator, "json"))


def _oblivious(
    splits: Sequence[Mapping[str, Any]] | None, missing_left: Mapping[int, bool]
) -> Tree:
    """Write out a tree that asks all nodes of a level the same: a complete binary tree."""
    levels = list(splits or ())
    inner, nodes = 2 ** len(levels) - 1, 2 ** (len(levels) + 1) - 1
    index = np.arange(nodes)
    level = np.floor(np.log2(index[:inner] + 1)).astype(int)
    feature, threshold = np.full(nodes, LEAF), np.zeros(nodes)
    feature[:inner] = np.array([split["float_feature_index"] for split in levels], int)[level]
    threshold[:inner] = np.array([split["border"] for split in levels], float)[level]
    return Tree(
        feature=feature,
        threshold=threshold,
        left=np.where(index < inner, 2 * index + 1, LEAF),
        right=np.where(index < inner, 2 * index + 2, LEAF),
        missing_left=np.array([missing_left.get(int(column), False) for column in feature]),
    )


def _free(root: Mapping[str, Any], missing_left: Mapping[int, bool]) -> Tree:
    """Read a tree of a growing policy other than CatBoost's default."""
    nodes = [root]
    left, right = [], []
    for node in nodes:
        splits = "split" in node
        left.append(len(nodes) if splits else LEAF)
        right.append(len(nodes) + 1 if splits else LEAF)
        nodes += [node["left"], node["right"]] if splits else []
    asked = [node.get("split", {}) for node in nodes]
    feature = [split.get("float_feature_index", LEAF) for split in asked]
    return Tree(
        feature=np.array(feature),
        threshold=np.array([split.get("border", 0.0) for split in asked]),
        left=np.array(left),
        right=np.array(right),
        missing_left=np.array([missing_left.get(column, False) for column in feature]),
    )
