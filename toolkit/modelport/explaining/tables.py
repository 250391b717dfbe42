"""Tables of any types as numbers, so that shap can mix rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

Array = np.ndarray[Any, Any]


class Codebook:
    """The values that each column of a table takes, numbered; the missing one comes last.

    shap mixes rows of numbers; a model wants text, dates and missing values in the columns'
    own types. Numbers that stand for values can be mixed and turned back.

    Args:
        rows: The table.
        more: Further values of columns, by name.
    """

    def __init__(self, rows: pd.DataFrame, more: Mapping[str, Sequence[Any]] | None = None) -> None:
        import pandas as pd

        self._names = rows.columns
        self._values = []
        for place, name in enumerate(rows.columns):
            column = rows.iloc[:, place]
            added = (more or {}).get(str(name))
            if added is not None:
                extra = pd.Series(list(added)).astype(column.dtype)
                column = pd.concat([column, extra], ignore_index=True)
            missing = column.isna()
            self._values.append(pd.Index(pd.concat([column[~missing], column[missing]]).unique()))

    @property
    def counts(self) -> list[int]:
        """How many values each column takes."""
        return [len(values) for values in self._values]

    def encode(self, rows: pd.DataFrame) -> Array:
        """Return the numbers [n, columns] of rows whose values are all in the book."""
        columns = [
            values.get_indexer(rows.iloc[:, place]) for place, values in enumerate(self._values)
        ]
        return np.stack(columns, axis=1).astype(float)

    def decode(self, codes: Array) -> pd.DataFrame:
        """Return the rows that numbers [m, columns] stand for, in the columns' own types."""
        import pandas as pd

        places = codes.astype(np.intp)
        columns = {i: values.take(places[:, i]) for i, values in enumerate(self._values)}
        rows = pd.DataFrame(columns)
        rows.columns = self._names
        return rows
