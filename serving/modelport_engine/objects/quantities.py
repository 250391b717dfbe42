"""Kubernetes' quantities: `500m` cores, `1Gi` bytes, `0.2` seconds."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

_QUANTITY = re.compile(
    r"(\+?(?:[0-9]+\.?[0-9]*|\.[0-9]+))(?:([KMGTPE]i|[numkMGTPE])|[eE]([+-]?[0-9]{1,3}))?"
)
_BINARY = {f"{letter}i": Decimal(1024) ** power for power, letter in enumerate("KMGTPE", 1)}
_DECIMAL = {
    letter: Decimal(1000) ** power
    for letter, power in zip("numkMGTPE", (-3, -2, -1, 1, 2, 3, 4, 5, 6), strict=True)
}
_FACTORS = {**_BINARY, **_DECIMAL}
_MOST = 2**63 - 1
"""Kubernetes' own limit."""


def quantity(text: int | str) -> float:
    """Read a quantity that is not negative; `ValueError` if it is none."""
    match = _QUANTITY.fullmatch(str(text))
    if match is None:
        raise ValueError(f"{text!r} is no quantity")
    number, suffix, exponent = match.groups()
    factor = _FACTORS[suffix] if suffix else Decimal(10) ** int(exponent or 0)
    value = Decimal(number) * factor
    if value > _MOST:
        raise ValueError(f"{text!r} is too large")
    return float(value)


def _check(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | str) or not _is_quantity(value):
        raise PydanticCustomError(
            "quantity", "write a quantity that is not negative, such as '0.5', 500m or 1Gi"
        )
    return value


def _is_quantity(text: int | str) -> bool:
    try:
        quantity(text)
    except ValueError:
        return False
    return True


Quantity = Annotated[int | str, BeforeValidator(_check)]
"""A quantity as it is written."""
