"""What runs together, what runs alone, and what does not run at all."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelport_serving.batching import Batcher, Call, Limits, Pace
from modelport_serving.errors import (
    DeadlineExceeded,
    InvalidInput,
    Overloaded,
    PredictionFailed,
)
from modelport_serving.metrics import Metrics
from modelport_serving.model import Model, ModelState
from modelport_serving.runtimes.pyfunc import PyfuncRuntime

if TYPE_CHECKING:
    from modelport_serving.tensors import Array, Tensors

LIMITS = Limits(batch_rows=8, batch_seconds=10.0, queue_length=100, queue_seconds=60.0)
FOREVER = 1e9


class Doubling:
    """A runtime that doubles its input; 13 makes it fail, and `gate` holds it up."""

    def __init__(self, *, inline: bool) -> None:
        self.may_run_inline = inline
        self.threads = 1
        self.calls: list[Array] = []
        self.threads: set[int] = set()
        self.gate = threading.Event()
        self.gate.set()

    def predict(self, inputs: Tensors, outputs: Sequence[str]) -> Tensors:
        self.calls.append(inputs["x"])
        self.threads.add(threading.get_ident())
        self.gate.wait(20)
        if (inputs["x"] == 13).any():
            raise ValueError("unlucky")
        answers = {"y": inputs["x"] * 2, "z": inputs["x"].sum(axis=1)}
        return {name: answers[name] for name in outputs} if outputs else answers


class Bench:
    """A batcher over a `Doubling` model."""

    def __init__(
        self, *, inline: bool = True, batchable: bool = True, limits: Limits = LIMITS
    ) -> None:
        self.runtime = Doubling(inline=inline)
        self.model = Model("m", Path())
        self.model.runtime = self.runtime  # type: ignore[assignment]
        self.model.state = ModelState.READY
        self.model.batchable = batchable
        self.pool = ThreadPoolExecutor(2)
        self.loop = asyncio.get_running_loop()
        self.batcher = Batcher(self.model, limits, self.pool, 1, Metrics().model("m"))
        self.calls: list[Call] = []

    def ask(
        self, rows: Any, outputs: tuple[str, ...] = (), seconds: float = FOREVER
    ) -> asyncio.Future[Tensors]:
        future: asyncio.Future[Tensors] = self.loop.create_future()

        def done(answers: Tensors | None, error: Exception | None) -> None:
            assert not future.done(), "answered twice"
            if error is not None:
                future.set_exception(error)
            else:
                assert answers is not None
                future.set_result(answers)

        array = np.asarray(rows, np.float32)
        call = Call({"x": array}, outputs, self.loop.time() + seconds, done)
        self.calls.append(call)
        self.batcher.submit(call)
        return future

    async def trust(self) -> None:
        """Let the model have answered, quickly."""
        await self.ask([[1]])
        self.batcher._pace = paced(1e-9)
        self.runtime.calls.clear()
        self.runtime.threads.clear()

    @property
    def batches(self) -> list[int]:
        return [len(call) for call in self.runtime.calls]


def paced(seconds: float) -> Pace:
    """A model that takes so long for every element."""
    pace = Pace()
    pace.took(seconds, 1)
    return pace


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 30))


def test_requests_of_one_turn_are_one_batch_in_the_event_loop() -> None:
    async def test() -> None:
        bench = Bench()
        await bench.trust()
        answers = await asyncio.gather(*(bench.ask([[n, n]]) for n in range(5)))
        assert bench.batches == [5]
        assert bench.runtime.threads == {threading.get_ident()}
        for n, answer in enumerate(answers):
            np.testing.assert_array_equal(answer["y"], [[2 * n, 2 * n]])
            np.testing.assert_array_equal(answer["z"], [2 * n])

    run(test)


def test_nothing_runs_in_the_event_loop_before_an_answer_was_timed() -> None:
    async def test() -> None:
        bench = Bench()
        await bench.ask([[1]])
        assert threading.get_ident() not in bench.runtime.threads

    run(test)


def test_a_slow_answer_moves_the_next_into_a_thread() -> None:
    async def test() -> None:
        bench = Bench()
        await bench.trust()
        bench.batcher._pace = paced(1.0)
        await bench.ask([[1]])
        assert threading.get_ident() not in bench.runtime.threads

    run(test)


def test_what_waits_for_a_busy_model_is_one_batch() -> None:
    async def test() -> None:
        bench = Bench(inline=False)
        bench.runtime.gate.clear()
        first = bench.ask([[0]])
        while not bench.runtime.calls:
            await asyncio.sleep(0)
        others = [bench.ask([[n]]) for n in (1, 2, 3)]
        bench.runtime.gate.set()
        await asyncio.gather(first, *others)
        assert bench.batches == [1, 3]

    run(test)


def test_a_batch_has_no_more_rows_than_it_may() -> None:
    async def test() -> None:
        bench = Bench()
        await bench.trust()
        await asyncio.gather(*(bench.ask([[n]] * 3) for n in range(5)), bench.ask([[9]] * 20))
        assert max(batch for batch in bench.batches if batch != 20) <= LIMITS.batch_rows
        assert sum(bench.batches) == 35
        assert 20 in bench.batches, "a large request is not cut"

    run(test)


def test_a_batch_takes_no_longer_than_it_may() -> None:
    async def test() -> None:
        bench = Bench(inline=False, limits=Limits(8, 2.5, 100, 60.0))
        bench.batcher._pace = paced(1.0)  # two rows of one element in 2.5 s
        await asyncio.gather(*(bench.ask([[n]]) for n in range(2)))
        assert bench.batches == [2]
        bench.batcher._pace = paced(2.0)
        await asyncio.gather(*(bench.ask([[n]]) for n in range(2)))
        assert bench.batches == [2, 1, 1]

    run(test)


def test_a_model_that_mixes_rows_is_never_batched() -> None:
    async def test() -> None:
        bench = Bench(batchable=False)
        await bench.trust()
        await asyncio.gather(*(bench.ask([[n]]) for n in range(5)))
        assert bench.batches == [1] * 5

    run(test)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 3), st.booleans()), max_size=25))
def test_everybody_gets_their_own_rows(requests: list[tuple[int, int, bool]]) -> None:
    """Whatever is asked for together: empty requests, other widths, other outputs."""

    async def test() -> None:
        bench = Bench()
        await bench.trust()
        arrays = [
            np.full((rows, width), number, np.float32)
            for number, (rows, width, _) in enumerate(requests, 100)
        ]
        outputs = [("y",) if one else () for *_, one in requests]
        asked = [bench.ask(array, names) for array, names in zip(arrays, outputs, strict=True)]
        for array, names, answer in zip(arrays, outputs, await asyncio.gather(*asked), strict=True):
            assert list(answer) == (list(names) or ["y", "z"])
            np.testing.assert_array_equal(answer["y"], array * 2)
        assert sum(bench.batches) == sum(len(array) for array in arrays)

    run(test)


@pytest.mark.parametrize("inline", [True, False])
def test_a_bad_request_fails_alone(inline: bool) -> None:
    async def test() -> None:
        bench = Bench(inline=inline)
        await bench.trust()
        good, bad, other = bench.ask([[1]]), bench.ask([[13]]), bench.ask([[2]])
        assert (await good)["y"] == [[2]]
        assert (await other)["y"] == [[4]]
        with pytest.raises(PredictionFailed, match="unlucky"):
            await bad

    run(test)


def test_a_failure_is_no_quick_answer() -> None:
    async def test() -> None:
        bench = Bench()
        with pytest.raises(PredictionFailed):
            await bench.ask([[13]])
        await bench.ask([[1]])
        assert threading.get_ident() not in bench.runtime.threads

    run(test)


def test_the_queue_is_bounded() -> None:
    async def test() -> None:
        bench = Bench(inline=False, limits=Limits(1, 10.0, 2, 60.0))
        bench.runtime.gate.clear()
        asked = [bench.ask([[0]])]
        while not bench.runtime.calls:
            await asyncio.sleep(0)
        asked += [bench.ask([[n]]) for n in (1, 2)]
        with pytest.raises(Overloaded, match="--max_queue_length"):
            bench.ask([[3]])
        bench.runtime.gate.set()
        assert [float(a["y"][0, 0]) for a in await asyncio.gather(*asked)] == [0, 2, 4]

    run(test)


def test_waiting_is_bounded() -> None:
    async def test() -> None:
        bench = Bench(inline=False, limits=Limits(1, 10.0, 100, 0.05))
        bench.runtime.gate.clear()
        first = bench.ask([[0]])
        while not bench.runtime.calls:
            await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="--max_queue_seconds"):
            await bench.ask([[1]])
        bench.runtime.gate.set()
        assert (await first)["y"] == 0, "what runs already is not given up"
        assert len(bench.runtime.calls) == 1

    run(test)


def test_a_deadline_ends_what_runs_and_what_waits() -> None:
    async def test() -> None:
        bench = Bench(inline=False)
        bench.runtime.gate.clear()
        running = bench.ask([[0]], seconds=0.05)
        while not bench.runtime.calls:
            await asyncio.sleep(0)
        waiting = bench.ask([[1]], seconds=0.05)
        for late in (running, waiting):
            with pytest.raises(DeadlineExceeded, match="in time"):
                await late
        bench.runtime.gate.set()
        assert (await bench.ask([[2]]))["y"] == 4
        assert [call.item() for call in bench.runtime.calls] == [0, 2]

    run(test)


def test_nobody_computes_for_a_caller_that_is_gone() -> None:
    async def test() -> None:
        bench = Bench()
        await bench.trust()
        gone, stays = bench.ask([[1]]), bench.ask([[2]])
        bench.calls[-2].cancel()
        assert (await stays)["y"] == 4
        assert bench.batches == [1]
        assert not gone.done()

    run(test)


def test_errors_of_a_request_are_not_the_models() -> None:
    async def test() -> None:
        bench = Bench()
        bench.runtime.predict = refuse  # type: ignore[method-assign]
        with pytest.raises(InvalidInput, match="not so"):
            await bench.ask([[1]])

    run(test)


def refuse(_: Tensors, __: Sequence[str]) -> Tensors:
    raise InvalidInput("not so")


def test_python_code_never_runs_in_the_event_loop() -> None:
    assert not PyfuncRuntime.may_run_inline


def test_the_pace_is_known_by_size() -> None:
    pace = Pace()
    assert pace.seconds_for(1) == float("inf")
    pace.took(40.0, 30)
    assert pace.seconds_for(30) == 40.0
    assert pace.seconds_for(300) == pytest.approx(400.0), "at most"
    pace.took(90.0, 300)
    assert pace.seconds_for(300) == 90.0
    assert pace.seconds_for(30) == 40.0
    assert pace.elements_in(180.0) == pytest.approx(600.0)
    assert Pace().elements_in(1.0) == float("inf")


def test_a_slow_answer_counts_at_once_and_is_forgotten_slowly() -> None:
    pace = paced(0.1)
    pace.took(10.0, 1)
    assert pace.seconds_for(1) == 10.0
    pace.took(0.1, 1)
    assert pace.seconds_for(1) == 8.0
    for _ in range(30):
        pace.took(0.1, 1)
    assert pace.seconds_for(1) == 0.1
