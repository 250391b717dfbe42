"""What the models of neural networks share: rows in one tensor, and answers by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from modelport.convert.base import PREDICTION, Answers, Rows
from modelport.errors import UnsupportedModel

if TYPE_CHECKING:
    from modelport.reports import Resolution

INPUT = "input"
_ANY = 2  # what a variable dimension is while a network is traced


def whole(resolution: Resolution) -> str | None:
    """Return the type of the signature's tensor if it holds whole numbers, as numpy names it."""
    kind = resolution.inputs[0].type if resolution.inputs else ""
    name = kind.removeprefix("tensor(").removesuffix(")")
    return name if name != kind and name.startswith(("int", "uint")) else None


def given(resolution: Resolution) -> tuple[str, tuple[int, ...]]:
    """Return the name and shape of the one tensor [n, ...] that the signature describes.

    A table of numbers is one tensor, as MLflow feeds it to a network.

    Raises:
        UnsupportedModel: The signature is missing, or has several tensors.
    """
    columns = resolution.inputs
    if not columns:
        raise UnsupportedModel(
            "the model has no signature, so nobody knows the shape of what it takes; "
            "log it with an input example"
        )
    if columns[0].shape is None:
        return INPUT, (-1, len(columns))
    if len(columns) > 1:
        raise UnsupportedModel(f"the model takes {len(columns)} tensors, and rows are one")
    return columns[0].name or INPUT, columns[0].shape


def example(shape: Sequence[int], dtype: Any) -> np.ndarray[Any, Any]:
    """Return a tensor of that shape to trace a network with."""
    sizes = [_ANY if size < 0 else size for size in shape]
    return np.ones([_ANY, *sizes[1:]], dtype=dtype)


def array(rows: Rows, dtype: Any) -> np.ndarray[Any, Any]:
    """Return rows as one tensor of that type."""
    return np.asarray(rows if isinstance(rows, np.ndarray) else rows.to_numpy(), dtype=dtype)


def named(result: Any) -> dict[str, Any]:
    """Name what a network returns: one tensor, several in order, or a mapping of them."""
    if isinstance(result, Mapping):
        return {str(name): value for name, value in result.items()}
    if isinstance(result, tuple | list):
        return {f"{PREDICTION}_{index}": value for index, value in enumerate(_flat(result))}
    return {PREDICTION: result}


def arrays(result: Any, to_numpy: Callable[[Any], np.ndarray[Any, Any]]) -> Answers:
    """Return what a network returns as arrays by name."""
    return {name: to_numpy(value) for name, value in named(result).items()}


def _flat(values: Any) -> Iterator[Any]:
    for value in values:
        if isinstance(value, tuple | list):
            yield from _flat(value)
        else:
            yield value
