"""Load on services, as the one who does the damage sees it: what was asked, what came of it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Iterable

_PROGRAM = Path(__file__).with_name("load.py")
_REST_LIMIT = 60.0
# Seconds until the last answer; a client gives up before.

Stream = tuple[str, str, float]
"""Protocol (`rest` or `grpc`), service, requests a second."""


class Request(NamedTuple):
    """One request; times are monotonic, in seconds."""

    protocol: str
    service: str
    due: float
    done: float
    outcome: str

    @property
    def weight(self) -> float | None:
        """The weight of the model that answered; None without an answer."""
        return float(self.outcome[1:]) if self.outcome.startswith("=") else None

    @property
    def waited(self) -> float:
        """Seconds from when it was due until it was over."""
        return max(0.0, self.done - self.due)  # a timer may be early by a hair


class Load:
    """A process that asks at constant rates; it lives until this is closed."""

    def __init__(self, port: int) -> None:
        self.requests: list[Request] = []
        self._resting = threading.Event()
        self._process = subprocess.Popen(
            [sys.executable, str(_PROGRAM), str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._reader.join()
        self._process.stdout.close()
        self._process.wait()

    def ask(self, streams: Iterable[Stream]) -> None:
        """Ask by these streams from now on, and by no others."""
        assert self._process.stdin
        self._resting.clear()
        self._process.stdin.write(json.dumps(list(streams)) + "\n")

    def rest(self) -> list[Request]:
        """Stop; give all requests since the last rest once the last of them is over."""
        self.ask([])
        assert self._resting.wait(_REST_LIMIT), "some requests never came to an end"
        done, self.requests = self.requests, []
        return done

    def over_since(self, moment: float, *, answered: bool = False) -> set[str]:
        """Name the protocols with a request, due since then, that is over (or was answered)."""
        recent = (one for one in self.requests[-2000:] if one.due >= moment)
        return {one.protocol for one in recent if one.weight is not None or not answered}

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            if line == "idle\n":
                self._resting.set()
                continue
            protocol, service, due, done, outcome = line.rstrip("\n").split(" ", 4)
            self.requests.append(Request(protocol, service, float(due), float(done), outcome))


def now() -> float:
    """Give the clock that requests are timed by."""
    return time.monotonic()
