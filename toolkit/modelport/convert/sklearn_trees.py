"""What the certificate must know of a scikit-learn model: its trees and its categories."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from modelport.convert.trees import LEAF, Grove, Tree

Inputs = Callable[[Any], Any]

# Where an estimator keeps others that see the same rows as it does.
_MEMBERS = (
    "estimators_",
    "estimator_",
    "best_estimator_",
    "calibrated_classifiers_",
    "estimator",
    "regressor_",
)


def groves(estimator: Any, given: Inputs) -> Sequence[Grove]:
    """Return the trees of an estimator and of all that it is made of.

    Args:
        estimator: A fitted estimator, a pipeline or an ensemble of whatever depth.
        given: Turns rows as the release has them into what the estimator takes.
    """
    return [grove for grove in _groves(estimator, given, set()) if grove.trees]


def categories(estimator: Any, columns: Sequence[str]) -> Mapping[Any, Sequence[Any]]:
    """Return the categories and words that the estimator's encoders know, by input column.

    An estimator that was fitted on rows without names knows its columns by their places.
    """
    places = range(getattr(estimator, "n_features_in_", 0))
    found: dict[Any, dict[Any, None]] = {}
    for names, known in _encoders(estimator, [*columns] or [*places]):
        for name, values in zip(names, known, strict=False):
            found.setdefault(name, {}).update(dict.fromkeys(values))
    return {name: list(values) for name, values in found.items()}


def _groves(estimator: Any, given: Inputs, seen: set[int]) -> Iterator[Grove]:
    if estimator is None or isinstance(estimator, str) or id(estimator) in seen:
        return
    seen.add(id(estimator))
    if hasattr(estimator, "steps"):
        yield from _of_pipeline(estimator, given, seen)
    elif hasattr(estimator, "tree_"):
        yield Grove((_tree(estimator.tree_),), given)
    elif hasattr(estimator, "_predictors"):
        yield from _of_histograms(estimator, given)
    elif hasattr(estimator, "estimators_features_"):
        yield from _of_bagging(estimator, given, seen)
    elif hasattr(estimator, "get_support") and hasattr(estimator, "predict"):
        yield from _of_selection(estimator, given, seen)
    elif hasattr(estimator, "order_"):
        return  # a chain, whose members see what those before them answered
    else:
        yield from _of_members(estimator, given, seen)


def _of_pipeline(pipeline: Any, given: Inputs, seen: set[int]) -> Iterator[Grove]:
    def transformed(rows: Any) -> Any:
        seen_so_far = given(rows)
        for _, step in pipeline.steps[:-1]:
            if step is not None and step != "passthrough":
                seen_so_far = step.transform(seen_so_far)
        return seen_so_far

    yield from _groves(pipeline.steps[-1][1], transformed, seen)


def _of_members(estimator: Any, given: Inputs, seen: set[int]) -> Iterator[Grove]:
    """Join the trees of all members that see the same matrix into one grove."""
    joined: list[Tree] = []
    for member in _members(estimator):
        for grove in _groves(member, given, seen):
            if grove.inputs is given and grove.dtype is np.float32:
                joined += grove.trees
            else:
                yield grove
    if joined:
        yield Grove(tuple(joined), given)


def _members(estimator: Any) -> Iterator[Any]:
    for attribute in _MEMBERS:
        held = getattr(estimator, attribute, None)
        if isinstance(held, np.ndarray | list | tuple):
            yield from np.asarray(held, dtype=object).ravel()
        elif isinstance(held, Mapping):
            yield from held.values()
        elif hasattr(held, "predict"):
            yield held


def _of_bagging(bagging: Any, given: Inputs, seen: set[int]) -> Iterator[Grove]:
    """Each member of a bagging ensemble sees columns of its own."""
    whole: list[Tree] = []
    for member, columns in zip(bagging.estimators_, bagging.estimators_features_, strict=True):
        for grove in _of_columns(member, np.asarray(columns), given, seen):
            if grove.inputs is given and grove.dtype is np.float32:
                whole += grove.trees
            else:
                yield grove
    if whole:
        yield Grove(tuple(whole), given)


def _of_selection(selection: Any, given: Inputs, seen: set[int]) -> Iterator[Grove]:
    """Eliminate features, and predict with what is left."""
    yield from _of_columns(
        selection.estimator_, np.flatnonzero(selection.get_support()), given, seen
    )


def _of_columns(
    member: Any, picked: np.ndarray[Any, Any], given: Inputs, seen: set[int]
) -> Iterator[Grove]:
    """Yield the trees of a member that sees these columns, as trees of all columns if possible."""

    def chosen(rows: Any) -> Any:
        return _columns(given(rows), picked)

    for grove in _groves(member, chosen, seen):
        if grove.inputs is chosen:
            trees = tuple(_seen_from_above(tree, picked) for tree in grove.trees)
            yield Grove(trees, given, grove.dtype)
        else:
            yield grove


def _seen_from_above(tree: Tree, picked: np.ndarray[Any, Any]) -> Tree:
    feature = np.where(tree.feature == LEAF, LEAF, picked[tree.feature])
    return Tree(feature, tree.threshold, tree.left, tree.right, tree.missing_left, tree.members)


def _columns(matrix: Any, picked: np.ndarray[Any, Any]) -> Any:
    return matrix.iloc[:, picked] if hasattr(matrix, "iloc") else matrix[:, picked]


def _of_histograms(estimator: Any, given: Inputs) -> Iterator[Grove]:
    """HistGradientBoosting keeps its trees as records of nodes; it compares in float64."""
    if getattr(estimator, "is_categorical_", None) is not None:
        return  # what its trees see is encoded by a transformer of its own
    predictors = [one for stage in estimator._predictors for one in stage]
    yield Grove(tuple(_histogram(one.nodes) for one in predictors), given, np.float64)


def _histogram(nodes: Any) -> Tree:
    return Tree(
        feature=np.where(nodes["is_leaf"], LEAF, nodes["feature_idx"]).astype(np.intp),
        threshold=nodes["num_threshold"].astype(float),
        left=nodes["left"].astype(np.intp),
        right=nodes["right"].astype(np.intp),
        missing_left=nodes["missing_go_to_left"].astype(bool),
    )


def _tree(tree: Any) -> Tree:
    leaf = tree.children_left == LEAF
    # A tree whose nodes were read back from a file may lack this array.
    missing = getattr(tree, "missing_go_to_left", np.zeros(len(leaf)))
    return Tree(
        feature=np.where(leaf, LEAF, tree.feature).astype(np.intp),
        threshold=tree.threshold.astype(float),
        left=tree.children_left.astype(np.intp),
        right=tree.children_right.astype(np.intp),
        missing_left=np.asarray(missing).astype(bool),
    )


def _encoders(estimator: Any, columns: list[Any]) -> Iterator[tuple[list[Any], Sequence[Any]]]:
    """Walk to every encoder, with the names of the columns that it sees."""
    if hasattr(estimator, "transformers_"):
        for _, member, picked in estimator.transformers_:
            yield from _encoders(member, _picked(picked, columns))
    elif hasattr(estimator, "steps"):
        # A step that keeps the columns' number keeps their meaning; one that does not ends it.
        for _, step in estimator.steps:
            yield from _encoders(step, columns)
            if _changes_columns(step, len(columns)):
                return
    elif isinstance(getattr(estimator, "categories_", None), list):
        yield columns, estimator.categories_
    elif isinstance(getattr(estimator, "vocabulary_", None), Mapping):
        yield columns[:1], [list(estimator.vocabulary_)]
    else:
        for member in _members(estimator):
            yield from _encoders(member, columns)


def _changes_columns(step: Any, width: int) -> bool:
    if not hasattr(step, "get_feature_names_out"):
        return False
    try:
        return len(step.get_feature_names_out()) != width
    except Exception:  # noqa: BLE001 - some steps cannot tell without the input's names
        return True


def _picked(picked: Any, columns: list[Any]) -> list[Any]:
    """Return the names of the columns that a ColumnTransformer's entry selects."""
    chosen = [picked] if isinstance(picked, str | int) else list(np.atleast_1d(picked))
    if isinstance(picked, slice):
        return columns[picked]
    if chosen and isinstance(chosen[0], bool | np.bool_):
        return [name for name, kept in zip(columns, chosen, strict=False) if kept]
    return [columns[c] if isinstance(c, int | np.integer) else c for c in chosen]
