"""Where a release's progress is shown: a notebook's cell, a terminal, a pipe.

The live display never outlasts the release: a report takes its place, an error leaves the last
state standing still. So a saved notebook holds no widget that nothing answers any more.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Protocol, Self, TextIO
from uuid import uuid4

from modelport.render import figures
from modelport.render.progress import progress_html, progress_text

if TYPE_CHECKING:
    from types import TracebackType

    from modelport.render.progress import Progress
    from modelport.reports import ReleaseReport, StepRecord, StepState

    Outcome = ReleaseReport | BaseException | None

_NOTHING = {"text/html": ""}  # no height; nbconvert warns of an output without any type
_WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


class Sink(Protocol):
    """Shows a release while it runs; as a context manager it ends with the block."""

    def update(self, progress: Progress) -> None:
        """Show the state; the first call opens the display."""

    def finish(self, outcome: Outcome = None) -> None:
        """Close the display; calls after the first do nothing.

        Args:
            outcome: The report, which the caller shows in the display's place, or the error
                that ended the release. The last state stays beside an error, unless it carries
                a report in its `release`.
        """

    def __enter__(self) -> Self:
        """Return the sink itself."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Finish, with the error that left the block if there is one."""


class BaseSink:
    """Keeps the last state and ends the display once."""

    def __init__(self) -> None:
        self._last: Progress | None = None
        self._finished = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.finish(error)

    def update(self, progress: Progress) -> None:
        """Show the state; the first call opens the display.

        A state that differs in its times alone is not drawn again: running clocks tick by
        themselves, and would start over.
        """
        if self._finished:
            return
        before, self._last = self._last, progress
        if before is None or _seen(before) != _seen(progress):
            self._show(progress, before)

    def finish(self, outcome: Outcome = None) -> None:
        """Close the display; calls after the first do nothing."""
        if self._finished:
            return
        self._finished = True
        if self._last is not None:
            stays = isinstance(outcome, BaseException) and not getattr(outcome, "release", None)
            self._close(self._last.ended() if stays else None)

    def _show(self, progress: Progress, before: Progress | None) -> None:
        raise NotImplementedError

    def _close(self, left: Progress | None) -> None:
        """End the display: `left` is the state that stays, if one does."""
        raise NotImplementedError


def _seen(progress: Progress) -> list[tuple[str, str, str]]:
    return [(step.name, step.state, step.message) for step in progress.steps]


class PlainProgress(BaseSink):
    """One line per change of a step's state, for pipes and continuous integration."""

    def __init__(self, stream: TextIO | None = None) -> None:
        super().__init__()
        self._stream = stream or sys.stdout

    def _show(self, progress: Progress, before: Progress | None) -> None:
        if before is None:
            self._line(progress.title)
        known = _states(before)
        for step in progress.steps:
            if step.state not in ("waiting", known.get(step.name)):
                self._line(_state_line(step))

    def _close(self, left: Progress | None) -> None:
        if left is not None:
            self._show(left, self._last)

    def _line(self, text: str) -> None:
        self._stream.write(figures.printable(text) + "\n")
        self._stream.flush()


def _state_line(step: StepRecord) -> str:
    timed = step.seconds is not None and step.state != "running"
    time = f", {figures.seconds(step.seconds or 0.0)}" if timed else ""
    message = f": {step.message}" if step.message else ""
    return f"{step.name}: {step.state}{time}{message}"


def _states(progress: Progress | None) -> dict[str, StepState]:
    return {step.name: step.state for step in progress.steps} if progress else {}


class DisplayProgress(BaseSink):
    """An output of the cell that is updated in place; needs no widgets."""

    def __init__(self) -> None:
        super().__init__()
        self._display_id = f"modelport-{uuid4().hex}"

    def _show(self, progress: Progress, before: Progress | None) -> None:
        self._publish(_bundle(progress), update=before is not None)

    def _close(self, left: Progress | None) -> None:
        self._publish(_bundle(left) if left else _NOTHING, update=True)

    def _publish(self, bundle: dict[str, Any], *, update: bool) -> None:
        from IPython.display import display

        display(bundle, raw=True, display_id=self._display_id, update=update)


def _bundle(progress: Progress) -> dict[str, Any]:
    return {"text/plain": progress_text(progress), "text/html": progress_html(progress)}


class WidgetProgress(DisplayProgress):
    """An ipywidgets view; where no widget manager runs, the text of the first state."""

    _widget: Any

    def _show(self, progress: Progress, before: Progress | None) -> None:
        if before is None:
            self._open(progress)
        self._widget.value = progress_html(progress)

    def _open(self, progress: Progress) -> None:
        from ipywidgets import HTML

        self._widget = HTML()
        view = {"version_major": 2, "version_minor": 0, "model_id": self._widget.model_id}
        bundle = {"text/plain": progress_text(progress), _WIDGET_VIEW: view}
        self._publish(bundle, update=False)

    def _close(self, left: Progress | None) -> None:
        super()._close(left)
        self._widget.value = ""  # what a front end keeps of a closed widget is empty
        for part in (self._widget.style, self._widget.layout, self._widget):
            part.close()


def choose(stream: TextIO | None = None) -> Sink:
    """Return the sink that suits this process.

    Args:
        stream: Where a terminal's or a pipe's lines go, by default standard output. A command
            that prints JSON there gives standard error. A notebook's cell needs none.
    """
    if _in_kernel():
        return WidgetProgress() if _has_widgets() else DisplayProgress()
    out = stream or sys.stdout
    if out.isatty():
        from modelport.render.terminal_progress import TerminalProgress

        return TerminalProgress(out)
    return PlainProgress(out)


def _in_kernel() -> bool:
    ipython = sys.modules.get("IPython")  # a kernel has imported it long before us
    shell = ipython.get_ipython() if ipython else None
    return getattr(shell, "kernel", None) is not None


def _has_widgets() -> bool:
    try:
        import ipywidgets  # noqa: F401
    except ImportError:
        return False
    return True
