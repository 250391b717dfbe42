"""The machine: which core serves and which one asks, and what the figures depend on."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE = CORES[0]
LOAD_CORE = CORES[-1]
"""On a machine with one core both share it, and no figure means much."""
LOAD_BEFORE = os.getloadavg()[0]
_BUSY = 0.5


def is_busy() -> bool:
    """Whether others kept the cores busy before the first measurement."""
    return LOAD_BEFORE > _BUSY


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """Let this process run on one core for a while."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def facts() -> dict[str, Any]:
    """Return what a reader needs to judge the figures by."""
    return {
        "processor": _processor(),
        "cores": len(CORES),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "system": platform.platform(),
        "python": platform.python_version(),
        "wrk": _first_line("wrk", "-v"),
        "h2load": _first_line("h2load", "--version"),
        "load_before": LOAD_BEFORE,
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def _first_line(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = (done.stdout or done.stderr).splitlines()
    return lines[0].strip() if lines else ""
