"""What a transformer or explainer is told of a request beside its tensors."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from modelport_serving.errors import DeadlineExceeded


@dataclass(frozen=True)
class Context:
    """One request: which model it asks, its id, and its headers (names in lower case).

    `model_version` is None where the request names none. gRPC's metadata are its headers.
    `seconds` is how long its parts took so far: `preprocess`, `predict`, `postprocess`, `explain`.
    `parameters` are those of a request to explain.
    """

    model_name: str
    model_version: str | None = None
    request_id: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "headers", MappingProxyType(dict(self.headers)))

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Add the time of the block to a part's seconds."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[part] = self.seconds.get(part, 0.0) + time.perf_counter() - started


@asynccontextmanager
async def until(deadline: float, what: str) -> AsyncIterator[None]:
    """Cancel the block at `deadline`, in the event loop's seconds: `DeadlineExceeded`."""
    try:
        async with asyncio.timeout_at(deadline if deadline < math.inf else None):
            yield
    except TimeoutError:
        raise DeadlineExceeded(f"{what} did not answer before the request's deadline") from None
