"""LightGBM: Boosters, and the classes with scikit-learn's interface, through onnxmltools.

A classifier answers `label` and `probabilities`, a Booster with a classification objective too;
every other model `prediction`, which is what its `predict` returns.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from modelport import tracking
from modelport.convert import boosters
from modelport.convert.base import (
    Graph,
    NativeModel,
    first_line,
)
from modelport.convert.trees import LEAF, Grove, Tree
from modelport.errors import UnsupportedModel

if TYPE_CHECKING:
    from modelport.reports import Resolution


class LightgbmModel(boosters.BoosterModel):
    """A Booster, or one of the classes with scikit-learn's interface."""

    def __init__(self, estimator: Any) -> None:
        booster = _booster(estimator)
        super().__init__(estimator, booster, _classes(booster))

    def groves(self) -> Sequence[Grove]:
        """Return the trees; LightGBM compares in float64."""
        model = self.booster.dump_model()
        trees = tuple(_tree(tree["tree_structure"]) for tree in model["tree_info"])
        return (Grove(trees, lambda rows: boosters.matrix(rows, self.encoded), np.float64),)

    @cached_property
    def encoded(self) -> boosters.Categories:
        """The categories of pandas' category columns, in the order of their codes."""
        known = self.booster.pandas_categorical or ()
        model = self.booster.dump_model(num_iteration=1)
        # LightGBM keeps the lists in the columns' order, without their names.
        columns = [name for name, info in model["feature_infos"].items() if info.get("values")]
        return dict(zip(columns, known, strict=True)) if known else {}


def load(folder: Path, resolution: Resolution) -> LightgbmModel:
    """Load the model as the class that it was logged as."""
    del resolution
    return LightgbmModel(tracking.load_model("lightgbm", folder))


def convert(native: NativeModel, resolution: Resolution) -> Graph:
    """Convert with onnxmltools."""
    assert isinstance(native, LightgbmModel)  # noqa: S101 - `load` made it
    proto = graph(native.estimator, native.booster.num_feature())
    return boosters.converted(proto, resolution, native.encoded, libraries())


def graph(estimator: Any, width: int) -> Any:
    """Convert a model of `width` features to an ONNX model of one matrix.

    Raises:
        UnsupportedModel: onnxmltools does not convert it.
    """
    booster = _booster(estimator)
    _check(booster.dump_model())
    narrow = _narrowed(booster)
    if estimator is booster:
        classes = _classes(booster)
        plain = narrow
    else:
        classes = getattr(estimator, "classes_", None)
        plain = copy.copy(estimator)
        plain._Booster = narrow
        if classes is not None and classes.dtype == bool:
            plain._classes = classes.astype(int)
    converter = boosters.onnxmltools()
    try:
        proto = converter.convert_lightgbm(
            plain, initial_types=boosters.float_input(width), zipmap=False
        )
    except Exception as error:  # converters of any library raise what they like
        raise UnsupportedModel(f"onnxmltools does not convert it ({first_line(error)})") from error
    return boosters.finish(proto, classes)


def estimators() -> Sequence[type]:
    """Return the classes that may be part of a scikit-learn pipeline."""
    import lightgbm

    return lightgbm.LGBMClassifier, lightgbm.LGBMRegressor


def libraries() -> dict[str, str]:
    """Return the versions of what converts."""
    import lightgbm

    version = boosters.onnxmltools().__version__
    return {"lightgbm": lightgbm.__version__, "onnxmltools": version}


def _booster(estimator: Any) -> Any:
    return getattr(estimator, "booster_", estimator)


def _classes(booster: Any) -> np.ndarray[Any, Any] | None:
    """Return the numbers of a Booster's classes, if its objective is a classification."""
    model = booster.dump_model(num_iteration=1)
    if not str(model.get("objective", "")).startswith(("binary", "multiclass")):
        return None
    return np.arange(max(int(model["num_class"]), 2))


def _check(model: Mapping[str, Any]) -> None:
    """Refuse what onnxmltools converts without a word to something else.

    Raises:
        UnsupportedModel: The model has what ONNX cannot say, or onnxmltools leaves out.
    """
    objective, *options = str(model.get("objective", "custom")).split()
    refused = {
        "the objective multiclassova": objective == "multiclassova",
        "an objective of its own": objective == "custom",
        "the option reg_sqrt": "sqrt" in options,
        "a sigmoid parameter": any(o.startswith("sigmoid:") and o != "sigmoid:1" for o in options),
        "boosting rf": bool(model.get("average_output")),
        "linear trees": "leaf_coeff" in str(model["tree_info"][:1]),
        "zero_as_missing": any(
            node.get("missing_type") == "Zero"
            for tree in model["tree_info"]
            for node in _nodes(tree["tree_structure"])
        ),
    }
    for what, found in refused.items():
        if found:
            raise UnsupportedModel(f"onnxmltools does not convert LightGBM models with {what}")


def _narrowed(booster: Any) -> Any:
    """Return a copy whose thresholds are the nearest float32 numbers, as the graph's rows are.

    LightGBM compares in float64. What is at most a threshold is so after both are rounded to the
    nearest; with a threshold rounded down, values that lie on it go the other way.
    """
    import lightgbm

    largest = np.finfo(np.float32).max

    def narrow(line: re.Match[str]) -> str:
        values = np.array(line[1].split(), dtype=float).clip(-largest, largest).astype(np.float32)
        return "threshold=" + " ".join(repr(float(value)) for value in values)

    text = booster.model_to_string(num_iteration=booster.best_iteration)
    text = re.sub(r"^threshold=(.*)$", narrow, text, flags=re.MULTILINE)
    # Where trees begin is counted in bytes; without the counts LightGBM looks for them.
    return lightgbm.Booster(model_str=re.sub(r"^tree_sizes=.*\n", "", text, flags=re.MULTILINE))


def _nodes(root: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the nodes of a tree, each before its children."""
    waiting = [root]
    while waiting:
        node = waiting.pop()
        yield node
        waiting += [node[side] for side in ("right_child", "left_child") if side in node]


def _tree(root: Mapping[str, Any]) -> Tree:
    nodes = list(_nodes(root))
    place = {id(node): index for index, node in enumerate(nodes)}
    members = {
        index: frozenset(map(float, str(node["threshold"]).split("||")))
        for index, node in enumerate(nodes)
        if node.get("decision_type") == "=="
    }
    return Tree(
        feature=np.array([node.get("split_feature", LEAF) for node in nodes], dtype=np.intp),
        threshold=np.array([_threshold(node) for node in nodes]),
        left=np.array([place.get(id(node.get("left_child")), LEAF) for node in nodes]),
        right=np.array([place.get(id(node.get("right_child")), LEAF) for node in nodes]),
        missing_left=np.array([_missing_left(node) for node in nodes], dtype=bool),
        members=members,
    )


def _threshold(node: Mapping[str, Any]) -> float:
    return float(node["threshold"]) if node.get("decision_type") == "<=" else 0.0


def _missing_left(node: Mapping[str, Any]) -> bool:
    """Tell where NaN goes: where it was told, or as 0 does where none was seen in training."""
    if node.get("decision_type") != "<=":
        return False
    if node["missing_type"] == "None":
        return float(node["threshold"]) >= 0
    return bool(node["default_left"])
