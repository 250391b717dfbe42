"""Which values of a column lead to which values before a model's trees.

Between a model's columns and its trees may stand scalers, imputers and encoders. They are asked
as they are: a column's values are varied, one column at a time, and what the trees would see is
looked at. Where a feature depends on one column only, the value that a box of bounds wants can
be looked up, and the value at which a threshold is crossed can be found by bisection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from modelport.convert.trees import LEAF, Grove
from modelport.parity import rows as tables

if TYPE_CHECKING:
    import pandas as pd

_MOST_VALUES = 128  # of the data's own, for one column
_MOST_THRESHOLDS = 4096
_MOST_TOGETHER = 4096  # rows of several columns' values looked at in one call
_BISECTIONS = 48  # halvings, from ten ranges of the data down to the 12th digit
_REACH = 10.0  # how far beyond the data thresholds are looked for, in ranges of the data


@dataclass(frozen=True)
class Edge:
    """Where a column crosses thresholds of one feature; arrays of shape [t].

    `below` holds the column's last values for which the feature is at most the threshold, and
    `above` the neighbouring ones for which it is more.
    """

    thresholds: np.ndarray[Any, Any]
    below: np.ndarray[Any, Any]
    above: np.ndarray[Any, Any]


@dataclass
class Levels:
    """Values of one column, and what the trees see of them.

    Attributes:
        name: The column.
        values: k values of it.
        features: The d features that depend on it.
        seen: What these features are for each value, [k, d].
        edges: Where it crosses thresholds, by feature.
        scale: Magnitude of the column in the data, with whose digits the features are computed;
            0 where the trees see the column as it is.
        whole: Whether it holds whole numbers only.
    """

    name: Any
    values: np.ndarray[Any, Any]
    features: np.ndarray[Any, Any]
    seen: np.ndarray[Any, Any]
    edges: dict[int, Edge] = field(default_factory=dict)
    scale: float = 0.0
    whole: bool = False


def plainly_seen(groves: Sequence[Grove], base: pd.DataFrame) -> bool:
    """Tell whether a model has trees, and all of them see the columns as they are.

    A value is then rounded by itself, however large the column's others are.
    """
    return bool(groves) and all(_passes_through(grove, base) for grove in groves)


def levels(
    grove: Grove, base: pd.DataFrame, categories: Mapping[Any, Sequence[Any]]
) -> list[Levels] | None:
    """Return the levels of every column that the trees depend on.

    Args:
        grove: The trees, and how their input is computed.
        base: Rows that the model takes; the first ones without gaps serve as the background.
        categories: What encoders know, by column: these columns are not bisected.

    Returns:
        None where features depend on several columns at once, so that no column has levels.
    """
    found = _levels(grove, base, categories)
    mixed = not _passes_through(grove, base)
    for one in found or []:
        if tables.numeric(base[one.name]):
            one.scale = tables.magnitude(base[one.name]) if mixed else 0.0
            one.whole = base[one.name].dtype.kind in "iu"
    return found


def _levels(
    grove: Grove, base: pd.DataFrame, categories: Mapping[Any, Sequence[Any]]
) -> list[Levels] | None:
    complete = base[~base.isna().any(axis=1)]
    row = (complete if len(complete) else base).iloc[:1]
    thresholds = _thresholds(grove)
    if _passes_through(grove, base):
        return [
            _direct(name, place, thresholds.get(place, np.empty(0)), base[name], grove.dtype)
            for place, name in enumerate(base.columns)
        ]
    values = {name: _values(base[name], categories.get(name, ())) for name in base.columns}
    found = _looked_at(grove, row, values)
    owners = np.concatenate([one.features for one in found]) if found else np.empty(0)
    if len(np.unique(owners)) < len(owners):
        return None
    moved = [one for one in found if _is_smooth(one, row, categories)]
    edges = _bisected(grove, row, base, moved, thresholds)
    refined = {one.name: _between(one, edges[one.name], row) for one in moved}
    again = {one.name: one for one in _looked_at(grove, row, refined)}
    for one in moved:
        again[one.name].edges = edges[one.name]
    return [again.get(one.name, one) for one in found]


def _thresholds(grove: Grove) -> dict[int, np.ndarray[Any, Any]]:
    """Return the sorted thresholds of every feature; splits by category have none."""
    features = np.concatenate([tree.feature for tree in grove.trees])
    values = np.concatenate([tree.threshold for tree in grove.trees])
    plain = np.concatenate([_splits_by_number(tree) for tree in grove.trees])
    kept = (features != LEAF) & plain & np.isfinite(values)
    features, values = features[kept], values[kept]
    return {int(one): np.unique(values[features == one]) for one in np.unique(features)}


def _splits_by_number(tree: Any) -> np.ndarray[Any, Any]:
    plain = np.ones(len(tree.feature), dtype=bool)
    plain[list(tree.members)] = False
    return plain


def _passes_through(grove: Grove, base: pd.DataFrame) -> bool:
    """Tell whether the trees see the columns as they are."""
    if not all(column.dtype.kind in "iufb" for _, column in base.items()):
        return False
    sample = base.iloc[:64]
    seen = grove.matrix(sample)
    plain = sample.to_numpy(dtype=float).astype(grove.dtype).astype(float)
    return seen.shape == plain.shape and np.array_equal(seen, plain, equal_nan=True)


def _direct(
    name: Any, place: int, thresholds: np.ndarray[Any, Any], column: pd.Series, dtype: Any
) -> Levels:
    """Return the levels of a column that the trees see as it is."""
    whole = column.dtype.kind in "iub"
    if whole:
        below = np.floor(thresholds)
        above = below + 1
    else:
        below = np.asarray(thresholds, dtype=dtype)
        below = np.where(below > thresholds, np.nextafter(below, dtype(-np.inf)), below)
        above = np.nextafter(below, dtype(np.inf))
    below, above = below.astype(float), above.astype(float)
    values = _filled(below, above, whole=whole) if len(below) else np.zeros(1)
    if column.dtype.kind == "b":
        values = np.array([0.0, 1.0])
    with np.errstate(over="ignore"):
        seen = values.astype(dtype).astype(float)
    edges = {place: Edge(thresholds, below, above)}
    return Levels(name, values, np.array([place]), seen[:, None], edges)


def _filled(
    below: np.ndarray[Any, Any], above: np.ndarray[Any, Any], *, whole: bool
) -> np.ndarray[Any, Any]:
    """Return a value in the middle of every gap between thresholds, and beyond both ends.

    None lies next to a threshold: a row is to be near one of them at most, or it would not be
    known which one it tries.
    """
    inner = (above[:-1] + below[1:]) / 2
    low, high = float(below.min()), float(above.max())
    span = max(high - low, abs(high), 1.0)
    values = np.unique([low - span, *inner, high + span])
    if whole:
        # Between neighbouring whole numbers there is only themselves.
        return np.unique(np.round([*values, *below, *above]))
    return np.append(values, np.nan)


def _values(column: pd.Series, known: Sequence[Any]) -> np.ndarray[Any, Any]:
    """Return values to try: the data's own, what encoders know, and a missing one."""
    own = column.dropna().unique()
    if len(own) > _MOST_VALUES:
        own = np.sort(own)[np.linspace(0, len(own) - 1, _MOST_VALUES).astype(int)]
    if tables.numeric(column):
        numbers = [float(value) for value in known if isinstance(value, int | float | np.number)]
        gap = [np.nan] if column.dtype.kind == "f" else []
        return np.unique(np.concatenate([np.asarray(own, dtype=float), numbers, gap]))
    values = [*dict.fromkeys([*own, *(value for value in known if value == value)])]
    if column.dtype.kind == "b":
        return np.asarray(values, dtype=object)
    gaps = column[column.isna()]
    values.append(gaps.iloc[0] if len(gaps) else None)
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _looked_at(
    grove: Grove, row: pd.DataFrame, values: Mapping[Any, np.ndarray[Any, Any]]
) -> list[Levels]:
    """Vary one column at a time, and look at what the trees see."""
    found = []
    for names in _together(values):
        for name, kept, seen in _seen(grove, row, {name: values[name] for name in names}):
            constant = np.isnan(seen).all(axis=0) | (seen == seen[0]).all(axis=0)
            features = np.flatnonzero(~constant)
            if len(features):
                found.append(Levels(name, kept, features, seen[:, features]))
    return found


