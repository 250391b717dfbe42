"""The load generators: wrk for HTTP, h2load for gRPC and for a fixed rate; on a core of their own.

Both keep a number of connections busy, one request at a time on each.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.machine import LOAD_CORE
from benchmarks.places import folder
from benchmarks.protocols import Request, framed
from benchmarks.servers import HOST, send

_SCRIPT = Path(__file__).parent / "wrk.lua"
_GRPC_HEADERS = {"content-type": "application/grpc", "te": "trailers"}
_ENOUGH = 0.9
"""Requests that the end of the measurement cut off have sent less than their answer."""
_PACKAGES = {"wrk": "wrk", "h2load": "nghttp2-client", "taskset": "util-linux"}


class LoadFailed(Exception):
    """A measurement that does not count: a tool failed, or a request did."""


@dataclass(frozen=True)
class Load:
    """What one measurement saw. Latencies are in milliseconds."""

    connections: int
    seconds: float
    requests: int
    p50_ms: float
    p99_ms: float

    @property
    def per_second(self) -> float:
        """Requests answered in a second."""
        return self.requests / self.seconds


def missing_tools() -> list[str]:
    """Return the Debian packages of the tools that this machine lacks."""
    return [package for tool, package in _PACKAGES.items() if shutil.which(tool) is None]


def measure(port: int, request: Request, connections: int, seconds: int) -> Load:
    """Keep `connections` busy for some seconds; `LoadFailed` if any request fails."""
    if request.protocol == "gRPC":
        return _h2load(port, request, connections, ["--duration", str(seconds)])
    return _wrk(port, request, connections, seconds)


def at_rate(port: int, request: Request, connections: int, seconds: int, rate: float) -> Load:
    """Send `rate` requests a second, spread over the connections."""
    each = max(1, round(rate / connections))
    pace = [f"--rps={each}", "--requests", str(each * connections * seconds)]
    return _h2load(port, request, connections, pace)


def _wrk(port: int, request: Request, connections: int, seconds: int) -> Load:
    environment = {
        "WRK_BODY": str(_body_file(request)),
        "WRK_HEADERS": "\n".join(f"{name}: {value}" for name, value in request.headers.items()),
    }
    options = f"-t1 -c{connections} -d{seconds}s --timeout 10s".split()
    command = ["wrk", *options, "-s", str(_SCRIPT), f"http://{HOST}:{port}{request.path}"]
    seen = json.loads(_run(command, environment).splitlines()[-1])
    failures = {what: number for what, number in seen["errors"].items() if number}
    if failures:
        raise LoadFailed(f"of {seen['requests']} requests failed {failures}")
    if not seen["requests"]:
        raise LoadFailed(f"not one request was answered in {seconds} s")
    return Load(
        connections,
        seen["microseconds"] / 1e6,
        seen["requests"],
        seen["p50"] / 1e3,
        seen["p99"] / 1e3,
    )


def _h2load(port: int, request: Request, connections: int, pace: Sequence[str]) -> Load:
    log = folder("scratch") / "h2load.tsv"
    log.unlink(missing_ok=True)
    _, answer = send(port, request)
    grpc = request.protocol == "gRPC"
    command = [
        *("h2load", "--threads=1", f"--clients={connections}", "--max-concurrent-streams=1"),
        *(f"--data={_body_file(request)}", f"--log-file={log}", *pace),
        *([] if grpc else ["--h1"]),
    ]
    for name, value in (_GRPC_HEADERS if grpc else request.headers).items():
        command += ["--header", f"{name.lower()}: {value}"]
    report = _run([*command, f"http://{HOST}:{port}{request.path}"], {})
    return _read_h2load(report, log, connections, len(answer))


def _read_h2load(report: str, log: Path, connections: int, answer_bytes: int) -> Load:
    """Read the report's counts and the log's times: start in µs, status, duration in µs.

    A gRPC error is an HTTP 200 without a message, so the bytes that came are counted too.
    """
    counts = {what: int(number) for number, what in re.findall(r"(\d+) (\w+)", report)}
    if failed := sum(counts.get(what, 0) for what in ("failed", "errored", "timeout")):
        raise LoadFailed(f"h2load saw {failed} of its requests fail")
    if not log.stat().st_size:
        raise LoadFailed("not one request was answered")
    starts, statuses, durations = np.loadtxt(log, dtype=np.int64, ndmin=2).T
    if wrong := int(np.sum(statuses != 200)):
        raise LoadFailed(f"{wrong} of {len(starts)} requests were not answered 200")
    came = int(re.findall(r"\((\d+)\) data", report)[0])
    if came < _ENOUGH * len(starts) * answer_bytes:
        raise LoadFailed(f"{came} bytes came for {len(starts)} answers of {answer_bytes} bytes")
    seconds = float(np.max(starts + durations) - np.min(starts)) / 1e6
    p50, p99 = np.percentile(durations, [50, 99]) / 1e3
    return Load(connections, seconds, len(starts), float(p50), float(p99))


def _body_file(request: Request) -> Path:
    """Write what goes into the body: over gRPC the message with its length before it."""
    path = folder("scratch") / "body"
    path.write_bytes(framed(request.body) if request.protocol == "gRPC" else request.body)
    return path


def _run(command: Sequence[str], environment: dict[str, str]) -> str:
    done = subprocess.run(
        ["taskset", "--cpu-list", str(LOAD_CORE), *command],  # noqa: S607 - as installed
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise LoadFailed(f"{command[0]} ended with {done.returncode}: {said[-1] if said else ''}")
    return done.stdout
