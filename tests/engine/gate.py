"""A real gateway for tests, and small servers behind it that tell who was asked."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import grpc

from modelport_engine.gateway.envoy import Gateway
from modelport_engine.gateway.xds import Table
from modelport_engine.paths import EnginePaths
from modelport_engine.replicas.ports import replica_port
from modelport_engine.replicas.processes import kill_strays
from modelport_engine.state.database import Database

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from pathlib import Path

Answer = tuple[int, Any]


class Gate:
    """A gateway whose coroutines are run to their end."""

    def __init__(self, home: Path, **options: Any) -> None:
        self.paths = EnginePaths(home)
        self.paths.prepare()
        self.database = Database(self.paths.database)
        self.gateway = Gateway(self.paths, self.database, **{"workers": 1, **options})
        self._runner = asyncio.Runner()

    def run(self, doing: Coroutine[Any, Any, Any]) -> Any:
        return self._runner.run(doing)

    def start(self, table: Table | None = None) -> None:
        self.run(self.gateway.claim(None, replica_port(set())))
        self.run(self.gateway.start(lambda: table or Table()))

    def apply(self, table: Table) -> None:
        self.run(self.gateway.apply(lambda: table))

    def close(self) -> None:
        self.run(self.gateway.stop())
        self._runner.close()
        self.database.close()
        kill_strays(self.paths.home, keep=set())

    def ask(
        self, path: str, headers: dict[str, str] | None = None, body: bytes | None = None
    ) -> Answer:
        """Ask over a new connection; give status and the parsed body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.gateway.port, timeout=20)
        try:
            connection.request("GET" if body is None else "POST", path, body, headers or {})
            response = connection.getresponse()
            text = response.read()
            return response.status, json.loads(text) if text[:1] in b"{[" else text.decode()
        finally:
            connection.close()

    @contextmanager
    def channel(self, authority: str) -> Iterator[Callable[..., bytes]]:
        """Give a function that calls a gRPC method of a service, through one connection."""
        address = f"127.0.0.1:{self.gateway.port}"
        options = [("grpc.default_authority", authority)]
        with grpc.insecure_channel(address, options) as channel:
            yield channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")


class Replica:
    """A server that answers its name over REST, and over gRPC if it is told to.

    `status` is REST's; each request takes `delay` seconds. `most` is how many it had at a time,
    `served` how many in all, `headers` the last one's.
    """

    def __init__(
        self, name: str = "", status: int = 200, delay: float = 0.0, *, speaks_grpc: bool = False
    ) -> None:
        self.name, self.status, self.delay = name, status, delay
        self.served = self.most = self._now = 0
        self.headers: dict[str, str] = {}
        self._lock = threading.Lock()
        self._rest = _Server(("127.0.0.1", 0), _handler(self))
        self.port = self._rest.server_port
        threading.Thread(target=self._rest.serve_forever, args=(0.01,), daemon=True).start()
        self.grpc_port = 0
        self._grpc = grpc.server(ThreadPoolExecutor(16)) if speaks_grpc else None
        if self._grpc:
            self._grpc.add_generic_rpc_handlers([_Method(self)])
            self.grpc_port = self._grpc.add_insecure_port("127.0.0.1:0")
            self._grpc.start()

    @contextmanager
    def working(self) -> Iterator[None]:
        with self._lock:
            self.served += 1
            self._now += 1
            self.most = max(self.most, self._now)
        try:
            time.sleep(self.delay)
            yield
        finally:
            with self._lock:
                self._now -= 1

    def close(self) -> None:
        self._rest.shutdown()
        self._rest.server_close()
        if self._grpc:
            self._grpc.stop(None).wait()


class _Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


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
                body = json.dumps([replica.name, self.path]).encode()
                self.send_response(replica.status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    return Handler
