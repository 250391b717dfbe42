"""Asks a gateway that listens everywhere, from this machine and as if from another one.

Runs in a network of its own (`unshare --net`), whose machine has two addresses: a connection from
the one to the other is not of this machine, as far as Envoy can tell. Prints what was answered.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
from tests.engine.gate import PATH, Gate, Replica, backend, shared

HERE, THERE = "10.9.0.1", "10.9.0.2"
TOKEN = "the-token-that-is-not-to-be-told"  # noqa: S105
BEARER = {"Authorization": f"Bearer {TOKEN}"}


def ask(gate: Gate, source: str, target: str, headers: dict[str, str]) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(
        target, gate.gateway.port, timeout=10, source_address=(source, 0)
    )
    connection.request("GET", f"{PATH}?token={TOKEN}", headers=headers)
    response = connection.getresponse()
    text = response.read().decode()
    return response.status, json.loads(text) if text.startswith("{") else text


def call(gate: Gate, metadata: list[tuple[str, str]]) -> tuple[str, str]:
    """A gRPC client chooses the address that it comes from by itself: that of its target."""
    options = [("grpc.default_authority", "tumor.default.local"), ("grpc.enable_http_proxy", 0)]
    with grpc.insecure_channel(f"{THERE}:{gate.gateway.port}", options) as channel:
        try:
            return "OK", channel.unary_unary("/a/b")(b"", metadata=metadata, timeout=10).decode()
        except grpc.RpcError as error:
            return error.code().name, error.details()


def main(home: Path, host: str) -> None:
    addresses = [("link", "set", "lo", "up")]
    addresses += [("addr", "add", f"{address}/32", "dev", "lo") for address in (HERE, THERE)]
    # Without it, a connection to one of our addresses comes from that same address.
    addresses += [("route", "replace", "local", THERE, "dev", "lo", "src", HERE, "table", "local")]
    for command in addresses:
        subprocess.run(["ip", *command], check=True)
    gate = Gate(home, host=host, token=TOKEN)
    with Replica("one", speaks_grpc=True) as replica:
        try:
            gate.start(shared((backend("one", replica), 100)))
            answers = {
                "local": ask(gate, "127.0.0.1", "127.0.0.1", {}),
                "without": ask(gate, HERE, THERE, {}),
                "wrong": ask(gate, HERE, THERE, {"Authorization": f"Bearer {TOKEN}x"}),
                "with": ask(gate, HERE, THERE, BEARER),
                "forwarded": sorted(name.lower() for name in replica.headers),
                "grpc without": call(gate, []),
                "grpc with": call(gate, [("authorization", f"Bearer {TOKEN}")]),
            }
        finally:
            gate.close()
    sys.stdout.write(json.dumps(answers))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
