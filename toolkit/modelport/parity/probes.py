"""Rows made to break a conversion: off the data's trodden paths, but such as the model takes.

What a model refuses (a missing value, an unknown category) is tried on the native model first,
and left out where it does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from modelport.errors import DataError
from modelport.parity import rows as tables

if TYPE_CHECKING:
    import pandas as pd

    from modelport.convert.base import Answers, NativeModel
    from modelport.reports import Column

_INVENTED = {"integer", "long", "float", "double", "boolean"}
UNSEEN = "modelport: never seen"
_BEYOND = (-10.0, -1.0, 0.0, 1.0, 10.0)
_MOST_COLUMNS = 512  # of a very wide table only so many get rows of their own


@dataclass(frozen=True)
class Probe:
    """Rows to compare on, with where they come from.

    `native` is what the native model answers, where that is known already.
    """

    origin: str
    rows: Any
    native: Answers | None = None


def edge_cases(
    native: NativeModel, base: Any, categories: Mapping[Any, Sequence[Any]]
) -> list[Probe]:
    """Make rows with extremes, missing values, every known category and unknown ones.

    Args:
        native: The model, which is asked what it takes.
        base: Rows that it takes: a DataFrame, or an array [n, ...].
        categories: What its encoders know, by column.
    """
    if isinstance(base, np.ndarray):
        return [answered(native, "extremes", _extreme_tensors(base))]
    made = {
        "extremes": _extremes(base),
        "missing": _missing(base),
        "categories": _categories(base, categories),
        "unseen categories": _unseen(base, categories),
    }
    found = [
        taken(native, origin, rows, 2 * len(rows)) for origin, rows in made.items() if len(rows)
    ]
    return [probe for probe in found if len(probe.rows)]


def synthetic(base: Any, count: int, seed: int = 0) -> Any:
    """Make up rows from given ones: columns shuffled apart, numbers moved by up to 3 deviations.

    The first two rows of a table hold every numeric column's minimum and maximum.
    """
    rng = np.random.default_rng(seed)
    if isinstance(base, np.ndarray):
        picked = tables.take(base, rng.integers(0, len(base), min(count, 2 * len(base) + 8)))
        if picked.dtype.kind in "iu":
            low, high = base.min(), base.max()
            return rng.integers(low, high, picked.shape, base.dtype, endpoint=True)
        if picked.dtype.kind != "f":
            return rng.permutation(picked)
        return (picked + rng.normal(size=picked.shape) * _deviation(base)).astype(base.dtype)
    import pandas as pd

    picked = base.sample(count, replace=True, random_state=seed).reset_index(drop=True)
    columns = {name: _stray(picked[name], base[name], rng) for name in base.columns}
    return pd.DataFrame(columns)


def _deviation(base: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return how far each element of a tensor varies from row to row, else all of them, else 1."""
    known = np.where(np.isfinite(base), base, 0.0).astype(float)
    each = known.std(axis=0)
    return np.where(each > 0, each, known.std() or 1.0)


def invented(columns: Sequence[Column], count: int, seed: int = 0) -> Any:
    """Make up numeric rows from a signature alone, of magnitudes from 0.01 to 1,000.

    A tensor of three or more dimensions gets an array with values of a standard normal.

    Raises:
        DataError: The signature is missing, or has columns that are not numeric.
    """
    import pandas as pd

    rng = np.random.default_rng(seed)
    shape = columns[0].shape if columns else None
    if shape is not None and len(shape) > 2 and len(columns) == 1:
        return _invented_tensor(columns[0], shape, min(count, 8), rng)
    names: list[Any] = [column.name for column in columns if column.name is not None]
    if shape is not None and len(shape) == 2 and shape[1] > 0:
        names = list(range(shape[1]))
    table = columns and shape is None
    if not names or (table and any(column.type not in _INVENTED for column in columns)):
        raise DataError(
            "there is no row to certify the conversion on",
            "pass --data, or log the model with an input example",
        )
    size = (count, len(names))
    values = rng.normal(size=size) * 10 ** rng.uniform(-2, 3, size=size)
    frame = pd.DataFrame(values, columns=names)
    frame = frame.astype({c.name: "int64" for c in columns if c.type in {"integer", "long"}})
    for column in columns:
        if column.type == "boolean":
            frame[column.name] = rng.integers(0, 2, count).astype(bool)
    return frame


