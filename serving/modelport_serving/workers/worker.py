"""A worker's side: what it was started with, and its link to the supervisor."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import os
import select
import shutil
import signal
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from modelport_serving.errors import ModelNotReady, ServingError, StartFailed
from modelport_serving.workers.channel import (
    CHANNEL_VARIABLE,
    LONGEST_LINE,
    Action,
    encode,
    from_error,
    messages,
    to_error,
)

log = logging.getLogger("modelport_serving")


class Control(Protocol):
    """Loads and unloads models by name, in this process or in every worker.

    Both raise `ModelNotFound`, and `load` `ModelLoadFailed`; what served before serves on then.
    """

    async def load(self, name: str) -> None:
        """Serve the model as its folder holds it now."""

    async def unload(self, name: str) -> None:
        """Serve the model no more."""


def is_worker() -> bool:
    """Whether this process was started by a supervisor; false once `link` has been called."""
    return CHANNEL_VARIABLE in os.environ


def link() -> SupervisorLink:
    """Take up the link to the supervisor. Once a process, in the main thread, before any other.

    From here on the process ends when its supervisor does: it gets a SIGTERM of its own, and is
    cut off when it has not ended within the time that a stop may take. Ctrl-C in a terminal
    reaches it through the supervisor alone.
    """
    # Processes that a model starts are no workers.
    channel = socket.socket(fileno=int(os.environ.pop(CHANNEL_VARIABLE)))
    channel.set_inheritable(False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    return SupervisorLink(channel)


class SupervisorLink:
    """The link to the supervisor; a `Control` over all workers. Used in one event loop.

    Attributes:
        number: Which worker this is, from 1; its successor after a crash has the same.
        unloaded: Models that are not wanted, though the folder may hold them.
        metrics_directory: Where the workers of this server leave their metrics for each other.
    """

    def __init__(self, channel: socket.socket) -> None:
        # Unbuffered: what follows the first line is read by the event loop.
        first = channel.makefile("rb", buffering=0).readline()
        if not first:
            raise StartFailed("the supervisor ended before its worker had started")
        start = json.loads(first)
        self.number: int = start["number"]
        self.unloaded: frozenset[str] = frozenset(start["unloaded"])
        self.metrics_directory = Path(start["metrics_directory"])
        self._channel = channel
        self._ids = itertools.count()
        self._answers: dict[int, asyncio.Future[ServingError | None]] = {}
        self._writer: asyncio.StreamWriter
        self._following: asyncio.Task[None]
        threading.Thread(
            target=_end_with_supervisor,
            args=(channel.dup(), start["stop_seconds"], self.metrics_directory),
            name="supervisor",
            daemon=True,
        ).start()

    async def open(self, repository: Control) -> None:
        """Apply what any worker is asked for to this repository, which has loaded its models."""
        reader, self._writer = await asyncio.open_unix_connection(
            sock=self._channel.dup(), limit=LONGEST_LINE
        )
        self._following = asyncio.create_task(self._follow(reader, repository))

    def ready(self) -> None:
        """Tell the supervisor that this worker listens."""
        self._writer.write(encode("ready"))

    def failed(self, error: ServingError) -> None:
        """Tell the supervisor why this worker cannot serve; it is the supervisor who prints it."""
        with suppress(OSError):
            self._channel.sendall(encode("failed", error=from_error(error)))

    async def load(self, name: str) -> None:
        """Load a model in every worker; see `Control`."""
        await self._ask(Action.LOAD, name)

    async def unload(self, name: str) -> None:
        """Unload a model in every worker; see `Control`."""
        await self._ask(Action.UNLOAD, name)

    async def _ask(self, action: Action, model: str) -> None:
        if self._following.done():
            raise _stopping()
        key = next(self._ids)
        answer = self._answers[key] = asyncio.get_running_loop().create_future()
        try:
            self._writer.write(encode("ask", id=key, action=action, model=model))
            if error := await answer:
                raise error
        finally:
            del self._answers[key]

    async def _follow(self, reader: asyncio.StreamReader, repository: Control) -> None:
        async for message in messages(reader):
            if message["type"] == "apply":
                error = await _apply(repository, Action(message["action"]), message["model"])
                applied = encode("applied", id=message["id"], error=from_error(error))
                self._writer.write(applied)
            else:
                self._settle(message["id"], to_error(message["error"]))
        for key in self._answers:
            self._settle(key, _stopping())

    def _settle(self, key: int, error: ServingError | None) -> None:
        answer = self._answers.get(key)
        if answer and not answer.done():  # its asker may have gone
            answer.set_result(error)


async def _apply(repository: Control, action: Action, model: str) -> ServingError | None:
    try:
        await (repository.load if action is Action.LOAD else repository.unload)(model)
    except ServingError as error:
        return error
    except Exception as error:
        log.exception("cannot %s model %r", action, model)
        return ServingError(f"cannot {action} {model!r}: {type(error).__name__}: {error}")
    return None


def _stopping() -> ServingError:
    return ModelNotReady("the server is stopping: ask again when it is back")


def _end_with_supervisor(channel: socket.socket, stop_seconds: float, directory: Path) -> None:
    """Stop this process as its supervisor would, when there is none any more.

    A thread, since the event loop does not run yet, or may be held up by a model.
    """
    gone = select.poll()
    gone.register(channel, 0)  # a hang-up is always told
    gone.poll()
    shutil.rmtree(directory, ignore_errors=True)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(stop_seconds)
    os._exit(1)
