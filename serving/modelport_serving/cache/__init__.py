"""The response cache: answers by what was asked, in memory or in Redis. Off by default."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from modelport_serving.cache.keys import Keys, identity
from modelport_serving.errors import StartFailed

if TYPE_CHECKING:
    from modelport_serving.tensors import Tensors

__all__ = ["Cache", "Keys", "identity", "open_cache"]


class Cache(Protocol):
    """Keeps answers by key. Event loop only; nothing here raises or blocks.

    The arrays of a cached answer are read-only; the dict that holds them is the caller's.
    """

    @property
    def size(self) -> int:
        """The bytes that the cached answers take in this process."""

    def get(self, key: bytes, done: Callable[[Tensors | None], None]) -> None:
        """Call `done` once with the answer, or with None: at once if it is known at once."""

    def put(self, key: bytes, answer: Tensors) -> None:
        """Keep an answer for its time to live, if there is room for it."""

    def close(self) -> None:
        """Give memory and connections back; lookups under way miss."""


def open_cache(url: str | None, max_bytes: int, ttl_seconds: float) -> Cache:
    """Open the cache in Redis at `url`, else in memory.

    `max_bytes` bounds the memory of this process, or one answer in Redis, whose own `maxmemory`
    bounds the whole. `StartFailed` when the URL is not one of Redis, or its client is not here.
    """
    if url is None:
        from modelport_serving.cache.memory import MemoryCache

        return MemoryCache(max_bytes, ttl_seconds)
    try:
        from modelport_serving.cache.redis import RedisCache
    except ModuleNotFoundError as error:
        raise StartFailed(
            f"--cache_url needs a package that is not here ({error.name}): "
            "pip install 'modelport[cache]', or cache in memory"
        ) from error
    return RedisCache(url, max_bytes, ttl_seconds)
