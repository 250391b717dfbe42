"""A program of its own: start the engine of a home again, each time it has died.

    python -I -S standby.py LOCK COMMAND...

One of these sleeps beside every detached engine, so it imports next to nothing (9 MB, most of them
shared with every other Python). The kernel wakes it: it gives the home's lock back however the
engine has ended. COMMAND starts the next one and gets the lock, which nobody else can have taken
in between; `--lock` names its descriptor. An engine that ends in order ends its standby first.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time

_BRIEF = 30.0
# Seconds: an engine that lived no longer may have died of something that the next one meets too.

_PAUSES = (0.0, 0.0, 0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
# Seconds from one start to the next one, after so many brief lives in a row.


def main(lock: str, command: list[str]) -> None:
    """Work until this process is killed, or the home is removed."""
    begun, brief_lives = time.monotonic(), 0
    while (file := _locked(lock)) is not None:
        _reap()
        brief_lives = brief_lives + 1 if time.monotonic() - begun < _BRIEF else 0
        begun = time.monotonic()
        _start([*command, "--lock", str(file)], file)
        os.close(file)
        # A client need not wait for this: whoever gets the lock first is the engine.
        time.sleep(pause(brief_lives))


def pause(brief_lives: int) -> float:
    """Seconds from one start to the next one, after so many brief lives in a row."""
    return _PAUSES[min(brief_lives, len(_PAUSES) - 1)]


def _locked(path: str) -> int | None:
    """Wait until nobody has the lock; None if its file was removed."""
    try:
        file = os.open(path, os.O_RDWR | os.O_APPEND)
        fcntl.flock(file, fcntl.LOCK_EX)
        there = os.path.samestat(os.fstat(file), os.stat(path))  # noqa: PTH116 - pathlib is large
    except FileNotFoundError:
        return None
    return file if there else None


def _reap() -> None:
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return  # a client had started it


def _start(command: list[str], lock: int) -> None:
    os.ftruncate(lock, 0)  # it names an engine that is gone
    os.set_inheritable(lock, True)  # noqa: FBT003 - its only parameter
    try:
        os.posix_spawn(command[0], command, os.environ)
    except OSError as error:
        sys.stderr.write(f"the engine cannot be started again: {error}\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
