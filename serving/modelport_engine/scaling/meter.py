"""Samples of real replicas: what their processes use, what the gateway counted."""

from __future__ import annotations

import os
from collections import defaultdict
from typing import TYPE_CHECKING

import psutil

from modelport_engine.scaling.samples import Sample, Traffic

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


class Meter:
    """One look at the machine, from which samples of any number of parts are made.

    A replica is all processes of the session that it leads: the runtime's workers are its own.
    Memory is the resident set; pages that workers share count for each of them.
    """

    def __init__(self, time: float, statistics: Mapping[str, Traffic]) -> None:
        self._time = time
        self._statistics = statistics
        self._sessions: dict[int, list[int]] = defaultdict(list)
        for pid in psutil.pids():
            session = _session(pid)
            if session is not None:
                self._sessions[session].append(pid)

    def sample(self, cluster: str, leaders: Collection[int]) -> Sample:
        """Measure a part: `leaders` are its ready replicas' processes, `cluster` the gateway's."""
        cpu_seconds: dict[int, float] = {}
        memory_bytes = 0
        for pid in (member for leader in leaders for member in self._sessions.get(leader, ())):
            try:
                process = psutil.Process(pid)
                with process.oneshot():
                    times = process.cpu_times()
                    resident = process.memory_info().rss
            except psutil.Error:
                continue  # it has ended meanwhile
            cpu_seconds[pid] = times.user + times.system
            memory_bytes += resident
        return Sample(
            time=self._time,
            replicas_ready=len(leaders),
            cpu_seconds=cpu_seconds,
            memory_bytes=memory_bytes,
            traffic=self._statistics.get(cluster),
        )


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None
