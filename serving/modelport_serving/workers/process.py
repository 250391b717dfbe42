"""A worker as its supervisor sees it: a process, and the near end of its channel."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from typing import NamedTuple

from modelport_serving.errors import ServingError, StartFailed
from modelport_serving.workers.channel import CHANNEL_VARIABLE, LONGEST_LINE, Action, encode


class Ended(NamedTuple):
    """The outcome of a change in a worker that ended before it was made."""


Outcome = ServingError | Ended | None
"""What came of a change in one worker; None when it was made."""


class WorkerProcess:
    """One worker process; `number`, from 1, is also that of its successor."""

    def __init__(
        self,
        number: int,
        process: subprocess.Popen[bytes],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.number = number
        self.process = process
        self.reader = reader
        self.ready_at: float | None = None
        self.failure: ServingError | None = None
        self.ended = asyncio.Event()
        self._writer = writer
        self._applying: dict[int, asyncio.Future[Outcome]] = {}

    @property
    def end(self) -> ServingError:
        """Why it has ended: its own error, or how its process did."""
        status = self.process.returncode
        how = f"status {status}" if status >= 0 else signal.Signals(-status).name
        when = " before it was ready" if self.ready_at is None else ""
        return self.failure or StartFailed(f"worker {self.number} ended{when} ({how})")

    def send(self, kind: str, **fields: object) -> None:
        """Send a message, unless the worker has gone."""
        self._writer.write(encode(kind, **fields))

    async def apply(self, key: int, action: Action, model: str) -> Outcome:
        """Have it load or unload a model. One that is still starting does so once it has loaded."""
        applied: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        if self.ended.is_set():
            return Ended()
        self._applying[key] = applied
        self.send("apply", id=key, action=action, model=model)
        return await applied

    def applied(self, key: int, outcome: Outcome) -> None:
        """Take note of what came of a change."""
        if waiting := self._applying.pop(key, None):
            waiting.set_result(outcome)

    def close(self) -> None:
        """Close the channel of a worker that has ended, with all that it said read."""
        for key in list(self._applying):
            self.applied(key, Ended())
        self._writer.close()


async def start(number: int) -> WorkerProcess:
    """Start a worker, which then waits for its `start`; `OSError` when there is no process."""
    ours, theirs = socket.socketpair()
    with theirs:
        reader, writer = await asyncio.open_unix_connection(sock=ours, limit=LONGEST_LINE)
        try:
            process = _spawn(theirs)
        except OSError:
            writer.close()
            raise
    return WorkerProcess(number, process, reader, writer)


def _spawn(channel: socket.socket) -> subprocess.Popen[bytes]:
    """Run this process's own command line again, as a worker."""
    # Ctrl-C reaches every process of a terminal. Blocked, it waits until the worker ignores it.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return subprocess.Popen(
            [sys.executable, *sys.orig_argv[1:]],
            env={**os.environ, CHANNEL_VARIABLE: str(channel.fileno())},
            pass_fds=[channel.fileno()],
        )
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
