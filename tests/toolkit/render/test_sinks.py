from __future__ import annotations

import os
import pty
import subprocess
import sys
from io import StringIO
from typing import TYPE_CHECKING, Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbconvert import HTMLExporter

from modelport import render
from modelport.errors import TrackingError
from modelport.render import Progress
from modelport.render.sinks import BaseSink, PlainProgress
from modelport.reports import StepRecord

if TYPE_CHECKING:
    from modelport.reports import ReleaseReport, StepState

RELEASE = """
from modelport.render import Progress, choose
from modelport.reports import StepRecord

progress = Progress.begin("Releasing tumor", ["resolve", "deploy"])
with choose() as sink:
    print(type(sink).__name__)
    sink.update(progress)
    for done in ((), ("resolve",), ("resolve", "deploy")):
        running = [name for name in ("resolve", "deploy") if name not in done][:1]
        steps = [StepRecord(name=name, state="done", seconds=1) for name in done]
        steps += [StepRecord(name=name, state="running", seconds=0) for name in running]
        sink.update(progress.with_steps(steps))
        {event}
"""
FAILING = RELEASE.format(event="if running == ['deploy']: raise ValueError('no room')")
WORKING = RELEASE.format(event="")
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


def stand(state: StepState, seconds: float, message: str = "") -> list[StepRecord]:
    """Return two steps, of which the first stands as given."""
    first = StepRecord(name="resolve", state=state, seconds=seconds, message=message)
    return [first, StepRecord(name="deploy", state="waiting")]


def lines_of(outcome: ReleaseReport | BaseException | None) -> list[str]:
    stream = StringIO()
    progress = Progress.begin("Releasing tumor", ["resolve", "deploy"])
    with PlainProgress(stream) as sink:
        sink.update(progress)
        sink.update(progress.with_steps(stand("running", 0.0, "models:/tumor/3")))
        sink.finish(outcome)
        sink.update(progress.with_steps(stand("done", 1.0)))
    return stream.getvalue().splitlines()


def test_a_line_per_change_and_none_after_the_end(deployed: ReleaseReport) -> None:
    assert lines_of(deployed) == ["Releasing tumor", "resolve: running: models:/tumor/3"]


def test_an_error_shows_where_the_release_stood() -> None:
    failed = lines_of(ValueError("no room"))[2:]

    assert failed[0].startswith("resolve: failed, ")
    assert failed[1] == "deploy: skipped"


def test_an_error_that_carries_a_report_leaves_the_steps_to_it(stopped: ReleaseReport) -> None:
    error = TrackingError("MLflow does not answer", "start it")
    error.release = stopped

    assert lines_of(error) == lines_of(stopped)


class Drawings(BaseSink):
    """Keeps what it was told to draw."""

    def __init__(self) -> None:
        super().__init__()
        self.drawn: list[tuple[Progress | None, Progress | None]] = []

    def _show(self, progress: Progress, before: Progress | None) -> None:
        self.drawn.append((before, progress))

    def _close(self, left: Progress | None) -> None:
        self.drawn.append((None, left))


def test_running_clocks_are_not_drawn_over_and_over() -> None:
    progress = Progress.begin("Releasing tumor", ["resolve", "deploy"])
    states = [progress.with_steps(stand("running", seconds)) for seconds in (0.0, 0.1, 0.2)]
    half_way = progress.with_steps(stand("running", 0.3, "half way"))

    sink = Drawings()
    for state in (*states, half_way):
        sink.update(state)
    sink.finish()
    sink.finish(ValueError("too late"))

    assert sink.drawn == [(None, states[0]), (states[-1], half_way), (None, None)]


def test_a_pipe_gets_plain_lines() -> None:
    done = run(WORKING)

    assert done.stdout.splitlines() == [
        "PlainProgress",
        "Releasing tumor",
        "resolve: running",
        "resolve: done, 1.0 s",
        "deploy: running",
        "deploy: done, 1.0 s",
    ]


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )


