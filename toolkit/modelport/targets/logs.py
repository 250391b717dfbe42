"""The output of replicas, read from the files that they write, as these grow and are rotated."""

from __future__ import annotations

import os
import re
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from modelport.errors import ServiceNotFound, TargetError

if TYPE_CHECKING:
    from pathlib import Path

_POLL = 0.2
# Seconds between two looks at files that are followed.

_REPLICA = re.compile(r"(?P<part>.+-(?P<component>[a-z]+)-(?P<number>\d+))-(?P<slot>\d+)")


@dataclass(frozen=True)
class Wanted:
    """Which replicas' logs are wanted, and how much of them.

    Attributes:
        component: Only those of this component.
        revision: Only those of this revision: its name, or its number.
        replica: Only this one.
        gone: Those that run no more; with `running` both.
        running: Those that run.
        tail: Lines of each; None for all that is kept.
        follow: Go on with what is written from then on, by replicas that come later, too.
    """

    component: str | None = None
    revision: str | None = None
    replica: str | None = None
    gone: bool = False
    running: bool = True
    tail: int | None = None
    follow: bool = False


class Line(NamedTuple):
    """One line of a replica's output; `alone` while no other replica's is shown."""

    replica: str
    text: str
    alone: bool = True


class _Name(NamedTuple):
    """A replica's name, by the order in which they are shown."""

    number: int
    component: str
    slot: int
    text: str
    part: str


def lines(folder: Path, running: Callable[[], set[str]], wanted: Wanted) -> Iterator[Line]:
    """Give the lines of a service's replicas: one after the other, then, if followed, as they come.

    Args:
        folder: Where each has its `NAME.log`, and what was rotated away, `NAME.log.1` and older.
        running: Gives the names of the replicas that run.
        wanted: Which, and how much.

    Raises:
        TargetError: No replica is like that.
    """
    names = _selected(folder, running(), wanted)
    if not names and not wanted.follow:
        raise TargetError("no replica is like that, or none runs", _known(folder))
    files = {name: _File(folder / f"{name}.log") for name in names}
    for name, file in files.items():
        yield from (Line(name, text, len(files) == 1) for text in file.first(wanted.tail))
    while wanted.follow:
        for name, file in files.items():
            yield from (Line(name, text, len(files) == 1) for text in file.more())
        time.sleep(_POLL)
        try:
            names = _selected(folder, running(), wanted)
        except ServiceNotFound:
            return
        except TargetError:
            continue  # the engine is down: the processes write on
        for name in names:
            files.setdefault(name, _File(folder / f"{name}.log"))


def _selected(folder: Path, running: set[str], wanted: Wanted) -> list[str]:
    found = _found(folder)
    chosen = [
        one
        for one in found
        if (wanted.running and one.text in running) or (wanted.gone and one.text not in running)
    ]
    return [
        one.text
        for one in sorted(chosen)
        if wanted.component in (None, one.component)
        and wanted.replica in (None, one.text)
        and (wanted.revision is None or _is_of(one, wanted.revision))
    ]


def _is_of(name: _Name, revision: str) -> bool:
    if revision.isdecimal():
        return name.number == int(revision)
    # A revision is called as its predictor's part is.
    return name.part in (revision, revision.replace("-predictor-", f"-{name.component}-"))


def _found(folder: Path) -> list[_Name]:
    stems = (path.name.removesuffix(".log") for path in folder.glob("*.log"))
    matches = filter(None, map(_REPLICA.fullmatch, stems))
    return [
        _Name(int(one["number"]), one["component"], int(one["slot"]), one.group(), one["part"])
        for one in matches
    ]


def _known(folder: Path) -> str:
    names = [one.text for one in sorted(_found(folder))]
    return f"--all shows every one: {', '.join(names)}" if names else "nothing was written yet"


class _File:
    """One log, read on as it grows, whichever way it is rotated."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._inode: int | None = None
        self._offset = 0
        self._begun = b""

    def first(self, tail: int | None) -> Iterator[str]:
        """Give what there is, or the last lines of it: what was rotated away comes first."""
        older = sorted(
            (path for path in self._path.parent.glob(f"{self._path.name}.*") if _age(path)),
            key=_age,
            reverse=True,
        )
        now = self.more()
        if tail is None:
            for path in older:
                yield from _lines_of(path)
            yield from now
        else:
            yield from _last(older, now, tail)

    def more(self) -> list[str]:
        """Give the whole lines written since the last look."""
        *whole, self._begun = (self._begun + self._new()).split(b"\n")
        return [_text(line) for line in whole]

    def _new(self) -> bytes:
        try:
            file = self._path.open("rb")
        except OSError:
            return b""
        with file:
            state = os.fstat(file.fileno())
            before = b""
            if self._inode is not None and (
                state.st_ino != self._inode or state.st_size < self._offset
            ):
                before, self._offset = self._rotated_away(), 0
            file.seek(self._offset)
            data = file.read()
            self._inode, self._offset = state.st_ino, file.tell()
        return before + data

    def _rotated_away(self) -> bytes:
        """Give what was added to the file after our last look and before it was put aside."""
        try:
            with self._path.with_name(f"{self._path.name}.1").open("rb") as file:
                file.seek(self._offset)
                return file.read()
        except OSError:
            return b""


def _age(path: Path) -> int:
    """Return which rotation a file is of; 0 for files of other kinds."""
    suffix = path.suffix.removeprefix(".")
    return int(suffix) if suffix.isdecimal() else 0


def _last(older: Sequence[Path], now: Sequence[str], count: int) -> list[str]:
    found = list(now[-count:]) if count else []
    for path in reversed(older):
        if len(found) >= count:
            break
        found = [*deque(_lines_of(path), maxlen=count - len(found)), *found]
    return found


def _lines_of(path: Path) -> Iterator[str]:
    try:
        with path.open("rb") as file:
            for line in file:
                yield _text(line.removesuffix(b"\n"))
    except OSError:
        return  # rotated away meanwhile


def _text(line: bytes) -> str:
    return line.decode(errors="replace").removesuffix("\r")
