"""The logs of running replicas: kept small, and read from their end.

A replica appends to a descriptor that it got at its start, so renaming its log would not make it
write to another one. The log is copied and then emptied, as logrotate's `copytruncate` does it:
NAME.log.1 is what it held before, NAME.log.2 what it held before that.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO

from modelport_engine.paths import storage_failed

if TYPE_CHECKING:
    from pathlib import Path

_KEPT = 2
# Older files of each log.

_ROUNDS = 100
# Times that we copy what was written meanwhile, should a replica write as fast as we copy.

_BLOCK = 65_536
# Bytes read at first to find the last lines.


def rotate(path: Path, limit: int) -> bool:
    """Put what a log holds aside if it is larger than `limit` bytes; tell whether it was.

    What the replica writes between our last look and the cut, within microseconds, is lost. This
    blocks while it copies: call it in a thread.

    Raises:
        StorageFailed: when the copy cannot be written; the log is whole then.
    """
    try:
        if path.stat().st_size <= limit:
            return False
        _put_aside(path)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise storage_failed(path.parent, error) from error
    return True


def files(path: Path) -> list[Path]:
    """Give the files of a log that exist, oldest first; `path` itself is the last."""
    known = [*(_older(path, age) for age in range(_KEPT, 0, -1)), path]
    return [file for file in known if file.is_file()]


def tail(path: Path, lines: int) -> list[str]:
    """Give the last lines of a log, from older files too if its own are too few."""
    found: list[str] = []
    for file in reversed(files(path)):
        if len(found) >= lines:
            break
        with suppress(FileNotFoundError), file.open("rb") as log:
            found = _last_lines(log, lines - len(found)) + found
    return found


def _put_aside(path: Path) -> None:
    partial = _older(path, 0)
    partial.touch(mode=0o600)
    with path.open("r+b", buffering=0) as log, partial.open("wb") as copy:
        _copy_rest(log, copy)
        # While both files have it, an end of ours loses nothing.
        for age in range(_KEPT, 0, -1):
            with suppress(FileNotFoundError):
                _older(path, age - 1).replace(_older(path, age))
        for _ in range(_ROUNDS):
            if os.fstat(log.fileno()).st_size == log.tell():
                break
            _copy_rest(log, copy)
        log.truncate(0)


def _older(path: Path, age: int) -> Path:
    return path.with_name(f"{path.name}.{age}")


def _copy_rest(log: BinaryIO, copy: BinaryIO) -> None:
    shutil.copyfileobj(log, copy)
    copy.flush()


def _last_lines(log: BinaryIO, lines: int) -> list[str]:
    """Read from the end until there are enough lines: a log may be large."""
    start, text = log.seek(0, os.SEEK_END), b""
    # One more line end than lines: what stands before it may be cut.
    while start and text.count(b"\n") <= lines:
        size = min(max(_BLOCK, len(text)), start)
        start = log.seek(start - size)
        text = log.read(size) + text
    return text.decode(errors="replace").splitlines()[-lines:]
