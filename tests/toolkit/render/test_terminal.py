from __future__ import annotations

from io import StringIO
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from modelport.render import as_text, curl_line, release_renderable, show
from modelport.reports import Feature, ReleaseReport

if TYPE_CHECKING:
    from syrupy.assertion import SnapshotAssertion

ROW = [float(value) for value in range(30)]


@pytest.mark.parametrize("name", ["deployed", "stopped", "own_flavour"])
def test_reads_well_at_80_columns(
    name: str, request: pytest.FixtureRequest, snapshot: SnapshotAssertion
) -> None:
    report = request.getfixturevalue(name)

    assert as_text(release_renderable(report, ROW), width=80) == snapshot


@pytest.mark.parametrize("width", [80, 120])
def test_only_what_is_copied_is_wider_than_the_terminal(
    deployed: ReleaseReport, width: int
) -> None:
    lines = as_text(release_renderable(deployed, ROW), width).splitlines()

    wide = [line for line in lines if len(line) > width]
    assert wide == [curl_line("http://127.0.0.1:8080/serving/default/tumor", "tumor", ROW)]


def test_names_are_neither_markup_nor_terminal_sequences(deployed: ReleaseReport) -> None:
    assert deployed.explanation is not None
    name = "[red]size[/red]\x1b[2J"
    explanation = deployed.explanation.model_copy(
        update={"features": (Feature(name=name, importance=1.0),)}
    )

    shown = as_text(release_renderable(deployed.model_copy(update={"explanation": explanation})))

    assert "[red]size[/red] [2J" in shown
    assert "\x1b" not in shown


def test_colour_marks_verdicts_only_where_there_is_colour(stopped: ReleaseReport) -> None:
    coloured, plain = (
        Console(file=StringIO(), width=80, force_terminal=True, color_system=system)
        for system in ("standard", None)
    )

    for console in (coloured, plain):
        show(release_renderable(stopped), console)

    assert "\x1b[1;31m✗ \x1b[0m0.0371 ms" in written(coloured)
    assert "✗ 0.0371 ms" in written(plain)


def written(console: Console) -> str:
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()
