"""The way back from what a model's trees see to its columns, where these are mixed.

Principal components and other projections make every feature of all columns at once. Where that
is linear, as it mostly is, the rows that the trees would see can be solved for the columns; where
it is not, the rows land elsewhere, and what they visit is counted as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from modelport.convert.trees import Grove
from modelport.parity import rows as tables

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_MOST_ROWS = 512


@dataclass(frozen=True)
class Inverse:
    """The trees' own view of the rows, and the way back.

    Attributes:
        grove: The same trees, fed with what they see.
        base: What they see of the model's rows.
        scales: Magnitude of the terms that each feature is a sum of: with their digits it is
            rounded.
    """

    grove: Grove
    base: pd.DataFrame
    scales: np.ndarray[Any, Any]
    _row: pd.DataFrame
    _columns: Sequence[Any]
    _origin: np.ndarray[Any, Any]
    _back: np.ndarray[Any, Any]

    def rows(self, seen: pd.DataFrame) -> pd.DataFrame:
        """Return rows of which the trees see this, as far as they are a linear view."""
        rows: pd.DataFrame = tables.repeat(self._row, len(seen)).reset_index(drop=True)
        start = rows[self._columns].to_numpy(dtype=float)
        solved = start + (seen.to_numpy(dtype=float) - self._origin) @ self._back.T
        for place, name in enumerate(self._columns):
            rows[name] = solved[:, place]
        return rows


def inverse(
    grove: Grove, base: pd.DataFrame, categories: Mapping[Any, Sequence[Any]]
) -> Inverse | None:
    """Return the way back, found by moving one measured column at a time; None if there is none."""
    columns = [
        name for name in base.columns if base[name].dtype.kind == "f" and name not in categories
    ]
    complete = base[~base.isna().any(axis=1)]
    if not columns or not len(complete):
        return None
    row = complete.iloc[:1]
    steps = np.array([float(complete[name].std()) or 1.0 for name in columns])
    moved = tables.repeat(row, len(columns) + 1).reset_index(drop=True)
    for place, name in enumerate(columns):
        moved.loc[place, name] += steps[place]
    seen = grove.view(moved)
    slopes = (seen[:-1] - seen[-1]) / steps[:, None]
    if not np.isfinite(slopes).all():
        return None
    view = pd.DataFrame(grove.view(complete.iloc[:_MOST_ROWS]))
    inner = Grove(grove.trees, lambda rows: rows.to_numpy(), grove.dtype)
    terms = np.array([tables.magnitude(base[name]) for name in columns]) @ np.abs(slopes)
    return Inverse(inner, view, terms, row, columns, seen[-1], np.linalg.pinv(slopes.T))
