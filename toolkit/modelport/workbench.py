"""A warm process for the steps of one release.

Each step of a pipeline run is a process of its own, and each would import MLflow,
scikit-learn and shap anew, which takes longer than the work itself. So the process that runs
the pipeline imports them once and does the work for them: a step that finds the workbench's
socket in its environment hands its call over; one that does not (in a cluster's pod) does the
work itself. Arguments are names and paths, results are files or a bool, so nothing but JSON
crosses the socket.
"""

from __future__ import annotations

import errno
import functools
import json
import os
import shutil
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

from modelport import journal
from modelport.errors import ModelportError, StorageError
from modelport.journal import Event, Journal

VARIABLE = "MODELPORT_WORKBENCH"
_MAX_MESSAGE = 1 << 20

P = ParamSpec("P")
R = TypeVar("R", bound=bool | None)

_steps: dict[str, Callable[..., Any]] = {}
_current = threading.local()


def step(function: Callable[P, R]) -> Callable[P, R]:
    """Make a library call a step: it is journalled, and done by the workbench if there is one."""
    name = function.__name__
    _steps[name] = function

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        if args:
            raise TypeError(f"step {name} takes keyword arguments only")
        events = Journal.of_this_process()
        if events is None:
            return function(*args, **kwargs)
        events.append(Event(name, "running"))
        try:
            result = cast("R", _do(name, kwargs))
        except BaseException as error:
            events.append(journal.failure(name, error, _traceback_of(error)))
            raise
        events.append(Event(name, "done"))
        return result

    return run


def say(message: str) -> None:
    """Tell the journal, from within a step, what is going on."""
    events, name = Journal.of_this_process(), getattr(_current, "step", None)
    if events is not None and name is not None:
        events.append(Event(name, message=message))


@contextmanager
def serving(preload: Sequence[str]) -> Iterator[dict[str, str]]:
    """Serve steps until the block ends; yield the variables by which they find the workbench.

    Args:
        preload: Modules to import meanwhile, in the order in which steps will want them.
    """
    folder = tempfile.mkdtemp(prefix="modelport-")  # owner-only, and short enough for a socket
    address = str(Path(folder) / "workbench.sock")
    listener = Listener(address, family="AF_UNIX")
    for target, args in ((_accept, (listener,)), (_import_all, (preload,))):
        threading.Thread(target=target, args=args, daemon=True).start()
    try:
        yield {VARIABLE: address}
    finally:
        listener.close()
        shutil.rmtree(folder, ignore_errors=True)


def _do(name: str, kwargs: dict[str, Any]) -> Any:
    address = os.environ.get(VARIABLE)
    return _ask(address, name, kwargs) if address else _call(name, kwargs)


def _call(name: str, kwargs: dict[str, Any]) -> Any:
    _current.step = name
    try:
        return _steps[name](**kwargs)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageError(
                f"the disk is full ({error.filename or 'while writing'})",
                "free space and run again",
            ) from error
        raise
    finally:
        _current.step = None


def _ask(address: str, name: str, kwargs: dict[str, Any]) -> Any:
    try:
        with Client(address, family="AF_UNIX") as connection:
            connection.send_bytes(json.dumps({"step": name, "kwargs": kwargs}).encode())
            reply = json.loads(connection.recv_bytes())
    except (EOFError, ConnectionError, FileNotFoundError) as error:
        raise ModelportError(
            f"the process that does step {name} died",
            "it may have run out of memory; its log lies beside the release's journal",
        ) from error
    if "error" in reply:
        raised = journal.to_error(reply["error"])
        raised.__notes__ = [reply["traceback"]]
        raise raised
    return reply["result"]


def _accept(listener: Listener) -> None:
    with suppress(OSError):  # the listener was closed: the release is over
        while True:
            connection = listener.accept()
            threading.Thread(target=_answer, args=(connection,), daemon=True).start()


def _answer(connection: Connection) -> None:
    with connection, suppress(EOFError, ConnectionError):
        asked = json.loads(connection.recv_bytes(_MAX_MESSAGE))
        connection.send_bytes(json.dumps(_reply(asked["step"], asked["kwargs"])).encode())


def _reply(name: str, kwargs: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"result": _call(name, kwargs)}
    except BaseException as error:  # noqa: BLE001 - every failure is the asking step's to raise
        told = journal.failure(name, error, traceback.format_exc())
        return {"error": told.error, "traceback": told.traceback}


def _traceback_of(error: BaseException) -> str:
    """Return the workbench's traceback where the error came from there, else our own."""
    notes = getattr(error, "__notes__", [])
    return notes[0] if notes else "".join(traceback.format_exception(error))


def _import_all(modules: Sequence[str]) -> None:
    for module in modules:
        with suppress(ImportError):  # the step that needs it says so itself
            import_module(module)
