"""Where the numbers of one model in one worker lie: a fixed row of doubles.

The row is memory that other processes can map, so that any worker can add up what all have
counted. A histogram takes one cell for its sum and, right behind it, one for each bucket; a
request answered well is counted by its latency's bucket and nowhere else.
"""

from __future__ import annotations

import json
import mmap
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

PROTOCOLS = ("v1", "v2", "grpc")

Stage = Literal["preprocess", "predict", "postprocess", "explain"]
Dropped = Literal["log_records", "payload_events"]

SECONDS = (
    # Small models answer in microseconds.
    *(5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3),
    # KServe's buckets, which are prometheus_client's defaults.
    *(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
)
"""Upper bounds of the buckets of durations; one more bucket takes what is longer."""

ROWS = tuple(2**power for power in range(13))
"""Upper bounds of the buckets of batch sizes, in rows."""

CODES = 600
"""An HTTP status or a gRPC code is below."""

_HISTOGRAM = 1 + len(SECONDS) + 1

# One worker has these in the row that stands for no model.
PID = 0
CACHE_BYTES = 1
DROPPED: dict[Dropped, int] = {"log_records": 2, "payload_events": 3}

ARRIVED = 4
QUEUED = 5
CACHE_HITS = 6
CACHE_MISSES = 7
LOAD_SECONDS = 8
WARM_UP_SECONDS = 9

# A histogram is named by its first bucket; its sum is in the cell before.
PREPROCESS = 11
PREPROCESS_SUM = PREPROCESS - 1
PREDICT = PREPROCESS + _HISTOGRAM
PREDICT_SUM = PREDICT - 1
POSTPROCESS = PREDICT + _HISTOGRAM
POSTPROCESS_SUM = POSTPROCESS - 1
EXPLAIN = POSTPROCESS + _HISTOGRAM
WAIT = EXPLAIN + _HISTOGRAM
STAGES: dict[Stage, int] = {
    "preprocess": PREPROCESS,
    "predict": PREDICT,
    "postprocess": POSTPROCESS,
    "explain": EXPLAIN,
}
LATENCY = {name: WAIT + (1 + at) * _HISTOGRAM for at, name in enumerate(PROTOCOLS)}
BATCH = LATENCY["grpc"] + _HISTOGRAM
_BEHIND_BATCH = BATCH + len(ROWS) + 1
ANSWERS = {name: _BEHIND_BATCH + at * CODES for at, name in enumerate(PROTOCOLS)}
"""How often each code was answered, but for predictions that `LATENCY` counts."""

SIZE = _BEHIND_BATCH + len(PROTOCOLS) * CODES

_LENGTH_BYTES = 8


class Owner(NamedTuple):
    """Whose numbers a row has: those of a model's version in a worker, or (`""`) its own."""

    slot: int
    model: str
    version: str | None

    def header(self) -> bytes:
        """Return what a file begins with: a length and JSON, padded so that cells are aligned."""
        text = json.dumps(self).encode()
        text += b" " * (-len(text) % _LENGTH_BYTES)
        return len(text).to_bytes(_LENGTH_BYTES, "little") + text


def in_memory() -> memoryview[float]:
    """Return cells that nobody else sees."""
    return memoryview(bytearray(8 * SIZE)).cast("d")


def in_file(path: Path, owner: Owner) -> memoryview[float]:
    """Map the cells in a file, with what they hold; a new one is made, for its owner alone."""
    header = owner.header()
    if not path.exists():
        _make(path, header)
    with path.open("r+b") as file:
        mapped = mmap.mmap(file.fileno(), 0)
    return memoryview(mapped)[len(header) :].cast("d")


def from_bytes(content: bytes) -> tuple[Owner, memoryview[float]]:
    """Read what a file had at one moment."""
    begin = _LENGTH_BYTES + int.from_bytes(content[:_LENGTH_BYTES], "little")
    owner = Owner(*json.loads(content[_LENGTH_BYTES:begin]))
    return owner, memoryview(content)[begin:].cast("d")


def finished(cells: Sequence[float] | memoryview[float]) -> float:
    """Return how many of the requests that arrived are answered, well or not."""
    predicted = sum(sum(cells[first : first + len(SECONDS) + 1]) for first in LATENCY.values())
    return predicted + sum(cells[ANSWERS["v1"] :])


def _make(path: Path, header: bytes) -> None:
    """Make a file of zeros and show it to others only when it is whole."""
    unfinished = path.with_suffix(".new")
    descriptor = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        # Space that is not reserved now could be missing later, and a write to the map would kill.
        os.posix_fallocate(descriptor, 0, len(header) + 8 * SIZE)
        os.write(descriptor, header)
    finally:
        os.close(descriptor)
    unfinished.rename(path)
