"""The stages of work in this process, shown as they go."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from modelport.render.progress import Progress

if TYPE_CHECKING:
    from modelport.render.sinks import Sink


class Stages:
    """Work in stages, one after the other.

    Args:
        sink: Where they are shown.
        title: What all is about.
        names: The stages, in their order.
    """

    def __init__(self, sink: Sink, title: str, names: Sequence[str]) -> None:
        self._sink = sink
        self._progress = Progress.begin(title, names)
        self._begun = 0.0
        sink.update(self._progress)

    def begin(self, name: str) -> None:
        """Begin a stage; the one before it is done."""
        self._end()
        self._begun = time.monotonic()
        self._change("waiting", name, state="running")

    def say(self, message: str) -> None:
        """Say what the stage that runs is about."""
        self._change("running", message=message, seconds=time.monotonic() - self._begun)

    def done(self) -> None:
        """End the last stage."""
        self._end()

    def _end(self) -> None:
        self._change("running", state="done", message="", seconds=time.monotonic() - self._begun)

    def _change(self, before: str, name: str | None = None, **values: object) -> None:
        """Change the stages that are in state `before`, or the one of that name."""
        steps = (
            step.model_copy(update=values)
            if step.state == before and name in (None, step.name)
            else step
            for step in self._progress.steps
        )
        self._progress = self._progress.with_steps(steps)
        self._sink.update(self._progress)
