"""Brings one service from what it is to what its object says, again and again.

Level-based: each step looks at everything anew, so it does not matter what was missed, crashed or
interrupted before it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modelport_engine.errors import EngineError, GatewayFailed, NotFound, SpawnFailed
from modelport_engine.gateway.routing import cluster
from modelport_engine.gateway.xds import revision_path
from modelport_engine.objects import read_spec
from modelport_engine.planner import plan
from modelport_engine.records import PREDICTOR, Part, timestamp
from modelport_engine.replicas.failures import (
    Trouble,
    exit_message,
    failure_info,
    start_failure_info,
)
from modelport_engine.status import Facts, status

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from modelport_engine.gateway.envoy import Gateway
    from modelport_engine.gateway.routing import Routing
    from modelport_engine.objects import Spec
    from modelport_engine.paths import EnginePaths
    from modelport_engine.planner import Plan
    from modelport_engine.records import Key, Revision, Service
    from modelport_engine.replicas.failures import Reason
    from modelport_engine.replicas.fleet import Fleet, Replica
    from modelport_engine.settings import Settings
    from modelport_engine.store import Store

log = logging.getLogger(__name__)

_PAUSE = 1.0
# Seconds after a step that failed, so that a full disk does not fill the log as well.


_RESYNC = 10.0
# Seconds between two looks at a service that is as it should be, should a wake-up be missed.


@dataclass(frozen=True)
class World:
    """What all reconcilers share. `notify` wakes those who watch a service."""

    paths: EnginePaths
    settings: Settings
    store: Store
    fleet: Fleet
    gateway: Gateway
    routing: Routing
    notify: Callable[[], None]


@dataclass(frozen=True)
class _Observed:
    """One look at a service; `ready` and `started` count the replicas of each part."""

    service: Service
    revisions: Sequence[Revision]
    spec: Spec
    ready: Counter[Part]
    started: Counter[Part]

    def revision(self, name: str | None) -> Revision | None:
        """Find a revision by name; None once it was pruned."""
        return next((revision for revision in self.revisions if revision.name == name), None)


class Reconciler:
    """The loop of one service; it ends when the service is gone."""

    def __init__(self, key: Key, world: World) -> None:
        self.key = key
        self._world = world
        self._wake = asyncio.Event()
        self._settled = False
        self._trouble: dict[tuple[Part, int], Trouble] = {}
        self._retiring: set[asyncio.Task[None]] = set()

    def wake(self) -> None:
        """Look at the service now."""
        self._wake.set()

    def forgive(self) -> None:
        """Forget earlier crashes: the object was applied anew."""
        self._trouble.clear()

    async def run(self) -> None:
        """Reconcile until the service is deleted, or this task is cancelled."""
        try:
            while await self._turn():
                pause = _RESYNC if self._settled else self._world.settings.tick
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), pause)
        finally:
            for task in self._retiring:
                task.cancel()

    def save_status(self) -> None:
        """Write the status as it is now, if it differs from the stored one."""
        observed = self._observe()
        service, gateway = observed.service, self._world.gateway
        wanted, serving = observed.spec.replicas, observed.revision(service.rolled_out)
        facts = Facts(
            service=service,
            revisions=observed.revisions,
            traffic=((serving.name, 100),) if serving else (),
            wanted=wanted,
            ready=observed.ready,
            started=observed.started,
            crashes={
                part.component: failure
                for part in (serving.parts if serving else ())
                if observed.ready[part] < wanted.get(part.component, 1)
                and (failure := self._last_failure(part))
            },
            url=gateway.url_of(*self.key) if gateway.answering else None,
        )
        document = status(facts, timestamp())
        if document != service.status:
            self._world.store.save_status(self.key, document)
            self._world.notify()

    async def _turn(self) -> bool:
        """Take a step, whatever comes of it; False when the service is gone."""
        self._wake.clear()
        self._settled = False
        try:
            return await self._step()
        except NotFound:
            return False
        except EngineError as error:
            log.warning("%s: %s", self.key, error)
        except Exception:
            # One service's surprise must end neither its own loop nor the engine.
            log.exception("%s: unexpected", self.key)
        await asyncio.sleep(_PAUSE)
        return True

    async def _step(self) -> bool:
        for replica in self._ended():
            self._note_failure(replica, exit_message(replica))
        if self._world.store.service(self.key).deleted:
            await self._delete()
            return False
        await self._probe()
        observed = self._observe()
        latest_plan = plan(
            observed.revisions,
            observed.service.rolled_out,
            observed.spec.replicas,
            observed.ready,
        )
        self._start_missing(observed, latest_plan)
        routed = await self._route(observed, latest_plan)
        if routed:
            self._retire_unwanted(latest_plan)
        self.save_status()
        self._settled = routed and self._is_settled(latest_plan)
        return True

    def _observe(self) -> _Observed:
        store = self._world.store
        service = store.service(self.key)
        replicas = self._active()
        return _Observed(
            service=service,
            revisions=store.revisions(self.key),
            spec=read_spec(service.spec),
            ready=Counter(replica.record.part for replica in replicas if replica.ready),
            started=Counter(replica.record.part for replica in replicas),
        )

    def _active(self) -> list[Replica]:
        return [replica for replica in self._world.fleet.of(self.key) if not replica.retiring]

    def _ended(self) -> list[Replica]:
        return [replica for replica in self._active() if not replica.process.running]

    async def _probe(self) -> None:
        """Ask those that are not ready yet; give up on those that took too long."""
        waiting = [replica for replica in self._active() if not replica.ready]
        await asyncio.gather(*(self._world.fleet.probe(replica) for replica in waiting))
        now = asyncio.get_running_loop().time()
        limit = self._world.settings.startup_deadline
        up = {replica.record.part for replica in self._active() if replica.ready}
        for replica in waiting:
            if Part(replica.record.revision) not in up and replica.record.component != PREDICTOR:
                # It cannot be ready before its predictor: its time begins then.
                replica.deadline = now + limit
            if not replica.ready and now > replica.deadline:
                await replica.process.stop(grace=0.0)
                message = f"{replica.name} was not ready within {limit:g} s"
                self._note_failure(replica, message, hopeless=True)

    def _note_failure(self, replica: Replica, message: str, *, hopeless: bool = False) -> None:
        """Forget a replica that has ended, and count its crash."""
        self._world.fleet.forget(replica)
        now = asyncio.get_running_loop().time()
        served = now - replica.since if replica.ready else 0.0
        part, slot = replica.record.part, replica.record.slot
        failure = failure_info(replica, self._reason(part.revision), message)
        self._count(part, slot, failure, served, hopeless=hopeless)

    def _reason(self, name: str) -> Reason:
        revision = self._observe().revision(name)
        return "ModelLoadFailed" if revision and revision.state == "Pending" else "RuntimeUnhealthy"

    def _count(
        self,
        part: Part,
        slot: int,
        failure: dict[str, Any],
        served: float = 0.0,
        *,
        hopeless: bool = False,
    ) -> None:
        """Give a new revision up when one of its replicas had its chances."""
        world = self._world
        log.warning("%s: %s", self.key, failure["message"])
        trouble = self._trouble.setdefault((part, slot), Trouble())
        trouble.note(failure, served, asyncio.get_running_loop().time(), world.settings)
        given_up = hopeless or trouble.crashes >= world.settings.start_attempts
        revision = self._observe().revision(part.revision)
        if revision and revision.state == "Pending" and given_up:
            world.store.fail(revision, failure)

    def _last_failure(self, part: Part) -> dict[str, Any] | None:
        failures = [trouble.failure for place, trouble in self._trouble.items() if place[0] == part]
        known = (failure for failure in failures if failure)
        return max(known, key=lambda failure: str(failure["time"]), default=None)

    def _start_missing(self, observed: _Observed, wanted: Plan) -> None:
        now = asyncio.get_running_loop().time()
        for part, count in wanted.replicas.items():
            revision = observed.revision(part.revision)
            used = {
                replica.record.slot for replica in self._active() if replica.record.part == part
            }
            # After scaling down, those that stayed may have slots beyond the count.
            free = [slot for slot in range(1, count + 1) if slot not in used]
            for slot in free[: max(0, count - len(used))]:
                trouble = self._trouble.get((part, slot))
                if revision and not (trouble and now < trouble.not_before):
                    self._start(revision, part, slot)

    def _start(self, revision: Revision, part: Part, slot: int) -> None:
        path = revision_path(cluster(self.key, Part(revision.name, PREDICTOR)))
        predictor_host = f"127.0.0.1:{self._world.gateway.port}{path}"
        try:
            self._world.fleet.start(revision, part, slot, predictor_host)
        except SpawnFailed as error:
            reason = self._reason(revision.name)
            self._count(part, slot, start_failure_info(part, slot, reason, str(error)))

    async def _route(self, observed: _Observed, wanted: Plan) -> bool:
        """Send the traffic where the plan says; True when the gateway does."""
        world = self._world
        serving = observed.revision(wanted.traffic[0][0]) if wanted.traffic else None
        components = serving.components if serving else (PREDICTOR,)
        world.routing.decide(self.key, wanted.traffic, observed.spec.timeouts(components))
        if not await self._push():
            return False
        for name, _ in wanted.traffic:
            if name != observed.service.rolled_out:
                world.store.roll_out(self.key, name)
                log.info("%s: traffic moved to %s", self.key, name)
                self._tidy_logs(observed.revisions)
        return True

    def _tidy_logs(self, kept: Sequence[Revision]) -> None:
        """Remove the logs of revisions that are no longer known."""
        names = {str(part) for revision in kept for part in revision.parts}
        for path in self._world.paths.service_logs(*self.key).glob("*.log*"):
            if path.name.rpartition("-")[0] not in names:
                path.unlink(missing_ok=True)

    async def _push(self) -> bool:
        if not self._world.gateway.answering:
            return False
        try:
            await self._world.routing.push()
        except GatewayFailed as error:
            log.warning("%s: %s", self.key, error)
            return False
        return True

    def _retire_unwanted(self, wanted: Plan) -> None:
        kept: Counter[Part] = Counter()
        # Those that serve stay as long as others can go instead.
        for replica in sorted(self._active(), key=_by_worth):
            part = replica.record.part
            kept[part] += 1
            if kept[part] > wanted.replicas.get(part, 0) and not self._is_asked(replica, wanted):
                self._retire(replica)

    def _is_asked(self, replica: Replica, wanted: Plan | None = None) -> bool:
        """Tell whether an explainer that is to go as well may still ask this predictor."""
        part = replica.record.part
        if part.component != PREDICTOR or (wanted and part in wanted.replicas):
            return False
        others = (other.record.part for other in self._world.fleet.of(self.key))
        return any(other.revision == part.revision and other != part for other in others)

    def _retire(self, replica: Replica) -> None:
        replica.retiring = True
        task = asyncio.create_task(self._drain_and_stop(replica))
        self._retiring.add(task)
        task.add_done_callback(self._retired)

    def _retired(self, task: asyncio.Task[None]) -> None:
        self._retiring.discard(task)
        if not task.cancelled() and task.exception():
            log.error("%s: %s", self.key, task.exception())
        self._wake.set()

    async def _drain_and_stop(self, replica: Replica) -> None:
        try:
            await self._end(replica)
        except Exception:
            # The next step sees it again, and tries again.
            await asyncio.sleep(_PAUSE)
            replica.retiring = False
            raise

    async def _end(self, replica: Replica) -> None:
        world, part = self._world, replica.record.part
        # One of several replicas of a revision that serves leaves the table here; Envoy drains it.
        await self._push()
        if replica.ready and not world.routing.has_traffic(self.key, part.revision):
            await world.routing.drained(self.key, part, world.settings.drain_limit)
        await world.fleet.stop(replica)
        await self._push()

    async def _delete(self) -> None:
        world = self._world
        world.routing.drop(self.key)
        await self._push()
        while self._retiring or world.fleet.of(self.key):
            for replica in self._active():
                if not self._is_asked(replica):
                    self._retire(replica)
            await asyncio.gather(*self._retiring, return_exceptions=True)
        shutil.rmtree(world.paths.service_logs(*self.key), ignore_errors=True)
        world.store.remove(self.key)
        world.notify()
        log.info("%s: deleted", self.key)

    def _is_settled(self, wanted: Plan) -> bool:
        observed = self._observe()
        return (
            not self._retiring
            and observed.revisions[-1].state != "Pending"
            and all(observed.ready[part] == count for part, count in wanted.replicas.items())
        )


def _by_worth(replica: Replica) -> tuple[bool, int]:
    return not (replica.ready and replica.process.running), replica.record.slot
