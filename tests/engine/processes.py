"""Looks at processes that may end while they are looked at."""

from __future__ import annotations

import psutil


def lives(process: psutil.Process) -> bool:
    """Tell whether it has not ended."""
    try:
        return process.is_running() and bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def words(process: psutil.Process) -> list[str]:
    """Give its command line: none once it has ended."""
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []
