"""The cache in this process's memory: bounded in bytes, least recently used out first."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from cachetools import TTLCache

if TYPE_CHECKING:
    from modelport_serving.tensors import Array, Tensors

_ENTRY_BYTES, _ARRAY_BYTES = 420, 170
"""What an answer takes beside its arrays, and an array beside its data."""


class MemoryCache:
    """Answers by key. Event loop only. `max_bytes` and `ttl_seconds` bound all of them."""

    def __init__(self, max_bytes: int, ttl_seconds: float) -> None:
        self._answers: TTLCache[bytes, Tensors] = TTLCache(max_bytes, ttl_seconds, getsizeof=_size)

    @property
    def size(self) -> int:
        """The bytes that the cached answers take."""
        return round(self._answers.currsize)

    def get(self, key: bytes, done: Callable[[Tensors | None], None]) -> None:
        """Call `done` with the answer or None before this returns."""
        answer = self._answers.get(key)
        done(None if answer is None else answer.copy())

    def put(self, key: bytes, answer: Tensors) -> None:
        """Keep a copy of an answer, at the cost of those that were not used for longest."""
        with suppress(ValueError):  # it is larger than all may be
            self._answers[key] = {name: _kept(array) for name, array in answer.items()}

    def close(self) -> None:
        """Forget all answers."""
        self._answers.clear()


def _kept(array: Array) -> Array:
    """Copy an array: an answer may be a slice of a batch, which it would keep whole."""
    copy = array.copy(order="C")
    copy.flags.writeable = False
    return copy


def _size(answer: Tensors) -> int:
    return _ENTRY_BYTES + sum(map(_array_size, answer.values()))


def _array_size(array: Array) -> int:
    elements = array.reshape(-1).tolist() if array.dtype.kind == "O" else ()
    return _ARRAY_BYTES + array.nbytes + sum(map(sys.getsizeof, elements))
