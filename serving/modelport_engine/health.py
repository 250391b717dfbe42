"""The replicas of one service: which are ready, which have ended, what comes of it."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from modelport_engine.replicas.failures import (
    Troubles,
    exit_message,
    failure_info,
    start_failure_info,
)
from modelport_engine.state.records import PREDICTOR, Part

if TYPE_CHECKING:
    from modelport_engine.replicas.failures import Reason, Trouble
    from modelport_engine.replicas.fleet import Replica
    from modelport_engine.state.records import Key, Revision
    from modelport_engine.world import World

log = logging.getLogger(__name__)


class Health:
    """The troubles that a service has with its replicas, and has had."""

    def __init__(self, key: Key, world: World) -> None:
        self._key = key
        self._world = world
        self._troubles = Troubles(world.settings)

    def forgive(self) -> None:
        """Forget earlier crashes."""
        self._troubles.forgive()

    def failures(self) -> dict[Part, dict[str, Any]]:
        """Give KServe's lastFailureInfo of each part that had trouble."""
        return self._troubles.failures()

    def trouble(self, part: Part, slot: int) -> Trouble:
        """Give the crashes of one slot."""
        return self._troubles.of(part, slot)

    def active(self) -> list[Replica]:
        """All replicas but those that are being stopped."""
        return [replica for replica in self._world.fleet.of(self._key) if not replica.retiring]

    def bury(self) -> None:
        """Drop those that have ended by themselves, and count their crashes."""
        for replica in self.active():
            if not replica.process.running:
                self._drop(replica, replica.verdict or exit_message(replica))

    async def probe(self) -> None:
        """Ask those that are not ready; give up on those that took too long."""
        waiting = [replica for replica in self.active() if not replica.ready]
        await asyncio.gather(*(self._world.fleet.probe(replica) for replica in waiting))
        now = asyncio.get_running_loop().time()
        limit = self._world.settings.startup_deadline
        up = {replica.record.part for replica in self.active() if replica.ready}
        for replica in waiting:
            if Part(replica.record.revision) not in up and replica.record.component != PREDICTOR:
                # It cannot be ready before its predictor: its time begins then.
                replica.deadline = now + limit
            if not replica.ready and now > replica.deadline:
                await replica.process.stop(grace=0.0)
                message = f"{replica.name} was not ready within {limit:g} s"
                self._drop(replica, message, hopeless=True)

    def not_started(self, part: Part, slot: int, message: str) -> None:
        """Count a start that the system has refused."""
        failure = start_failure_info(part, slot, self._reason(part.revision), message)
        self._count(part, slot, failure)

    def fail(self, revision: Revision, failure: dict[str, Any]) -> None:
        """Give a revision up. `failure` is KServe's lastFailureInfo."""
        self._world.store.fail(revision, failure)
        words = f"{revision.name}: {failure['message']}"
        self._world.events.note(self._key, "Warning", "RevisionFailed", words)

    def _drop(self, replica: Replica, message: str, *, hopeless: bool = False) -> None:
        self._world.fleet.lose(replica)
        now = asyncio.get_running_loop().time()
        served = now - replica.since if replica.ready else 0.0
        record = replica.record
        failure = failure_info(replica, self._reason(record.revision), message)
        restarts = record.restarts + 1
        self._count(record.part, record.slot, failure, served, restarts, hopeless=hopeless)

    def _count(
        self,
        part: Part,
        slot: int,
        failure: dict[str, Any],
        served: float = 0.0,
        restarts: int = 0,
        *,
        hopeless: bool = False,
    ) -> None:
        """Give a new revision up when one of its replicas had its chances."""
        log.warning("%s: %s", self._key, failure["message"])
        now = asyncio.get_running_loop().time()
        trouble = self._troubles.note(part, slot, failure, served, now, restarts)
        self._world.events.note(self._key, "Warning", "ReplicaFailed", failure["message"])
        given_up = hopeless or trouble.crashes >= self._world.settings.start_attempts
        revision = self._revision(part.revision)
        if revision and revision.state == "Pending" and given_up:
            self.fail(revision, failure)

    def _reason(self, name: str) -> Reason:
        revision = self._revision(name)
        return "ModelLoadFailed" if revision and revision.state == "Pending" else "RuntimeUnhealthy"

    def _revision(self, name: str) -> Revision | None:
        known = self._world.store.revisions(self._key)
        return next((revision for revision in known if revision.name == name), None)
