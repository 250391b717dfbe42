"""The journal of a release: a file of events that steps append to and the notebook follows.

One JSON object a line. The file outlives every process that writes to it.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from modelport import errors
from modelport.errors import ModelportError

if TYPE_CHECKING:
    from modelport.reports import StepState

VARIABLE = "MODELPORT_JOURNAL"


@dataclass(frozen=True)
class Event:
    """One thing that happened.

    Attributes:
        step: Name of the step; empty for an event of the whole release.
        state: The step's new state, or None when it only says something.
        message: One line for a person.
        at: Seconds since the epoch.
        error: `what`, `todo` and `kind` of a failure.
        traceback: The failure's traceback, for those who ask.
    """

    step: str
    state: StepState | None = None
    message: str = ""
    at: float = field(default_factory=time.time)
    error: dict[str, str] | None = None
    traceback: str = ""


class Journal:
    """Appends to and follows the events of one release."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    @classmethod
    def of_this_process(cls) -> Journal | None:
        """Return the journal that this process was told to write to, if any."""
        path = os.environ.get(VARIABLE)
        return cls(Path(path)) if path else None

    def append(self, event: Event) -> None:
        """Add an event; a line is written in one piece, whoever else writes."""
        line = json.dumps(asdict(event)) + "\n"
        with self._path.open("ab", buffering=0) as file:
            file.write(line.encode())

    def fresh(self) -> list[Event]:
        """Return the events that came since the last call."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._offset)
            chunk = file.read()
        whole = chunk[: chunk.rfind(b"\n") + 1]
        self._offset += len(whole)
        return [Event(**json.loads(line)) for line in whole.splitlines()]


_current = threading.local()


@contextmanager
def speaking_as(step: str) -> Iterator[None]:
    """Let `say` speak for a step, in this thread, until the block ends."""
    _current.step = step
    try:
        yield
    finally:
        _current.step = None


def say(message: str) -> None:
    """Tell the journal, from within a step, what is going on."""
    events, step = Journal.of_this_process(), getattr(_current, "step", None)
    if events is not None and step is not None:
        events.append(Event(step, message=message))


def failure(step: str, error: BaseException, traceback: str) -> Event:
    """Describe a failed step; an error that is not ours keeps its class name in the text."""
    if isinstance(error, ModelportError):
        told = {"kind": type(error).__name__, "what": error.what, "todo": error.todo}
    else:
        first = next(iter(str(error).strip().splitlines()), "")
        told = {
            "kind": "ModelportError",
            "what": f"step {step} failed with {type(error).__name__}: {first}"[:500],
            "todo": "run again with --traceback to see where",
        }
    return Event(step, "failed", told["what"], error=told, traceback=traceback)


def to_error(told: dict[str, str]) -> ModelportError:
    """Make the error of a failure again, of the same class."""
    kind = getattr(errors, told["kind"], ModelportError)
    error: ModelportError = kind.__new__(kind)
    ModelportError.__init__(error, told["what"], told["todo"])
    return error
