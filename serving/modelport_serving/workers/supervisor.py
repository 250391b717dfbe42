"""The supervisor: starts workers, keeps them, makes changes hold for all of them, ends them."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from modelport_serving.errors import ModelLoadFailed, ModelNotFound, ServingError, StartFailed
from modelport_serving.metrics import shared_directory
from modelport_serving.workers.channel import Action, Message, from_error, messages, to_error
from modelport_serving.workers.process import Ended, WorkerProcess, start

if TYPE_CHECKING:
    from modelport_serving.settings import Settings

log = logging.getLogger("modelport_serving")

_STOP_MARGIN = 8.0
"""Seconds beyond `shutdown_seconds` that a worker may take to end: callers turn to other replicas
before, models are unloaded after. With the default, under Kubernetes' 30 s."""

_FIRST_DELAY, _LONGEST_DELAY = 0.1, 30.0
"""Seconds between the death of a worker and the next one; doubled with each that fails."""

_STEADY_SECONDS = 60.0
"""A worker that was ready for so long did not fail from its start."""

_LAST_WORDS_SECONDS = 1.0
"""How long to read on from a worker that has ended: a process that it left may hold the channel."""


def supervise(settings: Settings) -> int:
    """Serve in `settings.workers` processes, each started with this process's own command line.

    Returns:
        The exit status, once SIGTERM or SIGINT has ended all workers: 0, or 1 if one of them
        failed at the end or had to be killed.

    Raises:
        ServingError: A worker could not start: its own error, such as `ModelLoadFailed`.
        StartFailed: A port is taken, or a worker died before it was ready.
    """
    ports = [settings.http_port, *([settings.grpc_port] if settings.enable_grpc else [])]
    with ExitStack() as stack:
        for port in ports:
            stack.enter_context(reserve(settings.host, port))
        supervisor = Supervisor(
            settings.workers,
            stop_seconds=settings.shutdown_seconds + _STOP_MARGIN,
            metrics_directory=stack.enter_context(shared_directory()),
        )
        return asyncio.run(supervisor.run())


