"""What rounds of requests took, and the figures that they make together."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from modelport.errors import PredictionError, UsageError
from modelport.reports import Latency, Subject

Say = Callable[[str], None]


@dataclass(frozen=True)
class Loads:
    """Which loads are measured: every batch size at every concurrency.

    Attributes:
        batch_sizes: Rows of a request.
        concurrency: Callers at the same time.
        seconds: How long a round of one load goes on.
        repeats: Rounds of each load.
        most_seconds: Time after which no further round begins.
    """

    batch_sizes: tuple[int, ...] = (1, 16)
    concurrency: tuple[int, ...] = (1, 4, 16)
    seconds: float = 0.5
    repeats: int = 3
    most_seconds: float = math.inf

    def __post_init__(self) -> None:
        for counts in (self.batch_sizes, self.concurrency, (self.repeats,)):
            if min(counts, default=0) < 1:
                raise UsageError("a load has less than one caller, row or round", "give 1 or more")
        if not 0 < self.seconds < math.inf:
            raise UsageError(f"a load cannot go on for {self.seconds} s", "give more than 0 s")


@dataclass(frozen=True)
class Round:
    """What one round saw.

    Attributes:
        times: Seconds that each answered request took, shape [n].
        elapsed: Seconds from the first request to the last answer.
        failures: Requests that were not answered, or not with success.
        first_error: What became of the first of these.
    """

    times: np.ndarray[Any, np.dtype[np.float64]]
    elapsed: float
    failures: int = 0
    first_error: str = ""

    @property
    def throughput(self) -> float:
        """Requests answered in a second."""
        return len(self.times) / self.elapsed


@dataclass(frozen=True)
class Point:
    """One load, and how a round of it is run.

    Attributes:
        run: Runs a round, after a warm-up that is left out.
        ceiling: Requests a second that the load generator itself reaches; None in process.
    """

    subject: Subject
    batch_size: int
    concurrency: int
    run: Callable[[], Round]
    ceiling: float | None = None

    @property
    def load(self) -> str:
        """The load in words."""
        rows = "1 row" if self.batch_size == 1 else f"{self.batch_size} rows"
        callers = "1 caller" if self.concurrency == 1 else f"{self.concurrency} callers"
        return f"{callers}, {rows} a request"


def measure(
    points: Sequence[Point], repeats: int, say: Say | None = None, most_seconds: float = math.inf
) -> tuple[Latency, ...]:
    """Run every load in turn, `repeats` times over, and say which.

    So a machine that is busy for a while slows a round of each, not all rounds of one. Once
    `most_seconds` are over, no further round begins.

    Raises:
        PredictionError: A load had not one request answered.
    """
    seen: list[list[Round]] = [[] for _ in points]
    end = time.monotonic() + most_seconds
    for repeat in range(repeats):
        if repeat and time.monotonic() > end:
            break
        for point, rounds in zip(points, seen, strict=True):
            if say is not None:
                say(f"round {repeat + 1} of {repeats}: {point.subject}, {point.load}")
            rounds.append(_checked(point))
    return tuple(latency(point, rounds) for point, rounds in zip(points, seen, strict=True))


def best_batch_size(measured: Sequence[Latency], subject: Subject) -> int | None:
    """Return the batch size at which one caller has most rows answered a second."""
    fewest = min((one.concurrency for one in measured), default=1)
    own = [one for one in measured if one.subject == subject and one.concurrency == fewest]
    return max(own, key=lambda one: one.rows_per_second).batch_size if own else None


def latency(point: Point, rounds: Sequence[Round]) -> Latency:
    """Put the rounds of one load together."""
    times = np.concatenate([one.times for one in rounds]) * 1000.0
    p50, p90, p95, p99 = (float(q) for q in np.quantile(times, [0.5, 0.9, 0.95, 0.99]))
    return Latency(
        subject=point.subject,
        batch_size=point.batch_size,
        concurrency=point.concurrency,
        requests=len(times),
        p50_ms=p50,
        p90_ms=p90,
        p95_ms=p95,
        p99_ms=p99,
        max_ms=float(times.max()),
        throughput=len(times) / sum(one.elapsed for one in rounds),
        spread=_spread([one.throughput for one in rounds]),
        failures=sum(one.failures for one in rounds),
        first_error=next((one.first_error for one in rounds if one.failures), ""),
        ceiling=point.ceiling,
    )


def _checked(point: Point) -> Round:
    seen = point.run()
    if not len(seen.times):
        raise PredictionError(
            f"at {point.load} not one request was answered: {seen.first_error}",
            "ask for a lighter load, or see the endpoint's log",
        )
    return seen


def _spread(throughputs: Sequence[float]) -> float | None:
    if len(throughputs) < 2:
        return None
    return float((max(throughputs) - min(throughputs)) / np.median(throughputs))
