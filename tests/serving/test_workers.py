"""Several workers on one port: their start, their end, and what must hold for all of them."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import urllib3

PROGRAM = Path(__file__).with_name("workers_program.py")
WaitUntil = Callable[..., None]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


class Program:
    """The program of `workers_program.py`, and a client that opens a connection a request."""

    def __init__(self, folder: Path, *arguments: str, port: int | None = None) -> None:
        self.port = port or free_port()
        self._pool = urllib3.PoolManager(retries=False, headers={"Connection": "close"})
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by end
        self.process = subprocess.Popen(
            [
                *(sys.executable, str(PROGRAM), "--model_dir", str(folder), "--workers", "2"),
                *("--http_port", str(self.port), "--enable_grpc", "false", *arguments),
            ],
            stderr=self._log,
            start_new_session=True,
        )

    def ask(self, path: str = "") -> tuple[int, Any]:
        """Ask any worker."""
        url = f"http://127.0.0.1:{self.port}/{path}"
        answer = self._pool.request("GET", url, timeout=20)
        return answer.status, answer.json()

    def workers(self, count: int = 2) -> dict[int, Any]:
        """What each worker says of itself, by number, once so many answer."""
        seen: dict[int, Any] = {}
        for _ in range(200 * count):
            state = self.ask()[1]
            seen[state["number"]] = state
            if len(seen) == count:
                return seen
        raise AssertionError(f"only {seen.keys()} answer: {self.log()}")

    def texts(self) -> list[dict[str, str]]:
        """What the workers serve."""
        return [state["texts"] for state in self.workers().values()]

    def is_served_by(self, count: int) -> bool:
        """Whether so many workers listen."""
        assert self.process.poll() is None, self.log()
        return len(self.listening()) == count

    def pids(self) -> set[int]:
        """The workers, ready or not."""
        return {child.pid for child in psutil.Process(self.process.pid).children()}

    def listening(self) -> set[int]:
        """The processes of this server that listen on its port."""
        return {process.pid for process in members(self.process.pid) if self._listens(process)}

    def _listens(self, process: psutil.Process) -> bool:
        try:
            connections = process.net_connections("tcp")
        except psutil.Error:  # it has just ended
            return False
        return any(c.status == "LISTEN" and c.laddr.port == self.port for c in connections)

    def log(self) -> str:
        self._log.seek(0)
        return self._log.read()

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(timeout=20)

    def end(self) -> None:
        """Leave nothing behind, however the test went."""
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=5)
        for process in members(self.process.pid):
            process.kill()
        self.process.wait()
        print(self.log())  # noqa: T201 - pytest shows it where a test fails
        self._log.close()


def members(session: int) -> list[psutil.Process]:
    """The living processes of a session."""
    found = []
    for pid in psutil.pids():
        with suppress(ProcessLookupError, psutil.Error):
            if os.getsid(pid) == session:
                process = psutil.Process(pid)
                if process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of two models."""
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "a").write_text("a1")
    (folder / "b").write_text("b1")
    return folder


@pytest.fixture
def launch_program(folder: Path) -> Iterator[Callable[..., Program]]:
    """Start the program without waiting for it."""
    programs: list[Program] = []

    def launch(*arguments: str, port: int | None = None) -> Program:
        programs.append(Program(folder, *arguments, port=port))
        return programs[-1]

    yield launch
    for program in programs:
        program.end()


@pytest.fixture
def program(launch_program: Callable[..., Program], wait_until: WaitUntil) -> Program:
    """The program with both workers listening."""
    program = launch_program()
    wait_until(lambda: program.is_served_by(2), "both workers listen")
    return program


@contextmanager
def open_request(program: Program, sign: Path) -> Iterator[list[tuple[int, Any]]]:
    """Have a request in flight, which is answered when `sign` exists; the list gets the answer."""
    answers: list[tuple[int, Any]] = []
    thread = threading.Thread(target=lambda: answers.append(program.ask(f"until{sign}")))
    thread.start()
    try:
        yield answers
    finally:
        sign.touch()
        thread.join(timeout=20)


