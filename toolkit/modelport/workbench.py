"""Warm processes for the steps of one release.

Each step of a pipeline run is a process of its own, and each would import MLflow,
scikit-learn and shap anew, which takes longer than the work itself. So on one machine two
workbench processes import them once, side by side, and do the work: a step that finds the
workbenches' sockets in its environment hands its call over; one that does not (in a cluster's
pod) does the work itself. Arguments are names and paths, results are files or a bool, so
nothing but JSON crosses a socket.

This module is what every step's process imports: it stays light.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import IO, Any

from modelport import journal
from modelport.errors import ModelportError, StorageError
from modelport.journal import Event, Journal

VARIABLE = "MODELPORT_WORKBENCHES"
_BACKLOG = 16

# What each workbench imports, in the order in which its steps want it. Importing holds one core
# for seconds: the keeper has MLflow ready when the maker has what converts and compares.
_IMPORTS = {
    "keeper": (
        "mlflow",
        "modelport.release",
        "modelport.explaining.shapley",
        "skops.io",
        "onnxruntime",
    ),
    "maker": ("skops.io", "mlflow", "modelport.release", "skl2onnx", "onnxruntime"),
}
_MAKERS_STEPS = ("convert", "certify", "evaluate", "benchmark")


_idle = threading.Event()
_idle.set()


def step(name: str, **arguments: Any) -> Any:
    """Do a step of `modelport.release`: journalled, and by the workbench if there is one.

    Raises:
        ModelportError: What failed, wherever the work was done.
    """
    events = Journal.of_this_process()
    if events is None:
        return _call(name, arguments)
    events.append(Event(name, "running"))
    folder = os.environ.get(VARIABLE)
    try:
        result = _ask(folder, name, arguments) if folder else _call(name, arguments)
    except BaseException as error:
        events.append(journal.failure(name, error, _traceback_of(error)))
        raise
    events.append(Event(name, "done"))
    return result


@contextmanager
def started(environment: Mapping[str, str], log: IO[bytes]) -> Iterator[dict[str, str]]:
    """Start the workbenches until the block ends, or this process does.

    Args:
        environment: Their variables.
        log: Where they write what libraries print.

    Yields:
        The variables by which steps find them.
    """
    folder = tempfile.mkdtemp(prefix="modelport-")  # owner-only, and short enough for a socket
    processes = [_start(name, _address(folder, name), environment, log) for name in _IMPORTS]
    try:
        yield {VARIABLE: folder}
    finally:
        for process in processes:
            with process:
                process.kill()
        shutil.rmtree(folder, ignore_errors=True)


def _start(
    name: str, address: str, environment: Mapping[str, str], log: IO[bytes]
) -> subprocess.Popen[bytes]:
    with socket.socket(socket.AF_UNIX) as listener:
        # Bound and listening before the process starts, so that no step can come too early.
        listener.bind(address)
        listener.listen(_BACKLOG)
        return subprocess.Popen(
            [sys.executable, "-m", "modelport.workbench", name, str(listener.fileno())],
            stdin=subprocess.PIPE,  # which closes when this process ends, however it ends
            stdout=log,
            stderr=log,
            env=environment,
            pass_fds=[listener.fileno()],
            start_new_session=True,
        )


def _address(folder: str, name: str) -> str:
    return str(Path(folder) / f"{name}.sock")


def _call(name: str, arguments: dict[str, Any]) -> Any:
    from modelport import release

    try:
        with journal.speaking_as(name):
            return release.STEPS[name](**arguments)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageError(
                f"the disk is full ({error.filename or 'while writing'})",
                "free space and run again",
            ) from error
        raise


def _ask(folder: str, name: str, arguments: dict[str, Any]) -> Any:
    workbench = "maker" if name in _MAKERS_STEPS else "keeper"
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(_address(folder, workbench))
            with connection.makefile("rw") as lines:
                _send(lines, {"step": name, "arguments": arguments})
                reply = json.loads(lines.readline() or "null")
    except OSError:
        reply = None
    if reply is None:
        raise ModelportError(
            f"the process that does step {name} died",
            "it may have run out of memory; its log lies beside the release's journal",
        )
    if "error" in reply:
        error = journal.to_error(reply["error"])
        error.details = reply["traceback"]
        raise error
    return reply["result"]


def _traceback_of(error: BaseException) -> str:
    """Return the workbench's traceback where the error came from there, else our own."""
    return getattr(error, "details", "") or "".join(traceback.format_exception(error))


def _serve(listener: socket.socket) -> None:
    """Do one step after the other, as long as this process lives."""
    while True:
        connection, _ = listener.accept()
        _idle.clear()
        with connection, suppress(OSError), connection.makefile("rw") as lines:
            asked = json.loads(lines.readline())
            _send(lines, _reply(asked["step"], asked["arguments"]))
        _idle.set()


def _send(lines: Any, message: dict[str, Any]) -> None:
    lines.write(json.dumps(message) + "\n")
    lines.flush()


def _reply(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"result": _call(name, arguments)}
    except Exception as error:  # noqa: BLE001 - every failure is the asking step's to raise
        told = journal.failure(name, error, traceback.format_exc())
        return {"error": told.error, "traceback": told.traceback}


def _import_all(modules: Sequence[str]) -> None:
    """Import between steps: beside one, both would only take turns on one core."""
    for module in modules:
        _idle.wait()
        with suppress(ImportError):  # the step that needs it says so itself
            import_module(module)


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


def _main(name: str, descriptor: int) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    threading.Thread(target=_import_all, args=(_IMPORTS[name],), daemon=True).start()
    _serve(socket.socket(fileno=descriptor))


if __name__ == "__main__":
    # Steps import this module by its name, and share its state: not that of `__main__`.
    import_module("modelport.workbench")._main(sys.argv[1], int(sys.argv[2]))
