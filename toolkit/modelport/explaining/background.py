"""The rows that a served explainer takes for 'feature absent', in a file beside the model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from modelport.explaining.outputs import explained_output

if TYPE_CHECKING:
    from modelport.convert.base import Model, Rows

_MOST_VALUES = 20_000  # in all rows: the file stays below a megabyte


def keep_background(model: Model, rows: Rows, most: int, folder: Path) -> None:
    """Write some of the rows into a folder, under the name that they have in a model folder.

    `modelport_serving.contract` says what the file holds. Images have no background.

    Args:
        model: The model that will be served.
        rows: What it takes, all of it.
        most: How many rows are kept at the most.
        folder: Where the file goes; it is added to the model's own.
    """
    import pandas as pd

    from modelport_serving import contract

    if rows.ndim != len(("rows", "columns")):
        return
    names = [str(name) for name in rows.columns] if isinstance(rows, pd.DataFrame) else None
    table = pd.DataFrame(rows)
    count = min(most, len(table), max(1, _MOST_VALUES // table.shape[1]))
    few = table.sample(count, random_state=0).astype(object)
    kept = {
        contract.BACKGROUND_COLUMNS: names,
        contract.BACKGROUND_ROWS: few.where(few.notna(), None).to_numpy().tolist(),
        contract.BACKGROUND_OUTPUT: explained_output(model.answer(rows[:1])),
    }
    path = folder / contract.BACKGROUND_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(kept, default=str))


def has_background(folder: Path) -> bool:
    """Tell whether an explainer can serve a model folder: it has rows to compare with."""
    from modelport_serving import contract

    return (folder / contract.BACKGROUND_FILE).is_file()
