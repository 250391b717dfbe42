"""How many replicas the latest window asks for, by what uses the machine or is felt outside.

Each rule gives `Advice`, or None when it cannot tell; the bounds and the quiet window are not
its matter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelport_engine.scaling.policy import Scale
    from modelport_engine.scaling.samples import Window

TOLERANCE = 0.1
"""Share of the target within which nothing changes; that of Kubernetes' HPA."""

_ENOUGH_REQUESTS = 20
# Below that, the 99th percentile is one request.


@dataclass(frozen=True, slots=True)
class Advice:
    """The replicas that would be right now, and the figures behind it.

    `peak`: those that a moment within the window would have needed, if more. They are no reason
    to grow, but one to stay.
    """

    replicas: int
    why: str
    peak: int = 0


def cpu(window: Window, scale: Scale, current: int) -> Advice | None:
    """Grow to the next power of two above the target; else as few as stay below it.

    What is used cannot tell what would be used if there were more, so growth has no formula.
    """
    if not window.is_covered or window.cores is None:
        return None
    percent = 100 * window.cores / (window.ready * scale.cores)
    why = f"cpu {percent:.0f} % of {scale.target:g} % over {window.seconds:g} s"
    if percent > scale.target:
        return Advice(_grown(window, current), why)
    room = scale.cores * scale.target / 100 * (1 - TOLERANCE)
    return Advice(min(current, math.ceil(window.cores / room)), why)


def memory(window: Window, scale: Scale, current: int) -> Advice | None:
    """Give HPA's ceil(current x value / target), current if value / target is about one.

    The value is that of the ready replicas spread over all, as HPA counts those that are not.
    """
    if not window.is_covered or window.memory is None or not scale.memory_bytes:
        return None
    per_replica = window.memory / current / scale.memory_bytes * 100
    ratio = per_replica / scale.target
    why = f"memory {per_replica:.0f} % of {scale.target:g} % over {window.seconds:g} s"
    is_near = abs(ratio - 1) <= TOLERANCE
    return Advice(current if is_near else math.ceil(current * ratio), why)


class Latency:
    """Doubles above the target, halves below half of it.

    Latency does not tell how much load is left to take. So what was too slow is remembered, in
    requests a second per replica, and fewer replicas are not tried where they would get as many;
    until as many were answered quickly after all.
    """

    def __init__(self) -> None:
        self._too_many = math.inf

    def advise(self, window: Window, scale: Scale, current: int) -> Advice | None:
        """Decide by the 99th percentile; too few requests are no reason to grow."""
        if not window.is_served or window.rps is None:
            return None
        seconds, count = window.latency()
        why = f"P99 {seconds:.3g} s of {scale.target:g} s over {window.seconds:g} s"
        if seconds > scale.target and count >= _ENOUGH_REQUESTS:
            grown = _grown(window, current)
            if grown > current:
                self._too_many = window.rps / current
            return Advice(grown, why)
        if seconds > scale.target / 2:
            return Advice(current, why)
        if window.rps / current > self._too_many:
            self._too_many = math.inf
        half = math.ceil(current / 2)
        would_do = window.rps / half < self._too_many * (1 - TOLERANCE)
        return Advice(half if would_do else current, why)


def _grown(window: Window, current: int) -> int:
    """Give the next power of two, once all that there are were ready for a whole window."""
    return 1 << current.bit_length() if window.least_ready >= current else current
