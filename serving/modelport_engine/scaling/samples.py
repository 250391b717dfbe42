"""What is measured of a part, and what it comes to over a stretch of time."""

from __future__ import annotations

import math
from collections import Counter, deque
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Buckets = tuple[tuple[float, int], ...]
"""A histogram as Prometheus has it: upper bound in ms, how many were at most that."""

_COVERAGE = 0.6
# Part of a window that must have been seen before its average means something.


class Traffic(Protocol):
    """What the gateway tells of a part; what it counts began when it was started."""

    @property
    def requests(self) -> int:
        """How many there were."""

    @property
    def active(self) -> int:
        """How many are being answered at this moment."""

    @property
    def latency(self) -> Buckets:
        """How long those answered took."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at a part's ready replicas.

    `time` is the event loop's, in seconds. `cpu_seconds` is what each of their processes, by its
    id, has used since it started; `memory_bytes` is what all hold together. `traffic` is None
    while the gateway is silent.
    """

    time: float
    replicas_ready: int
    cpu_seconds: Mapping[int, float]
    memory_bytes: int
    traffic: Traffic | None


class _Served(NamedTuple):
    """What the gateway saw between two samples; `latency` holds each bucket's increase."""

    requests: int
    active: int
    latency: Mapping[float, int]


class _Reading(NamedTuple):
    """What lies between two samples.

    `seconds` is how long that was, `ready` the lesser of both, `cpu` in seconds.
    """

    end: float
    seconds: float
    ready: int
    cpu: float
    memory: int
    served: _Served | None


class Window:
    """What was seen of a part in some last seconds; None stands for too little to tell."""

    def __init__(self, seconds: float, readings: Iterable[_Reading]) -> None:
        self.seconds = seconds
        self._readings = tuple(readings)
        self._served = [(read.seconds, read.served) for read in self._readings if read.served]

    @property
    def is_covered(self) -> bool:
        """True if most of the window was seen."""
        return _covers(self.seconds, (read.seconds for read in self._readings))

    @property
    def is_served(self) -> bool:
        """True if the gateway has told of most of the window."""
        return _covers(self.seconds, (seconds for seconds, _ in self._served))

    @property
    def ready(self) -> int:
        """The ready replicas at its end."""
        return self._readings[-1].ready if self._readings else 0

    @property
    def least_ready(self) -> int:
        """The fewest replicas that were ready at a time."""
        return min((read.ready for read in self._readings), default=0)

    @property
    def cores(self) -> float | None:
        """The cores that all replicas used together, on average."""
        return _mean((read.cpu, read.seconds) for read in self._readings)

    @property
    def memory(self) -> float | None:
        """The bytes that all replicas held together, on average."""
        return _mean((read.memory * read.seconds, read.seconds) for read in self._readings)

    @property
    def concurrency(self) -> float | None:
        """The requests at a time, on average."""
        return _mean((served.active * seconds, seconds) for seconds, served in self._served)

    @property
    def rps(self) -> float | None:
        """The requests a second."""
        return _mean((served.requests, seconds) for seconds, served in self._served)

    def latency(self) -> tuple[float, int]:
        """Give the 99th percentile in seconds, and of how many requests it is; 0 of none."""
        total: Counter[float] = Counter()
        for _, served in self._served:
            total.update(served.latency)
        buckets = tuple(sorted(total.items()))
        return quantile(0.99, buckets) / 1000, buckets[-1][1] if buckets else 0


class History:
    """The samples of the last `horizon` seconds, as differences from one to the next."""

    def __init__(self, horizon: float) -> None:
        self._horizon = horizon
        self._readings: deque[_Reading] = deque()
        self._last: Sample | None = None

    def add(self, sample: Sample) -> None:
        """Add a sample; one that is no later than the last is left out."""
        last = self._last
        if last and sample.time <= last.time:
            return
        if last:
            self._readings.append(_between(last, sample))
        self._last = sample
        while self._readings and self._readings[0].end <= sample.time - self._horizon:
            self._readings.popleft()

    def window(self, seconds: float, now: float) -> Window:
        """Give what was seen since `now - seconds`."""
        return Window(seconds, (read for read in self._readings if read.end > now - seconds))


def quantile(share: float, buckets: Buckets) -> float:
    """Estimate a quantile as Prometheus' histogram_quantile does; 0 without any value.

    Within a bucket the values count as evenly spread. What lies above the last finite bound is
    taken to be that bound.
    """
    rank = share * buckets[-1][1] if buckets else 0
    if not rank:
        return 0.0
    for (low, below), (high, upto) in pairwise(((0.0, 0), *buckets)):
        if upto >= rank:
            return low if math.isinf(high) else low + (high - low) * (rank - below) / (upto - below)
    return buckets[-1][0]


def _between(first: Sample, second: Sample) -> _Reading:
    return _Reading(
        end=second.time,
        seconds=second.time - first.time,
        ready=min(first.replicas_ready, second.replicas_ready),
        cpu=_used(first.cpu_seconds, second.cpu_seconds),
        memory=second.memory_bytes,
        served=_served(first.traffic, second.traffic),
    )


def _used(first: Mapping[int, float], second: Mapping[int, float]) -> float:
    """Sum what those that were there before have used since; how others started is not load."""
    # Less than before: it is another process, which got the same id.
    return sum(max(0.0, used - first[pid]) for pid, used in second.items() if pid in first)


def _served(first: Traffic | None, second: Traffic | None) -> _Served | None:
    if first is None or second is None:
        return None
    counts, before = dict(second.latency), dict(first.latency)
    if any(counts.get(bound, 0) < count for bound, count in before.items()):
        before = {}  # the gateway was started again: it has counted from zero since
    return _Served(
        requests=second.requests - (first.requests if second.requests >= first.requests else 0),
        active=second.active,
        latency={bound: count - before.get(bound, 0) for bound, count in counts.items()},
    )


def _covers(seconds: float, seen: Iterable[float]) -> bool:
    return sum(seen) >= _COVERAGE * seconds


def _mean(weighed: Iterable[tuple[float, float]]) -> float | None:
    """Divide the sum of amounts by the sum of their seconds."""
    amount = duration = 0.0
    for part, seconds in weighed:
        amount += part
        duration += seconds
    return amount / duration if duration else None
