"""A real, small model server that takes the runtime's arguments; its folder says how it behaves.

`behaviour.json` in the folder: `answer` (what it predicts), `fail` (a message: it ends with exit
code 3 before it is ready), `never_ready` (true: its readiness stays 503), `ready_after` and
`explainer_after` (seconds until it is ready, an explainer's since its predictor is). A request
to `/hold` is answered once the folder has a file `release`. With `--predictor_host` it is an
explainer, whose answers hold its predictor's; `fail` is the predictor's own then,
`explainer_fails` the explainer's. With `--transform` as well it is a transformer.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("--model_name")
parser.add_argument("--model_dir", type=Path)
parser.add_argument("--http_port", type=int)
parser.add_argument("--grpc_port", type=int)
parser.add_argument("--host", default="127.0.0.1")
parser.add_argument("--predictor_host")
parser.add_argument("--transform", action="store_true")
arguments, rest = parser.parse_known_args()
started = time.monotonic()
predictor_seen: list[float] = []
behaviour = json.loads((arguments.model_dir / "behaviour.json").read_text())


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        if self.path == "/":
            self.answer(200, {"status": "alive"})
        elif self.path == "/v2/health/ready":
            self.answer(200 if is_ready() else 503, {})
        elif self.path == "/hold":
            (arguments.model_dir / "holding").touch()
            while not (arguments.model_dir / "release").exists():
                time.sleep(0.02)
            self.answer(200, behaviour["answer"])
        elif self.path == "/environment":
            self.answer(200, dict(os.environ))
        elif self.path == "/arguments":
            self.answer(200, rest)
        else:
            self.answer(404, {"error": f"no {self.path}"})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if arguments.transform:
            status, asked = ask_predictor("POST", self.path, body)
            self.answer(status, {**asked, "transformed": asked} if status == 200 else asked)
        elif not self.path.partition("?")[0].endswith((":explain", "/explain")):
            self.answer(200, {"predictions": [behaviour["answer"]], "pid": os.getpid()})
        elif arguments.predictor_host is None:
            self.answer(501, {"error": "no explainer"})
        else:
            status, asked = ask_predictor("POST", "/v1/models/tumor:predict", body)
            self.answer(status, {"explanations": asked, "path": self.path, "pid": os.getpid()})

    def answer(self, status: int, document: object) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 128


def ask_predictor(
    method: str, path: str, body: bytes | None = None
) -> tuple[int, dict[str, object]]:
    host, slash, prefix = arguments.predictor_host.partition("/")
    connection = http.client.HTTPConnection(host, timeout=10)
    try:
        connection.request(method, f"{slash}{prefix}{path}", body)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def is_ready() -> bool:
    now = time.monotonic()
    if arguments.predictor_host is None:
        return not behaviour.get("never_ready") and now - started >= behaviour.get("ready_after", 0)
    if ask_predictor("GET", "/v2/health/ready")[0] == 200:
        predictor_seen.append(now)
    late = behaviour.get("explainer_after", 0)
    return bool(predictor_seen) and now - predictor_seen[0] >= late


if arguments.predictor_host is not None:
    behaviour["fail"] = behaviour.get("explainer_fails")
if behaviour.get("fail"):
    sys.stderr.write(f"{behaviour['fail']}\n")
    sys.exit(3)
server = Server((arguments.host, arguments.http_port), Handler)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever(poll_interval=0.05)
