"""The cache in Redis: shared by workers and replicas, and never in the way.

Redis is asked through one connection, on which the lookups of one turn of the event loop travel
together. What is slow, gone or broken costs hits alone: without an answer within 50 ms everything
misses at once until Redis is back, and it is looked for in the background, ever less often.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from modelport_serving.cache.packing import pack

if TYPE_CHECKING:
    from modelport_serving.tensors import Tensors

log = logging.getLogger("modelport_serving")

_CONNECT_SECONDS = 1.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
_TRUSTED_SECONDS = 10.0
"""A connection that lasted as long was a good one: the pauses start short again."""

_MOST_UNSENT_BYTES = 1 << 20
"""Answers beyond that are not kept: sending them would take the lookups' time."""

_Result = TypeVar("_Result")
_Call = tuple[Sequence[Any], Callable[[Any], None]]
"""A command, and who gets its answer: None when there is none."""


class RedisCache:
    """Answers by key in the Redis at `redis[s]://[[user]:password@]host[:port][/database]`.

    Answers larger than `max_bytes` are not kept. Redis may take `answer_seconds` to answer.
    """

    size = 0

    def __init__(
        self, url: str, max_bytes: int, ttl_seconds: float, answer_seconds: float = 0.05
    ) -> None:
        self._client, self._title = _client(url)
        self._max_bytes = max_bytes
        self._ttl = max(1, round(ttl_seconds * 1000))
        self._exchange_seconds = answer_seconds / 2  # a lookup may wait for the exchange before
        self._calls: list[_Call] = []
        self._unsent_bytes = 0
        self._has_calls = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None
        self._is_here = False
        self._is_missed = False

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

    def _send(self, command: Sequence[Any], done: Callable[[Any], None]) -> None:
        self._calls.append((command, done))
        self._has_calls.set()

    async def _work(self) -> None:
        """Connect and ask until cancelled, with ever longer pauses between failures."""
        pause = _FIRST_PAUSE
        try:
            while True:
                started = time.monotonic()
                try:
                    await self._connect()
                    while True:
                        await self._exchange()
                except Exception as error:  # noqa: BLE001 - whatever it is, it costs hits alone
                    self._lost(str(error) or type(error).__name__)
                if time.monotonic() - started > _TRUSTED_SECONDS:
                    pause = _FIRST_PAUSE
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
        finally:
            await self._client.aclose()

    async def _connect(self) -> None:
        async with asyncio.timeout(_CONNECT_SECONDS):
            await self._client.execute_command("PING")
        if self._is_missed:
            log.warning("the cache at %s is back", self._title)
        self._is_here, self._is_missed = True, False

    async def _exchange(self) -> None:
        """Send what came since the last time, and pass the answers on."""
        await self._has_calls.wait()
        calls, self._calls, self._unsent_bytes = self._calls, [], 0
        self._has_calls.clear()
        pipeline = self._client.pipeline(transaction=False)
        for command, _ in calls:
            pipeline.execute_command(*command)
        answers: Sequence[Any] = [None] * len(calls)
        try:
            answers = await _within(self._exchange_seconds, pipeline.execute(raise_on_error=False))
        finally:
            for (_, done), answer in zip(calls, answers, strict=True):
                asyncio.get_running_loop().call_soon(done, answer)
