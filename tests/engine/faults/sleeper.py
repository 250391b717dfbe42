"""A model server that takes its time without working: `python sleeper.py PORT WEIGHT SECONDS`."""

from __future__ import annotations

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

port, weight, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        time.sleep(seconds)
        output = {**asked["inputs"][0], "name": "y"}
        output["data"] = [weight * number for number in output["data"]]
        body = json.dumps({"outputs": [output]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 128


Server(("127.0.0.1", port), Handler).serve_forever()
