"""A model server without any library, as a container's command: `python container.py PORT`.

It is ready once its working directory has a file `ready`. `/grow` makes it hold 300 MiB, `/work`
takes a moment, and every answer tells how it was started and how many it worked on at most.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

held: list[bytes] = []
lock = threading.Lock()
now = most = 0


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        is_probe = self.path == "/healthz"
        self.answer(503 if is_probe and not Path("ready").exists() else 200)

    def do_POST(self) -> None:
        global now, most
        self.rfile.read(int(self.headers["Content-Length"]))
        with lock:
            now += 1
            most = max(most, now)
        if self.path == "/grow":
            held.append(b"x" * (300 << 20))
        elif self.path == "/work":
            time.sleep(0.02)
        with lock:
            now -= 1
        self.answer(200)

    def answer(self, status: int) -> None:
        told = {
            "pid": os.getpid(),
            "folder": str(Path.cwd()),
            "arguments": sys.argv[2:],
            "greeting": os.environ.get("GREETING"),
            "most": most,
        }
        body = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever(0.05)
