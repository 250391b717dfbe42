"""Everyone on the same model: start, memory, throughput, latency and CPU time, in rounds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from benchmarks import environments, models
from benchmarks.contenders import EVERYONE, Contender
from benchmarks.load import Load, LoadFailed, measure
from benchmarks.machine import SERVER_CORE
from benchmarks.progress import say
from benchmarks.servers import (
    NEXT_PROTOCOL_SECONDS,
    Ports,
    Server,
    ServerFailed,
    ask,
    running,
)

if TYPE_CHECKING:
    from benchmarks.models import Forest
    from benchmarks.protocols import Request

_TURN_SECONDS = 4
"""What starting and stopping a server takes, about."""

_WARM_UP = (16, 1)
"""Connections and seconds of the load before the first one that counts."""


@dataclass(frozen=True)
class Plan:
    """What is to be measured: whom, how often, and under which loads."""

    contenders: Sequence[Contender] = EVERYONE
    connections: Sequence[int] = (1, 16, 64)
    seconds: int = 4
    repeats: int = 3
    install: bool = True


@dataclass
class Row:
    """One server over one protocol; every figure once per round.

    CPU time is the server's, user and system, in microseconds per request at most connections.
    `problem` says why there are no figures.
    """

    server: str
    protocol: str
    start_seconds: list[float] = field(default_factory=list)
    memory_mb: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)
    loads: dict[int, list[Load]] = field(default_factory=dict)
    problem: str | None = None

    def figures(self) -> dict[str, Any]:
        """Return the medians, ready for JSON, and how far apart the rounds lie: 0.1 is 10%."""
        speeds = {at: [load.per_second for load in loads] for at, loads in self.loads.items()}
        return {
            "server": self.server,
            "protocol": self.protocol,
            "problem": self.problem,
            "start_seconds": _median(self.start_seconds),
            "memory_mb": _median(self.memory_mb),
            "cpu_us": _median(self.cpu_us),
            "per_second": {at: _median(speed) for at, speed in speeds.items()},
            "spread": {at: max(speed) / min(speed) - 1 for at, speed in speeds.items()},
            "p50_ms": {at: _median([one.p50_ms for one in all_]) for at, all_ in self._items()},
            "p99_ms": {at: _median([one.p99_ms for one in all_]) for at, all_ in self._items()},
        }

    def _items(self) -> Sequence[tuple[int, list[Load]]]:
        return list(self.loads.items())


def run(plan: Plan) -> dict[str, Any]:
    """Measure everyone and return the rows' figures with the pinned versions."""
    forest = models.forest()
    rows = {one.title: _rows(one, forest) for one in plan.contenders}
    present = [one for one in plan.contenders if _is_present(one, rows[one.title], plan)]
    say(f"Rounds: {plan.repeats}, servers: {len(present)}; about {_minutes(present, plan)} min")
    for number in range(plan.repeats):
        for contender in present:
            say(f"Round {number + 1} of {plan.repeats}: {contender.title}")
            _visit(contender, rows[contender.title], forest, plan)
    rivals = {one.rival for one in present if one.rival}
    return {
        "connections": list(plan.connections),
        "seconds": plan.seconds,
        "repeats": plan.repeats,
        "rows": [row.figures() for group in rows.values() for row in group],
        "rivals": {rival: environments.versions(rival) for rival in sorted(rivals)},
    }


def _minutes(present: Sequence[Contender], plan: Plan) -> int:
    requests = sum(len(one.requests) for one in present)
    once = len(present) * _TURN_SECONDS + requests * (1 + plan.seconds * len(plan.connections))
    return math.ceil(plan.repeats * once / 60)


def _rows(contender: Contender, forest: Forest) -> list[Row]:
    return [Row(contender.title, make(forest).protocol) for make in contender.requests]


def _is_present(contender: Contender, rows: Sequence[Row], plan: Plan) -> bool:
    """Whether the server can take part; why not is noted in its rows."""
    if contender.rival is None or environments.is_installed(contender.rival):
        return True
    reason = "is not installed here"
    if plan.install:
        try:
            environments.install(contender.rival)
        except environments.DoesNotInstall as error:
            reason = f"does not install here: {error}"
        else:
            return True
    _note(rows, reason)
    return False


def _note(rows: Sequence[Row], problem: str) -> None:
    for row in rows:
        row.problem = row.problem or problem
        say(f"  {row.server}, {row.protocol}: {problem}")


def _visit(contender: Contender, rows: Sequence[Row], forest: Forest, plan: Plan) -> None:
    """Start one server, measure it over each of its protocols, and stop it."""
    if all(row.problem for row in rows):
        return
    ports = Ports.free()
    command, environment = contender.command(ports, forest), contender.environment(ports, forest)
    with running(contender.slug, command, environment, SERVER_CORE) as server:
        for make, row in zip(contender.requests, rows, strict=True):
            if row.problem:
                continue
            request = make(forest)
            try:
                if row is rows[0]:
                    row.start_seconds.append(server.wait_for(ports.of(request), request))
                else:
                    server.wait_for(ports.of(request), request, NEXT_PROTOCOL_SECONDS)
                _measure(server, ports.of(request), request, row, plan)
            except (ServerFailed, LoadFailed) as error:
                _note([row], str(error))


def _measure(server: Server, port: int, request: Request, row: Row, plan: Plan) -> None:
    if plan.connections:
        measure(port, request, *_WARM_UP)
    for connections in plan.connections:
        before = server.cpu_seconds()
        load = measure(port, request, connections, plan.seconds)
        used = server.cpu_seconds() - before
        row.loads.setdefault(connections, []).append(load)
        if connections == max(plan.connections):
            row.cpu_us.append(used / load.requests * 1e6)
    row.memory_mb.append(server.resident_mb())
    ask(port, request)


def _median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None
