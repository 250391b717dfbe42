"""How many replicas a part should have: decided from samples, by the time that is passed in."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from modelport_engine.scaling.knative import UTILIZATION, Knative, Load
from modelport_engine.scaling.policy import Decision
from modelport_engine.scaling.rules import Advice, Latency, cpu, memory
from modelport_engine.scaling.samples import History

if TYPE_CHECKING:
    from modelport_engine.scaling.policy import Scale, Windows
    from modelport_engine.scaling.samples import Sample


class _Advised(NamedTuple):
    time: float
    replicas: int


class Autoscaler:
    """The replicas of one part.

    It starts from the number that the part has now, so it can begin anew at any time. More are
    asked for at once; fewer, when the most that was advised in the quiet window is fewer (HPA's
    stabilization). What it cannot tell counts as advice to stay.
    """

    def __init__(self, windows: Windows, current: int) -> None:
        self._windows = windows
        self._current = current
        self._history = History(max(windows.stable, windows.panic, windows.short))
        self._advised: deque[_Advised] = deque()
        self._knative = Knative()
        self._latency = Latency()

    def observe(self, sample: Sample) -> None:
        """Take a sample in, the latest so far."""
        self._history.add(sample)

    def desired(self, scale: Scale, now: float) -> Decision:
        """Decide; to be asked about once a second, at times that never decrease."""
        bounded = scale.bound(self._current)
        if bounded != self._current:
            name = "minReplicas" if bounded > self._current else "maxReplicas"
            return self._become(bounded, f"{name} is {bounded}")
        advice = self._advise(scale, now)
        self._note(advice, now)
        if advice is None:
            return Decision(self._current)
        wanted = scale.bound(advice.replicas)
        if wanted > self._current:
            return self._become(wanted, advice.why)
        most = scale.bound(max(advised.replicas for advised in self._advised))
        if most < self._current:
            quiet = f"{most} would have done for {self._windows.quiet:g} s"
            return self._become(most, f"{advice.why}, {quiet}")
        return Decision(self._current)

    def _become(self, replicas: int, why: str) -> Decision:
        reason = f"{why}: {self._current} to {replicas}"
        self._current = replicas
        return Decision(replicas, reason)

    def _note(self, advice: Advice | None, now: float) -> None:
        while self._advised and self._advised[0].time <= now - self._windows.quiet:
            self._advised.popleft()
        if advice is None or not self._advised:
            # What was before is unknown: it counts as if all had been needed.
            self._advised.append(_Advised(now, self._current))
        if advice is not None:
            self._advised.append(_Advised(now, max(advice.replicas, advice.peak)))

    def _advise(self, scale: Scale, now: float) -> Advice | None:
        window = self._history.window(self._windows.short, now)
        if not window.ready:
            return None
        match scale.metric:
            case "cpu":
                return cpu(window, scale, self._current)
            case "memory":
                return memory(window, scale, self._current)
            case "latency":
                return self._latency.advise(window, scale, self._current)
            case "concurrency" | "rps":
                return self._advise_by_load(scale, now, window.ready)

    def _advise_by_load(self, scale: Scale, now: float, ready: int) -> Advice | None:
        windows = self._windows
        stable = self._history.window(windows.stable, now)
        panic = self._history.window(windows.panic, now)
        if scale.metric == "rps":
            over_stable, over_panic = stable.rps, panic.rps
        else:
            over_stable, over_panic = stable.concurrency, panic.concurrency
        if over_stable is None or over_panic is None:
            return None
        load = Load(over_stable, over_panic, scale.target)
        replicas = self._knative.desired(load, ready, windows.stable, now)
        shown, window = (over_panic, panic) if self._knative.panics else (over_stable, stable)
        per_replica = f"{shown / ready:.3g} of {scale.target * UTILIZATION:.3g} per replica"
        why = f"{scale.metric} {per_replica} over {window.seconds:g} s"
        return Advice(replicas, why, load.panic_replicas)
