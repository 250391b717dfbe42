"""Replicas that are to go: they leave the gateway's table, finish what they answer, and end."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from modelport_engine.state.records import PREDICTOR

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from modelport_engine.replicas.fleet import Replica
    from modelport_engine.state.records import Key
    from modelport_engine.world import World

log = logging.getLogger(__name__)

_PAUSE = 1.0
# Seconds after a failure to stop one, before it is tried again.


class Retirement:
    """The replicas of one service that are being stopped."""

    def __init__(
        self,
        key: Key,
        world: World,
        push: Callable[[], Awaitable[object]],
        wake: Callable[[], None],
    ) -> None:
        self._key = key
        self._fleet = world.fleet
        self._routing = world.routing
        self._settings = world.settings
        self._push = push
        self._wake = wake
        self._tasks: set[asyncio.Task[None]] = set()

    def __bool__(self) -> bool:
        return bool(self._tasks)

    def begin(self, replica: Replica, longest: float) -> None:
        """Stop a replica once it answers nobody. `longest`: seconds that a request may take."""
        replica.retiring = True
        task = asyncio.create_task(self._drain_and_stop(replica, longest))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def wait(self) -> None:
        """Wait for all that are being stopped."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cancel(self) -> None:
        """Leave them running."""
        for task in self._tasks:
            task.cancel()

    def is_asked(self, replica: Replica) -> bool:
        """Tell whether a front of its revision may still ask this predictor."""
        part = replica.record.part
        if part.component != PREDICTOR:
            return False
        others = (other.record.part for other in self._fleet.of(self._key))
        return any(other.revision == part.revision and other != part for other in others)

    async def _drain_and_stop(self, replica: Replica, longest: float) -> None:
        try:
            await self._end(replica, longest)
        except Exception:
            # The next step sees it again, and tries again.
            await asyncio.sleep(_PAUSE)
            replica.retiring = False
            raise

    async def _end(self, replica: Replica, longest: float) -> None:
        record, settings = replica.record, self._settings
        # One of several replicas of a revision that serves leaves the table here.
        await self._push()
        limit = max(settings.drain_limit, longest)
        # Not every server ends what it answers when it is told to stop.
        if self._routing.has_traffic(self._key, record.part.revision):
            await self._routing.left(record, limit)
        elif replica.ready:
            await self._routing.drained(self._key, record.part, limit)
        await self._fleet.stop(replica, grace=max(settings.stop_grace, longest))
        await self._push()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception():
            log.error("%s: %s", self._key, task.exception())
        self._wake()