def test_workers_share_a_port_that_the_supervisor_does_not_listen_on(program: Program) -> None:
    pids = {state["pid"] for state in program.workers().values()}

    assert set(program.workers()) == {1, 2}
    assert program.listening() == pids == program.pids()


def test_the_metrics_directory_is_shared_private_and_removed_at_the_end(program: Program) -> None:
    directories = {state["metrics_directory"] for state in program.workers().values()}
    (directory,) = map(Path, directories)

    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert program.stop() == 0
    assert not directory.exists()


@pytest.mark.parametrize("option", [socket.SO_REUSEADDR, socket.SO_REUSEPORT])
def test_refuses_a_port_that_is_taken(option: int, launch_program: Callable[..., Program]) -> None:
    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, option, 1)
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        program = launch_program(port=stranger.getsockname()[1])

        assert program.process.wait(timeout=20) == 1

    assert "Address already in use" in program.log()
    assert program.log().count("\n") == 1


def test_refuses_one_port_for_both_protocols(launch_program: Callable[..., Program]) -> None:
    port = free_port()
    program = launch_program("--enable_grpc", "true", "--grpc_port", str(port), port=port)

    assert program.process.wait(timeout=20) == 1
    assert "--grpc_port" in program.log()


def test_nobody_listens_before_it_is_ready_but_the_port_is_kept(
    folder: Path, tmp_path: Path, launch_program: Callable[..., Program], wait_until: WaitUntil
) -> None:
    loaded = tmp_path / "loaded"
    (folder / "a").write_text(f"wait {loaded}")
    program = launch_program()
    wait_until(lambda: len(program.pids()) == 2, "both workers have been started")

    assert program.listening() == set()
    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with pytest.raises(OSError, match="in use"):
            stranger.bind(("127.0.0.1", program.port))
    loaded.touch()
    wait_until(lambda: program.is_served_by(2), "both workers listen")


def test_starts_on_a_port_with_connections_of_an_earlier_server(
    launch_program: Callable[..., Program], wait_until: WaitUntil
) -> None:
    # The side that closes first keeps the connection in TIME_WAIT.
    with socket.socket() as earlier:
        earlier.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        earlier.bind(("127.0.0.1", 0))
        earlier.listen()
        with socket.create_connection(earlier.getsockname()) as caller:
            earlier.accept()[0].close()
            caller.recv(1)
        port = earlier.getsockname()[1]

    program = launch_program(port=port)

    wait_until(lambda: program.is_served_by(2), "both workers listen")


def test_a_model_that_cannot_be_loaded_ends_the_server(
    folder: Path, launch_program: Callable[..., Program]
) -> None:
    (folder / "a").write_text("broken")
    program = launch_program()

    assert program.process.wait(timeout=20) == 1
    assert program.log() == "modelport-serving: a is broken\n"
    assert members(program.process.pid) == []


def test_a_worker_that_dies_before_it_is_ready_ends_the_server(
    folder: Path, launch_program: Callable[..., Program]
) -> None:
    (folder / "a").write_text("die")
    program = launch_program()

    assert program.process.wait(timeout=20) == 1
    assert "ended before it was ready (SIGKILL)" in program.log()
    assert members(program.process.pid) == []


def test_a_killed_worker_comes_back_and_the_other_serves_meanwhile(
    program: Program, wait_until: WaitUntil
) -> None:
    before = program.workers()

    os.kill(before[1]["pid"], signal.SIGKILL)

    wait_until(lambda: before[1]["pid"] not in program.listening(), "the worker is gone")
    wait_until(lambda: program.is_served_by(2), "there are two workers again")
    after = program.workers()
    assert after[1]["pid"] != before[1]["pid"]
    assert after[2]["pid"] == before[2]["pid"]
    assert "worker 1 ended (SIGKILL): worker 1 starts anew" in program.log()


