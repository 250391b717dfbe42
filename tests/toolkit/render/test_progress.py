from __future__ import annotations

import pytest

from modelport.render import Progress, as_text
from modelport.render.progress import progress_html, progress_text
from modelport.render.terminal_progress import progress_renderable
from modelport.reports import StepRecord


@pytest.fixture
def progress() -> Progress:
    return Progress.begin("Releasing tumor", ["resolve", "convert", "deploy"], now=100.0)


def states(progress: Progress) -> dict[str, str]:
    return {step.name: step.state for step in progress.steps}


def times(progress: Progress) -> dict[str, float | None]:
    return {step.name: step.seconds for step in progress.steps}


@pytest.fixture
def underway(progress: Progress) -> Progress:
    steps = (
        StepRecord(name="resolve", state="done", seconds=1.2),
        StepRecord(name="convert", state="running", seconds=0.5, message="skl2onnx"),
        StepRecord(name="deploy", state="waiting"),
    )
    return progress.with_steps(steps, now=101.7)


def test_every_step_waits_at_first(progress: Progress) -> None:
    assert states(progress) == dict.fromkeys(("resolve", "convert", "deploy"), "waiting")
    assert set(times(progress).values()) == {None}


def test_a_running_step_runs_on_between_two_states(underway: Progress) -> None:
    resolve, convert, deploy = underway.steps

    assert underway.at(convert, now=103.2).seconds == 2.0
    assert underway.at(resolve, now=103.2) == resolve
    assert underway.at(deploy, now=103.2) == deploy


def test_a_state_never_changes(progress: Progress, underway: Progress) -> None:
    assert set(states(progress).values()) == {"waiting"}
    assert underway.started == progress.started


def test_an_error_ends_what_ran_and_skips_the_rest(underway: Progress) -> None:
    broken = underway.ended(now=104.2)

    assert states(broken) == {"resolve": "done", "convert": "failed", "deploy": "skipped"}
    assert times(broken) == {"resolve": 1.2, "convert": 3.0, "deploy": None}


def test_as_text(underway: Progress) -> None:
    assert progress_text(underway, now=103.2).splitlines() == [
        "Releasing tumor",
        "✓ resolve  1.2 s",
        "▸ convert  running, 2.0 s    skl2onnx",
        "· deploy   waiting",
    ]


def test_in_the_terminal(underway: Progress) -> None:
    lines = as_text(progress_renderable(underway, now=103.2), width=60).splitlines()

    assert [line[1:] for line in lines[1:]] == [
        "  resolve    1.2 s",
        "  convert    2.0 s  skl2onnx",
        "  deploy   waiting",
    ]
    assert lines[0] == "Releasing tumor  3.2 s"


def test_as_html_a_running_clock_starts_where_the_step_stands(underway: Progress) -> None:
    shown = progress_html(underway, now=103.2)

    assert '<li class="mp-running"><span class="mp-spin" role="img" aria-label="running">' in shown
    assert "animation-delay:-2.00s" in shown
    assert "animation-delay:-3.20s" in shown
    assert "1.2 s" in shown


def test_as_html_nothing_moves_after_the_end(underway: Progress) -> None:
    shown = progress_html(underway.ended(now=103.2), now=103.2).partition("</style>")[2]

    assert "mp-spin" not in shown
    assert "mp-clock" not in shown


def test_a_message_is_never_markup(underway: Progress) -> None:
    step = StepRecord(name="convert", state="failed", message="<script>\x1b[2J")
    spoiled = underway.with_steps([step])

    assert "<script" not in progress_html(spoiled)
    assert "\x1b" not in progress_text(spoiled)
