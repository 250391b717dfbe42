"""Knative's pod autoscaler (KPA), for concurrency and requests a second.

After `Scale` in knative/serving `pkg/autoscaler/scaling/autoscaler.go`, with the defaults of
`pkg/autoscaler/config/config.go` and the target of
`pkg/reconciler/autoscaling/resources/target.go`:

- One replica may have `max(0.01, target x 0.7)`; 0.7 is `container-concurrency-target-percentage`
  for concurrency, and the target utilization for requests a second.
- What is desired is `ceil(average / target)`, over the stable and over the panic window, and each
  is kept between `floor(ready / 2)` and `ceil(1000 x ready)` (the maximal scale rates).
- Panic begins when the panic window's desire is twice the ready replicas or more, before the
  rates apply, and ends when that has not been so for a stable window.
- In panic the larger of both desires counts, and never fewer than before in this panic.

Where Knative delays no scaling down (`scale-down-delay: 0s`), ours waits for a quiet window in
which neither desire was larger, so that what bursts need now and then stays between them.
"""

import math
from dataclasses import dataclass

UTILIZATION = 0.7
_LEAST_TARGET = 0.01
_PANIC_THRESHOLD = 2.0
_MOST_UP = 1000.0
_MOST_DOWN = 2.0


@dataclass(frozen=True, slots=True)
class Load:
    """The averages over both windows, all replicas together, and what one of them may have."""

    stable: float
    panic: float
    target: float

    @property
    def stable_replicas(self) -> int:
        """The replicas that the stable window's average asks for."""
        return math.ceil(self.stable / self._target)

    @property
    def panic_replicas(self) -> int:
        """The replicas that the panic window's average asks for."""
        return math.ceil(self.panic / self._target)

    @property
    def _target(self) -> float:
        return max(_LEAST_TARGET, self.target * UTILIZATION)


class Knative:
    """The autoscaler's only state: whether it panics, since when, and how many it asked for."""

    def __init__(self) -> None:
        self._panic_at: float | None = None
        self._panic_replicas = 0

    @property
    def panics(self) -> bool:
        """True while a burst is being answered."""
        return self._panic_at is not None

    def desired(self, load: Load, ready: int, stable_window: float, now: float) -> int:
        """Give the replicas that the load asks for; `ready` is at least one."""
        if load.panic_replicas / ready >= _PANIC_THRESHOLD:
            self._panic_at = now
        elif self._panic_at is not None and now > self._panic_at + stable_window:
            self._panic_at, self._panic_replicas = None, 0
        desired = _within_rates(load.stable_replicas, ready)
        if not self.panics:
            return desired
        desired = max(desired, _within_rates(load.panic_replicas, ready), self._panic_replicas)
        self._panic_replicas = desired
        return desired


def _within_rates(replicas: int, ready: int) -> int:
    return min(max(replicas, math.floor(ready / _MOST_DOWN)), math.ceil(ready * _MOST_UP))
