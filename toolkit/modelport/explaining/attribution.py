"""Which input column each column of a transformed table comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from modelport.explaining.tables import Codebook

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pandas as pd

Array = np.ndarray[Any, Any]

_MOST_VALUES = 16  # of a column are tried; of one with categories all
_BASES = 3  # rows in which they are tried


class Misread(Exception):
    """An explainer takes the model for something else: the next one is asked."""


def sums(
    transform: Callable[[pd.DataFrame], Array],
    rows: pd.DataFrame,
    categories: Mapping[str, Sequence[Any]],
) -> Array:
    """Find which input column each transformed column comes from, by trying other values.

    Args:
        transform: Turns rows into the matrix [n, transformed] that the last step sees.
        rows: Rows as the model takes them.
        categories: What encoders know of columns, beside what the rows hold.

    Returns:
        A matrix [transformed, columns] of 0 and 1 that adds transformed columns up to input
        columns; rows of zeros are columns that never changed.

    Raises:
        Misread: A column depends on several inputs, so that nothing can be attributed exactly.
    """
    book = Codebook(rows, categories)
    bases = book.encode(rows.iloc[:_BASES])
    tried = [
        _changed(bases, column, _some(count, whole=str(rows.columns[column]) in categories))
        for column, count in enumerate(book.counts)
    ]
    answered = np.asarray(transform(book.decode(np.concatenate([bases, *tried]))), dtype=float)
    plain, moved = answered[: len(bases)], answered[len(bases) :]
    parts = np.split(moved, np.cumsum([len(part) for part in tried])[:-1])
    depends = np.stack([_differs(part, plain) for part in parts])
    if (depends.sum(axis=0) > 1).any():
        raise Misread
    return np.asarray(depends.T, dtype=float)


def _some(count: int, *, whole: bool) -> Array:
    """Return the numbers of the values to try: all `count`, or a few of them."""
    most = count if whole else min(count, _MOST_VALUES)
    return np.unique(np.linspace(0, count - 1, most).astype(int))


def _changed(bases: Array, column: int, values: Array) -> Array:
    """Return each base with each value in a column: [values x bases, columns]."""
    changed = np.tile(bases, (len(values), 1))
    changed[:, column] = np.repeat(values, len(bases))
    return changed


def _differs(moved: Array, plain: Array) -> Array:
    """Return which transformed columns [transformed] differ from those of the bases."""
    expected = np.tile(plain, (len(moved) // len(plain), 1))
    same = (moved == expected) | (np.isnan(moved) & np.isnan(expected))
    return np.asarray(~same.all(axis=0))
