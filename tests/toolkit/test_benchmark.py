import threading

import pytest

from modelport import benchmark
from modelport.reports import RuntimeSettings


def test_every_call_after_the_warm_up_is_counted():
    calls = []
    measured = benchmark.measure("native", lambda: calls.append(1), 0.0)
    assert measured.requests == len(calls) - benchmark._WARM_UP_CALLS == 20
    assert 0 <= measured.p50_ms <= measured.p95_ms <= measured.p99_ms <= measured.max_ms
    assert measured.throughput > 0


def test_callers_run_at_the_same_time():
    together = threading.Barrier(4, timeout=10)
    gate = threading.local()

    def call():
        if threading.current_thread() is not threading.main_thread() and not hasattr(gate, "met"):
            together.wait()
            gate.met = True

    measured = benchmark.measure("live", call, 0.0, concurrency=4)
    assert (measured.concurrency, measured.requests) == (4, 80)


def test_an_error_in_a_caller_is_raised():
    def call():
        if threading.current_thread() is not threading.main_thread():
            raise ConnectionError("gone")

    with pytest.raises(ConnectionError, match="gone"):
        benchmark.measure("live", call, 0.0, concurrency=2)


def test_the_faster_settings_are_chosen():
    def prepare(candidate):
        rounds = 200_000 if candidate.intra_op_num_threads == 1 else 1
        return lambda: sum(range(rounds))

    chosen, table = benchmark.choose_settings(prepare, cores=2, seconds=0.0)
    assert chosen == RuntimeSettings(intra_op_num_threads=2)
    assert [candidate.chosen for candidate in table] == [False, True]


def test_loading_is_measured():
    kept, footprint = benchmark.loaded(lambda: bytearray(64 << 20))
    assert len(kept) == 64 << 20
    assert footprint.memory_bytes > 32 << 20
    assert footprint.load_seconds > 0
