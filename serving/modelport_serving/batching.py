"""Adaptive batching: what waits while a model is busy is answered together.

A lone request never waits for others. Requests of one turn of the event loop count as having come
together: for a model that takes microseconds, the loop itself is what is busy.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from modelport_serving.errors import DeadlineExceeded, Overloaded, ServingError

if TYPE_CHECKING:
    from modelport_serving.metrics import ModelMetrics
    from modelport_serving.model import Model
    from modelport_serving.tensors import Tensors

Done = Callable[["Tensors | None", "Exception | None"], None]
"""Called once in the event loop, with the answers or with what went wrong."""

_INLINE_SECONDS = 0.001
"""Predictions shorter than this run in the event loop: a thread would cost more."""


@dataclass(frozen=True)
class Limits:
    """Bounds of a batch and of the queue. Times are in seconds, sizes in rows and requests."""

    batch_rows: int
    batch_seconds: float
    queue_length: int
    queue_seconds: float


class Call:
    """One request on its way through the model.

    `deadline` is in the event loop's seconds, `queued` and `started` in `time.perf_counter()`'s.
    """

    __slots__ = (
        "batch_rows",
        "deadline",
        "done",
        "inputs",
        "key",
        "outputs",
        "queued",
        "rows",
        "started",
        "timer",
    )

    def __init__(
        self,
        inputs: Tensors,
        outputs: Sequence[str],
        deadline: float,
        done: Done,
    ) -> None:
        self.inputs = inputs
        self.outputs = outputs
        self.deadline = deadline
        self.done: Done | None = done
        self.key: Hashable = None
        self.rows = self.batch_rows = 0
        self.queued = 0.0
        self.started = 0.0
        self.timer: asyncio.TimerHandle | None = None

    def finish(self, answers: Tensors | None, error: Exception | None) -> None:
        """Hand the outcome over, unless one was handed over already."""
        done, self.done = self.done, None
        if done is None:
            return
        if self.timer is not None:
            self.timer.cancel()
        done(answers, error)

    def cancel(self) -> None:
        """Nobody waits for the answer any more: do not compute it if it has not begun."""
        self.done = None
        if self.timer is not None:
            self.timer.cancel()


class Pace:
    """How fast a model answers, learnt from its answers for each power of two of elements.

    A call has its costs whatever it holds, so that an element of a large one takes less time.
    """

    def __init__(self) -> None:
        self._seconds: dict[int, float] = {}  # for an element, by the bits of their number

    def took(self, seconds: float, elements: int) -> None:
        """Learn from an answer.

        A slow one counts at once, or the next would hold up every caller; trust comes back slowly.
        """
        bits = elements.bit_length()
        self._seconds[bits] = max(seconds / elements, 0.8 * self._seconds.get(bits, 0.0))

    def seconds_for(self, elements: int) -> float:
        """Return how long so many elements will take at most; infinity before any answer."""
        bits = elements.bit_length()
        known = self._seconds
        if bits in known:
            return known[bits] * elements
        smaller = max((other for other in known if other < bits), default=None)
        if smaller is not None:
            return known[smaller] * elements
        larger = min(known, default=None)
        return math.inf if larger is None else known[larger] * 2**larger

    def elements_in(self, seconds: float) -> float:
        """Return how many elements are answered in that time; infinity before any answer."""
        known = self._seconds
        fastest = known[max(known)] if known else 0.0
        return seconds / fastest if fastest else math.inf


class Batcher:
    """The queue in front of one model. All methods belong to the event loop."""

    def __init__(
        self,
        model: Model,
        limits: Limits,
        threads: Executor,
        concurrency: int,
        metrics: ModelMetrics,
    ) -> None:
        self._model = model
        self._limits = limits
        self._threads = threads
        self._concurrency = concurrency
        self.metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._queue: deque[Call] = deque()
        self._running = 0
        self._scheduled = False
        self._pace = Pace()
        # The thread's own time, where a model computes in it alone: that somebody else was given
        # the CPU meanwhile says nothing of the model.
        runtime = model.runtime
        alone = runtime.may_run_inline and runtime.threads == 1
        self._clock = time.thread_time if alone else time.perf_counter
        self._batches = model.batchable and limits.batch_rows > 1

    def submit(self, call: Call) -> None:
        """Queue a call; `Overloaded` when too many wait already."""
        queue = self._queue
        if len(queue) >= self._limits.queue_length:
            raise Overloaded(
                f"{len(queue)} requests wait for model {self._model.name!r} already: try again "
                "shortly, or allow more with --max_queue_length"
            )
        call.queued = time.perf_counter()
        call.rows = _rows(call.inputs) if self._batches else 0
        queue.append(call)
        self._model.begin()
        if self._running >= self._concurrency:
            self.metrics.queued = len(queue)
            self._watch(call)
        elif not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._next)

    def _next(self) -> None:
        """Run what waits, as far as the model may be run now."""
        self._scheduled = False
        while self._queue and self._running < self._concurrency:
            batch = self._take()
            if not batch:
                return
            inputs = batch[0].inputs if len(batch) == 1 else _joined(batch)
            if not self._is_quick(inputs):
                self._running += 1
                self._threads.submit(self._run_in_thread, batch, inputs)
                for call in (*batch, *self._queue):
                    self._watch(call)
                continue
            self._deliver(batch, *self._run(batch, inputs))
            if self._queue and not self._scheduled:
                # Let the loop read and write between two batches.
                self._scheduled = True
                self._loop.call_soon(self._next)
            return

    def _take(self) -> list[Call]:
        """Take the next call that somebody waits for, and those that can be answered with it."""
        now = time.perf_counter()
        due, waits_since = self._loop.time(), now - self._limits.queue_seconds
        batch: list[Call] = []
        later: list[Call] = []
        rows, most = 0, 1
        while self._queue and rows < most:
            call = self._queue.popleft()
            if call.done is None or call.deadline <= due or call.queued < waits_since:
                self._drop(call, due)
            elif not batch:
                batch.append(call)
                rows, most, call.key = call.rows, self._most_rows(call), _key(call)
            elif call.rows and rows + call.rows <= most and _key(call) == batch[0].key:
                batch.append(call)
                rows += call.rows
            else:
                later.append(call)
        self._queue.extendleft(reversed(later))
        self.metrics.queued = len(self._queue)
        if batch:
            for call in batch:
                call.started = now
                call.batch_rows = rows
            self.metrics.batched(rows or 1, now - batch[0].queued)
        return batch

    def _drop(self, call: Call, due: float) -> None:
        """Let go of a call that nobody waits for any more, or that waited for too long."""
        late = call.deadline <= due
        name = self._model.name
        error = _too_late(name) if late else _waited(name, self._limits.queue_seconds)
        self._finish(call, None, error)

    def _most_rows(self, call: Call) -> int:
        """Return the rows that a batch with this call may have: 0 if it must be alone."""
        if not call.rows:
            return 0
        elements_per_row = _elements(call.inputs) / call.rows
        rows_in_time = self._pace.elements_in(self._limits.batch_seconds) / elements_per_row
        return int(min(self._limits.batch_rows, rows_in_time))

    def _is_quick(self, inputs: Tensors) -> bool:
        """Whether these inputs will probably take too little time to be worth a thread."""
        return (
            self._model.runtime.may_run_inline
            and self._pace.seconds_for(_elements(inputs)) < _INLINE_SECONDS
        )

    def _watch(self, call: Call) -> None:
        """Make sure that a call ends in time, even if the model does not."""
        if call.timer is not None:
            return
        waits_until = self._loop.time() + self._limits.queue_seconds
        if call.deadline <= waits_until:
            self._end_at_deadline(call)
        else:
            call.timer = self._loop.call_at(waits_until, self._end_wait, call)

    def _end_wait(self, call: Call) -> None:
        if call.started:
            self._end_at_deadline(call)
        else:
            call.finish(None, _waited(self._model.name, self._limits.queue_seconds))

    def _end_at_deadline(self, call: Call) -> None:
        late = _too_late(self._model.name)
        call.timer = self._loop.call_at(call.deadline, call.finish, None, late)

    def _run_in_thread(self, batch: list[Call], inputs: Tensors) -> None:
        outcome = self._run(batch, inputs)
        self._loop.call_soon_threadsafe(self._return, batch, outcome)

    def _return(self, batch: list[Call], outcome: _Outcome) -> None:
        self._running -= 1
        self._deliver(batch, *outcome)
        if not self._scheduled:
            self._next()

    def _run(self, batch: list[Call], inputs: Tensors) -> _Outcome:
        """Run the model on a whole batch; in the event loop or in a thread."""
        started = self._clock()
        try:
            answers = self._model.predict(inputs, batch[0].outputs)
        except ServingError as error:
            return None, error
        # A failure says nothing of how long an answer takes.
        self._pace.took(self._clock() - started, _elements(inputs))
        return answers, None

    def _deliver(self, batch: list[Call], answers: Tensors | None, error: Exception | None) -> None:
        """Give every call of a batch its own rows."""
        if len(batch) == 1:
            self._finish(batch[0], answers, error)
        elif answers is None or not _has_rows(answers, sum(call.rows for call in batch)):
            self._one_by_one(batch)
        else:
            for call, part in zip(batch, _split(answers, batch), strict=True):
                self._finish(call, part, None)

    def _finish(self, call: Call, answers: Tensors | None, error: Exception | None) -> None:
        call.finish(answers, error)
        self._model.end()

    def _one_by_one(self, batch: list[Call]) -> None:
        """Run the calls of a failed batch alone: only those that are at fault shall fail."""
        for call in batch:
            call.rows = 0
        self._queue.extendleft(reversed(batch))
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._next)


_Outcome = tuple["Tensors | None", "ServingError | None"]


def _too_late(name: str) -> DeadlineExceeded:
    return DeadlineExceeded(
        f"model {name!r} did not answer in time: send fewer rows, or allow more time"
    )


def _waited(name: str, seconds: float) -> Overloaded:
    return Overloaded(
        f"the request waited {seconds:g} s for model {name!r}: try again shortly, "
        "or allow more with --max_queue_seconds"
    )


def _elements(inputs: Tensors) -> int:
    """Return the size of a request: the elements of its first input stand for all."""
    for array in inputs.values():
        return array.size or 1
    return 1


def _rows(inputs: Tensors) -> int:
    """Return the rows that all inputs have in common, 0 if there are none."""
    rows = None
    for array in inputs.values():
        shape = array.shape
        count: int = shape[0] if shape else 0
        if rows is not None and count != rows:
            return 0
        rows = count
    return rows or 0


def _key(call: Call) -> Hashable:
    """Return what calls must have in common to be answered together."""
    key: list[Hashable] = [*call.outputs]
    for name, array in call.inputs.items():
        key += (name, array.dtype, array.shape[1:])
    return tuple(key)


def _joined(batch: list[Call]) -> Tensors:
    first = batch[0].inputs
    return {name: np.concatenate([call.inputs[name] for call in batch]) for name in first}


def _has_rows(answers: Tensors, rows: int) -> bool:
    return all(array.ndim and array.shape[0] == rows for array in answers.values())


def _split(answers: Tensors, batch: list[Call]) -> Iterator[Tensors]:
    start = 0
    for call in batch:
        end = start + call.rows
        yield {name: array[start:end] for name, array in answers.items()}
        start = end
