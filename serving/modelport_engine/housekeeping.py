"""What is looked after now and then: health, memory, logs, and the load that scales services."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from modelport_engine.errors import EngineError, StorageFailed
from modelport_engine.replicas import limits, logs
from modelport_engine.scaling import Meter

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping
    from typing import Any

    from modelport_engine.reconciler import Reconciler
    from modelport_engine.replicas.fleet import Replica
    from modelport_engine.state.records import Key
    from modelport_engine.world import World

log = logging.getLogger(__name__)

_HEALTH = 5.0  # seconds; half of Kubernetes' default between two readiness probes
_MEMORY = 1.0
_LOGS = 10.0
_LOAD = 1.0  # Knative's autoscaler looks every second, too


class Housekeeping:
    """The chores of the engine."""

    def __init__(self, world: World, reconcilers: Mapping[Key, Reconciler]) -> None:
        self._world = world
        self._reconcilers = reconcilers

    def chores(self) -> list[Coroutine[Any, Any, None]]:
        """Give the loops; each goes on until it is cancelled."""
        return [
            _every(_HEALTH, self._check_health),
            _every(_MEMORY, self._check_memory),
            _every(_LOGS, self._rotate_logs),
            _every(_LOAD, self._scale),
        ]

    async def _check_health(self) -> None:
        ready = [one for one in self._world.fleet.all() if one.ready and not one.retiring]
        await asyncio.gather(*(self._world.fleet.check(replica) for replica in ready))
        for replica in ready:
            if not replica.ready:
                key = replica.record.key
                words = f"{replica.name} does not answer its readiness probe"
                self._world.events.note(key, "Warning", "Unhealthy", words)
                self._wake(replica)

    async def _check_memory(self) -> None:
        limited = {one.record.pid: one for one in self._world.fleet.all() if one.memory_limit}
        over = limits.over_limit({pid: one.memory_limit or 0 for pid, one in limited.items()})
        for pid, words in over.items():
            replica = limited[pid]
            replica.verdict = f"{replica.name} was killed (OOMKilled): it {words}"
            replica.process.kill()
            self._wake(replica)

    async def _rotate_logs(self) -> None:
        limit = self._world.settings.log_limit
        for replica in self._world.fleet.all():
            try:
                if await asyncio.to_thread(logs.rotate, replica.log, limit):
                    replica.log_start = 0
            except StorageFailed as error:
                # The log is whole; those of the others may be smaller than what is free.
                log.warning("%s: %s", replica.name, error)
        await self._world.gateway.rotate_logs()

    async def _scale(self) -> None:
        looked_at = {key: one.autoscaled() for key, one in self._reconcilers.items()}
        scaled = {key: parts for key, parts in looked_at.items() if parts}
        if not scaled:
            return
        statistics = await self._world.gateway.statistics()
        meter = Meter(asyncio.get_running_loop().time(), statistics)
        for key, parts in scaled.items():
            self._reconcilers[key].scale(parts, meter)

    def _wake(self, replica: Replica) -> None:
        reconciler = self._reconcilers.get(replica.record.key)
        if reconciler:
            reconciler.wake()


async def _every(seconds: float, chore: Callable[[], Awaitable[None]]) -> None:
    """Do a chore again and again, whatever comes of it."""
    while True:
        await asyncio.sleep(seconds)
        try:
            await chore()
        except EngineError as error:
            log.warning("%s", error)
        except Exception:
            log.exception("unexpected")