@pytest.mark.parametrize(("code", "stays"), [(WORKING, False), (FAILING, True)])
def test_a_terminal_is_redrawn(code: str, *, stays: bool) -> None:
    shown = in_terminal(code)

    assert "TerminalProgress" in shown
    assert "Releasing tumor" in shown
    assert ("✗" in shown) is stays
    # Rich erases the steps line by line after it shows the cursor again; or leaves them.
    assert shown.rpartition("\x1b[?25h")[2].startswith("\r\x1b[1A\x1b[2K") is not stays


def in_terminal(code: str) -> str:
    """Run code with a pseudo-terminal as its standard output and return what it wrote there."""
    here, there = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=there, stderr=subprocess.DEVNULL, env=environment):
        os.close(there)
        written = b"".join(iter(lambda: read_terminal(here), b""))
    os.close(here)
    return written.decode()


def read_terminal(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # Linux says EIO once nothing holds the other end
        return b""


def executed(*cells: str) -> Any:
    """Run a notebook in a real kernel and return it as it would be saved."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(one) for one in cells])
    NotebookClient(notebook, timeout=60, kernel_name="python3", allow_errors=True).execute()
    nbformat.validate(notebook)
    return notebook


@pytest.fixture(scope="module")
def notebook() -> Any:
    """One kernel: a release with widgets, one that fails, and the same without ipywidgets."""
    spy = (
        "from ipykernel.zmqshell import ZMQDisplayPublisher as publisher\n"
        "published, publish = [], publisher.publish\n"
        "def keep(self, data, *rest, **named):\n"
        "    published.append(data)\n"
        "    publish(self, data, *rest, **named)\n"
        "publisher.publish = keep\n"
    )
    return executed(
        spy + WORKING + "\n'the report'",
        FAILING,
        "import ipywidgets; print(len(ipywidgets.widgets.widget._instances)); print(published[0])",
        "import sys; sys.modules['ipywidgets'] = None" + WORKING + "\n'the report'",
        FAILING,
    )


def outputs(notebook: Any, cell: int, kind: str) -> list[dict[str, Any]]:
    return [one for one in notebook.cells[cell].outputs if one.output_type == kind]


@pytest.mark.parametrize(("cell", "sink"), [(0, "WidgetProgress"), (3, "DisplayProgress")])
def test_a_saved_cell_holds_the_report_alone(notebook: Any, cell: int, sink: str) -> None:
    [stream] = outputs(notebook, cell, "stream")
    [live] = outputs(notebook, cell, "display_data")
    [result] = outputs(notebook, cell, "execute_result")

    assert stream["text"] == f"{sink}\n"
    assert live["data"] == {"text/html": ""}
    assert result["data"]["text/plain"] == "'the report'"


@pytest.mark.parametrize("cell", [1, 4])
def test_a_cell_that_failed_keeps_its_steps_without_a_widget(notebook: Any, cell: int) -> None:
    [live] = outputs(notebook, cell, "display_data")
    [error] = outputs(notebook, cell, "error")

    assert set(live["data"]) == {"text/plain", "text/html"}
    assert "✗ deploy   failed" in live["data"]["text/plain"]
    assert error["evalue"] == "no room"


def test_a_widget_carries_text_and_is_closed_at_the_end(notebook: Any) -> None:
    [stream] = outputs(notebook, 2, "stream")
    left, _, first = stream["text"].partition("\n")

    assert left == "0"
    assert WIDGET_VIEW in first
    assert "· resolve  waiting" in first


def test_the_exported_page_shows_no_widget(notebook: Any) -> None:
    page, _ = HTMLExporter(template_name="lab").from_notebook_node(notebook)

    assert f'<script type="{WIDGET_VIEW}">' not in page
    assert "the report" in page


def test_nothing_heavy_is_imported_before_it_is_used() -> None:
    code = (
        "import sys, modelport.render, modelport.render.html, modelport.render.sinks\n"
        "print(sorted({'rich', 'ipywidgets', 'IPython'} & set(sys.modules)))"
    )
    assert run(code).stdout == "[]\n"


def test_every_exported_name_is_there() -> None:
    for name in render.__all__:
        assert getattr(render, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = render.nothing