def _together(values: Mapping[Any, np.ndarray[Any, Any]]) -> list[list[Any]]:
    """Group columns that are looked at in one call: a call costs much, of a wide table most."""
    groups: list[list[Any]] = [[]]
    rows = 0
    for name, tried in values.items():
        if rows and rows + len(tried) > _MOST_TOGETHER:
            groups.append([])
            rows = 0
        groups[-1].append(name)
        rows += len(tried)
    return groups


def _seen(
    grove: Grove, row: pd.DataFrame, values: Mapping[Any, np.ndarray[Any, Any]]
) -> list[tuple[Any, np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
    """Return by column the values that the model takes, and what its trees see of each."""
    try:
        matrix = grove.matrix(tables.join([_varied(row, *item) for item in values.items()]))
    except Exception:  # noqa: BLE001 - a missing value may be what it refuses
        if len(values) == 1:
            return [_without_gaps(grove, row, *item) for item in values.items()]
        return [one for item in values.items() for one in _seen(grove, row, dict([item]))]
    ends = np.cumsum([len(tried) for tried in values.values()])
    parts = np.split(matrix, ends[:-1])
    return [(*item, part) for item, part in zip(values.items(), parts, strict=True)]


def _without_gaps(
    grove: Grove, row: pd.DataFrame, name: Any, tried: np.ndarray[Any, Any]
) -> tuple[Any, np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    kept = np.array([value for value in tried if value is not None and value == value])
    kept = kept.astype(tried.dtype)
    return name, kept, grove.matrix(_varied(row, name, kept))


def _varied(row: pd.DataFrame, name: Any, tried: np.ndarray[Any, Any]) -> pd.DataFrame:
    return with_values(tables.repeat(row, len(tried)), name, tried)


def with_values(frame: pd.DataFrame, name: Any, values: np.ndarray[Any, Any]) -> pd.DataFrame:
    """Return the rows with these values in a column, one a row, of its dtype where that holds."""
    import pandas as pd

    frame = frame.reset_index(drop=True)
    dtype = frame[name].dtype
    column = pd.Series(values, index=frame.index)
    if isinstance(dtype, np.dtype) and dtype.kind in "iu":
        rounds = np.isfinite(values.astype(float)) & (values.astype(float) % 1 == 0)
        column = column.astype(dtype) if rounds.all() else column.astype(float)
    else:
        column = column.astype(dtype)
    frame[name] = column
    return frame


def _is_smooth(one: Levels, row: pd.DataFrame, categories: Mapping[Any, Sequence[Any]]) -> bool:
    """Tell whether a column's values may lie between those of the data: a measured number."""
    return tables.numeric(row[one.name]) and one.name not in categories


def _bisected(
    grove: Grove,
    row: pd.DataFrame,
    base: pd.DataFrame,
    columns: Sequence[Levels],
    thresholds: Mapping[int, np.ndarray[Any, Any]],
) -> dict[Any, dict[int, Edge]]:
    """Find where every column crosses the thresholds of its features: all columns at once."""
    jobs = [
        _Job(one, place, feature, wanted, base[one.name])
        for one in columns
        for place, feature in enumerate(one.features.tolist())
        if len(wanted := thresholds.get(feature, np.empty(0))[:_MOST_THRESHOLDS])
        and _monotone(one.values, one.seen[:, place])
    ]
    edges: dict[Any, dict[int, Edge]] = {one.name: {} for one in columns}
    for batch in _one_job_a_column(jobs):
        count = max(len(job.wanted) for job in batch)
        frame = tables.repeat(row, count).reset_index(drop=True)
        frame = frame.astype({job.column.name: float for job in batch})
        for _ in range(_BISECTIONS):
            for job in batch:
                frame[job.column.name] = job.padded(count)
            matrix = grove.matrix(frame)
            for job in batch:
                job.narrow(matrix[: len(job.wanted), job.feature])
        for job in batch:
            edges[job.column.name][job.feature] = job.edge()
    return edges


class _Job:
    """The bisection of one column for all thresholds of one feature."""

    def __init__(
        self,
        column: Levels,
        place: int,
        feature: int,
        wanted: np.ndarray[Any, Any],
        data: pd.Series,
    ) -> None:
        self.column, self.feature, self.wanted = column, feature, wanted
        self._whole = data.dtype.kind in "iu"
        finite = np.asarray(data.dropna(), dtype=float)
        low, high = finite.min(), finite.max()
        span = (high - low) or max(abs(high), 1.0)
        seen = column.seen[:, place]
        known = np.isfinite(seen) & np.isfinite(column.values.astype(float))
        first, last = seen[known][0], seen[known][-1]
        ends = (low - _REACH * span, high + _REACH * span)
        self._below = np.full(len(wanted), ends[0] if last >= first else ends[1])
        self._above = np.full(len(wanted), ends[1] if last >= first else ends[0])

    def padded(self, count: int) -> np.ndarray[Any, Any]:
        """Return the values to look at next, filled up to `count`."""
        self._middle = self._below + (self._above - self._below) / 2
        return np.resize(self._middle, count)

    def narrow(self, seen: np.ndarray[Any, Any]) -> None:
        """Take note of what the trees saw of them."""
        left = seen <= self.wanted
        self._below = np.where(left, self._middle, self._below)
        self._above = np.where(left, self._above, self._middle)

    def edge(self) -> Edge:
        """Return where the thresholds are crossed."""
        if self._whole:
            self._below, self._above = _whole(self._below, self._above)
        return Edge(self.wanted, self._below, self._above)


def _whole(
    below: np.ndarray[Any, Any], above: np.ndarray[Any, Any]
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    rises = above >= below
    low = np.floor(np.where(rises, below, above))
    return np.where(rises, low, low + 1), np.where(rises, low + 1, low)


def _one_job_a_column(jobs: Sequence[_Job]) -> list[list[_Job]]:
    """Group the jobs so that a group has at most one of each column."""
    groups: list[list[_Job]] = []
    for job in jobs:
        free = next(
            (g for g in groups if all(one.column.name != job.column.name for one in g)), None
        )
        if free is None:
            groups.append([job])
        else:
            free.append(job)
    return groups


def _monotone(values: np.ndarray[Any, Any], seen: np.ndarray[Any, Any]) -> bool:
    numbers = values.astype(float)
    known = np.isfinite(numbers) & np.isfinite(seen)
    steps = np.diff(seen[known][np.argsort(numbers[known])])
    return bool(len(steps)) and (bool((steps >= 0).all()) or bool((steps <= 0).all()))


def _between(one: Levels, edges: Mapping[int, Edge], row: pd.DataFrame) -> np.ndarray[Any, Any]:
    """Return the column's values with one in every gap between the thresholds' crossings."""
    whole = row[one.name].dtype.kind in "iu"
    lows = [np.minimum(edge.below, edge.above) for edge in edges.values()]
    highs = [np.maximum(edge.below, edge.above) for edge in edges.values()]
    if not lows:
        return one.values
    order = np.argsort(np.concatenate(lows), kind="stable")
    return _filled(np.concatenate(lows)[order], np.concatenate(highs)[order], whole=whole)
