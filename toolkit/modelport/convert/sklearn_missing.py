"""Where missing values go in scikit-learn's trees, which skl2onnx leaves out.

It writes trees into nodes `TreeEnsemble*` node by node, and lets NaN go right everywhere. Here
each tree of the graph is found again among the estimator's, and told where it sends NaN.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from modelport.convert.sklearn_copies import parts, round_down
from modelport.errors import UnsupportedModel

_DIRECTIONS = "nodes_missing_value_tracks_true"

Ints = np.ndarray[Any, np.dtype[np.int64]]


def direct(graph: Any, estimator: Any) -> None:
    """Give the graph's trees the directions of missing values that the estimator's have.

    Raises:
        UnsupportedModel: Two trees differ in nothing but these.
    """
    known: dict[bytes, Ints] = {}
    for part in parts(estimator):
        if hasattr(part, "tree_"):
            key, directions = _of_estimator(part.tree_)
            if not np.array_equal(known.setdefault(key, directions), directions):
                raise UnsupportedModel("two trees differ in where missing values go, and only so")
    if not any(directions.any() for directions in known.values()):
        return
    for node in graph.node:
        if node.op_type.startswith("TreeEnsemble"):
            _direct(node, known)


def _direct(node: Any, known: dict[bytes, Ints]) -> None:
    given = {attribute.name: attribute for attribute in node.attribute}
    if _DIRECTIONS not in given:
        return
    directions = np.array(given[_DIRECTIONS].ints, dtype=np.int64)
    for tree, key in _of_graph(given):
        directions[tree] = known.get(key, directions[tree])
    given[_DIRECTIONS].ints[:] = directions.tolist()


def _of_estimator(tree: Any) -> tuple[bytes, Ints]:
    branch = tree.children_left >= 0
    key = _key(
        branch,
        tree.feature,
        round_down(tree.threshold),
        tree.children_left,
        tree.children_right,
    )
    return key, (tree.missing_go_to_left.astype(bool) & branch).astype(np.int64)


def _of_graph(given: dict[str, Any]) -> Iterator[tuple[Ints, bytes]]:
    """Yield the positions of every tree's nodes, with what identifies the tree."""
    trees = np.array(given["nodes_treeids"].ints)
    branch = np.array(given["nodes_modes"].strings) != b"LEAF"
    feature, left, right = (
        np.array(given[f"nodes_{name}"].ints)
        for name in ("featureids", "truenodeids", "falsenodeids")
    )
    values = np.array(given["nodes_values"].floats, dtype=np.float32)
    for at in np.split(np.arange(len(trees)), np.flatnonzero(np.diff(trees)) + 1):
        yield at, _key(branch[at], feature[at], values[at], left[at], right[at])


def _key(branch: Any, feature: Any, threshold: Any, left: Any, right: Any) -> bytes:
    numbers = (np.where(branch, values, 0).astype(np.int64) for values in (feature, left, right))
    edges = np.where(branch, threshold, 0).astype(np.float32)
    return b"".join(values.tobytes() for values in (branch, *numbers, edges))
