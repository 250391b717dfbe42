"""Work that stops when its time is over: rows are explained in growing parts."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

Array = np.ndarray[Any, Any]
Part = TypeVar("Part")

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

    def each(self, rows: Array, one: Callable[[Array], Part]) -> list[Part]:
        """Explain as many of the rows as there is time for, at least one.

        Args:
            rows: Numbers of rows, in the order in which they are worth explaining.
            one: Explains some of them.
        """
        parts, done, size = [], 0, 1
        while done < len(rows) and size:
            began = time.monotonic()
            some = rows[done : done + size]
            parts.append(one(some))
            done += len(some)
            a_row = (time.monotonic() - began) / len(some)
            size = min(size * _GROWTH, int(self.left / max(a_row, 1e-9)))
            if self.spent > _TELLING:
                self.tell(f"{done} of {len(rows)} explained")
        return parts
