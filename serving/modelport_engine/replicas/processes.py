"""Processes of this machine that the engine owns: start, take over, stop.

A process is known by its id together with its creation time, so that one which merely got the
same id later is never touched. Every process that we start carries its home in its environment:
what a crash left unrecorded is found again by that mark.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import psutil

from modelport_engine.errors import SpawnFailed
from modelport_engine.paths import storage_failed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

HOME_MARK = "MODELPORT_ENGINE_OWNER"
POLL = 0.05
"""Seconds between two looks at a process that is ending."""

_KILL_LIMIT = 5.0
# Seconds: a killed process is gone at once, unless a device holds it in the kernel.

_START_TOLERANCE = 1.0
# Seconds: the kernel counts a process' start from boot, and the clock may be set meanwhile.

_PASSED_ON = (
    *("PATH", "HOME", "LANG", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"),
    *("CUDA_HOME", "CUDA_PATH", "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"),
    *("NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES"),  # not NVIDIA_API_KEY
)
_PASSED_ON_PREFIXES = ("LC_", "PYTHON", "OMP_", "SSL_CERT_")


@dataclass(frozen=True)
class ProcessId:
    """A process for all time. `started`: its creation time, seconds since 1970."""

    pid: int
    started: float


class _Handle(Protocol):
    """What a child and a process that we took over have in common."""

    def exit_code(self) -> int | None: ...

    def running(self) -> bool: ...


class _Child:
    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        self._popen = popen

    def running(self) -> bool:
        return self._popen.poll() is None

    def exit_code(self) -> int | None:
        return self._popen.returncode


class _Adopted:
    def __init__(self, process: psutil.Process) -> None:
        self._process = process

    def running(self) -> bool:
        try:
            return self._process.is_running() and self._process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False

    def exit_code(self) -> int | None:
        return None


class Process:
    """One owned process, leader of its own session."""

    def __init__(self, identity: ProcessId, home: Path, handle: _Handle) -> None:
        self.identity = identity
        self._home = home
        self._handle = handle

    @property
    def running(self) -> bool:
        """True until it has ended."""
        return self._handle.running()

    @property
    def exit_code(self) -> int | None:
        """How it ended, negative for a signal; None while it runs or if we were not its parent."""
        return self._handle.exit_code()

    async def stop(self, grace: float) -> None:
        """Ask it to end, wait up to `grace` seconds, then kill it and all that it started."""
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.identity.pid, signal.SIGTERM)
            await self.ended(grace)
        self.kill()
        await self.ended(_KILL_LIMIT)

    async def ended(self, limit: float) -> bool:
        """Wait up to `limit` seconds for its end; False if it still runs."""
        deadline = asyncio.get_running_loop().time() + limit
        while self.running:
            if asyncio.get_running_loop().time() > deadline:
                return False
            await asyncio.sleep(POLL)
        return True

    def kill(self) -> None:
        """Kill it at once, and whatever is left of its session."""
        if self.running:
            _kill(self.identity.pid)
        for member in owned(self._home):
            if _session(member.pid) == self.identity.pid:
                _kill(member.pid)


def spawn(
    command: list[str], *, home: Path, log: Path, folder: Path, environment: Mapping[str, str]
) -> Process:
    """Start a command in a session of its own, its output appended to `log`.

    Raises:
        SpawnFailed: when the system refuses the command.
        StorageFailed: when the log cannot be written.
    """
    marked = {**environment, HOME_MARK: str(home)}
    try:
        log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        output = log.open("ab")
    except OSError as error:
        raise storage_failed(home, error) from error
    with output:
        try:
            popen = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=folder,
                env=marked,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            # It names the working folder, where that is what is missing.
            what = getattr(error, "filename", None) or command[0]
            raise SpawnFailed(
                f"{what} cannot be started ({getattr(error, 'strerror', None) or error})",
                "correct the command, its arguments or its environment",
            ) from error
    return Process(_identity(popen), home, _Child(popen))


def adopt(identity: ProcessId, home: Path) -> Process | None:
    """Take over a process that another engine started; None when it is gone."""
    try:
        process = psutil.Process(identity.pid)
        same = abs(process.create_time() - identity.started) < _START_TOLERANCE
    except psutil.Error:
        return None
    handle = _Adopted(process)
    return Process(identity, home, handle) if same and handle.running() else None


def owned(home: Path) -> Iterator[psutil.Process]:
    """Find every living process that an engine of this home has started."""
    for process in psutil.process_iter():
        try:
            if process.environ().get(HOME_MARK) == str(home):
                yield process
        except psutil.Error:
            continue


def kill_strays(home: Path, keep: set[int]) -> list[int]:
    """Kill what engines of this home started, but for the sessions in `keep`; give their ids."""
    # An engine that was a standby carries the mark itself.
    kept = keep | {os.getpid()}
    strays = [process for process in owned(home) if _session(process.pid) not in kept]
    kill_now(strays)
    return [process.pid for process in strays]


def kill_now(processes: Sequence[psutil.Process]) -> None:
    """Kill these processes and wait until they are gone."""
    for process in processes:
        _kill(process.pid)
    deadline = time.monotonic() + _KILL_LIMIT
    while any(is_alive(process.pid) for process in processes) and time.monotonic() < deadline:
        time.sleep(POLL)


def runtime_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Choose what a model server sees of our environment: no credential is in it."""
    return {
        name: value
        for name, value in environment.items()
        if name in _PASSED_ON or name.startswith(_PASSED_ON_PREFIXES)
    }


def is_alive(pid: int) -> bool:
    """Tell whether a process with this id runs; one that has only to be reaped does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _identity(popen: subprocess.Popen[bytes]) -> ProcessId:
    # Popen has not waited for it yet, so even one that has ended keeps its id and entry.
    return ProcessId(popen.pid, psutil.Process(popen.pid).create_time())


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None
