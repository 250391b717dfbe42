"""How far a release is: a frozen state, and pure functions that show it."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from modelport.render import figures
from modelport.render.facts import MARKS, step_time
from modelport.render.layout import fragment
from modelport.render.markup import Html, tag
from modelport.reports import StepRecord

if TYPE_CHECKING:
    from collections.abc import Iterable

    from modelport.reports import StepState


@dataclass(frozen=True)
class Progress:
    """The steps of a release at one moment.

    `started` and `changed` are moments of `time.monotonic`; the `seconds` of a running step
    are those until `changed`.
    """

    title: str
    steps: tuple[StepRecord, ...]
    started: float
    changed: float

    @classmethod
    def begin(cls, title: str, steps: Iterable[str], now: float | None = None) -> Progress:
        """Return the state in which every step waits."""
        moment = _moment(now)
        waiting = tuple(StepRecord(name=name, state="waiting") for name in steps)
        return cls(title, waiting, moment, moment)

    def with_steps(self, steps: Iterable[StepRecord], now: float | None = None) -> Progress:
        """Return the state in which the steps stand as given, now."""
        return replace(self, steps=tuple(steps), changed=_moment(now))

    def ended(self, now: float | None = None) -> Progress:
        """Return the state after an error: what ran failed, what waited is skipped."""
        moment = _moment(now)
        after: dict[StepState, StepState] = {"running": "failed", "waiting": "skipped"}
        steps = (self.at(step, moment) for step in self.steps)
        stopped = (
            step.model_copy(update={"state": after.get(step.state, step.state)}) for step in steps
        )
        return replace(self, steps=tuple(stopped), changed=moment)

    def at(self, step: StepRecord, now: float | None = None) -> StepRecord:
        """Return a step as it is now: a running one has run on since the last change."""
        if step.state != "running":
            return step
        ran = (step.seconds or 0.0) + _moment(now) - self.changed
        return step.model_copy(update={"seconds": ran})


def _moment(now: float | None) -> float:
    return time.monotonic() if now is None else now


def progress_text(progress: Progress, now: float | None = None) -> str:
    """Return the state as plain text: the title, then a line per step."""
    return "\n".join([progress.title, *progress_lines(progress, now)])


def progress_lines(progress: Progress, now: float | None = None) -> list[str]:
    """Return one aligned line per step: mark, name, state or time, message."""
    width = max((len(step.name) for step in progress.steps), default=0)
    return [
        figures.printable(
            f"{MARKS[step.state]} {step.name:<{width}}  {step_time(progress.at(step, now)):<16}"
            f"  {step.message}"
        ).rstrip()
        for step in progress.steps
    ]


def progress_html(progress: Progress, now: float | None = None) -> str:
    """Return the state as an HTML fragment; a running step's clock ticks by CSS alone."""
    moment = _moment(now)
    title = tag("div", tag("b", progress.title), " ", _total(progress, moment))
    steps = (_step(progress.at(step, moment)) for step in progress.steps)
    content = tag("div", title, tag("ol", *steps, class_="mp-steps"), class_="mp-live")
    return fragment(progress.title, content)


def _total(progress: Progress, moment: float) -> Html:
    elapsed = moment - progress.started
    if any(step.state in ("running", "waiting") for step in progress.steps):
        return _clock(elapsed)
    return tag("span", figures.seconds(elapsed), class_="mp-soft")


def _step(step: StepRecord) -> Html:
    running = step.state == "running"
    tone = {"done": "mp-good", "failed": "mp-bad"}.get(step.state)
    spinner = tag("span", class_="mp-spin", role="img", aria_label="running")
    mark = spinner if running else tag("span", MARKS[step.state], class_=tone, aria_hidden="true")
    shown = _clock(step.seconds or 0.0) if running else tag("span", step_time(step))
    message = tag("span", step.message, class_="mp-message mp-soft")
    time_cell = tag("span", shown, class_="mp-time")
    return tag("li", mark, tag("span", step.name), time_cell, message, class_=f"mp-{step.state}")


def _clock(elapsed: float) -> Html:
    return tag("span", class_="mp-clock mp-soft", style=f"animation-delay:-{elapsed:.2f}s")
