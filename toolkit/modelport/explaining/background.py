"""The rows that a served explainer takes for 'feature absent', in a file beside the model."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from modelport.explaining.outputs import explained_output

if TYPE_CHECKING:
    from modelport.convert.base import Model, Rows

_MOST_VALUES = 20_000  # in all rows: the file stays below a megabyte


def background(model: Model, rows: Rows, most: int) -> str:
    """Return at most `most` of the rows as JSON, or `null` where none can stand for the others.

    `modelport_serving.contract` says what the file holds.

    Args:
        model: The model that will be served.
        rows: A table or a matrix; for anything else there is no background.
        most: How many rows are kept at the most.
    """
    if rows.ndim != len(("rows", "columns")):
        return "null"
    import pandas as pd

    names = [str(name) for name in rows.columns] if isinstance(rows, pd.DataFrame) else None
    table = pd.DataFrame(rows)
    count = min(most, len(table), max(1, _MOST_VALUES // table.shape[1]))
    few = table.sample(count, random_state=0)
    plain = few.astype(object).where(few.notna(), None)
    found: dict[str, Any] = {
        "columns": names,
        "rows": plain.to_numpy().tolist(),
        "output": explained_output(model.answer(rows[:1])),
    }
    return json.dumps(found, default=str)