def test_a_worker_that_cannot_start_again_is_tried_until_it_can(
    folder: Path, program: Program, wait_until: WaitUntil
) -> None:
    before = program.workers()
    (folder / "a").write_text("broken")
    os.kill(before[1]["pid"], signal.SIGKILL)
    wait_until(lambda: program.log().count("a is broken: worker 1 starts anew") > 1, "two attempts")

    assert program.workers(1)[2]["texts"] == {"a": "a1", "b": "b1"}
    (folder / "a").write_text("a2")
    wait_until(lambda: program.is_served_by(2), "there are two workers again")
    assert program.workers()[1]["texts"] == {"a": "a2", "b": "b1"}


def test_unload_and_load_hold_for_all_workers_once_answered(folder: Path, program: Program) -> None:
    assert program.ask("unload/a")[0] == 200
    assert program.texts() == [{"b": "b1"}] * 2

    (folder / "a").write_text("a2")
    assert program.ask("load/a")[0] == 200
    assert program.texts() == [{"a": "a2", "b": "b1"}] * 2


def test_a_worker_that_comes_back_keeps_to_what_was_unloaded(
    folder: Path, program: Program, wait_until: WaitUntil
) -> None:
    for path in ("unload/a", "unload/b", "load/b"):
        assert program.ask(path)[0] == 200
    (folder / "a").write_text("broken")  # and what is not wanted does no harm
    first = program.workers()[1]["pid"]

    os.kill(first, signal.SIGKILL)

    wait_until(lambda: first not in program.listening(), "the worker is gone")
    wait_until(lambda: program.is_served_by(2), "there are two workers again")
    assert program.texts() == [{"b": "b1"}] * 2


@pytest.mark.parametrize(
    ("path", "error"),
    [("load/a", "ModelLoadFailed"), ("load/z", "ModelNotFound"), ("unload/z", "ModelNotFound")],
)
def test_what_fails_everywhere_changes_nothing(
    path: str, error: str, folder: Path, program: Program
) -> None:
    before = program.workers()
    (folder / "a").write_text("broken")

    status, answer = program.ask(path)

    assert (status, answer["error"]) == (500, error)
    assert "worker" not in answer["message"]
    after = program.workers()
    assert [after[n]["pid"] for n in (1, 2)] == [before[n]["pid"] for n in (1, 2)]
    assert program.texts() == [{"a": "a1", "b": "b1"}] * 2


def test_a_worker_that_alone_fails_to_load_is_replaced(
    folder: Path, program: Program, wait_until: WaitUntil
) -> None:
    before = program.workers()
    (folder / "a").write_text("broken_in 2")

    status, answer = program.ask("load/a")

    assert (status, answer["error"]) == (500, "ModelLoadFailed")
    assert "a is broken (in worker 2, which starts anew" in answer["message"]
    wait_until(lambda: before[2]["pid"] not in program.listening(), "worker 2 is gone")
    wait_until(lambda: program.is_served_by(2), "there are two workers again")
    assert program.workers()[1]["pid"] == before[1]["pid"]
    assert program.texts() == [{"a": "broken_in 2", "b": "b1"}] * 2


def test_a_worker_that_dies_of_a_change_comes_back_with_it(
    folder: Path, program: Program, wait_until: WaitUntil
) -> None:
    before = program.workers()
    (folder / "a").write_text("die_in 2")

    # If it is worker 2 who is asked, it takes its answer with it.
    with suppress(urllib3.exceptions.ProtocolError):
        assert program.ask("load/a")[0] == 200
    wait_until(lambda: before[2]["pid"] not in program.listening(), "worker 2 is gone")
    wait_until(lambda: program.is_served_by(2), "there are two workers again")
    assert program.texts() == [{"a": "die_in 2", "b": "b1"}] * 2


