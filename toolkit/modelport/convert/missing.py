"""Where missing values go in a graph's trees: the way that the library sends them.

skl2onnx 1.20 lets NaN go right at every split of a forest's or a bagged tree, whatever the tree
itself does (scikit-learn sends it to the larger child, or where training did). The graph's trees
are found again among the model's by their structure, and told.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from modelport.convert.sklearn_copies import round_down
from modelport.convert.trees import LEAF, Grove, Tree

_PREFIXES = ("TreeEnsembleClassifier", "TreeEnsembleRegressor")


def route(graph: Any, groves: Sequence[Grove]) -> None:
    """Let NaN go where the model's own trees send it."""
    known: dict[bytes, list[Tree]] = {}
    for tree in (tree for grove in groves for tree in grove.trees):
        known.setdefault(_shape(tree.feature, tree.left), []).append(tree)
    for node in graph.node:
        if node.op_type in _PREFIXES:
            _route_ensemble(node, known)


def _route_ensemble(node: Any, known: dict[bytes, list[Tree]]) -> None:
    given = {attribute.name: attribute for attribute in node.attribute}
    modes = np.array(given["nodes_modes"].strings)
    values = np.array(given["nodes_values"].floats, dtype=np.float32)
    features = np.where(modes == b"LEAF", LEAF, np.array(given["nodes_featureids"].ints))
    children = np.array(given["nodes_truenodeids"].ints)
    goes = np.zeros(len(modes), dtype=int)
    for place in _trees(np.array(given["nodes_treeids"].ints)):
        left = np.where(features[place] == LEAF, LEAF, children[place])
        tree = _same(known.get(_shape(features[place], left), []), values[place], features[place])
        if tree is not None:
            goes[place] = tree.missing_left & (features[place] != LEAF)
    attribute = given.get("nodes_missing_value_tracks_true") or node.attribute.add(
        name="nodes_missing_value_tracks_true", type=7
    )
    if goes.any():
        attribute.ints[:] = goes.tolist()


def _same(
    trees: list[Tree], values: np.ndarray[Any, Any], features: np.ndarray[Any, Any]
) -> Tree | None:
    """Find the tree with these thresholds among those of one shape.

    Of several, one that looks at these very columns, and the first in the model's order: those
    that were found go to the end.
    """
    inner = features != LEAF
    alike = [tree for tree in trees if _equal(values[inner], tree.threshold[inner])]
    if not alike:
        return None
    found = next((tree for tree in alike if np.array_equal(tree.feature, features)), alike[0])
    trees[:] = [tree for tree in trees if tree is not found] + [found]
    return found


def _equal(values: np.ndarray[Any, Any], thresholds: np.ndarray[Any, Any]) -> bool:
    """Tell whether values are thresholds in float32, rounded down or to the nearest."""
    nearest = thresholds.astype(np.float32)
    return bool(np.all((values == nearest) | (values == round_down(thresholds))))


def _trees(ids: np.ndarray[Any, Any]) -> Iterator[slice]:
    """Yield where each tree's nodes lie; they stand together."""
    starts = np.flatnonzero(np.diff(ids, prepend=ids[:1] - 1))
    for start, end in zip(starts, [*starts[1:], len(ids)], strict=True):
        yield slice(int(start), int(end))


def _shape(features: np.ndarray[Any, Any], left: np.ndarray[Any, Any]) -> bytes:
    """Return what two trees have in common if they differ in the columns' numbers alone.

    A tree that is given a selection of columns numbers them anew.
    """
    inner = features[features != LEAF]
    _, first, which = np.unique(inner, return_index=True, return_inverse=True)
    order = np.argsort(np.argsort(first))[which]
    kept = np.where(features == LEAF, LEAF, left)
    return order.astype(np.int64).tobytes() + kept.astype(np.int64).tobytes()
