from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import psutil
import pytest

from modelport_engine.errors import SpawnFailed, StorageFailed
from modelport_engine.replicas.processes import (
    ProcessId,
    adopt,
    is_alive,
    kill_strays,
    owned,
    runtime_environment,
    spawn,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from modelport_engine.replicas.processes import Process

SLEEP = "import time; time.sleep(60)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True)"
)


def start(home: Path, program: str) -> Process:
    return spawn(
        [sys.executable, "-c", program],
        home=home,
        log=home / "log",
        folder=home,
        environment={"PATH": os.defpath},
    )


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    kill_strays(tmp_path, keep=set())


async def logged(home: Path) -> str:
    async with asyncio.timeout(10):
        while not (text := (home / "log").read_text()):
            await asyncio.sleep(0.01)
    return text


def test_a_process_ends_when_asked(home: Path) -> None:
    process = start(home, SLEEP)
    assert process.running
    asyncio.run(process.stop(grace=10))
    assert not process.running
    assert process.exit_code == -15


def test_one_that_does_not_listen_is_killed_with_its_children(home: Path) -> None:
    child = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SLEEP!r}]); "

    async def scenario() -> Process:
        process = start(home, f"{child}{STUBBORN}; {SLEEP}")
        await logged(home)
        assert len(list(owned(home))) == 2
        await process.stop(grace=0.2)
        return process

    assert asyncio.run(scenario()).exit_code == -9
    assert [process for process in owned(home) if is_alive(process.pid)] == []


def test_a_process_is_taken_over_by_id_and_creation_time(home: Path) -> None:
    process = start(home, SLEEP)
    adopted = adopt(process.identity, home)
    assert adopted is not None
    assert adopted.running
    assert adopt(replace(process.identity, started=process.identity.started - 100), home) is None
    asyncio.run(process.stop(grace=10))
    assert not adopted.running
    assert adopt(process.identity, home) is None


def test_a_stranger_with_a_recorded_id_is_never_touched(home: Path) -> None:
    own = psutil.Process()
    assert adopt(ProcessId(own.pid, own.create_time() - 100), home) is None
    assert kill_strays(home, keep=set()) == []
    assert own.is_running()


def test_strays_are_those_of_the_same_home_only(home: Path) -> None:
    kept, stray = start(home, SLEEP), start(home, SLEEP)
    (home / "other").mkdir()
    other = start(home / "other", SLEEP)
    assert kill_strays(home, keep={kept.identity.pid}) == [stray.identity.pid]
    assert (kept.running, stray.running, other.running) == (True, False, True)
    kill_strays(home / "other", keep=set())
    kill_strays(home, keep=set())
    assert (kept.running, other.running) == (False, False)


def test_a_command_that_cannot_be_started_is_no_matter_of_storage(home: Path) -> None:
    def spawned(command: list[str], log: Path) -> Process:
        return spawn(command, home=home, log=log, folder=home, environment={})

    with pytest.raises(SpawnFailed, match=r"/no/such cannot be started \(No such file"):
        spawned(["/no/such"], home / "log")
    with pytest.raises(SpawnFailed, match="null byte"):
        spawned([sys.executable, "a\0b"], home / "log")
    with pytest.raises(StorageFailed):
        spawned([sys.executable], home)


def test_no_credential_reaches_a_model_server() -> None:
    seen = runtime_environment(
        {
            "PATH": "/bin",
            "PYTHONPATH": "/lib",
            "LC_ALL": "C",
            "MLFLOW_TRACKING_PASSWORD": "secret",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "HOMEBREW_GITHUB_API_TOKEN": "secret",
        }
    )
    assert seen == {"PATH": "/bin", "PYTHONPATH": "/lib", "LC_ALL": "C"}