def answered(native: NativeModel, origin: str, rows: Any) -> Probe:
    """Return the rows with what the native model answers; none where it refuses them."""
    try:
        return Probe(origin, rows, native.answer(rows))
    except Exception:  # noqa: BLE001 - a model refuses with whatever its library raises
        return Probe(origin, tables.take(rows, slice(0, 0)))


def taken(native: NativeModel, origin: str, rows: Any, parts: int) -> Probe:
    """Return the rows that the native model answers: all at once, else half by half.

    Args:
        native: The model, which may refuse some rows, such as negative ones.
        origin: Where the rows come from.
        rows: The rows; at least one.
        parts: Into so many parts they are split at the most; a part with a refused row is lost.
    """
    whole = answered(native, origin, rows)
    if len(whole.rows) or parts < 2 or len(rows) < 2:
        return whole
    middle = len(rows) // 2
    halves = (slice(0, middle), slice(middle, len(rows)))
    found = [taken(native, origin, tables.take(rows, half), parts // 2) for half in halves]
    kept = [one.rows for one in found if len(one.rows)]
    return answered(native, origin, tables.join(kept)) if kept else whole


def _invented_tensor(
    column: Column, shape: Sequence[int], count: int, rng: np.random.Generator
) -> np.ndarray[Any, Any]:
    dtype = np.dtype(column.type.removeprefix("tensor(").removesuffix(")"))
    inner = [size if size > 0 else 1 for size in shape[1:]]
    if dtype.kind == "f":
        return rng.normal(size=(count, *inner)).astype(dtype)
    return rng.integers(0, 2 if dtype.kind == "b" else 100, (count, *inner)).astype(dtype)


def _stray(column: pd.Series, source: pd.Series, rng: np.random.Generator) -> Any:
    values = column.iloc[rng.permutation(len(column))].reset_index(drop=True)
    if not tables.numeric(column):
        return values
    known = source.to_numpy(dtype=float)
    known = known[np.isfinite(known)]
    if not len(known):
        return values
    moved = values.to_numpy(dtype=float) + rng.uniform(-3, 3, len(values)) * (known.std() or 1.0)
    moved[:2] = [known.min(), known.max()][: len(moved)]
    return moved.astype(str(column.dtype)) if np.isfinite(moved).all() else moved


def _extremes(base: pd.DataFrame) -> pd.DataFrame:
    """One column at a time, then all together, at zero and up to ten ranges beyond the data."""
    import pandas as pd

    names = [name for name in base.columns if tables.numeric(base[name])]
    ends = {name: _ends(base[name]) for name in names}
    cells = [{name: value} for name in names[:_MOST_COLUMNS] for value in ends[name]]
    if names:
        cells += [{name: ends[name][k] for name in names} for k in range(len(_BEYOND) + 2)]
    switches = [name for name in base.columns if base[name].dtype.kind == "b"]
    cells += [{name: value} for name in switches[:_MOST_COLUMNS] for value in (False, True)]
    return _overlaid(base, cells) if cells else pd.DataFrame(columns=base.columns)


def _ends(column: pd.Series) -> list[Any]:
    known = column.to_numpy(dtype=float)
    known = known[np.isfinite(known)]
    low, high = (known.min(), known.max()) if len(known) else (0.0, 1.0)
    middle, span = (low + high) / 2, (high - low) or 1.0
    ends = [low, high, *(middle + step * span for step in _BEYOND)]
    ends[4] = 0.0
    if column.dtype.kind in "iu":
        limits = np.iinfo(str(column.dtype))
        return [int(np.clip(round(value), limits.min, limits.max)) for value in ends]
    return [float(value) for value in ends]


def _missing(base: pd.DataFrame) -> pd.DataFrame:
    """Each column empty in turn, then all; only columns whose type can say 'missing'."""
    names = [name for name in base.columns if _can_be_missing(base[name])]
    cells: list[dict[Any, Any]] = [{name: _nothing(base[name])} for name in names[:_MOST_COLUMNS]]
    if len(names) > 1:
        cells.append({name: _nothing(base[name]) for name in names})
    return _overlaid(base, cells)


def _can_be_missing(column: pd.Series) -> bool:
    return not (isinstance(column.dtype, np.dtype) and column.dtype.kind in "iub")


def _nothing(column: pd.Series) -> Any:
    """Return what stands for a missing value where the data have one, else None or NaN."""
    gaps = column[column.isna()]
    if len(gaps):
        return gaps.iloc[0]
    return np.nan if tables.numeric(column) else None


def _categories(base: pd.DataFrame, known: Mapping[Any, Sequence[Any]]) -> pd.DataFrame:
    """Every category of every encoder, each in a row of its own beside the data's values."""
    cells = [
        {name: value} for name, values in known.items() if name in base.columns for value in values
    ]
    return _overlaid(base, cells)


def _unseen(base: pd.DataFrame, known: Mapping[Any, Sequence[Any]]) -> pd.DataFrame:
    cells: list[dict[Any, Any]] = []
    for name in base.columns:
        if tables.numeric(base[name]) and name in known:
            numbers = [float(value) for value in known[name] if value == value]
            cells.append({name: max(numbers, default=0.0) + 1})
        elif base[name].dtype.kind == "O" or str(base[name].dtype).startswith("str"):
            cells += [{name: value} for value in (UNSEEN, "", *_misspelt(base[name]))]
    return _overlaid(base, cells[:_MOST_COLUMNS])


def _misspelt(column: pd.Series) -> list[str]:
    """Return one of the column's texts in other letters, and with space around it."""
    text = next((value for value in column if isinstance(value, str) and value.strip()), "")
    return [other for other in (text.swapcase(), f" {text} ") if text and other != text]


def _overlaid(base: pd.DataFrame, cells: Sequence[Mapping[Any, Any]]) -> pd.DataFrame:
    """Return a row for each set of cells: one of the base's rows with these cells replaced."""
    frame: pd.DataFrame = tables.repeat(base, len(cells)).reset_index(drop=True)
    columns: dict[Any, dict[int, Any]] = {}
    for row, replaced in enumerate(cells):
        for name, value in replaced.items():
            columns.setdefault(name, {})[row] = value
    for name, replaced in columns.items():
        frame[name] = overlay(frame[name], list(replaced), list(replaced.values()))
    return frame


def overlay(column: pd.Series, places: Sequence[int], values: Sequence[Any]) -> pd.Series:
    """Return the column with these values at these places, of the same dtype if that holds."""
    import pandas as pd

    if isinstance(column.dtype, pd.CategoricalDtype):
        return pd.Series(_replaced(column, places, values), dtype=column.dtype, index=column.index)
    replaced = pd.Series(_replaced(column, places, values), dtype=object, index=column.index)
    try:
        return replaced.astype(column.dtype)
    except (ValueError, TypeError):
        return replaced.infer_objects()


def _replaced(column: pd.Series, places: Sequence[int], values: Sequence[Any]) -> list[Any]:
    cells = column.astype(object).tolist()
    for place, value in zip(places, values, strict=True):
        cells[place] = value
    return cells


def _extreme_tensors(base: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    fills: list[Callable[[], np.ndarray[Any, Any]]] = [
        lambda: np.zeros_like(base[:1]),
        lambda: np.full_like(base[:1], base.min()),
        lambda: np.full_like(base[:1], base.max()),
        lambda: base[:1, ..., ::-1].copy(),
    ]
    return np.concatenate([fill() for fill in fills])
