"""A part in a simulation: its replicas, what they use and how fast they answer."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from modelport_engine.scaling import Autoscaler, Decision, Sample, Scale, Windows

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelport_engine.scaling.samples import Buckets

QUICK, SLOW = 20.0, 500.0


@dataclass(frozen=True)
class Counted:
    requests: int = 0
    active: int = 0
    latency: Buckets = ()


@dataclass
class Part:
    """Replicas that take 10 ms of a core for a request, and get slow above 80 requests a second.

    They become ready `startup` seconds after they were asked for. `changes` says when there were
    how many.
    """

    scale: Scale
    current: int = 1
    startup: float = 2.0
    noise: float = 0.0
    megabytes: int = 100
    windows: Windows = field(default_factory=Windows)
    now: float = 1000.0
    answering: bool = True
    changes: list[tuple[float, int]] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.autoscaler = Autoscaler(self.windows, self.current)
        self.random = random.Random(7)
        self.ready_at: dict[int, float] = {}
        self.cpu: dict[int, float] = {}
        self.next_pid = 1
        self.quick = self.slow = 0
        self.adjust(self.current)
        self.ready_at = dict.fromkeys(self.ready_at, 0.0)

    def adjust(self, replicas: int) -> None:
        while len(self.ready_at) < replicas:
            self.ready_at[self.next_pid] = self.now + self.startup
            self.next_pid += 1
        for pid in list(self.ready_at)[replicas:]:
            del self.ready_at[pid]

    def kill(self) -> None:
        """One replica dies, and is started again under another id."""
        del self.ready_at[next(iter(self.ready_at))]
        self.adjust(self.current)

    def restart_gateway(self) -> None:
        self.quick = self.slow = 0

    def step(self, rps: float) -> Decision:
        self.now += 1.0
        ready = [pid for pid, at in self.ready_at.items() if at <= self.now]
        rps *= 1 + self.random.uniform(-self.noise, self.noise)
        is_slow = rps > 80 * len(ready)
        for pid in ready:
            self.cpu[pid] = self.cpu.get(pid, 5.0) + min(1.0, rps * 0.01 / len(ready))
        if is_slow:
            self.slow += round(rps)
        else:
            self.quick += round(rps)
        total = self.quick + self.slow
        traffic = Counted(
            requests=total,
            active=round(rps * (SLOW if is_slow else QUICK) / 1000),
            latency=((QUICK, self.quick), (SLOW, total), (float("inf"), total)),
        )
        self.autoscaler.observe(
            Sample(
                time=self.now,
                replicas_ready=len(ready),
                cpu_seconds={pid: self.cpu[pid] for pid in ready},
                memory_bytes=len(ready) * self.megabytes * 2**20,
                traffic=traffic if self.answering else None,
            )
        )
        decision = self.autoscaler.desired(self.scale, self.now)
        assert bool(decision.reason) == (decision.replicas != self.current)
        if decision.reason:
            self.changes.append((self.now, decision.replicas))
            self.reasons.append(decision.reason)
        self.current = decision.replicas
        self.adjust(self.current)
        return decision

    def run(self, seconds: int, load: float | Callable[[int], float]) -> list[int]:
        """Give the numbers that there were, without repetition."""
        seen = [self.current]
        for second in range(seconds):
            replicas = self.step(load(second) if callable(load) else load).replicas
            if replicas != seen[-1]:
                seen.append(replicas)
        return seen
