"""Rows as models take them: a DataFrame, or an array [n, ...] for a model of one tensor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd


def take(rows: Any, which: Any) -> Any:
    """Return the rows at these positions: indices, a mask [n] or a slice."""
    return rows[which] if isinstance(rows, np.ndarray) else rows.iloc[which]


def join(parts: Sequence[Any]) -> Any:
    """Put rows of one kind below each other; their index counts from 0."""
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    import pandas as pd

    return pd.concat(parts, ignore_index=True)


def repeat(rows: Any, count: int) -> Any:
    """Return `count` rows: the given ones, again and again in their order."""
    return take(rows, np.arange(count) % len(rows))


def numeric(column: pd.Series) -> bool:
    """Tell whether a column holds numbers that one may move: no text, category or boolean."""
    return isinstance(column.dtype, np.dtype) and column.dtype.kind in "iuf"


def plainly_typed(rows: Any) -> Any:
    """Return rows with numpy's own types where pandas' nullable ones hold numbers or truth.

    A missing value is NaN there: whole numbers with one become float64.
    """
    if isinstance(rows, np.ndarray):
        return rows
    nullable = {
        name: _plain_type(rows[name])
        for name in rows.columns
        if not isinstance(rows[name].dtype, np.dtype) and rows[name].dtype.kind in "iufb"
    }
    return rows.astype(nullable) if nullable else rows


def _plain_type(column: pd.Series) -> np.dtype[Any]:
    kind = np.dtype(getattr(column.dtype, "numpy_dtype", float))
    return np.dtype(float) if kind.kind in "iub" and column.isna().any() else kind


def magnitude(column: pd.Series) -> float:
    """Return the median of a numeric column's absolute values; 0 where it has none."""
    known = np.abs(column.to_numpy(dtype=float))
    known = known[np.isfinite(known)]
    return float(np.median(known)) if len(known) else 0.0


def show(rows: Any, position: int) -> str:
    """Return one row in a line: `a=1.5, b='x'`; a tensor by its shape and mean."""
    if isinstance(rows, np.ndarray):
        return f"tensor {list(rows.shape[1:])}, mean {rows[position].mean():.6g}"
    row = rows.iloc[position]
    return ", ".join(f"{name}={_plain(value)!r}" for name, value in row.items())


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
