"""Work that stops when its time is over: rows are explained in growing parts."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from modelport.explaining.shapley import Values

Array = np.ndarray[Any, Any]

_GROWTH = 8  # a part is at most so many times the part before: the first may be slower than most
_TELLING = 1.0  # seconds of work after which progress is told


@dataclass
class Clock:
    """The seconds that an explanation may take, from now on.

    Attributes:
        seconds: All of them.
        tell: Gets a line about the progress, if it takes longer.
    """

    seconds: float
    tell: Callable[[str], None] = lambda _: None
    _began: float = field(default_factory=time.monotonic)

    @property
    def spent(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._began

    @property
    def left(self) -> float:
        """Seconds until the end; none are less than 0."""
        return max(0.0, self.seconds - self.spent)

    def explain(self, rows: Array, one: Callable[[Array], Values]) -> tuple[Array, Values]:
        """Explain as many of the rows as there is time for, at least one.

        Args:
            rows: Numbers of rows, in the order in which they are worth explaining.
            one: Explains some of them.

        Returns:
            The numbers of the rows that were explained, in rising order, and their values.
        """
        parts, done, size = [], 0, 1
        while done < len(rows) and size:
            began = time.monotonic()
            parts.append(one(rows[done : done + size]))
            done += len(parts[-1].values)
            a_row = (time.monotonic() - began) / len(parts[-1].values)
            size = min(size * _GROWTH, int(self.left / max(a_row, 1e-9)))
            if self.spent > _TELLING:
                self.tell(f"{done} of {len(rows)} rows explained")
        order = np.argsort(rows[:done])
        values = np.concatenate([part.values for part in parts])[order]
        base = np.concatenate([part.base for part in parts])[order]
        return rows[:done][order], Values(values, base)
