"""Live steps in a terminal."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TextIO

from rich.console import Console
from rich.console import Group as Stack
from rich.live import Live
from rich.table import Table
from rich.text import Text

from modelport.render import figures
from modelport.render.facts import MARKS, step_time
from modelport.render.sinks import BaseSink
from modelport.render.terminal_layout import text

if TYPE_CHECKING:
    from rich.console import RenderableType

    from modelport.render.progress import Progress
    from modelport.reports import StepRecord

_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_PER_SECOND = 8
_STYLES = {"done": "green", "failed": "bold red", "running": "blue"}


class TerminalProgress(BaseSink):
    """Steps that are redrawn in place; a thread of rich's keeps the clocks running."""

    def __init__(self, stream: TextIO | None = None) -> None:
        super().__init__()
        self._shown: Progress | None = None
        self._live = Live(
            console=Console(file=stream),
            refresh_per_second=_PER_SECOND,
            get_renderable=self._renderable,
        )

    def _show(self, progress: Progress, before: Progress | None) -> None:
        self._shown = progress
        if before is None:
            self._live.start()
        self._live.refresh()

    def _close(self, left: Progress | None) -> None:
        self._shown = left or self._shown
        self._live.transient = left is None
        self._live.stop()

    def _renderable(self) -> RenderableType:
        return progress_renderable(self._shown) if self._shown else ""


def progress_renderable(progress: Progress, now: float | None = None) -> RenderableType:
    """Return the state for rich: the title, then a line per step."""
    moment = time.monotonic() if now is None else now
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(width=1)
    grid.add_column(no_wrap=True)
    grid.add_column(justify="right", no_wrap=True)
    grid.add_column(overflow="ellipsis", no_wrap=True)
    for step in progress.steps:
        now_step = progress.at(step, moment)
        style = _STYLES.get(step.state, "dim")
        grid.add_row(
            Text(_mark(step, moment), style),
            text(step.name, "dim" if step.state in ("waiting", "skipped") else ""),
            Text(_time(now_step), "dim"),
            text(step.message, "dim"),
        )
    total = figures.seconds(moment - progress.started)
    return Stack(Text.assemble(text(progress.title, "bold"), (f"  {total}", "dim")), grid)


def _mark(step: StepRecord, moment: float) -> str:
    if step.state == "running":
        return _FRAMES[int(moment * _PER_SECOND) % len(_FRAMES)]
    return MARKS[step.state]


def _time(step: StepRecord) -> str:
    return figures.seconds(step.seconds or 0.0) if step.state == "running" else step_time(step)
