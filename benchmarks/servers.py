"""A server process with all its children: started on one core, asked, measured, and ended."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from benchmarks.places import folder

if TYPE_CHECKING:
    from benchmarks.protocols import Headers, Request

HOST = "127.0.0.1"
START_SECONDS = 60.0
NEXT_PROTOCOL_SECONDS = 10.0
_STOP_SECONDS = 5.0
_POLL_SECONDS = 0.005
_ANSWER_SECONDS = 10.0


class ServerFailed(Exception):
    """A server did not start, or did not answer rightly; the text says which and why."""


@dataclass(frozen=True)
class Ports:
    """Where a server listens."""

    http: int
    grpc: int

    @classmethod
    def free(cls) -> Ports:
        """Return ports that nobody listens on."""
        return cls(_free_port(), _free_port())

    def of(self, request: Request) -> int:
        """Return the port that a request goes to."""
        return self.grpc if request.protocol == "gRPC" else self.http


class Server:
    """One running server."""

    def __init__(self, name: str, log: Path, process: subprocess.Popen[bytes]) -> None:
        self.name = name
        self.process = process
        self.log = log
        self.started = time.monotonic()

    def tree(self) -> list[psutil.Process]:
        """Return the process and all that came from it, also those that it left behind."""
        session = self.process.pid
        found = {}
        for process in psutil.process_iter():
            with suppress(psutil.Error, ProcessLookupError):
                if os.getsid(process.pid) == session:
                    found[process.pid] = process
                    found |= {child.pid: child for child in process.children(recursive=True)}
        return list(found.values())

    def cpu_seconds(self) -> float:
        """Return the CPU time, user and system, that the tree has used so far."""
        return sum(sum(process.cpu_times()[:2]) for process in self.tree())

    def resident_mb(self) -> float:
        """Return the tree's resident memory in 10^6 bytes; what its processes share counts once."""
        memory = [process.memory_full_info() for process in self.tree()]
        shared = max(one.rss - one.uss for one in memory)
        return float(shared + sum(one.uss for one in memory)) / 1e6

    def wait_for(self, port: int, request: Request, limit: float = START_SECONDS) -> float:
        """Return the seconds from the start to the first right answer; `ServerFailed` without."""
        end = time.monotonic() + limit
        problem = "no answer"
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise ServerFailed(f"it ended with {self.process.returncode}: {self.said()}")
            try:
                ask(port, request)
                return time.monotonic() - self.started
            except OSError:
                time.sleep(_POLL_SECONDS)
            except ServerFailed as error:
                problem = str(error)
                time.sleep(_POLL_SECONDS)
        raise ServerFailed(f"not right after {limit:.0f} s ({problem}): {self.said()}")

    def said(self) -> str:
        """Return the last line of the server's log."""
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1].strip() if lines else "it said nothing"

    def stop(self) -> None:
        """End the whole tree: asked first, then killed."""
        tree = self.tree()
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(_STOP_SECONDS)
        for process in {*tree, *self.tree()}:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()


@contextmanager
def running(
    name: str, command: Sequence[str], environment: Mapping[str, str], core: int | None
) -> Iterator[Server]:
    """Run a server for the length of the block, on one core or (None) on all."""
    pin = ["taskset", "--cpu-list", str(core)] if core is not None else []
    log = folder("logs") / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*pin, *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
            cwd=folder("scratch"),
            start_new_session=True,
        )
    server = Server(name, log, process)
    try:
        yield server
    finally:
        server.stop()


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def ask(port: int, request: Request) -> None:
    """Send one request; `ServerFailed` unless the answer is right."""
    headers, body = send(port, request)
    try:
        request.check(headers, body)
    except (ValueError, LookupError, TypeError) as error:
        raise ServerFailed(f"a wrong answer: {error}") from error


def send(port: int, request: Request) -> tuple[Headers, bytes]:
    """Send one request; return the answer's headers and body (gRPC: the message alone)."""
    if request.protocol == "gRPC":
        return {}, _call(port, request)
    connection = http.client.HTTPConnection(HOST, port, timeout=_ANSWER_SECONDS)
    try:
        connection.request("POST", request.path, request.body, dict(request.headers))
        response = connection.getresponse()
        body = response.read()
    except http.client.HTTPException as error:
        raise ServerFailed(f"no HTTP answer: {error!r}") from error
    finally:
        connection.close()
    if response.status != 200:
        raise ServerFailed(f"HTTP {response.status}: {body[:200].decode(errors='replace')}")
    return dict(response.headers), body


def _call(port: int, request: Request) -> bytes:
    import grpc

    with grpc.insecure_channel(f"{HOST}:{port}") as channel:
        try:
            reply: bytes = channel.unary_unary(request.path)(request.body, timeout=_ANSWER_SECONDS)
        except grpc.RpcError as error:
            raise ServerFailed(f"gRPC {error.code().name}: {error.details()}") from error
    return reply