def reserve(host: str, port: int) -> socket.socket:
    """Return a socket that keeps a port for listeners of ours with SO_REUSEPORT. It never listens.

    `StartFailed` when somebody listens there already: SO_REUSEPORT alone would share the port
    with any other server of this user, and requests would go to either.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        # SO_REUSEADDR: connections that an earlier server left behind do not count.
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
        kept = socket.socket(family)
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        kept.bind(address)
        # As long as it is set, others that set it could listen here until a worker does.
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    except OSError as error:
        raise StartFailed(
            f"cannot listen on {host}:{port} ({error.strerror}): "
            "choose another with --host and --http_port or --grpc_port"
        ) from error
    return kept


class Supervisor:
    """Runs workers until a signal comes; see `supervise`."""

    def __init__(self, workers: int, *, stop_seconds: float, metrics_directory: Path) -> None:
        self._count = workers
        self._stop_seconds = stop_seconds
        self._metrics_directory = metrics_directory
        self._workers: dict[int, WorkerProcess] = {}
        self._unloaded: set[str] = set()
        self._stopping = asyncio.Event()
        self._changing = asyncio.Lock()
        self._changes: set[asyncio.Task[None]] = set()
        self._change_id = 0
        self._status = 0

    async def run(self) -> int:
        """Start the workers, keep them, and return the exit status when all have ended."""
        loop = asyncio.get_running_loop()
        for stopping in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(stopping, self._stop)
        loop.add_signal_handler(signal.SIGCHLD, self._reap)
        keeping = [asyncio.create_task(self._keep(n + 1)) for n in range(self._count)]
        _, others = await asyncio.wait(keeping, return_when=asyncio.FIRST_EXCEPTION)
        if others:
            self._stop()
            await asyncio.wait(others)
        await asyncio.gather(*keeping)
        return self._status

    async def _keep(self, number: int) -> None:
        """Keep one worker running until the server stops; raise why the first cannot start."""
        was_ready, delay = False, _FIRST_DELAY
        while not self._stopping.is_set():
            seconds_ready, why = await self._live(number)
            if self._stopping.is_set():
                return
            was_ready = was_ready or seconds_ready is not None
            if not was_ready:
                raise why
            if seconds_ready is not None and seconds_ready > _STEADY_SECONDS:
                delay = _FIRST_DELAY
            log.error("%s: worker %d starts anew in %.1f s", why, number, delay)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), delay)
            delay = min(2 * delay, _LONGEST_DELAY)

    async def _live(self, number: int) -> tuple[float | None, ServingError]:
        """Run one worker to its end: for how long it was ready, if ever, and why it ended."""
        try:
            worker = await self._start(number)
        except OSError as error:
            return None, StartFailed(f"cannot start worker {number} ({error.strerror})")
        listening = asyncio.create_task(self._listen(worker))
        await worker.ended.wait()
        await asyncio.wait({listening}, timeout=_LAST_WORDS_SECONDS)
        listening.cancel()
        worker.close()
        if self._stopping.is_set():
            self._note_end(worker)
        now = asyncio.get_running_loop().time()
        return worker.ready_at and now - worker.ready_at, worker.end

    async def _start(self, number: int) -> WorkerProcess:
        worker = self._workers[number] = await start(number)
        # From here on it is asked for every change; it hears of those that were made before.
        worker.send(
            "start",
            number=number,
            unloaded=sorted(self._unloaded),
            metrics_directory=str(self._metrics_directory),
            stop_seconds=self._stop_seconds,
        )
        if self._stopping.is_set():
            worker.process.terminate()
        return worker

    async def _listen(self, worker: WorkerProcess) -> None:
        async for message in messages(worker.reader):
            match message["type"]:
                case "ready":
                    worker.ready_at = asyncio.get_running_loop().time()
                case "failed":
                    worker.failure = to_error(message["error"])
                case "applied":
                    worker.applied(message["id"], to_error(message["error"]))
                case "ask":
                    task = asyncio.create_task(self._change(worker, message))
                    self._changes.add(task)
                    task.add_done_callback(self._changes.discard)

    async def _change(self, asker: WorkerProcess, message: Message) -> None:
        """Make one change at a time in all workers, and answer who asked for it."""
        async with self._changing:
            error = await self._apply(Action(message["action"]), message["model"])
        asker.send("answer", id=message["id"], error=from_error(error))

    async def _apply(self, action: Action, model: str) -> ServingError | None:
        asked = list(self._workers.values())
        outcomes = await self._apply_in(asked, action, model)
        if None not in outcomes.values():
            return next(iter(outcomes.values()), None) or ModelLoadFailed(
                f"every worker ended while it was to {action} {model!r}"
            )
        # Workers that start from now on hear of it at once; some have started without it.
        (self._unloaded.add if action is Action.UNLOAD else self._unloaded.discard)(model)
        late = [worker for worker in self._workers.values() if worker not in asked]
        outcomes |= await self._apply_in(late, action, model)
        failures = {worker: error for worker, error in outcomes.items() if error}
        if action is Action.UNLOAD:  # gone is gone
            failures = {w: e for w, e in failures.items() if not isinstance(e, ModelNotFound)}
        return self._replace(failures, action, model)

    async def _apply_in(
        self, workers: Sequence[WorkerProcess], action: Action, model: str
    ) -> dict[WorkerProcess, ServingError | None]:
        """Apply a change in some workers; the outcome of each that lives on."""
        self._change_id += 1
        outcomes = await asyncio.gather(
            *(worker.apply(self._change_id, action, model) for worker in workers)
        )
        return {
            worker: outcome
            for worker, outcome in zip(workers, outcomes, strict=True)
            if not isinstance(outcome, Ended)
        }

    def _replace(
        self, failures: dict[WorkerProcess, ServingError], action: Action, model: str
    ) -> ServingError | None:
        """Have workers in which a change failed, that others made, start anew with it."""
        for worker, error in failures.items():
            log.error("worker %d cannot %s %r: %s", worker.number, action, model, error)
            worker.process.terminate()
        if not failures:
            return None
        worker, error = next(iter(failures.items()))
        numbers = ", ".join(str(worker.number) for worker in failures)
        return type(error)(f"{error} (in worker {numbers}, which starts anew; the others did)")

    def _note_end(self, worker: WorkerProcess) -> None:
        """Judge the end of a worker that was told to stop, by a signal if it was just starting."""
        if worker.failure is None and worker.process.returncode not in (0, -signal.SIGTERM):
            log.error("%s", worker.end)
            self._status = 1

    def _reap(self) -> None:
        for worker in list(self._workers.values()):
            if worker.process.poll() is not None:
                del self._workers[worker.number]
                worker.ended.set()

    def _stop(self) -> None:
        """Tell all workers to end, at once; those that take too long are killed."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        for worker in self._workers.values():
            worker.process.terminate()
        asyncio.get_running_loop().call_later(self._stop_seconds, self._kill)

    def _kill(self) -> None:
        for worker in self._workers.values():
            log.error("worker %d did not end within %.0f s", worker.number, self._stop_seconds)
            worker.process.kill()
