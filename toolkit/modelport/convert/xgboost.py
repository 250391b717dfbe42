"""XGBoost: Boosters, and the classes with scikit-learn's interface, through onnxmltools.

A classifier answers `label` and `probabilities`, a Booster with a classification objective too;
every other model `prediction`, which is what its `predict` returns.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from modelport import tracking
from modelport.convert import boosters
from modelport.convert.base import (
    Graph,
    NativeModel,
    Rows,
    first_line,
)
from modelport.convert.trees import LEAF, Grove, Tree
from modelport.errors import UnsupportedModel

if TYPE_CHECKING:
    from modelport.reports import Resolution

_CLASSIFIES = ("binary:logistic", "multi:softprob")
# Those whose answers onnxmltools makes of what the trees add up to, as XGBoost does.
_CONVERTED = {
    *_CLASSIFIES,
    "binary:logitraw",
    "count:poisson",
    "rank:map",
    "rank:ndcg",
    "rank:pairwise",
    "reg:absoluteerror",
    "reg:gamma",
    "reg:pseudohubererror",
    "reg:quantileerror",
    "reg:squarederror",
    "reg:squaredlogerror",
    "reg:tweedie",
}


class XgboostModel(boosters.BoosterModel):
    """A Booster, or one of the classes with scikit-learn's interface."""

    def __init__(self, estimator: Any) -> None:
        booster = _booster(estimator)
        objective, classes = _described(booster)
        told = np.arange(max(classes, 2)) if objective in _CLASSIFIES else None
        super().__init__(estimator, booster, told)

    def predict(self, rows: Rows) -> Any:
        """Answer as the model's own `predict` does."""
        if self.estimator is not self.booster:
            return self.estimator.predict(rows)
        import xgboost

        names = self.booster.feature_names if isinstance(rows, np.ndarray) else None
        return self.booster.predict(
            xgboost.DMatrix(rows, feature_names=names, enable_categorical=True)
        )

    def groves(self) -> Sequence[Grove]:
        """Return the trees; XGBoost compares in float32, and with `<`."""
        found = _trees(self.booster)
        if not found:
            return ()
        return (Grove(found, lambda rows: boosters.matrix(rows, self.encoded)),)

    @cached_property
    def encoded(self) -> boosters.Categories:
        """The categories of pandas' category columns, in the order of their codes."""
        if "c" not in (self.booster.feature_types or ()):
            return {}
        known = self.booster.get_categories(export_to_arrow=True).to_arrow()
        return {name: values.to_pylist() for name, values in known if values is not None}


def load(folder: Path, resolution: Resolution) -> XgboostModel:
    """Load the model as the class that it was logged as."""
    del resolution
    return XgboostModel(tracking.load_model("xgboost", folder))


def convert(native: NativeModel, resolution: Resolution) -> Graph:
    """Convert with onnxmltools."""
    assert isinstance(native, XgboostModel)  # noqa: S101 - `load` made it
    proto = graph(native.estimator, native.booster.num_features())
    return boosters.converted(proto, resolution, native.encoded, libraries())


def graph(estimator: Any, width: int) -> Any:
    """Convert a model of `width` features to an ONNX model of one matrix.

    Raises:
        UnsupportedModel: onnxmltools does not convert it.
    """
    plain = _plain(estimator)
    classifies = hasattr(plain, "predict_proba")
    converter = boosters.onnxmltools()
    try:
        proto = converter.convert_xgboost(plain, initial_types=boosters.float_input(width))
    except Exception as error:  # converters of any library raise what they like
        raise UnsupportedModel(f"onnxmltools does not convert it ({first_line(error)})") from error
    _place_trees(proto.graph, plain.get_booster())
    return boosters.finish(proto, np.asarray(plain.classes_) if classifies else None)


def estimators() -> Sequence[type]:
    """Return the classes that may be part of a scikit-learn pipeline."""
    import xgboost

    return (
        xgboost.XGBClassifier,
        xgboost.XGBRegressor,
        xgboost.XGBRFClassifier,
        xgboost.XGBRFRegressor,
    )


