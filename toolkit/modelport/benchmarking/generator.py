"""The load generator: a process that keeps connections busy, one request at a time on each.

It reads jobs from standard input, one JSON object a line, and writes for each a line of JSON
and then the times of the answered requests in seconds, as float64.

HTTP is spoken by a plain asyncio protocol on httptools. That was measured against an echo
server, requests a second at 1 and 16 connections, client and server on a core each: httptools
25,000 and 78,000, aiohttp 5,700 and 8,000, h11 6,900 and 7,700, urllib3 in threads 3,400 and
2,900, httpx 800 and 300; the runtime answers 14,000.
"""

from __future__ import annotations

import asyncio
import gc
import json
import math
import ssl
import sys
import time
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any
from urllib.parse import urlsplit

from modelport.extras import require

_SHOWN_OF_AN_ERROR = 200
_PAUSE = 0.05  # before a connection that was refused is tried again
_GRACE = 60.0  # for the answers that are still out when the time is up


@dataclass(frozen=True)
class Job:
    """What one round sends.

    Attributes:
        url: Where to, http or https.
        bodies: Request bodies, sent in turn.
        connections: How many are kept busy.
        seconds: For how long.
        warm_up: Seconds before these; requests begun in them are not counted.
    """

    url: str
    bodies: list[str]
    connections: int
    seconds: float
    warm_up: float


@dataclass
class Tally:
    """What has come of a job's requests."""

    begin: float
    end: float
    times: array[float] = field(default_factory=lambda: array("d"))
    first: float = math.inf
    last: float = 0.0
    failures: int = 0
    first_error: str = ""

    def goes_on(self, now: float) -> bool:
        """Tell whether more is asked: until the time is up, and a request was counted or failed."""
        return now < self.end or not (self.times or self.failures)

    def answered(self, asked: float, now: float) -> None:
        """Count a request that was answered with success."""
        if asked >= self.begin:
            self.times.append(now - asked)
            self.first = min(self.first, asked)
            self.last = now

    @property
    def elapsed(self) -> float:
        """Seconds from the first counted request to the last answer."""
        return max(self.last - self.first, 0.0) or 1e-9

    def failed(self, error: str) -> None:
        """Count a request that was not: in the warm-up too, since that is no less a failure."""
        self.failures += 1
        self.first_error = self.first_error or error


class Connection(asyncio.Protocol):
    """One connection, which asks again as soon as it is answered, as long as the round goes on.

    Args:
        requests: Whole requests, head and body.
        closed: Done when the connection is.
    """

    def __init__(
        self, requests: Iterator[bytes], tally: Tally, closed: asyncio.Future[None]
    ) -> None:
        self._requests = requests
        self._tally = tally
        self._closed = closed
        self._waiting = False

    def connection_made(self, transport: Any) -> None:
        """Ask for the first time."""
        self._transport = transport
        self._parser = require("httptools", extra="release").HttpResponseParser(self)
        self._ask()

    def data_received(self, data: bytes) -> None:
        """Read an answer, or a part of it."""
        try:
            self._parser.feed_data(data)
        except Exception as error:  # noqa: BLE001 - httptools raises classes without a common base
            self._fail(f"the answer is no HTTP ({error})")
            self._transport.abort()

    def on_message_begin(self) -> None:
        """Begin to keep what an error says."""
        self._said = b""

    def on_body(self, part: bytes) -> None:
        """Keep what an error says."""
        if self._parser.get_status_code() != 200 and len(self._said) < _SHOWN_OF_AN_ERROR:
            self._said += part

    def on_message_complete(self) -> None:
        """Count the answer, and ask again."""
        now = time.perf_counter()
        status = self._parser.get_status_code()
        if status == 200:
            self._waiting = False
            self._tally.answered(self._asked, now)
        else:
            said = self._said[:_SHOWN_OF_AN_ERROR].decode(errors="replace")
            self._fail(f"status {status}: {said}")
        if self._tally.goes_on(now) and self._parser.should_keep_alive():
            self._ask()
        else:
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        """Count the request that was not answered."""
        self._fail(f"the connection broke ({error or 'closed by the server'})")
        if not self._closed.done():
            self._closed.set_result(None)

    def _ask(self) -> None:
        self._waiting = True
        self._asked = time.perf_counter()
        self._transport.write(next(self._requests))

    def _fail(self, error: str) -> None:
        if self._waiting:
            self._waiting = False
            self._tally.failed(error)


async def run(job: Job) -> Tally:
    """Run one round."""
    place = urlsplit(job.url)
    requests = cycle([_request(place.path, place.netloc, body) for body in job.bodies])
    begin = time.perf_counter() + job.warm_up
    tally = Tally(begin, begin + job.seconds)
    callers = [
        asyncio.ensure_future(_keep_busy(job, requests, tally)) for _ in range(job.connections)
    ]
    _, late = await asyncio.wait(callers, timeout=job.warm_up + job.seconds + _GRACE)
    for caller in late:
        caller.cancel()
        tally.failed(f"no answer within {_GRACE:.0f} s")
    return tally


async def _keep_busy(job: Job, requests: Iterator[bytes], tally: Tally) -> None:
    """Hold one connection; open it again where the server closes it."""
    place = urlsplit(job.url)
    secure = place.scheme == "https"
    loop = asyncio.get_running_loop()
    while time.perf_counter() < tally.end:
        closed = loop.create_future()
        try:
            await loop.create_connection(
                lambda closed=closed: Connection(requests, tally, closed),
                place.hostname or "",
                place.port or (443 if secure else 80),
                ssl=ssl.create_default_context() if secure else None,
            )
        except OSError as error:
            tally.failed(f"no connection ({error})")
            await asyncio.sleep(_PAUSE)
            continue
        await closed


def _request(path: str, host: str, body: str) -> bytes:
    data = body.encode()
    lines = (
        f"POST {path or '/'} HTTP/1.1",
        f"Host: {host}",
        "Content-Type: application/json",
        f"Content-Length: {len(data)}",
    )
    return "\r\n".join((*lines, "", "")).encode() + data


def main() -> None:
    """Do jobs as long as there are any."""
    gc.disable()  # the generator's own pauses are no latency of the endpoint
    for line in sys.stdin:
        tally = asyncio.run(run(Job(**json.loads(line))))
        head = {
            "requests": len(tally.times),
            "elapsed": tally.elapsed,
            "failures": tally.failures,
            "first_error": tally.first_error,
        }
        sys.stdout.buffer.write(json.dumps(head).encode() + b"\n" + tally.times.tobytes())
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
