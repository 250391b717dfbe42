"""Samples of real processes, with children that do the work."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import psutil

from modelport_engine.scaling import Autoscaler, Meter, Scale, Windows

from .conftest import eventually
from .processes import lives
from .scaling_part import Counted

if TYPE_CHECKING:
    from collections.abc import Iterator

# Starts a worker that is busy, and waits for it as a supervisor does.
BUSY = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'while True: pass'])"
IDLE = "import time; time.sleep(600)"


@contextlib.contextmanager
def replica(program: str) -> Iterator[psutil.Process]:
    """A process in a session of its own, as the engine starts them; gone afterwards."""
    started = subprocess.Popen([sys.executable, "-c", program], start_new_session=True)
    process = psutil.Process(started.pid)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)
        started.wait()


def look() -> Meter:
    return Meter(time.monotonic(), {})


def test_a_replicas_children_are_measured_with_it() -> None:
    with replica(BUSY) as busy, replica(IDLE) as idle:
        worker = eventually(lambda: busy.children())[0]
        first = look().sample("default/none", [busy.pid])
        assert set(first.cpu_seconds) == {busy.pid, worker.pid}
        assert first.memory_bytes > 2 * 2**20
        assert first.traffic is None

        def used() -> bool:
            return look().sample("", [busy.pid]).cpu_seconds[worker.pid] > (
                first.cpu_seconds[worker.pid] + 0.2
            )

        eventually(used)
        both = look().sample("", [busy.pid, idle.pid])
        assert both.replicas_ready == 2
        assert set(both.cpu_seconds) == {busy.pid, worker.pid, idle.pid}


def test_what_has_ended_is_no_longer_measured() -> None:
    with replica(BUSY) as busy:
        worker = eventually(lambda: busy.children())[0]
        worker.kill()
        eventually(lambda: not lives(busy))
        after = look().sample("", [busy.pid])
        assert worker.pid not in after.cpu_seconds
        assert after.memory_bytes == 0


def test_a_look_is_of_one_time_and_of_what_the_gateway_said() -> None:
    counted = Counted(12, 3, ((10.0, 12),))
    sample = Meter(17.5, {"default/tumor-predictor-00001": counted}).sample(
        "default/tumor-predictor-00001", []
    )
    assert (sample.time, sample.replicas_ready, sample.memory_bytes) == (17.5, 0, 0)
    assert sample.traffic is counted


def test_a_busy_replica_gets_company_and_an_idle_one_none() -> None:
    windows = Windows(short=0.5, quiet=1.0)
    scale = Scale(minimum=1, maximum=4, metric="cpu", target=5)
    with replica(BUSY) as busy, replica(IDLE) as idle:
        scalers = {busy: Autoscaler(windows, 1), idle: Autoscaler(windows, 2)}
        now = {busy: 1, idle: 2}

        def decide() -> bool:
            meter = Meter(time.monotonic(), {})
            for process, scaler in scalers.items():
                scaler.observe(meter.sample("", [process.pid]))
                now[process] = scaler.desired(scale, time.monotonic()).replicas
            return now == {busy: 2, idle: 1}

        assert eventually(decide)
