"""Whether float32 explains a difference: the native model is asked for rows next to the row.

A graph in float32 sees a row that differs from the given one by up to half a unit in its last
digit, and rounds as much again in every step. So the native model answers rows that differ from
the given one by no more than a few such digits. If it gives the converted model's answer for
one of them (or answers on both sides of it), the difference is one that float32 cannot tell;
if it never does, the conversion is at fault.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from modelport.config import settings
from modelport.convert.base import LABEL
from modelport.parity import rows as tables
from modelport.parity.compare import Reach, Tolerance, compare, leeway, plain

if TYPE_CHECKING:
    from modelport.convert.base import NativeModel
    from modelport.parity.compare import Answers

_ULP = 2.0**-24
_DIGITS = 4.0  # how many units in float32's last digit a neighbour may be away
_ROUNDS = (8, 32, 128)  # neighbours asked for each row; the next round only where none explained
_MANY = 100  # rows of which none is explained at first: these are not rounding's
_MOST_ROWS = 4_000  # of differing rows, so many are looked into


@dataclass(frozen=True)
class Grain:
    """How finely float32 tells a model's rows and answers apart.

    Attributes:
        tolerance: What counts as the same answer.
        reach: What each output reaches.
        fixed: Columns whose values are categories, and have no neighbours.
        scales: Magnitude of each column's data: a small number beside large ones is computed
            with their digits. A column that is not named is rounded value by value.
    """

    tolerance: Tolerance
    reach: Mapping[str, Reach] = field(default_factory=dict)
    fixed: Collection[Any] = ()
    scales: Mapping[Any, float] = field(default_factory=dict)


def explained(
    native: NativeModel,
    rows: Any,
    converted: Answers,
    grain: Grain,
) -> np.ndarray[Any, Any]:
    """Tell for each of n rows whether float32 rounding explains the converted answer; [n].

    Args:
        native: The model that is right.
        rows: The rows on which the converted one differs: a DataFrame, or an array [n, ...].
        converted: What it answered.
        grain: What may be told apart.
    """
    rng = np.random.default_rng(0)
    found = np.zeros(len(rows), dtype=bool)
    for neighbours in _ROUNDS:
        open_rows = np.flatnonzero(~found)[: _affordable(rows, neighbours)]
        hopeless = neighbours > _ROUNDS[0] and len(rows) > _MANY and not found.any()
        if not len(open_rows) or hopeless:
            break
        part = tables.take(rows, open_rows)
        repeated = tables.repeat(part, neighbours * len(open_rows))
        moved = _neighbour(repeated, grain, rng)
        given = {name: np.asarray(values)[open_rows] for name, values in converted.items()}
        found[open_rows] = _matches(native, moved, given, neighbours, grain)
    return found


def _affordable(rows: Any, neighbours: int) -> int:
    """Return of how many rows so many neighbours may be asked for: of big tensors few."""
    if not isinstance(rows, np.ndarray):
        return _MOST_ROWS
    values = settings().limits.certified_values
    return min(_MOST_ROWS, values // (neighbours * int(rows[0].size)))


def magnitudes(base: Any) -> dict[Any, float]:
    """Return the magnitude of every numeric column: the median of its absolute values."""
    if isinstance(base, np.ndarray):
        return {}
    return {
        name: tables.magnitude(base[name]) for name in base.columns if tables.numeric(base[name])
    }


def _neighbour(rows: Any, grain: Grain, rng: np.random.Generator) -> Any:
    """Return the rows, each number moved by a few of float32's digits."""
    if isinstance(rows, np.ndarray):
        return rows if rows.dtype.kind != "f" else _moved(rows, 0.0, rng).astype(rows.dtype)
    moved = rows.copy()
    for name in rows.columns:
        if name not in grain.fixed and tables.numeric(rows[name]):
            values = rows[name].to_numpy(dtype=float)
            moved[name] = _moved(values, grain.scales.get(name, 0.0), rng)
    return moved


def _moved(
    values: np.ndarray[Any, Any], scale: float, rng: np.random.Generator
) -> np.ndarray[Any, Any]:
    digit = _ULP * np.maximum(np.abs(values), scale)
    return np.asarray(values + digit * rng.uniform(-_DIGITS, _DIGITS, values.shape))


def _matches(
    native: NativeModel,
    moved: Any,
    given: Answers,
    neighbours: int,
    grain: Grain,
) -> np.ndarray[Any, Any]:
    """Tell for each row whether some neighbour's answer, or two around it, is the given one."""
    try:
        answers = native.answer(moved)
    except Exception:  # noqa: BLE001 - a model that refuses neighbours does not round to them
        return np.zeros(len(next(iter(given.values()))), dtype=bool)
    repeated = {name: np.concatenate([values] * neighbours) for name, values in given.items()}
    classes = getattr(native, "classes", None)
    same = ~compare(answers, repeated, classes, grain.tolerance, grain.reach).failed
    hit = same.reshape(neighbours, -1).any(axis=0)
    return np.asarray(hit | _surrounded(answers, given, neighbours, grain))


def _surrounded(
    answers: Answers, given: Answers, neighbours: int, grain: Grain
) -> np.ndarray[Any, Any]:
    """Tell where every output lies within the range of the neighbours' answers."""
    rows = len(next(iter(given.values())))
    inside = np.ones(rows, dtype=bool)
    for name, values in answers.items():
        if name not in given:
            return np.zeros(rows, dtype=bool)
        spread = plain(values).reshape(neighbours, rows, -1)
        mine = plain(given[name]).reshape(rows, -1)
        if mine.shape[1] != spread.shape[2]:
            return np.zeros(rows, dtype=bool)
        if name.startswith(LABEL) or spread.dtype.kind != "f":
            inside &= (spread == mine).any(axis=0).all(axis=1)
            continue
        beside = leeway(mine, grain.tolerance, grain.reach.get(name))
        low, high = spread.min(axis=0) - beside, spread.max(axis=0) + beside
        inside &= ((mine >= low) & (mine <= high)).all(axis=1)
    return inside
