"""An engine that is killed comes back by itself; one that ends in order does not."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from tests.engine.processes import words

from modelport_engine import standby as program
from modelport_engine.errors import EngineUnavailable, HomeInUse, StorageFailed
from modelport_engine.replicas.processes import owned

if TYPE_CHECKING:
    from tests.engine.conftest import Home


def standbys(home: Home) -> list[int]:
    everything = owned(home.client.paths.home)
    return [process.pid for process in everything if program.__file__ in words(process)]


def only_standby(home: Home) -> int:
    """Give the one standby there is, once there is one."""
    found: list[int] = home.eventually(lambda: standbys(home))
    assert len(found) == 1
    return found[0]


def kill(*pids: int) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


def next_engine(home: Home, before: int) -> dict[str, Any]:
    """Wait for the engine that follows the one with this process id."""

    def another() -> dict[str, Any] | None:
        try:
            info = home.client.info()
        except EngineUnavailable:
            return None
        return info if info["pid"] != before else None

    info: dict[str, Any] = home.eventually(another)
    home.remember()
    return info


def test_a_killed_engine_comes_back_again_and_again_while_its_service_answers(home: Home) -> None:
    info = home.start()
    url = home.deploy(home.service(home.model("one")))["status"]["url"]
    replica = home.predict(url)["pid"]
    before = only_standby(home)
    with home.load(url) as load:
        for _ in range(2):
            kill(info["pid"])
            info = next_engine(home, info["pid"])
            assert info["gatewayPort"] == home.port
        home.eventually(lambda: len(load.answers) > 100)
    assert load.failures == []
    assert home.predict(url)["pid"] == replica
    assert only_standby(home) == before

    with pytest.raises(HomeInUse, match=f"pid {info['pid']} already works on"):
        raise home.start_another()
    home.deploy(home.service(home.model("two")))
    kill(info["pid"])  # neither its children nor those of earlier ones keep its lock
    next_engine(home, info["pid"])
    assert home.predict(url)["predictions"] == ["two"]

    home.client.shutdown()
    assert home.living() == []
    assert not home.client.is_running()


def test_a_killed_standby_is_replaced_and_both_killed_at_once_leave_the_home_usable(
    home: Home,
) -> None:
    first = home.start()
    kill(before := only_standby(home))
    home.eventually(lambda: standbys(home) not in ([], [before]))
    assert home.client.info()["pid"] == first["pid"]

    kill(only_standby(home), first["pid"])
    home.eventually(lambda: not home.client.is_running())
    second = home.start()
    assert second["pid"] != first["pid"]
    assert only_standby(home)


def test_an_engine_that_is_killed_while_it_takes_over_comes_back_as_well(home: Home) -> None:
    first = home.start()
    standby = psutil.Process(only_standby(home))
    assert standby.memory_info().rss < 15e6
    kill(first["pid"])
    (second,) = home.eventually(standby.children)
    second.kill()
    third = next_engine(home, first["pid"])
    assert third["pid"] != second.pid
    assert standby.pid == only_standby(home)


def test_clients_and_the_standby_share_one_engine_after_a_kill(home: Home) -> None:
    info = home.start()
    kill(info["pid"])
    pids: list[int] = []
    threads = [threading.Thread(target=lambda: pids.append(home.start()["pid"])) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(pids) == 2
    assert set(pids) == {home.client.info()["pid"]}
    home.eventually(lambda: len(standbys(home)) == 1)


def test_no_engine_comes_back_after_its_end_was_asked_for(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelport_engine.client._ANSWER_LIMIT", 0.5)
    monkeypatch.setattr("modelport_engine.lock.TERM_GRACE", 0.5)
    info = home.start()
    home.remember()
    os.kill(info["pid"], signal.SIGSTOP)
    home.client.shutdown()
    assert home.living() == []

    info = home.start()
    home.remember()
    kill(info["pid"])
    # It is about to take over: whoever asks for the end now means that one as well.
    home.client.shutdown()
    assert home.living() == []

    info = home.start()
    home.remember()
    os.kill(info["pid"], signal.SIGTERM)
    home.eventually(lambda: home.living() == [])
    assert not home.client.is_running()


def test_a_start_that_a_client_was_told_has_failed_is_not_tried_again(home: Home) -> None:
    home.client.paths.prepare()
    home.client.paths.socket.mkdir()
    with pytest.raises(StorageFailed):
        home.start()
    assert list(owned(home.client.paths.home)) == []
    home.client.paths.socket.rmdir()


def test_a_takeover_that_fails_is_tried_again(home: Home) -> None:
    first = home.start()
    paths = home.client.paths
    kill(first["pid"])
    paths.socket.unlink()
    paths.socket.mkdir()
    home.eventually(lambda: paths.log.read_text().count("cannot be written") >= 2)
    paths.socket.rmdir()
    assert next_engine(home, first["pid"])["pid"] != first["pid"]


def test_engines_that_die_young_are_followed_more_and_more_slowly() -> None:
    pauses = [program.pause(count) for count in range(12)]
    assert pauses[:6] == [0, 0, 0, 1, 2, 4]
    assert pauses == sorted(pauses)
    assert pauses[-1] == 30


def test_a_home_that_was_removed_is_not_made_again(home: Home) -> None:
    lock, removed = home.folder / "engine.lock", home.folder / "removed"
    waiting = [sys.executable, "-I", "-S", program.__file__, str(lock), "/bin/false"]
    with lock.open("w") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        process = subprocess.Popen(waiting)
        home.eventually(
            lambda: str(lock) in {file.path for file in psutil.Process(process.pid).open_files()}
        )
        lock.rename(removed)
    assert process.wait(10) == 0
    assert removed.read_text() == ""


def test_an_engine_in_the_foreground_has_no_standby(home: Home) -> None:
    command = [sys.executable, "-m", "modelport_engine", "--home", str(home.client.paths.home)]
    command += ["--gateway-port", str(home.port)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        home.eventually(home.client.is_running)
        home.remember()
        assert standbys(home) == []
        process.kill()
    home.remember()
    assert not home.client.is_running()
    assert standbys(home) == []
