"""Rows that walk a model's trees: into every leaf, and along both sides of every threshold.

A leaf is reached where every split on its path sends the row the right way: a box of bounds on
what the trees see. Where that is computed from the model's columns one by one (scalers,
imputers, encoders), a value is looked up for each column whose results lie in the box.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from modelport.convert.trees import LEAF, Grove, Tree
from modelport.parity import rows as tables
from modelport.parity.inverse import inverse
from modelport.parity.levels import Levels, levels, with_values

if TYPE_CHECKING:
    import pandas as pd

_ULP = 2.0**-24  # float32's last digit, as a share of the number
_STEPS = (0.0, 16.0)  # distances from a threshold, in such digits, on either side
_CHUNK = 4_000_000  # cells of a comparison held at once


@dataclass
class Walk:
    """The rows that were made for a model's trees, and what of the trees they reach.

    Attributes:
        rows: Tables of rows, one for each purpose.
        trees: How many trees there are.
        leaves: How many leaves they have.
        visited: How many of those some row reaches, the given rows included.
        thresholds: How many splits there are.
        tried: How many of them have rows on both sides, next to the threshold.
    """

    rows: list[Any] = field(default_factory=list)
    trees: int = 0
    leaves: int = 0
    visited: int = 0
    thresholds: int = 0
    tried: int = 0


@dataclass(frozen=True)
class _Boxes:
    """What leads to each of k nodes: `low < value <= high` for bound features, [k, features].

    `missing` tells where NaN leads there too. `kinds` has, for a feature that is split by
    category, the categories and which of them lead there, [k, count + 1], the last for others.
    """

    low: np.ndarray[Any, Any]
    high: np.ndarray[Any, Any]
    missing: np.ndarray[Any, Any]
    bound: np.ndarray[Any, Any]
    kinds: dict[int, tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]


def walk(
    groves: Sequence[Grove],
    base: pd.DataFrame,
    given: Sequence[pd.DataFrame],
    categories: Mapping[Any, Sequence[Any]],
    most_edges: int,
) -> Walk:
    """Make rows that reach every leaf, and both sides of every threshold.

    Args:
        groves: The model's trees.
        base: Rows that the model takes: they fill the columns that a path leaves open.
        given: Rows that are compared anyway, whose leaves need no rows of their own.
        categories: What encoders know, by column.
        most_edges: At most so many splits get rows beside their threshold.
    """
    made = Walk()
    splits = sum(len(tree.splits) for grove in groves for tree in grove.trees)
    share = min(1.0, most_edges / max(splits, 1))
    for grove in groves:
        _walk_grove(made, grove, base, given, categories, share)
    return made


def _walk_grove(
    made: Walk,
    grove: Grove,
    base: pd.DataFrame,
    given: Sequence[pd.DataFrame],
    categories: Mapping[Any, Sequence[Any]],
    share: float,
) -> None:
    seen = [grove.matrix(rows) for rows in given]
    visited = [_visited(tree, seen) for tree in grove.trees]
    known, base, back = _ground(grove, base, categories)
    rng = np.random.default_rng(0)
    for batch in _batches(grove.trees, seen[0].shape[1]) if known else []:
        plan = _plan(
            [grove.trees[i] for i in batch], [visited[i] for i in batch], known, share, rng
        )
        rows = back(plan.rows(base, rng))
        if not len(rows):
            continue
        made.rows.append(rows)
        made.tried += plan.tried
        matrix = grove.matrix(rows)
        for place in range(batch[0], len(grove.trees)):
            visited[place] |= _visited(grove.trees[place], [matrix])
    made.trees += len(grove.trees)
    made.thresholds += sum(len(tree.splits) for tree in grove.trees)
    made.leaves += sum(len(tree.leaves) for tree in grove.trees)
    made.visited += sum(
        int(reached[tree.leaves].sum()) for tree, reached in zip(grove.trees, visited, strict=True)
    )


def _ground(
    grove: Grove, base: pd.DataFrame, categories: Mapping[Any, Sequence[Any]]
) -> tuple[list[Levels], pd.DataFrame, Callable[[pd.DataFrame], pd.DataFrame]]:
    """Return levels, rows to start from, and what turns such rows into the model's.

    That is the columns themselves or, where the trees see mixtures of them, what the trees see.
    """
    found = levels(grove, base, categories)
    if found is not None:
        return found, base, lambda rows: rows
    inner = inverse(grove, base, categories)
    if inner is None:
        return [], base, lambda rows: rows
    found = levels(inner.grove, inner.base, {}) or []
    for one in found:
        one.scale = max(one.scale, float(inner.scales[one.features].max()))
    return found, inner.base, inner.rows


def _batches(trees: Sequence[Tree], width: int) -> list[list[int]]:
    """Group the trees' places so that a group's boxes stay within memory."""
    batches: list[list[int]] = [[]]
    size = 0
    for place, tree in enumerate(trees):
        cells = len(tree.feature) * width
        if size and size + cells > _CHUNK:
            batches.append([])
            size = 0
        batches[-1].append(place)
        size += cells
    return batches


def _visited(tree: Tree, matrices: Sequence[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    reached = np.zeros(len(tree.feature), dtype=bool)
    for matrix in matrices:
        reached[tree.apply(matrix)] = True
    return reached


def _boxes(tree: Tree, width: int) -> _Boxes:
    """Return what leads to every node of a tree, in the nodes' order."""
    nodes = len(tree.feature)
    boxes = _Boxes(
        low=np.full((nodes, width), -np.inf),
        high=np.full((nodes, width), np.inf),
        missing=np.ones((nodes, width), dtype=bool),
        bound=np.zeros((nodes, width), dtype=bool),
        kinds=_kinds(tree),
    )
    for node in _from_the_root(tree):
        for child, leftward in ((int(tree.left[node]), True), (int(tree.right[node]), False)):
            _inherit(boxes, node, child)
            _narrow(boxes, tree, node, child, leftward=leftward)
    return boxes


