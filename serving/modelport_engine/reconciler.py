"""Reconciling one service: step by step towards what its object says.

A step looks at everything anew and takes the next safe action, so it can be interrupted at any
point and repeated from the database alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
from collections import Counter
from typing import TYPE_CHECKING

from modelport_engine.errors import EngineError, GatewayFailed, NotFound, SpawnFailed
from modelport_engine.fetching import Fetching
from modelport_engine.gateway.routing import cluster
from modelport_engine.gateway.xds import revision_path
from modelport_engine.health import Health
from modelport_engine.objects import is_stopped, read_spec
from modelport_engine.observation import Observation
from modelport_engine.retirement import Retirement
from modelport_engine.scaler import Scaler
from modelport_engine.state.records import PREDICTOR, Part, timestamp
from modelport_engine.status import Urls, status

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from modelport_engine.objects import Spec
    from modelport_engine.planner import Plan, Traffic
    from modelport_engine.replicas.fleet import Replica
    from modelport_engine.scaling import Meter
    from modelport_engine.state.records import EventType, Key, Revision, Service
    from modelport_engine.world import World

log = logging.getLogger(__name__)

_PAUSE = 1.0
# Seconds after a step that failed, so that a full disk does not fill the log as well.

_RESYNC = 10.0
# Seconds between two looks at a service that is as it should be, should a wake-up be missed.


class Reconciler:
    """The loop of one service; it ends when the service is gone."""

    def __init__(self, key: Key, world: World) -> None:
        self.key = key
        self._world = world
        self._wake = asyncio.Event()
        self._settled = False
        self._traffic: Traffic = ()
        self._parsed: tuple[int, Spec] | None = None
        self._health = Health(key, world)
        self._scaler = Scaler(key, world.store, world.settings.windows)
        self._fetching = Fetching(world, self._health.fail, self.wake)
        self._retirement = Retirement(key, world, self._push, self.wake)

    def wake(self) -> None:
        """Look at the service now."""
        self._wake.set()

    def decide(self) -> None:
        """Route as the database has it: before anything else is known."""
        observed = self._observe()
        wanted = observed.plan()
        self._world.routing.decide(self.key, observed.decision(wanted))
        self._traffic = wanted.traffic

    def forgive(self) -> None:
        """Forget earlier crashes: the object was applied anew."""
        self._health.forgive()

    async def run(self) -> None:
        """Reconcile until the service is deleted, or this task is cancelled."""
        try:
            while await self._turn():
                pause = _RESYNC if self._settled else self._world.settings.tick
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), pause)
        finally:
            self._retirement.cancel()
            self._fetching.cancel(kept=set())

    def save_status(self) -> None:
        """Write the status as it is now, if it differs from the stored one."""
        observed = self._observe()
        facts = observed.facts(observed.plan(), self._traffic, self._urls(observed.revisions))
        document = status(facts, timestamp())
        if document != observed.service.status:
            self._world.store.save_status(self.key, document)
            self._world.notify()

    def autoscaled(self) -> dict[Part, int]:
        """Name the parts whose number follows the load, with what they have of replicas."""
        service = self._world.store.service(self.key)
        if not any(scale.varies for scale in self._spec(service).scales.values()):
            return {}
        observed = self._observe()
        if observed.stopped or observed.service.deleted:
            return {}
        service, spec = observed.service, observed.spec
        parts = self._scaler.autoscaled(service, observed.revisions, spec)
        return {part: observed.wanted[part] for part in parts}

    def scale(self, parts: Mapping[Part, int], meter: Meter) -> None:
        """Let parts follow their load."""
        ready = [replica.record for replica in self._health.active() if replica.ready]
        leaders = {part: [one.pid for one in ready if one.part == part] for part in parts}
        changes = self._scaler.decide(
            parts,
            self._observe().spec,
            lambda part: meter.sample(cluster(self.key, part), leaders[part]),
        )
        for part, replicas, why in changes:
            reason = "ScaledUp" if replicas > parts[part] else "ScaledDown"
            self._note("Normal", reason, f"{part}: {why}")
            self.wake()

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
        self._health.bury()
        if self._world.store.service(self.key).deleted:
            await self._delete()
            return False
        await self._health.probe()
        observed = self._observe()
        wanted = observed.plan()
        self._start_missing(observed, wanted)
        routed = await self._route(observed, wanted)
        if routed:
            await self._note_progress(observed, wanted)
            self._retire_unwanted(observed, wanted)
        self.save_status()
        self._settled = routed and self._is_settled(wanted)
        return True

    def _observe(self) -> Observation:
        store = self._world.store
        service, revisions = store.service(self.key), store.revisions(self.key)
        spec = self._spec(service)
        replicas = self._health.active()
        return Observation(
            service=service,
            revisions=revisions,
            spec=spec,
            stopped=is_stopped(service.annotations),
            wanted=self._scaler.wanted(service, revisions, spec),
            ready=Counter(replica.record.part for replica in replicas if replica.ready),
            started=Counter(replica.record.part for replica in replicas),
            failures=self._health.failures(),
        )

    def _spec(self, service: Service) -> Spec:
        """Read the spec of a service; it is looked at often and changes seldom."""
        if self._parsed is None or self._parsed[0] != service.generation:
            self._parsed = (service.generation, read_spec(service.spec))
        return self._parsed[1]

    def _start_missing(self, observed: Observation, wanted: Plan) -> None:
        now = asyncio.get_running_loop().time()
        self._fetching.cancel(kept={part.revision for part in wanted.replicas})
        for part, count in wanted.replicas.items():
            revision = observed.revision(part.revision)
            if revision is None or not self._fetching.has_all(revision):
                continue
            active = (replica.record for replica in self._health.active())
            used = {record.slot for record in active if record.part == part}
            # After scaling down, those that stayed may have slots beyond the count.
            free = [slot for slot in range(1, count + 1) if slot not in used]
            for slot in free[: max(0, count - len(used))]:
                if now >= self._health.trouble(part, slot).not_before:
                    self._start(observed, revision, part, slot)

    def _start(self, observed: Observation, revision: Revision, part: Part, slot: int) -> None:
        path = revision_path(cluster(self.key, Part(revision.name, PREDICTOR)))
        predictor_host = f"127.0.0.1:{self._world.gateway.port}{path}"
        restarts = self._health.trouble(part, slot).restarts
        longest = observed.spec.timeouts([part.component])[part.component]
        try:
            self._world.fleet.start(revision, part, slot, predictor_host, longest, restarts)
        except SpawnFailed as error:
            self._health.not_started(part, slot, str(error))

    async def _route(self, observed: Observation, wanted: Plan) -> bool:
        """Send the traffic where the plan says; True when the gateway does."""
        self._world.routing.decide(self.key, observed.decision(wanted))
        return await self._push()

    async def _note_progress(self, observed: Observation, wanted: Plan) -> None:
        """Keep what the traffic is now."""
        store, before = self._world.store, self._traffic
        self._traffic = wanted.traffic
        for name in wanted.up:
            store.mark_up(self.key, name)
            self._note("Normal", "RevisionReady", f"{name} is ready")
        for track, name in wanted.roll_outs:
            revision = observed.revision(name)
            if revision:
                self._scaler.keep(revision, observed.wanted)
            store.roll_out(self.key, track, name)
            await self._tidy(observed.revisions)
        if wanted.traffic and wanted.traffic != before:
            shares = ", ".join(f"{name} {percent} %" for name, percent in wanted.traffic)
            self._note("Normal", "TrafficMoved", shares)

    async def _tidy(self, kept: Sequence[Revision]) -> None:
        """Remove logs and models of revisions that are no longer known."""
        names = {str(part) for revision in kept for part in revision.parts}
        for path in self._world.paths.service_logs(*self.key).glob("*.log*"):
            if path.name.partition(".")[0].rpartition("-")[0] not in names:
                path.unlink(missing_ok=True)
        # Models are large: to remove one takes a while.
        revisions = {revision.name for revision in kept}
        await asyncio.to_thread(self._world.storage.forget, self.key, revisions)

    async def _push(self) -> bool:
        if not self._world.gateway.answering:
            return False
        try:
            await self._world.routing.push()
        except GatewayFailed as error:
            log.warning("%s: %s", self.key, error)
            return False
        return True

    def _retire_unwanted(self, observed: Observation, wanted: Plan) -> None:
        kept: Counter[Part] = Counter()
        # Those that serve stay as long as others can go instead.
        for replica in sorted(self._health.active(), key=_by_worth):
            part = replica.record.part
            kept[part] += 1
            asked = part not in wanted.replicas and self._retirement.is_asked(replica)
            if kept[part] > wanted.replicas.get(part, 0) and not asked:
                self._retire(replica, observed.spec)

    def _retire(self, replica: Replica, spec: Spec) -> None:
        component = replica.record.component
        self._retirement.begin(replica, longest=spec.timeouts([component])[component])

    async def _delete(self) -> None:
        world = self._world
        world.routing.drop(self.key)
        self._fetching.cancel(kept=set())
        await self._push()
        spec = self._observe().spec
        while self._retirement or world.fleet.of(self.key):
            for replica in self._health.active():
                if not self._retirement.is_asked(replica):
                    self._retire(replica, spec)
            await self._retirement.wait()
        shutil.rmtree(world.paths.service_logs(*self.key), ignore_errors=True)
        await asyncio.to_thread(world.storage.forget, self.key, set())
        world.store.remove(self.key)
        self._note("Normal", "Deleted", "its processes and routes are gone")
        world.notify()
        log.info("%s: deleted", self.key)

    def _urls(self, revisions: Sequence[Revision]) -> Urls | None:
        gateway = self._world.gateway
        if not gateway.answering:
            return None
        entries = {revision.entry for revision in revisions}
        ready = [one.record for one in self._health.active() if one.ready]
        speaks_grpc = any(one.grpc_port for one in ready if one.part in entries)
        grpc = f"grpc://127.0.0.1:{gateway.port}" if speaks_grpc else None
        return Urls(gateway.url_of(*self.key), grpc)

    def _note(self, type_: EventType, reason: str, message: str) -> None:
        self._world.events.note(self.key, type_, reason, message)

    def _is_settled(self, wanted: Plan) -> bool:
        observed = self._observe()
        return (
            not self._retirement
            and not self._fetching
            and all(observed.ready[part] == count for part, count in wanted.replicas.items())
            and observed.plan() == wanted
        )


def _by_worth(replica: Replica) -> tuple[bool, int]:
    return not (replica.ready and replica.process.running), replica.record.slot
