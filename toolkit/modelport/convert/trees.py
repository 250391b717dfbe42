"""Decision trees as arrays, whatever library grew them: the certificate walks them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

LEAF = -1


@dataclass(frozen=True)
class Tree:
    """One decision tree of m nodes, its root first; every array has shape [m].

    Attributes:
        feature: Column of the tree's input that a node looks at; -1 at a leaf.
        threshold: A row goes left where its value is at most this (float64). Where a library
            compares with `<`, this is the next smaller number of the type that it compares in.
        left: Index of the child for values up to the threshold.
        right: Index of the other child.
        missing_left: Whether NaN goes left.
        members: Nodes that split by category: a row goes left where its value is one of these.
    """

    feature: np.ndarray[Any, Any]
    threshold: np.ndarray[Any, Any]
    left: np.ndarray[Any, Any]
    right: np.ndarray[Any, Any]
    missing_left: np.ndarray[Any, Any]
    members: Mapping[int, frozenset[float]] = field(default_factory=dict)

    @property
    def leaves(self) -> np.ndarray[Any, Any]:
        """Indices of the leaves."""
        return np.flatnonzero(self.feature == LEAF)

    @property
    def splits(self) -> np.ndarray[Any, Any]:
        """Indices of the nodes that are no leaves."""
        return np.flatnonzero(self.feature != LEAF)

    def goes_left(self, node: int, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Tell which values [k] of its feature a node sends left."""
        if node in self.members:
            left = np.isin(values, list(self.members[node]))
        else:
            left = values <= self.threshold[node]
        return np.where(np.isnan(values), self.missing_left[node], left)

    def apply(self, matrix: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return the index of the leaf that each row of the matrix [n, features] ends in."""
        at = np.zeros(len(matrix), dtype=np.intp)
        moving = np.flatnonzero(self.feature[at] != LEAF)
        while len(moving):
            nodes = at[moving]
            values = matrix[moving, self.feature[nodes]]
            left = np.where(
                np.isnan(values), self.missing_left[nodes], values <= self.threshold[nodes]
            )
            for node in self.members:
                here = nodes == node
                left[here] = self.goes_left(node, values[here])
            at[moving] = np.where(left, self.left[nodes], self.right[nodes])
            moving = moving[self.feature[at[moving]] != LEAF]
        return at


@dataclass(frozen=True)
class Grove:
    """Trees that see the same matrix.

    Attributes:
        trees: The trees.
        inputs: Computes that matrix [n, features] from n rows as the model takes them.
        dtype: The type in which the library compares values with thresholds.
    """

    trees: tuple[Tree, ...]
    inputs: Callable[[pd.DataFrame], np.ndarray[Any, Any]]
    dtype: type[np.floating[Any]] = np.float32

    def view(self, rows: pd.DataFrame) -> np.ndarray[Any, Any]:
        """Return what the trees get of n rows, as float64 [n, features]."""
        seen = self.inputs(rows)
        return np.asarray(seen.toarray() if hasattr(seen, "toarray") else seen, dtype=float)

    def matrix(self, rows: pd.DataFrame) -> np.ndarray[Any, Any]:
        """Return the same in the precision in which the trees compare."""
        with np.errstate(over="ignore"):
            return self.view(rows).astype(self.dtype).astype(float)
