"""The load generator and its echo server, as seen from the process that started them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import IO, Self, cast

import numpy as np

from modelport.benchmarking.rounds import Round
from modelport.errors import ModelportError
from modelport.extras import require

_WARM_UP_SHARE = 0.2


class _Process:
    """A module of this package that runs as a process, until the block ends or we do."""

    def __init__(self, name: str) -> None:
        require("httptools", extra="release")  # asked here, where a missing one can be told
        self._name = name

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"modelport.benchmarking.{self._name}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is ours to pass on
        )
        self._stdin = cast("IO[bytes]", self._process.stdin)
        self._stdout = cast("IO[bytes]", self._process.stdout)
        return self

    def __exit__(self, *_: object) -> None:
        with self._process as process:
            process.kill()

    def write(self, data: bytes) -> None:
        try:
            self._stdin.write(data)
            self._stdin.flush()
        except BrokenPipeError as error:
            raise self._died() from error

    def line(self) -> bytes:
        found = self._stdout.readline()
        if not found:
            raise self._died()
        return found

    def read(self, size: int) -> bytes:
        found = self._stdout.read(size)
        if len(found) < size:
            raise self._died()
        return found

    def _died(self) -> ModelportError:
        return ModelportError(
            f"the benchmark's process {self._name} died", "it may have run out of memory"
        )


class Generator(_Process):
    """A load generator in a process of its own: what this process does costs it no latency.

    Use it as a context manager; the process ends with the block.
    """

    def __init__(self) -> None:
        super().__init__("generator")

    def run(self, url: str, bodies: Sequence[bytes], connections: int, seconds: float) -> Round:
        """Keep connections busy for a while, after a warm-up (a fifth of it) that is left out.

        Args:
            url: Where requests are sent.
            bodies: JSON, sent in turn.
            connections: How many, with one request at a time on each.
        """
        job = {
            "url": url,
            "bodies": [body.decode() for body in bodies],
            "connections": connections,
            "seconds": seconds,
            "warm_up": seconds * _WARM_UP_SHARE,
        }
        self.write(json.dumps(job).encode() + b"\n")
        head = json.loads(self.line())
        times = np.frombuffer(self.read(8 * head.pop("requests")), np.float64)
        return Round(times, **head)

    def ceiling(
        self, bodies: Sequence[bytes], answer_bytes: int, connections: int, seconds: float
    ) -> float:
        """Return the requests a second that the generator itself reaches.

        Measured against a server in yet another process, which does nothing but answer as
        many bytes.
        """
        with _Process("echo") as echo:
            url = f"http://127.0.0.1:{int(echo.line())}/{answer_bytes}"
            return self.run(url, bodies, connections, seconds).throughput