def test_a_change_waits_for_a_worker_that_is_starting(
    folder: Path, tmp_path: Path, program: Program, wait_until: WaitUntil
) -> None:
    loaded = tmp_path / "loaded"
    (folder / "b").write_text(f"wait {loaded}")
    first = program.workers()[1]["pid"]
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: first not in program.pids(), "worker 1 is gone")
    wait_until(lambda: len(program.pids()) == 2, "another is starting")

    asking = threading.Thread(target=program.ask, args=("unload/a",))
    asking.start()
    wait_until(lambda: program.workers(1)[2]["texts"] == {"b": "b1"}, "worker 2 has unloaded it")
    assert asking.is_alive()
    loaded.touch()
    asking.join(timeout=20)

    assert not asking.is_alive()
    wait_until(lambda: program.is_served_by(2), "there are two workers again")
    assert program.workers()[1]["texts"] == {"b": f"wait {loaded}"}


@pytest.mark.parametrize("whom", ["supervisor", "everyone"])
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_all_workers_finish(
    signum: int, whom: str, tmp_path: Path, program: Program, wait_until: WaitUntil
) -> None:
    sign = tmp_path / "sign"
    with open_request(program, sign) as answers:
        wait_until(
            lambda: any(state["open"] == 2 for state in program.workers().values()), "in flight"
        )
        (os.killpg if whom == "everyone" else os.kill)(program.process.pid, signum)
        wait_until(lambda: program.listening() == set(), "no worker listens any more")
        assert answers == []

    assert [status for status, _ in answers] == [200]
    assert program.process.wait(timeout=20) == 0
    assert "Traceback" not in program.log()


def test_ctrl_c_in_the_first_moments_ends_it_quietly(
    folder: Path, launch_program: Callable[..., Program], wait_until: WaitUntil
) -> None:
    (folder / "a").write_text("wait /nowhere")
    program = launch_program()
    wait_until(lambda: len(program.pids()) == 2, "both workers have been started")

    os.killpg(program.process.pid, signal.SIGINT)

    assert program.process.wait(timeout=20) == 0
    assert program.log() == ""


def test_a_worker_that_does_not_end_is_killed(
    launch_program: Callable[..., Program], wait_until: WaitUntil
) -> None:
    program = launch_program("--shutdown_seconds", "0.5")
    wait_until(lambda: program.is_served_by(2), "both workers listen")
    number = program.ask("hang")[1]["number"]

    assert program.stop() == 1
    assert f"worker {number} did not end within" in program.log()
    assert members(program.process.pid) == []


def test_workers_whose_supervisor_is_killed_finish_and_end(
    tmp_path: Path, program: Program, wait_until: WaitUntil
) -> None:
    directory = Path(program.ask()[1]["metrics_directory"])
    sign = tmp_path / "sign"
    with open_request(program, sign) as answers:
        wait_until(
            lambda: any(state["open"] == 2 for state in program.workers().values()), "in flight"
        )
        program.process.kill()
        wait_until(lambda: program.listening() == set(), "no worker listens any more")
        assert answers == []

    assert [status for status, _ in answers] == [200]
    wait_until(lambda: members(program.process.pid) == [], "no process is left")
    assert not directory.exists()


def test_workers_whose_supervisor_is_killed_are_cut_off_if_they_hang(
    launch_program: Callable[..., Program], wait_until: WaitUntil
) -> None:
    program = launch_program("--shutdown_seconds", "0.5")
    wait_until(lambda: program.is_served_by(2), "both workers listen")
    program.ask("hang")

    program.process.kill()

    wait_until(lambda: members(program.process.pid) == [], "no process is left")


def test_workers_whose_supervisor_is_killed_while_they_load_end(
    folder: Path, launch_program: Callable[..., Program], wait_until: WaitUntil
) -> None:
    (folder / "a").write_text("wait /nowhere")
    program = launch_program()
    wait_until(lambda: len(program.pids()) == 2, "both workers have been started")

    program.process.kill()

    wait_until(lambda: members(program.process.pid) == [], "no process is left")
