"""The engine as a whole: start, take over, the operations of the API, stop."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from modelport_engine import objects
from modelport_engine.errors import EngineError, EngineUnavailable, InvalidObject, NotFound
from modelport_engine.housekeeping import Housekeeping
from modelport_engine.reconciler import Reconciler
from modelport_engine.replicas.processes import kill_strays
from modelport_engine.rollback import rolled_back
from modelport_engine.views import document_of, event_list, replica_list, revision_list

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine

    from modelport_engine.state.records import Key, Service
    from modelport_engine.world import World

log = logging.getLogger(__name__)

_GATEWAY_PAUSE = 1.0
# Seconds between two attempts to start an Envoy that does not stay up.


class Changes:
    """Wakes whoever waits for a change of any service."""

    def __init__(self) -> None:
        self._waiters: set[asyncio.Future[None]] = set()

    def notify(self) -> None:
        """Wake all who wait now."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self, limit: float) -> bool:
        """Wait for the next change; False when there is none within `limit` seconds."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            done, _ = await asyncio.wait([waiter], timeout=max(0.0, limit))
            return bool(done)
        finally:
            self._waiters.discard(waiter)


class Controller:
    """Keeps every service as its object says, one reconciler each."""

    def __init__(self, world: World, changes: Changes) -> None:
        self.world = world
        self.stopping = False
        self._changes = changes
        self._reconcilers: dict[Key, Reconciler] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Bring back what was deployed; processes taken over serve on meanwhile."""
        for service in self.world.store.services():
            self._reconcilers[service.key] = reconciler = Reconciler(service.key, self.world)
            self._restore_traffic(service, reconciler)
        await self.world.gateway.start(self.world.routing.table)
        for reconciler in self._reconcilers.values():
            self._spawn(self._reconcile(reconciler))
        self._spawn(self._supervise())
        for chore in Housekeeping(self.world, self._reconcilers).chores():
            self._spawn(chore)

    async def stop(self) -> None:
        """Stop the gateway, which lets requests end, then every replica; the objects stay."""
        if self.stopping:
            return
        self.stopping = True
        self._changes.notify()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.world.gateway.stop()
        fleet = self.world.fleet
        stops = [fleet.stop(replica) for replica in fleet.all()]
        for outcome in await asyncio.gather(*stops, return_exceptions=True):
            if outcome:
                log.error("%s", outcome)
        kill_strays(self.world.paths.home, keep=set())

    def apply(self, document: Any, key: Key) -> dict[str, Any]:
        """Create or replace an object; it is durable when this returns.

        Raises:
            InvalidObject: when it cannot be accepted as written.
            Conflict: when it is being deleted, or was changed meanwhile.
            EngineUnavailable: when the engine is stopping.
            StorageFailed: when it cannot be kept.
        """
        self._refuse_if_stopping()
        wanted = objects.parse(document)
        if (wanted.namespace, wanted.name) != key:
            raise InvalidObject(
                f"the object is {wanted.namespace}/{wanted.name}, the address {key}",
                "make them the same",
            )
        for uri in wanted.components.storage_uris:
            objects.check_folder(uri)
        before = self._find(key)
        service = self.world.store.apply(wanted)
        self._tell_change(before, service)
        reconciler = self._reconciler(service.key)
        reconciler.forgive()
        # What failed before must not be read as the answer to this apply.
        reconciler.save_status()
        reconciler.wake()
        return self.get(key)

    def rollback(self, key: Key, number: int | None) -> dict[str, Any]:
        """Put a service's spec back to that of a kept revision; None: of the one before.

        Raises:
            NotFound: when there is no such service, or revision.
            InvalidObject: when its model is no longer there.
        """
        service = self.world.store.service(key)
        revision = rolled_back(service, self.world.store.revisions(key), number)
        document = document_of(service)
        return self.apply({**document, "spec": revision}, key)

    def get(self, key: Key) -> dict[str, Any]:
        """Give an object with its status; `NotFound` when there is none."""
        return document_of(self.world.store.service(key))

    def list(self, namespace: str | None = None) -> dict[str, Any]:
        """Give all objects, or those of one namespace, as an InferenceServiceList."""
        return {
            "apiVersion": objects.API_VERSION,
            "kind": f"{objects.KIND}List",
            "metadata": {},
            "items": [document_of(service) for service in self.world.store.services(namespace)],
        }

    def events(self, namespace: str | None, name: str | None = None) -> dict[str, Any]:
        """Give what happened: to all services, in one namespace, or to one of them."""
        return event_list(self.world.events.all(namespace, name))

    def revisions(self, key: Key) -> dict[str, Any]:
        """Give a service's kept revisions with their traffic; `NotFound` when there is none."""
        service = self.world.store.service(key)
        traffic = self.world.routing.traffic(key)
        return revision_list(service, self.world.store.revisions(key), traffic)

    def replicas(self, key: Key) -> dict[str, Any]:
        """Give a service's processes; `NotFound` when there is no such service."""
        self.world.store.service(key)
        return replica_list(self.world.fleet.of(key))

    def delete(self, key: Key) -> dict[str, Any]:
        """Mark an object as deleted; it is gone when its processes and routes are."""
        self._refuse_if_stopping()
        service = self.world.store.mark_deleted(key)
        self._changes.notify()
        self._reconciler(key).wake()
        return document_of(service)

    def watch(self, key: Key, limit: float) -> AsyncIterator[dict[str, Any]]:
        """Give Kubernetes' watch events of one object, the present state first.

        Ends after `limit` seconds, after the object is gone, or when the engine stops.

        Raises:
            NotFound: when there is no such object.
            EngineUnavailable: when the engine is stopping.
        """
        self._refuse_if_stopping()
        return self._events(key, self.get(key), limit)

    async def _events(
        self, key: Key, document: dict[str, Any], limit: float
    ) -> AsyncIterator[dict[str, Any]]:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + limit
        yield {"type": "ADDED", "object": document}
        while not self.stopping:
            try:
                current = self.get(key)
            except NotFound:
                yield {"type": "DELETED", "object": document}
                return
            if current != document:
                document = current
                yield {"type": "MODIFIED", "object": document}
            elif not await self._changes.wait(deadline - loop.time()):
                return

    def _refuse_if_stopping(self) -> None:
        if self.stopping:
            raise EngineUnavailable("the engine is stopping", "try again when it is gone")

    def _restore_traffic(self, service: Service, reconciler: Reconciler) -> None:
        if service.deleted:
            return
        try:
            reconciler.decide()
        except InvalidObject as error:
            # Accepted by an earlier version: it must not keep the others from coming back.
            log.warning("%s: %s", service.key, error)

    def _find(self, key: Key) -> Service | None:
        try:
            return self.world.store.service(key)
        except NotFound:
            return None

    def _tell_change(self, before: Service | None, after: Service) -> None:
        note = self.world.events.note
        if before is None:
            note(after.key, "Normal", "Created", f"generation {after.generation}")
        elif before.generation != after.generation:
            note(after.key, "Normal", "Updated", f"generation {after.generation}")
        known = before.last_revision if before else 0
        for revision in self.world.store.revisions(after.key):
            if revision.number > known:
                note(after.key, "Normal", "RevisionCreated", revision.name)
        was, stopped = before and objects.is_stopped(before.annotations), after.annotations
        if bool(was) != objects.is_stopped(stopped):
            note(after.key, "Normal", "Started" if was else "Stopped", "as its annotation says")

    def _reconciler(self, key: Key) -> Reconciler:
        if key not in self._reconcilers:
            self._reconcilers[key] = Reconciler(key, self.world)
            self._spawn(self._reconcile(self._reconcilers[key]))
        return self._reconcilers[key]

    async def _reconcile(self, reconciler: Reconciler) -> None:
        await reconciler.run()
        # Nothing is awaited since the service was removed, so a new one of its name, applied
        # after that, gets a reconciler of its own.
        del self._reconcilers[reconciler.key]

    async def _supervise(self) -> None:
        """Look at every process at each tick; whoever has lost one is woken."""
        restart: asyncio.Task[None] | None = None
        while True:
            await asyncio.sleep(self.world.settings.tick)
            for replica in self.world.fleet.all():
                key = replica.record.key
                if key in self._reconcilers and not replica.process.running:
                    self._reconcilers[key].wake()
            if not self.world.gateway.running and (restart is None or restart.done()):
                restart = self._spawn(self._restart_gateway())

    async def _restart_gateway(self) -> None:
        log.warning("the gateway has ended; starting it again")
        self._wake_all()
        try:
            await self.world.gateway.start(self.world.routing.table)
        except EngineError as error:
            log.warning("%s", error)
            await asyncio.sleep(_GATEWAY_PAUSE)
        self._wake_all()

    def _wake_all(self) -> None:
        for reconciler in self._reconcilers.values():
            reconciler.wake()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
