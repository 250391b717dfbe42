"""What a part is scaled by: the bounds, the metric and its target, the windows of time."""

from dataclasses import dataclass
from typing import Literal

Metric = Literal["cpu", "memory", "concurrency", "rps", "latency"]


@dataclass(frozen=True, slots=True)
class Scale:
    """The bounds and the target for the number of a part's replicas.

    The unit of `target` depends on the metric. cpu: per cent of the cores that a
    replica asks for (`cores`); memory: per cent of `memory_bytes`; concurrency:
    requests at a time per replica; rps: requests a second per replica; latency:
    seconds of the 99th percentile.
    """

    minimum: int
    maximum: int
    metric: Metric
    target: float
    cores: float = 1.0
    memory_bytes: int | None = None

    @property
    def varies(self) -> bool:
        """Whether there is anything to decide."""
        return self.maximum > max(1, self.minimum)

    def bound(self, replicas: int) -> int:
        """Give the allowed number next to `replicas`; never zero, since nothing would wake it."""
        return max(1, self.minimum, min(replicas, self.maximum))


@dataclass(frozen=True, slots=True)
class Windows:
    """Stretches of time that decisions look back on, all in seconds.

    `stable` and `panic` are Knative's, with its defaults. `short`: what cpu, memory and latency
    are averaged over. `quiet`: how long fewer replicas must have sufficed before some go.
    """

    stable: float = 60.0
    panic: float = 6.0
    short: float = 3.0
    quiet: float = 60.0


@dataclass(frozen=True, slots=True)
class Decision:
    """How many replicas a part should have; `reason` is empty while that stays the same."""

    replicas: int
    reason: str = ""