def libraries() -> dict[str, str]:
    """Return the versions of what converts."""
    import xgboost

    version = boosters.onnxmltools().__version__
    return {"xgboost": xgboost.__version__, "onnxmltools": version}


def _booster(estimator: Any) -> Any:
    return estimator.get_booster() if hasattr(estimator, "get_booster") else estimator


def _described(booster: Any) -> tuple[str, int]:
    """Return the objective, and the number of classes (0 for two or none)."""
    learner = json.loads(booster.save_config())["learner"]
    return learner["objective"]["name"], int(learner["learner_model_param"]["num_class"])


def _plain(estimator: Any) -> Any:
    """Return a copy with scikit-learn's interface and without names, as onnxmltools needs it.

    It guesses what a Booster does from its trees, where these classes know it; and it reads a
    feature's number from its name.
    """
    import xgboost

    booster = _booster(estimator)
    learner = json.loads(booster.save_config())["learner"]
    kind, objective = learner["learner_train_param"]["booster"], learner["objective"]["name"]
    if kind != "gbtree":
        raise UnsupportedModel(f"onnxmltools converts the booster gbtree, and not {kind}")
    if objective not in _CONVERTED:
        raise UnsupportedModel(f"onnxmltools does not convert the objective {objective}")
    if estimator is not booster:
        made = type(estimator)(missing=estimator.missing)
        made = xgboost.XGBRegressor() if isinstance(estimator, xgboost.XGBRanker) else made
    else:
        classifies = objective in _CLASSIFIES
        made = xgboost.XGBClassifier() if classifies else xgboost.XGBRegressor()
    made.load_model(booster.save_raw("json"))
    inner = made.get_booster()
    inner.feature_names = None
    inner.feature_types = [kind if kind == "c" else "float" for kind in inner.feature_types or ()]
    if estimator is booster:  # whose `predict` asks every tree, and not only the best
        inner.set_attr(best_iteration=None, best_score=None)
    return made


def _place_trees(graph: Any, booster: Any) -> None:
    """Let every tree count for its own class or target.

    onnxmltools takes them in turn, which several parallel trees of a class are not, and counts
    all trees of several targets for the first.
    """
    of_tree = _model(booster)["tree_info"]
    if not any(of_tree):
        return
    for node in graph.node:
        given = {attribute.name: attribute.ints for attribute in node.attribute}
        for kind in ("class", "target"):
            if f"{kind}_ids" in given:
                given[f"{kind}_ids"][:] = [of_tree[tree] for tree in given[f"{kind}_treeids"]]


def _trees(booster: Any) -> tuple[Tree, ...]:
    return tuple(_tree(tree) for tree in _model(booster).get("trees", ()))


def _model(booster: Any) -> Any:
    """Return the trees as XGBoost's JSON has them; a linear booster has none."""
    trained = json.loads(bytes(booster.save_raw("json")))["learner"]["gradient_booster"]
    return trained.get("gbtree", trained).get("model", {})


def _tree(tree: Mapping[str, Any]) -> Tree:
    """Read a tree of XGBoost's JSON; a category among a node's own goes right."""
    left, right = (np.array(tree[f"{side}_children"], dtype=np.intp) for side in ("left", "right"))
    missing_left = np.array(tree["default_left"], dtype=bool)
    members = {
        node: frozenset(map(float, tree["categories"][start : start + size]))
        for node, start, size in zip(
            tree["categories_nodes"],
            tree["categories_segments"],
            tree["categories_sizes"],
            strict=True,
        )
    }
    turned = list(members)
    left[turned], right[turned] = right[turned], left[turned]
    missing_left[turned] = ~missing_left[turned]
    below = np.nextafter(np.array(tree["split_conditions"], np.float32), np.float32(-np.inf))
    return Tree(
        feature=np.where(left == LEAF, LEAF, np.array(tree["split_indices"], dtype=np.intp)),
        threshold=below.astype(float),
        left=left,
        right=right,
        missing_left=missing_left,
        members=members,
    )
