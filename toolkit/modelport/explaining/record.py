"""The report of what was found: bounded, whatever the size of the table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from modelport.reports import Explanation, Feature, ImageExplanation, RowExplanation, Swarm

if TYPE_CHECKING:
    import pandas as pd

    from modelport.explaining.tabular import Found

Array = np.ndarray[Any, Any]

_SWARMS = 20
_DOTS = 200
_DIGITS = 4  # significant ones of a dot's place
_TWO = 2
_LONGEST = 40  # characters of a value
_WHOLE = 1e4  # numbers from here on need no decimals
_MISSING = "missing"


def of(found: Found, rows: pd.DataFrame) -> Explanation:
    """Report SHAP values of some of the rows.

    Of several outputs one is reported: of two classes, which mirror each other, the second, of
    more the one that is explained most.
    """
    count = found.outputs.shape[1]
    chosen = _shown_output(found.values.values)
    values, base = found.values.values[:, :, chosen], found.values.base[:, chosen]
    output = found.outputs[:, chosen]
    residuals = np.abs(base + values.sum(axis=1) - output)
    importance = np.abs(values).mean(axis=0)
    order = np.argsort(-importance, kind="stable")
    explained = rows.iloc[found.rows]

    def example(place: int) -> RowExplanation:
        return RowExplanation(
            row=int(found.rows[place]),
            base_value=float(base[place]),
            output_value=float(output[place]),
            values=tuple(float(value) for value in values[place, order]),
            shown=tuple(_text(explained.iat[place, column]) for column in order),
            residual=float(residuals[place]),
        )

    return Explanation(
        explained=True,
        method=found.way.method,
        output=found.meaning.name(chosen, count),
        rows=len(values),
        sampled=_sampled(len(values), len(rows), found.way.background),
        base_value=float(base.mean()),
        residual=float(residuals.max()),
        features=tuple(
            Feature(name=str(rows.columns[i]), importance=float(importance[i])) for i in order
        ),
        beeswarm=tuple(
            Swarm(
                feature=str(rows.columns[i]),
                values=tuple(_rounded(value) for value in values[:_DOTS, i]),
                shades=_shades(explained.iloc[:_DOTS, i]),
            )
            for i in order[:_SWARMS]
        ),
        examples={name: example(place) for name, place in _examples(output).items()},
    )


def of_images(images: Sequence[ImageExplanation], rows: int) -> Explanation:
    """Report the images that were explained, out of `rows`."""
    down, across = len(images[0].values), len(images[0].values[0])
    return Explanation(
        explained=True,
        method="permutation",
        rows=len(images),
        sampled=f"{len(images)} of {rows:,} images, {down * across} superpixels each",
        residual=max(image.residual for image in images),
        images=tuple(images),
    )


def _sampled(explained: int, rows: int, background: int = 0) -> str:
    """Say how much of the data was looked at: `200 of 4,000 rows, background 50 rows`."""
    some = f"all {rows:,} rows" if explained == rows else f"{explained:,} of {rows:,} rows"
    return f"{some}, background {background:,} rows" if background else some


def _shown_output(values: Array) -> int:
    outputs = int(values.shape[2])
    if outputs <= _TWO:
        return outputs - 1
    return int(np.argmax(np.abs(values).sum(axis=(0, 1))))


def _examples(output: Array) -> dict[str, int]:
    """Choose rows worth looking at; one row is one example, whatever it is an example of."""
    typical = int(np.argmin(np.abs(output - np.median(output))))
    names = {
        int(np.argmin(output)): "lowest output",
        int(np.argmax(output)): "highest output",
        typical: "typical output",
    }
    return {name: place for place, name in reversed(names.items())}


def _shades(column: pd.Series) -> tuple[float | None, ...]:
    """Return each value's rank among the values, from 0 to 1: outliers leave the rest its hues."""
    from pandas.api.types import is_numeric_dtype

    if not is_numeric_dtype(column.dtype):
        return (None,) * len(column)
    ranks = column.rank(method="average")
    low, high = ranks.min(), ranks.max()
    if not high > low:
        return tuple(None if np.isnan(rank) else 0.5 for rank in ranks)
    return tuple(
        None if np.isnan(rank) else round(float((rank - low) / (high - low)), 2) for rank in ranks
    )


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


def _text(value: Any) -> str:
    import pandas as pd

    if pd.api.types.is_scalar(value) and pd.isna(value):
        return _MISSING
    if isinstance(value, float | np.floating):
        number = float(value)
        return f"{number:,.0f}" if _WHOLE <= abs(number) < np.inf else f"{number:.4g}"
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}\N{HORIZONTAL ELLIPSIS}"