def _kinds(tree: Tree) -> dict[int, tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
    by_feature: dict[int, set[float]] = {}
    for node, members in tree.members.items():
        by_feature.setdefault(int(tree.feature[node]), set()).update(members)
    return {
        feature: (np.array(sorted(found)), np.ones((len(tree.feature), len(found) + 1), dtype=bool))
        for feature, found in by_feature.items()
    }


def _inherit(boxes: _Boxes, node: int, child: int) -> None:
    for array in (boxes.low, boxes.high, boxes.missing, boxes.bound):
        array[child] = array[node]
    for _, leads in boxes.kinds.values():
        leads[child] = leads[node]


def _narrow(boxes: _Boxes, tree: Tree, node: int, child: int, *, leftward: bool) -> None:
    feature = int(tree.feature[node])
    boxes.bound[child, feature] = True
    boxes.missing[child, feature] &= bool(tree.missing_left[node]) is leftward
    if node in tree.members:
        found, leads = boxes.kinds[feature]
        members = np.append(np.isin(found, list(tree.members[node])), False)
        leads[child] &= members if leftward else ~members
    elif leftward:
        boxes.high[child, feature] = min(boxes.high[child, feature], tree.threshold[node])
    else:
        boxes.low[child, feature] = max(boxes.low[child, feature], tree.threshold[node])


def _from_the_root(tree: Tree) -> Iterator[int]:
    """Yield the splits, parents first."""
    waiting = [0] if tree.feature[0] != LEAF else []
    while waiting:
        node = waiting.pop()
        yield node
        children = (int(tree.left[node]), int(tree.right[node]))
        waiting += [child for child in children if tree.feature[child] != LEAF]


_NONE, _ANY = -1, -2


def _pick(one: Levels, boxes: _Boxes) -> np.ndarray[Any, Any]:
    """Return for each node the place of a level that leads to it; none (-1), or any (-2)."""
    if len(one.features) == 1 and int(one.features[0]) not in boxes.kinds:
        return _pick_by_order(one, boxes, int(one.features[0]))
    bound = np.asarray(boxes.bound[:, one.features].any(axis=1))
    picked = np.full(len(bound), _ANY)
    narrow = np.flatnonzero(bound)
    size = max(1, _CHUNK // max(one.seen.size, 1))
    for start in range(0, len(narrow), size):
        part = narrow[start : start + size]
        picked[part] = _middle(_leads(one, boxes, part))
    return picked


def _pick_by_order(one: Levels, boxes: _Boxes, feature: int) -> np.ndarray[Any, Any]:
    """Do the same for a column of one feature: a box holds levels that lie side by side."""
    seen = one.seen[:, 0]
    order = np.argsort(seen, kind="stable")  # NaN comes last
    known = seen[order][: np.count_nonzero(~np.isnan(seen))]
    first = np.searchsorted(known, boxes.low[:, feature], side="right")
    count = np.searchsorted(known, boxes.high[:, feature], side="right") - first
    inside = order[np.clip(first + (count - 1) // 2, 0, len(order) - 1)]
    outside = np.where(boxes.missing[:, feature] & (len(known) < len(seen)), order[-1], _NONE)
    picked = np.where(count > 0, inside, outside)
    return np.where(boxes.bound[:, feature], picked, _ANY)


def _leads(one: Levels, boxes: _Boxes, nodes: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Tell which levels lead to which nodes: [nodes, levels]."""
    leads = np.ones((len(nodes), len(one.values)), dtype=bool)
    for place, feature in enumerate(one.features.tolist()):
        seen = one.seen[:, place]
        gap = np.isnan(seen)
        inside = (seen > boxes.low[nodes, feature, None]) & (
            seen <= boxes.high[nodes, feature, None]
        )
        if feature in boxes.kinds:
            found, allowed = boxes.kinds[feature]
            which = np.where(np.isin(seen, found), np.searchsorted(found, seen), len(found))
            inside &= allowed[np.ix_(nodes, np.minimum(which, len(found)))]
        leads &= np.where(gap, boxes.missing[nodes, feature, None], inside)
    return leads


def _middle(leads: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return of each row the place of the middle one of its true values; -1 if it has none."""
    counts = leads.sum(axis=1)
    ranks = leads.cumsum(axis=1)
    places = np.argmax(ranks >= ((counts + 1) // 2)[:, None], axis=1)
    return np.where(counts > 0, places, _NONE)


@dataclass
class _Plan:
    """Rows to make: for each column the place of a level, or any, [rows, columns].

    `column` and `value` put another value into one column of a row; column -1 does not.
    """

    known: Sequence[Levels]
    picks: np.ndarray[Any, Any]
    column: np.ndarray[Any, Any]
    value: np.ndarray[Any, Any]
    tried: int

    def rows(self, base: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
        """Return the rows; columns that are left open come from rows of the base."""
        drawn = rng.integers(0, len(base), len(self.picks))
        rows: pd.DataFrame = tables.take(base, drawn).reset_index(drop=True)
        for place, one in enumerate(self.known):
            picked, moved = self.picks[:, place], self.column == place
            fixed = picked >= 0
            if not (fixed | moved).any():
                continue
            values = rows[one.name].to_numpy(dtype=one.values.dtype, copy=True)
            values[fixed] = one.values[picked[fixed]]
            values[moved] = self.value[moved]
            rows = with_values(rows, one.name, values)
        return rows


def _plan(
    trees: Sequence[Tree],
    visited: Sequence[np.ndarray[Any, Any]],
    known: Sequence[Levels],
    share: float,
    rng: np.random.Generator,
) -> _Plan:
    """Plan a row for every leaf that none reaches yet, and rows beside the splits' thresholds."""
    width = 1 + max(int(feature) for one in known for feature in one.features)
    picks, column, value = [], [], []
    # Splits of what an encoder makes have no neighbourhood: all values on both sides are tried.
    coded = [feature for one in known if not one.edges for feature in one.features]
    tried = 0
    for tree, reached in zip(trees, visited, strict=True):
        boxes = _boxes(tree, max(width, int(tree.feature.max()) + 1))
        chosen = np.stack([_pick(one, boxes) for one in known], axis=1)
        leaves = tree.leaves[~reached[tree.leaves]]
        leaves = leaves[(chosen[leaves] != _NONE).all(axis=1)]
        picks.append(chosen[leaves])
        column.append(np.full(len(leaves), -1))
        value.append(np.zeros(len(leaves)))
        splits = tree.splits[rng.random(len(tree.splits)) < share]
        tried += int(np.isin(tree.feature[splits], coded).sum())
        for place, nodes, sides in _edges(tree, splits, known):
            tried += len(nodes)
            for side in sides:
                picks.append(chosen[nodes])
                column.append(np.full(len(nodes), place))
                value.append(side)
    return _Plan(known, np.concatenate(picks), np.concatenate(column), np.concatenate(value), tried)


def _edges(
    tree: Tree, splits: np.ndarray[Any, Any], known: Sequence[Levels]
) -> Iterator[tuple[int, np.ndarray[Any, Any], list[np.ndarray[Any, Any]]]]:
    """Yield, by column, the splits and the column's values beside their thresholds."""
    for place, one in enumerate(known):
        for feature, edge in one.edges.items():
            nodes = splits[tree.feature[splits] == feature]
            at = np.searchsorted(edge.thresholds, tree.threshold[nodes])
            inside = at < len(edge.thresholds)
            if tree.members:
                inside &= ~np.isin(nodes, list(tree.members))
            if inside.any():
                nodes, at = nodes[inside], at[inside]
                yield place, nodes, _sides(one, edge.below[at], edge.above[at])


def _sides(
    column: Levels, below: np.ndarray[Any, Any], above: np.ndarray[Any, Any]
) -> list[np.ndarray[Any, Any]]:
    """Return values at and near both sides of thresholds."""
    if column.whole:
        return [below, above]
    outwards = np.where(above >= below, 1.0, -1.0)
    digit = _ULP * np.maximum(np.maximum(np.abs(below), np.abs(above)), column.scale)
    sides = []
    for step in _STEPS:
        sides += [below - outwards * step * digit, above + outwards * step * digit]
    return sides
