"""The cache in this process's memory: bounded in bytes, least recently used out first."""

from __future__ import annotations

import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from modelport_serving.tensors import Array, Tensors

_ENTRY_BYTES = 420
"""Key, place and dict of one answer."""

_ARRAY_BYTES = 170
"""What an array takes beside its data."""


class _Entry(NamedTuple):
    answer: Tensors
    size: int
    expires: float


class MemoryCache:
    """Answers by key. Event loop only. `max_bytes` and `ttl_seconds` bound all of them."""

    def __init__(self, max_bytes: int, ttl_seconds: float) -> None:
        self._max_bytes = max_bytes
        self._ttl = ttl_seconds
        self._size = 0
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()

    @property
    def size(self) -> int:
        """The bytes that the cached answers take."""
        return self._size

    def get(self, key: bytes, done: Callable[[Tensors | None], None]) -> None:
        """Call `done` with the answer or None before this returns."""
        entry = self._entries.get(key)
        if entry is None:
            done(None)
        elif entry.expires < time.monotonic():
            self._drop(key)
            done(None)
        else:
            self._entries.move_to_end(key)
            done(entry.answer.copy())

    def put(self, key: bytes, answer: Tensors) -> None:
        """Keep a copy of an answer, at the cost of those that were not used for longest."""
        size = _ENTRY_BYTES + sum(map(_size, answer.values()))
        if size > self._max_bytes:
            return
        self._drop(key)
        while self._size + size > self._max_bytes:
            self._drop(next(iter(self._entries)))
        copy = {name: _kept(array) for name, array in answer.items()}
        self._entries[key] = _Entry(copy, size, time.monotonic() + self._ttl)
        self._size += size

    def close(self) -> None:
        """Forget all answers."""
        self._entries.clear()
        self._size = 0

    def _drop(self, key: bytes) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._size -= entry.size


def _kept(array: Array) -> Array:
    """Copy an array: an answer may be a slice of a batch, which it would keep whole."""
    copy = array.copy(order="C")
    copy.flags.writeable = False
    return copy


def _size(array: Array) -> int:
    size = _ARRAY_BYTES + array.nbytes
    if array.dtype.kind == "O":
        size += sum(map(sys.getsizeof, array.reshape(-1).tolist()))
    return size
