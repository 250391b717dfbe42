"""A real gateway for tests, and small servers behind it that tell who was asked."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import grpc

from modelport_engine.gateway.envoy import Gateway
from modelport_engine.gateway.xds import Backend, Destination, Route, Table
from modelport_engine.paths import EnginePaths
from modelport_engine.replicas.ports import replica_port
from modelport_engine.replicas.processes import kill_strays
from modelport_engine.state.database import Database

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Mapping
    from pathlib import Path

PATH = "/serving/default/tumor/v1/models/tumor:predict"
HOST = "tumor.default.local"


class Gate:
    """A gateway whose coroutines are run to their end, and ways to ask it."""

    def __init__(self, home: Path, **options: Any) -> None:
        self.paths = EnginePaths(home)
        self.paths.prepare()
        self._database = Database(self.paths.database)
        self._runner = asyncio.Runner()
        self.gateway = Gateway(self.paths, self._database, **{"workers": 1, **options})

    def run(self, doing: Coroutine[Any, Any, Any]) -> Any:
        return self._runner.run(doing)

    def start(self, table: Table | None = None) -> None:
        """Take over what runs on this home, or start it."""
        self.run(self.gateway.claim(None, replica_port(set())))
        self.run(self.gateway.start(lambda: table or Table()))

    def apply(self, table: Table) -> None:
        self.run(self.gateway.apply(lambda: table))

    def leave(self) -> None:
        """Go as an engine goes that is killed: Envoy stays."""
        self._runner.close()
        self._database.close()

    def close(self) -> None:
        try:
            self.run(self.gateway.stop())
        finally:
            self.leave()
            kill_strays(self.paths.home, keep=set())

    def log(self, name: str) -> Path:
        return self.paths.envoy / name

    def ask(
        self,
        path: str = PATH,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        method: str | None = None,
    ) -> tuple[int, Any]:
        """Ask over a new connection; give status and body, parsed if it is JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.gateway.port, timeout=20)
        try:
            verb = method or ("GET" if body is None else "POST")
            connection.request(verb, path, body, dict(headers or {}))
            response = connection.getresponse()
            text = response.read()
            is_json = response.getheader("Content-Type") == "application/json"
            return response.status, json.loads(text) if is_json else text.decode()
        finally:
            connection.close()

    @contextmanager
    def channel(self, authority: str = HOST) -> Iterator[Callable[[bytes], bytes]]:
        """Give a function that calls a gRPC method of a service, through one connection."""
        address = f"127.0.0.1:{self.gateway.port}"
        options = [("grpc.default_authority", authority)]
        with grpc.insecure_channel(address, options) as channel:
            call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
            yield lambda request=b"": call(request, timeout=20)


class Replica:
    """A server that answers its name over REST, and over gRPC if it is told to.

    `status` is REST's; each request takes `delay` seconds. `served` is how many it had, `now` how
    many it has, `most` how many at a time, `headers` the last one's.
    """

    def __init__(
        self, name: str = "", status: int = 200, delay: float = 0.0, *, speaks_grpc: bool = False
    ) -> None:
        self.name, self.status, self.delay = name, status, delay
        self.served = self.most = self.now = 0
        self.headers: dict[str, str] = {}
        self._lock = threading.Lock()
        self._rest = _Server(("127.0.0.1", 0), _handler(self))
        self.port = self._rest.server_port
        threading.Thread(target=self._rest.serve_forever, args=(0.01,), daemon=True).start()
        self._grpc = grpc.server(ThreadPoolExecutor(16)) if speaks_grpc else None
        self.grpc_ports: tuple[int, ...] = ()
        if self._grpc:
            self._grpc.add_generic_rpc_handlers([_Method(self)])
            self.grpc_ports = (self._grpc.add_insecure_port("127.0.0.1:0"),)
            self._grpc.start()

    def cut(self) -> None:
        """Close every connection, as the system does for a process that is killed."""
        for connection in self._rest.connections:
            connection.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Replica:
        return self

    def __exit__(self, *_: object) -> None:
        self._rest.shutdown()
        self._rest.server_close()
        if self._grpc:
            self._grpc.stop(None).wait()

    @contextmanager
    def working(self) -> Iterator[None]:
        with self._lock:
            self.served += 1
            self.now += 1
            self.most = max(self.most, self.now)
        try:
            time.sleep(self.delay)
            yield
        finally:
            with self._lock:
                self.now -= 1


def backend(name: str, *replicas: Replica, concurrency: int = 0) -> Backend:
    """Give a backend that consists of these."""
    ports = tuple(replica.port for replica in replicas)
    grpc_ports = tuple(port for replica in replicas for port in replica.grpc_ports)
    return Backend(f"default/{name}", ports, grpc_ports, concurrency)


def shared(*shares: tuple[Backend, int], timeout: int = 30) -> Table:
    """Give a table of one service, `tumor`, with these backends and their per cent."""
    weights = tuple((backend.cluster, share) for backend, share in shares if share)
    return Table(
        tuple(backend for backend, _ in shares),
        (Route("default", "tumor", Destination(timeout, weights)),),
    )


class _Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.connections: list[socket.socket] = []

    def process_request(self, request: Any, address: Any) -> None:
        self.connections.append(request)
        super().process_request(request, address)


class _Method(grpc.GenericRpcHandler):
    def __init__(self, replica: Replica) -> None:
        self._replica = replica

    def service(self, _: Any) -> grpc.RpcMethodHandler:
        return grpc.unary_unary_rpc_method_handler(self._answer)

    def _answer(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        with self._replica.working():
            if request == b"fail":
                context.abort(grpc.StatusCode.INTERNAL, "as asked")
            return self._replica.name.encode()


def _handler(replica: Replica) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            with replica.working():
                replica.headers = dict(self.headers)
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
            # The next request may come as soon as this is written.
            self.send_response(replica.status)
            self.send_header("Content-Length", str(len(replica.name)))
            self.end_headers()
            self.wfile.write(replica.name.encode())

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    return Handler
