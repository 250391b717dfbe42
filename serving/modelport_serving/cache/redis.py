"""The cache in Redis: shared by workers and replicas, and never in the way.

Redis is asked through one connection, on which the requests of one turn of the event loop travel
together: with 64 callers a lookup takes 24 µs of CPU, alone 150. What is slow, gone or broken
costs hits alone: a lookup has its answer within 50 ms, or everything misses at once until Redis is
back, and it is looked for in the background, ever less often.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from modelport_serving.cache.packing import pack, unpack
from modelport_serving.errors import StartFailed

if TYPE_CHECKING:
    from modelport_serving.tensors import Tensors

log = logging.getLogger("modelport_serving")

_CONNECT_SECONDS = 1.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
_TRUSTED_SECONDS = 10.0
"""A connection that lasted as long was a good one: the pauses start short again."""

_MOST_UNSENT_BYTES = 1 << 20
"""Further answers are not kept: to send them would take the lookups' time."""

_LOOKS = 5

_Call = tuple[Sequence[Any], Callable[[Any], None]]
"""A command, and what gets its answer, the error that is its answer, or None without one."""


class RedisCache:
    """Answers by key in the Redis at `redis[s]://[[user]:password@]host[:port][/database]`.

    Answers larger than `max_bytes` are not kept. A lookup may take `answer_seconds`.
    """

    size = 0

    def __init__(
        self, url: str, max_bytes: int, ttl_seconds: float, answer_seconds: float = 0.05
    ) -> None:
        self._client, self._address = _client(url)
        self._max_bytes = max_bytes
        self._ttl = max(1, round(ttl_seconds * 1000))
        self._exchange_seconds = answer_seconds / 2  # a lookup may wait for another exchange first
        self._calls: list[_Call] = []
        self._unsent_bytes = 0
        self._has_calls = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None
        self._is_here = self._is_missed = self._is_refusing = False

    def get(self, key: bytes, done: Callable[[Tensors | None], None]) -> None:
        """Call `done` with the answer or None: at once while Redis is away, else soon."""
        if self._worker is None:
            self._worker = asyncio.get_running_loop().create_task(self._work())
        if self._is_here:
            self._send(("GET", _name(key)), lambda value: done(_unpacked(value)))
        else:
            done(None)

    def put(self, key: bytes, answer: Tensors) -> None:
        """Send an answer to Redis, without waiting."""
        size = sum(array.nbytes for array in answer.values())
        if not self._is_here or size > self._max_bytes or self._unsent_bytes > _MOST_UNSENT_BYTES:
            return
        value = pack(answer)
        if value is not None and len(value) <= self._max_bytes:
            self._unsent_bytes += len(value)
            self._send(("SET", _name(key), value, "PX", self._ttl), self._stored)

    def close(self) -> None:
        """Close the connection; lookups under way miss."""
        self._is_here = False
        if self._worker is not None:
            self._worker.cancel()

    async def _work(self) -> None:
        """Connect and ask until cancelled, with ever longer pauses after failures."""
        pause = _FIRST_PAUSE
        try:
            while True:
                started = time.monotonic()
                try:
                    await self._connect()
                    while True:
                        await self._exchange()
                except Exception as error:  # noqa: BLE001 - whatever it is, it costs hits alone
                    self._lost(error)
                if time.monotonic() - started > _TRUSTED_SECONDS:
                    pause = _FIRST_PAUSE
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
        finally:
            self._miss(self._calls)
            await self._client.aclose()

    async def _connect(self) -> None:
        async with asyncio.timeout(_CONNECT_SECONDS):
            await self._client.get(_name(b""))  # a PING might not be allowed to us
        if self._is_missed:
            log.warning("the cache at %s is back", self._address)
        self._is_here, self._is_missed = True, False

    async def _exchange(self) -> None:
        """Wait for calls, send them all, and pass the answers on."""
        await self._has_calls.wait()
        self._has_calls.clear()
        calls, self._calls, self._unsent_bytes = self._calls, [], 0
        pipeline = self._client.pipeline(transaction=False)
        for command, _ in calls:
            pipeline.execute_command(*command)
        try:
            work = pipeline.execute(raise_on_error=False)
            answers = await _within(self._exchange_seconds, work)
        except BaseException:
            self._miss(calls)
            raise
        for (_, done), answer in zip(calls, answers, strict=True):
            asyncio.get_running_loop().call_soon(done, answer)

    def _send(self, command: Sequence[Any], done: Callable[[Any], None]) -> None:
        self._calls.append((command, done))
        self._has_calls.set()

    def _lost(self, error: Exception) -> None:
        if not self._is_missed:
            reason = str(error) or type(error).__name__
            log.warning("no cache at %s until it answers again: %s", self._address, reason)
        self._is_here, self._is_missed = False, True
        calls, self._calls, self._unsent_bytes = self._calls, [], 0
        self._miss(calls)

    def _miss(self, calls: Sequence[_Call]) -> None:
        for _, done in calls:
            asyncio.get_running_loop().call_soon(done, None)

    def _stored(self, answer: object) -> None:
        """Tell once that Redis keeps nothing, until it does again."""
        is_refused = isinstance(answer, Exception)
        if is_refused and not self._is_refusing:
            log.warning("the cache at %s keeps no answer: %s", self._address, answer)
        self._is_refusing = is_refused


async def _within(seconds: float, work: Coroutine[Any, Any, Sequence[Any]]) -> Sequence[Any]:
    """Await work, or cancel it: `TimeoutError`.

    While the event loop is busy with other work, it is not Redis that takes the time: so it is
    looked for an answer several times, between which the loop reads what has come.
    """
    task = asyncio.create_task(work)
    try:
        for _ in range(_LOOKS):
            await asyncio.wait({task}, timeout=seconds / _LOOKS)
            if task.done():
                return task.result()
        raise TimeoutError(f"no answer within {seconds * 1000:.0f} ms")
    finally:
        task.cancel()
        await asyncio.wait({task})  # only then has the connection an end


def _client(url: str) -> tuple[Redis, str]:
    """Return a client, and its address without login; `StartFailed` does not repeat the URL."""
    try:
        parts = urlsplit(url)
        port, database = parts.port or 6379, int(parts.path.strip("/") or 0)
        is_redis = parts.scheme in ("redis", "rediss") and parts.hostname
    except ValueError:
        is_redis = False
    if not is_redis or parts.query or parts.fragment:
        raise StartFailed(
            "--cache_url is redis://[[user]:password@]host[:port][/database], or rediss:// for TLS"
        )
    # RESP2 is what every server speaks. What is lost is found again by the worker, not by retries.
    client = Redis.from_url(
        url, protocol=2, max_connections=1, socket_timeout=None, retry=Retry(NoBackoff(), 0)
    )
    return client, f"{parts.scheme}://{parts.hostname}:{port}/{database}"


def _name(key: bytes) -> str:
    return f"modelport:{key.hex()}"


def _unpacked(value: object) -> Tensors | None:
    return unpack(value) if isinstance(value, bytes) else None
