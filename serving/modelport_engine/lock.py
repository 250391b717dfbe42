"""The lock of a home: one engine at a time works on it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psutil

from modelport_engine.errors import HomeInUse, WaitTimedOut
from modelport_engine.paths import storage_failed
from modelport_engine.replicas.processes import POLL, is_alive
from modelport_engine.succession import kill_standbys

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from modelport_engine.paths import EnginePaths

TERM_GRACE = 5.0
"""Seconds that an engine which does not answer may take to end by itself after SIGTERM."""


@contextmanager
def locked(paths: EnginePaths, inherited: int | None = None) -> Iterator[None]:
    """Hold the home's lock; the kernel gives it back however this process ends.

    Args:
        paths: The home.
        inherited: Descriptor of the lock, when a standby took it for this engine.

    Raises:
        HomeInUse: when another engine holds it.
        StorageFailed: when its file cannot be written.
    """
    try:
        file = paths.lock.open("a+") if inherited is None else os.fdopen(inherited, "a+")
    except OSError as error:
        raise storage_failed(paths.home, error) from error
    with file:
        # A child that had it too would hold the lock after our death.
        os.set_inheritable(file.fileno(), False)  # noqa: FBT003 - its only parameter
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise HomeInUse(
                f"the engine with pid {holder} already works on {paths.home}",
                "use that one, or stop it with `modelport down`",
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def end_holder(paths: EnginePaths, timeout: float) -> None:
    """End the engine that holds the lock, if any: gracefully, then by force.

    What it has started is left to `kill_strays`.

    Args:
        paths: The home.
        timeout: Seconds to wait for its end.

    Raises:
        WaitTimedOut: when it has not ended in time.
    """
    begun = time.monotonic()
    # Who waits for its death must not come after it; who has the lock already is the holder.
    kill_standbys(paths.home)
    holder: psutil.Process | None = None
    while _is_held(paths) or (holder and is_alive(holder.pid)):
        waited = time.monotonic() - begun
        if waited > timeout:
            raise WaitTimedOut(
                f"the engine that holds {paths.lock} has not ended after {timeout:g} s",
                f"see {paths.log}",
            )
        # An engine that has just begun writes its id a moment after it has the lock.
        holder = _holder(paths) or holder
        if holder:
            _end(holder, paths.home, by_force=waited > TERM_GRACE)
        time.sleep(POLL)


def _end(holder: psutil.Process, home: Path, *, by_force: bool) -> None:
    if by_force:
        # One that is ended in order does it itself.
        kill_standbys(home)
    with contextlib.suppress(psutil.Error):
        holder.send_signal(signal.SIGKILL if by_force else signal.SIGTERM)


def _is_held(paths: EnginePaths) -> bool:
    try:
        with paths.lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _holder(paths: EnginePaths) -> psutil.Process | None:
    """Find the engine whose id the file names; a stranger who got that id has no such file open."""
    try:
        process = psutil.Process(int(paths.lock.read_text()))
        opened = {file.path for file in process.open_files()}
    except (OSError, ValueError, psutil.Error):
        return None
    return process if str(paths.lock) in opened else None
