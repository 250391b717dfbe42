"""The engine's client: what a notebook or a command uses. Imports the standard library only."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from modelport_engine.errors import (
    EngineError,
    EngineStartFailed,
    EngineUnavailable,
    HomeInUse,
    NotFound,
    RevisionFailed,
    WaitTimedOut,
)
from modelport_engine.paths import EnginePaths, reachable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Document = dict[str, Any]

_ANSWER_LIMIT = 10.0
_SHUTDOWN_LIMIT = 90.0
_POLL = 0.05
_ERRORS_FROM = 400
_API = "/apis/serving.kserve.io/v1beta1"


class EngineClient:
    """Talks to the engine of one home.

    Every method raises `EngineUnavailable` when no engine answers there.
    """

    def __init__(self, home: str | Path) -> None:
        self.paths = EnginePaths(Path(home).expanduser().resolve())

    def ensure_running(self, gateway_port: int | None = None, timeout: float = 20.0) -> Document:
        """Start the engine unless it runs; give its `info()` once it answers.

        Args:
            gateway_port: Port of the gateway; without it the one used last, or 8780.
            timeout: Seconds to wait.

        Raises:
            PortInUse: when another program holds the port.
            EngineStartFailed: when it does not start, or runs already on another port.
            StorageFailed: when the home cannot be written.
        """
        deadline = time.monotonic() + timeout
        while True:
            info = self._info_if_running()
            if info is None:
                self._start(gateway_port, deadline)
            elif not info["stopping"]:
                return _on_port(info, gateway_port)
            if time.monotonic() > deadline:
                raise EngineStartFailed(
                    f"the engine does not answer after {timeout:g} s", f"see {self.paths.log}"
                )
            time.sleep(_POLL)

    def is_running(self) -> bool:
        """Tell whether an engine answers."""
        return self._info_if_running() is not None

    def info(self) -> Document:
        """Give `version`, `pid`, `home`, `stopping` and where the gateway is.

        That is `gatewayUrl`, `gatewayPort`, `gatewayHost` and `gatewayTokenFile`, whose text
        callers from other machines send; null if none can call.
        """
        return self._call("GET", "/version")

    def apply(self, document: Document) -> Document:
        """Create or replace an InferenceService; give the stored object, which is durable.

        Raises:
            InvalidObject: when it cannot be accepted as written.
            Conflict: when it is being deleted, or was changed meanwhile.
            StorageFailed: when the disk is full.
        """
        metadata = document.get("metadata")
        named = metadata if isinstance(metadata, dict) else {}
        # A name that cannot be one is the engine's to refuse, in its own words.
        path = _path(str(named.get("name") or "-"), str(named.get("namespace") or "default"))
        return self._call("PUT", path, json.dumps(document).encode())

    def get(self, name: str, namespace: str = "default") -> Document:
        """Give an InferenceService with its status; `NotFound` when there is none."""
        return self._call("GET", _path(name, namespace))

    def list(self, namespace: str | None = None) -> Document:
        """Give an InferenceServiceList: of all namespaces, or of one."""
        within = f"/namespaces/{quote(namespace, safe='')}" if namespace else ""
        return self._call("GET", f"{_API}{within}/inferenceservices")

    def events(self, name: str | None = None, namespace: str | None = None) -> Document:
        """Give an EventList, oldest first: of one service, of a namespace, or of all."""
        if name is not None:
            return self._call("GET", f"{_path(name, namespace or 'default')}/events")
        within = f"/namespaces/{quote(namespace, safe='')}" if namespace else ""
        return self._call("GET", f"/api/v1{within}/events")

    def revisions(self, name: str, namespace: str = "default") -> Document:
        """Give the kept revisions of a service, oldest first; `NotFound` when there is none."""
        return self._call("GET", f"{_path(name, namespace)}/revisions")

    def replicas(self, name: str, namespace: str = "default") -> Document:
        """Give the processes of a service; `NotFound` when there is no such service."""
        return self._call("GET", f"{_path(name, namespace)}/replicas")

    def rollback(
        self, name: str, namespace: str = "default", revision: int | None = None
    ) -> Document:
        """Give a service the spec of an earlier revision, by default of the one before."""
        body = json.dumps({"revision": revision}).encode()
        return self._call("POST", f"{_path(name, namespace)}/rollback", body)

    def delete(
        self, name: str, namespace: str = "default", timeout: float = 120.0, *, wait: bool = True
    ) -> None:
        """Delete a service; return when its processes, routes and logs are gone.

        Args:
            name: Of the service.
            namespace: Of the service.
            timeout: Seconds to wait.
            wait: Return only when it is gone; else as soon as its deletion is durable.

        Raises:
            NotFound: when there is none.
            WaitTimedOut: when it is not gone in time; it will be deleted all the same.
        """
        self._call("DELETE", _path(name, namespace))
        if not wait:
            return
        try:
            for event in self.watch(name, namespace, timeout):
                if event["type"] == "DELETED":
                    return
        except NotFound:
            return
        raise WaitTimedOut(
            f"{namespace}/{name} is still being deleted after {timeout:g} s",
            "its last requests may take long; look again later",
        )

    def watch(
        self, name: str, namespace: str = "default", timeout: float = 3600.0
    ) -> Iterator[Document]:
        """Give Kubernetes' watch events (`type`, `object`) of one object as they happen.

        The first one is the present state. Ends after `timeout` seconds or with `DELETED`;
        `NotFound` when there is no such object.
        """
        path = f"{_path(name, namespace)}?watch=true&timeoutSeconds={timeout:g}"
        with self._connection(timeout + _ANSWER_LIMIT) as connection:
            response = self._request(connection, "GET", path)
            _raise_for(response)
            try:
                while line := response.readline():
                    yield json.loads(line)
            except (OSError, http.client.HTTPException) as error:
                raise self._unavailable() from error

    def wait_ready(
        self,
        name: str,
        namespace: str = "default",
        *,
        generation: int | None = None,
        timeout: float = 180.0,
        on_progress: Callable[[str], None] | None = None,
    ) -> Document:
        """Wait until the service is Ready in the given generation, and its canaries are.

        Gives the object; at once if it is stopped.

        Args:
            name: Of the service.
            namespace: Of the service.
            generation: The `metadata.generation` that `apply` gave; by default the latest.
            timeout: Seconds to wait.
            on_progress: Called with one line whenever there is something new to say.

        Raises:
            RevisionFailed: when the revision failed; the message says why.
            WaitTimedOut: when it is neither ready nor failed in time.
            NotFound: when the service is not there, or is deleted meanwhile.
        """
        deadline, said = time.monotonic() + timeout, ""
        while (left := deadline - time.monotonic()) > 0:
            for event in self.watch(name, namespace, left):
                document: Document = event["object"]
                if event["type"] == "DELETED":
                    raise NotFound(f"{namespace}/{name} was deleted", "apply it again")
                if on_progress and said != (line := _progress(document)):
                    said = line
                    on_progress(said)
                if _is_settled(document, generation):
                    return document
        raise WaitTimedOut(
            f"{namespace}/{name} is not ready after {timeout:g} s",
            f"see its log in {self.paths.service_logs(namespace, name)}",
        )

    def shutdown(self, timeout: float = _SHUTDOWN_LIMIT) -> None:
        """Stop the engine and all that it started; return when every process is gone.

        One that does not answer is ended by force, and what an engine that was killed has left
        behind is stopped too.

        Raises:
            WaitTimedOut: when the engine does not end in time.
        """
        from modelport_engine.lock import end_holder
        from modelport_engine.replicas.processes import kill_strays

        try:
            pid = self.info()["pid"]
            self._call("POST", "/shutdown")
        except EngineUnavailable:
            end_holder(self.paths, timeout)
        else:
            self._wait_for_end(pid, timeout)
        kill_strays(self.paths.home, keep=set())

    def _wait_for_end(self, pid: int, timeout: float) -> None:
        from modelport_engine.replicas.processes import is_alive

        deadline = time.monotonic() + timeout
        while is_alive(pid):
            if time.monotonic() > deadline:
                raise WaitTimedOut(
                    f"the engine with pid {pid} has not ended after {timeout:g} s",
                    f"see {self.paths.log}",
                )
            time.sleep(_POLL)

    def _start(self, gateway_port: int | None, deadline: float) -> None:
        command = [sys.executable, "-P", "-m", "modelport_engine", "--detach"]
        command += ["--home", str(self.paths.home)]
        if gateway_port is not None:
            command += ["--gateway-port", str(gateway_port)]
        try:
            done = subprocess.run(
                command,
                cwd="/",
                stdin=subprocess.DEVNULL,
                capture_output=True,
                start_new_session=True,
                timeout=max(0.1, deadline - time.monotonic()),
                check=False,
                text=True,
            )
        except subprocess.TimeoutExpired:
            # The caller's own deadline has passed as well, and it says so.
            return
        if done.returncode == 0:
            return
        error = _start_error(done.stdout, done.stderr)
        # Another client was faster: its engine is the one to wait for.
        if not isinstance(error, HomeInUse):
            raise error

    def _info_if_running(self) -> Document | None:
        try:
            return self.info()
        except EngineUnavailable:
            return None

    def _connection(self, timeout: float) -> _Connection:
        return _Connection(self.paths.socket, timeout)

    def _call(self, method: str, path: str, body: bytes | None = None) -> Document:
        with self._connection(_ANSWER_LIMIT) as connection:
            response = self._request(connection, method, path, body)
            _raise_for(response)
            try:
                document: Document = json.loads(response.read())
            except (OSError, ValueError, http.client.HTTPException) as error:
                raise self._unavailable() from error
            return document

    def _request(
        self, connection: _Connection, method: str, path: str, body: bytes | None = None
    ) -> http.client.HTTPResponse:
        headers = {"Content-Type": "application/json"} if body else {}
        try:
            connection.request(method, path, body, headers)
            return connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise self._unavailable() from error

    def _unavailable(self) -> EngineUnavailable:
        return EngineUnavailable(
            f"no engine answers on {self.paths.home}", "start it with `modelport up`"
        )


class _Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket; closed at the end of a `with` block."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(self.timeout)
        try:
            with reachable(self._path) as short:
                connection.connect(short)
        except OSError:
            connection.close()
            raise
        self.sock = connection

    def __enter__(self) -> _Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _path(name: str, namespace: str) -> str:
    return f"{_API}/namespaces/{quote(namespace, safe='')}/inferenceservices/{quote(name, safe='')}"


def _raise_for(response: http.client.HTTPResponse) -> None:
    if response.status < _ERRORS_FROM:
        return
    text = response.read()
    try:
        status = json.loads(text)
        document = {"reason": status["reason"], **status["details"]}
    except (ValueError, KeyError, TypeError):
        raise EngineError(f"the engine answered {response.status}", "see its log") from None
    raise EngineError.of(document)


def _start_error(output: str, complaint: str) -> EngineError:
    try:
        return EngineError.of(json.loads(output))
    except ValueError:
        lines = complaint.strip().splitlines() or ["no reason was given"]
        return EngineStartFailed(f"the engine did not start ({lines[-1]})", "see above")


def _on_port(info: Document, gateway_port: int | None) -> Document:
    if gateway_port not in (None, info["gatewayPort"]):
        raise EngineStartFailed(
            f"the engine already runs with its gateway on port {info['gatewayPort']}",
            "stop it with `modelport down` first, or leave the port out",
        )
    return info


def _condition(document: Document, kind: str) -> Document:
    found = document.get("status", {}).get("conditions", ())
    return next((entry for entry in found if entry["type"] == kind), {"status": "Unknown"})


def _progress(document: Document) -> str:
    ready = _condition(document, "Ready")
    name = document["metadata"]["name"]
    return f"{name} is ready" if ready["status"] == "True" else ready.get("message", "starting")


def _is_settled(document: Document, generation: int | None) -> bool:
    """Tell whether the service is Ready; `RevisionFailed` when it will not be by itself."""
    metadata, status = document["metadata"], document.get("status", {})
    wanted = generation or metadata["generation"]
    if status.get("observedGeneration", 0) < wanted:
        return False
    if _condition(document, "Stopped")["status"] == "True":
        return True
    canaries = status.get("canaryStatuses", ())
    for model in (status["modelStatus"], *(canary["modelStatus"] for canary in canaries)):
        if model["transitionStatus"] == "BlockedByFailedLoad":
            failure = model["lastFailureInfo"]
            serving = status["components"]["predictor"].get("latestRolledoutRevision")
            todo = f"{serving} keeps serving" if serving else "nothing serves"
            raise RevisionFailed(
                failure["message"], f"{todo}; correct the model and apply it again"
            )
    up = all(canary["ready"] for canary in canaries)
    return up and _condition(document, "Ready")["status"] == "True"
