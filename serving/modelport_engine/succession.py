"""Who comes after an engine: a standby that starts the next one, or nobody."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from modelport_engine import standby as program
from modelport_engine.errors import EngineError
from modelport_engine.replicas.processes import ProcessId, adopt, kill_now, owned, spawn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from modelport_engine.paths import EnginePaths
    from modelport_engine.replicas.processes import Process
    from modelport_engine.settings import Invocation

log = logging.getLogger(__name__)

_LOOK = 1.0
# Seconds between two looks at the standby: an engine that dies within them may have none.


class Standby:
    """Keeps one standby alive beside a detached engine, and none beside another one.

    The engine that a standby has started keeps that one.
    """

    def __init__(self, paths: EnginePaths, invocation: Invocation) -> None:
        self._paths = paths
        self._invocation = invocation
        self._process = None if invocation.lock is None else _parent(paths.home)
        self._wanted = invocation.detached

    @property
    def pids(self) -> set[int]:
        """Its process id, if it runs."""
        return {self._process.identity.pid} if self._process else set()

    def start(self) -> None:
        """Start it unless it runs; an engine that cannot have one works all the same."""
        if not self._wanted or (self._process and self._process.running):
            return
        try:
            self._process = spawn(
                self._command(),
                home=self._paths.home,
                log=self._paths.log,
                folder=Path("/"),
                environment=os.environ,
            )
        except EngineError as error:
            log.warning("no standby: %s", error)

    async def keep(self) -> None:
        """Start another one whenever it has died, until this is cancelled."""
        while True:
            await asyncio.sleep(_LOOK)
            self.start()

    def end(self) -> None:
        """Let nothing come back: this engine is about to end in order."""
        self._wanted = False
        if self._process:
            self._process.kill()

    def _command(self) -> list[str]:
        command = [sys.executable, "-I", "-S", program.__file__, str(self._paths.lock)]
        # What follows starts the next engine, the same as this one.
        command += [sys.executable, "-P", "-m", "modelport_engine", "--home", str(self._paths.home)]
        if self._invocation.gateway_port is not None:
            command += ["--gateway-port", str(self._invocation.gateway_port)]
        if self._invocation.gateway_host is not None:
            command += ["--gateway-host", self._invocation.gateway_host]
        return command


@contextmanager
def succession(paths: EnginePaths, invocation: Invocation) -> Iterator[Standby]:
    """See to it that an engine which is killed comes back, and one that ends in order does not."""
    standby = Standby(paths, invocation)
    standby.start()
    comes_back = False
    try:
        yield standby
    except Exception:
        # A client is told why its engine did not start. After a takeover there is nobody to tell,
        # so the next one tries again.
        comes_back = invocation.lock is not None
        raise
    finally:
        if not comes_back:
            standby.end()


def kill_standbys(home: Path) -> None:
    """Kill every standby of this home; what it has started lives on."""
    kill_now([process for process in owned(home) if _is_standby(process)])


def _parent(home: Path) -> Process | None:
    """Take over the standby that has started this engine, if it still lives."""
    try:
        parent = psutil.Process(os.getppid())
        identity = ProcessId(parent.pid, parent.create_time())
    except psutil.Error:
        return None
    return adopt(identity, home) if _is_standby(parent) else None


def _is_standby(process: psutil.Process) -> bool:
    try:
        return program.__file__ in process.cmdline()
    except psutil.Error:
        return False
