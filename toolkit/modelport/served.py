"""Asking a live service's explainer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from modelport import endpoints
from modelport.errors import UsageError
from modelport.render import figures
from modelport.reports import RowExplanation, ServedExplanation

MOST_ROWS = 100
"""Rows that are explained at a time: each costs the predictor thousands of evaluations."""

_MISSING = "missing"


def explain(
    url: str, service: str, rows: Any, output: int | None, say: Callable[[str], None]
) -> ServedExplanation:
    """Explain rows, a few in each request; `say` tells how far it is.

    Raises:
        UsageError: There are more than `MOST_ROWS`.
        PredictionError: The explainer does not answer, or refuses the rows.
    """
    sent = endpoints.instances(rows)
    if len(sent) > MOST_ROWS:
        raise UsageError(
            f"{len(sent):,} rows are too many to explain", f"give at most {MOST_ROWS} of them"
        )
    told: list[dict[str, Any]] = []
    for answer in endpoints.explain(url, service, sent, output):
        told += answer
        say(f"{len(told)} of {len(sent)} rows")
    features = tuple(told[0]["values"])
    return ServedExplanation(
        service=service,
        method=told[0]["method"],
        background_rows=told[0]["background_rows"],
        features=features,
        rows=tuple(
            RowExplanation(
                row=place,
                base_value=one["base_value"],
                output_value=one["output_value"],
                values=tuple(one["values"].values()),
                shown=_shown(row, features),
                residual=one["residual"],
            )
            for place, (row, one) in enumerate(zip(sent, told, strict=True))
        ),
        outputs=tuple(one["output"] for one in told),
    )


def _shown(row: Any, features: tuple[str, ...]) -> tuple[str, ...]:
    """Return a row's own values as texts, in the order of the features."""
    cells = [row[name] for name in features] if isinstance(row, Mapping) else row
    return tuple(_text(cell) for cell in cells)


def _text(cell: Any) -> str:
    if cell is None:
        return _MISSING
    return figures.significant(cell, 4) if isinstance(cell, float) else str(cell)
