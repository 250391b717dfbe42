"""Bringing a revision's models to this machine before its replicas are started."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from modelport_engine.errors import EngineError
from modelport_engine.objects import Front, Predictor, is_fetched
from modelport_engine.replicas.failures import start_failure_info
from modelport_engine.state.records import Part

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from modelport_engine.state.records import Revision
    from modelport_engine.world import World


class Fetching:
    """The downloads of one service, one task for each revision."""

    def __init__(
        self,
        world: World,
        failed: Callable[[Revision, dict[str, Any]], None],
        wake: Callable[[], None],
    ) -> None:
        self._world = world
        self._failed = failed
        self._wake = wake
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def __bool__(self) -> bool:
        return bool(self._tasks)

    def has_all(self, revision: Revision) -> bool:
        """Tell whether a revision's models are here; begin to fetch them otherwise."""
        storage = self._world.storage
        missing = [
            uri
            for uri in _uris(revision)
            if is_fetched(uri) and storage.folder(revision, uri) is None
        ]
        if missing and revision.name not in self._tasks:
            task = asyncio.create_task(self._fetch(revision, missing))
            self._tasks[revision.name] = task
            task.add_done_callback(lambda _: self._ended(revision.name))
        return not missing

    def cancel(self, kept: set[str]) -> None:
        """Stop fetching for all revisions but these."""
        for name, task in self._tasks.items():
            if name not in kept:
                task.cancel()

    async def _fetch(self, revision: Revision, uris: list[str]) -> None:
        events = self._world.events
        for uri in uris:
            events.note(revision.key, "Normal", "Pulling", f"fetching {uri} for {revision.name}")
            try:
                await self._world.storage.fetch(revision, uri)
            except EngineError as error:
                part = Part(revision.name)
                self._failed(revision, start_failure_info(part, 1, "ModelLoadFailed", str(error)))
                return
            events.note(revision.key, "Normal", "Pulled", f"fetched {uri} for {revision.name}")

    def _ended(self, name: str) -> None:
        self._tasks.pop(name, None)
        self._wake()


def _uris(revision: Revision) -> set[str]:
    """Name all that a revision's processes read."""
    fronts = (Front.model_validate(revision.template[name]) for name in revision.components[1:])
    uris = [Predictor.model_validate(revision.template).program.storage_uri]
    uris += [front.container.storage_uri for front in fronts]
    return {uri for uri in uris if uri}
