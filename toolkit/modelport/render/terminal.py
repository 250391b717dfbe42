"""The report of a release for the terminal, with rich; legible without colour too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.columns import Columns
from rich.console import Group as Stack
from rich.panel import Panel
from rich.text import Text

from modelport.render import facts, figures
from modelport.render.comparison import Comparison, Group, compare
from modelport.render.curl import curl_line, metadata_line
from modelport.render.terminal_certificate import certificate_part
from modelport.render.terminal_explanation import explanation_renderable
from modelport.render.terminal_layout import columns, pairs, text, titled, whole

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from modelport.reports import (
        Explanation,
        PrecisionCandidate,
        ReleaseReport,
        StepRecord,
        Verdict,
    )

_TONES: dict[facts.Tone, str] = {"good": "green", "bad": "red"}


def release_renderable(report: ReleaseReport, example: object = None) -> RenderableType:
    """Return the report for `show`, good from 80 columns on.

    Args:
        report: The release, however it ended.
        example: One row for the curl line; without it the line asks for the model's metadata.
    """
    parts = (
        _head(report),
        _comparison(report),
        certificate_part(report.certificate) if report.certificate else None,
        _gates(report),
        _explanation(report.explanation),
        _serving(report),
        _steps(report),
        _endpoint(report, example),
        _footer(report),
    )
    return Stack(*(part for part in parts if part is not None))


def _head(report: ReleaseReport) -> RenderableType:
    said = facts.headline(report)
    lines = [
        Text.assemble(
            text(said.outcome, f"bold {_TONES[said.tone]}"), text(f" · {report.service}")
        ),
        text(facts.subtitle(report), "dim"),
    ]
    if report.error:
        lines.append(text(report.error, "bold"))
    lines += [_missed(verdict) for verdict in facts.untold_verdicts(report)]
    serving = facts.keeps_serving(report)
    if serving:
        lines.append(text(serving))
    return Panel(Stack(*lines), box=box.ROUNDED, border_style=_TONES[said.tone])


def _missed(verdict: Verdict) -> Text:
    measured = f"{verdict.metric} {verdict.measured}" if verdict.measured else "not measured"
    return Text.assemble(
        (figures.printable(f"✗ {verdict.gate} "), "red"),
        figures.printable(f"{measured}. {verdict.reason}"),
    )


def _comparison(report: ReleaseReport) -> RenderableType | None:
    compared = compare(report)
    if not compared.subjects and report.evaluation is None:
        return None
    table = columns("", *compared.subjects, *(["native → converted"] * compared.has_changes))
    if compared.loads:
        table.add_row("", *(compared.loads.get(subject, "") for subject in compared.subjects))
    notes = [_group(table, group, compared) for group in compared.groups]
    return titled("Accuracy and speed", Stack(table, *(note for note in notes if note)))


def _group(table: Table, group: Group, compared: Comparison) -> Text | None:
    for line in group.lines:
        values = (line.values.get(subject, figures.NOTHING) for subject in compared.subjects)
        change = [text(line.change, "dim")] if compared.has_changes else []
        table.add_row(text(line.name), *(text(value) for value in values), *change)
    if group.lines:
        table.add_section()
    return text(f"{group.title} · {group.note}", "dim") if group.note else None


def _gates(report: ReleaseReport) -> RenderableType | None:
    rows = facts.gate_rows(report)
    if not rows:
        return titled("Gates", text("none were set", "dim")) if report.gates else None
    table = columns("gate", "before", "live")
    for one in rows:
        table.add_row(text(one.gate), _verdict(one.before), _verdict(one.live))
    return titled("Gates", table)


def _verdict(verdict: Verdict | None) -> Text:
    if verdict is None:
        return text(figures.NOTHING, "dim")
    measured = figures.printable(verdict.measured or "not measured")
    mark = ("✓ ", "green") if verdict.passed else ("✗ ", "bold red")
    return Text.assemble(mark, measured)


def _explanation(explanation: Explanation | None) -> RenderableType | None:
    if explanation is None:
        return None
    note = "mean |SHAP value|" if explanation.features else ""
    return titled("Top features", explanation_renderable(explanation), note)


def _serving(report: ReleaseReport) -> RenderableType | None:
    shown = facts.serving_facts(report)
    if not shown:
        return None
    tried = facts.precisions(report)
    table: list[RenderableType] = [Text(), _precisions(tried)] if tried else []
    return titled("Serving", Stack(pairs(shown), *table))


def _precisions(tried: tuple[PrecisionCandidate, ...]) -> Table:
    table = columns(*facts.PRECISION_HEADER)
    table.columns[-1].justify = "left"
    for one in tried:
        table.add_row(*map(text, facts.precision_cells(one)))
    return table


def _steps(report: ReleaseReport) -> RenderableType | None:
    if not report.steps:
        return None
    shown = Columns((_step(step) for step in report.steps), padding=(0, 2))
    return titled("Steps", shown)


def _step(step: StepRecord) -> Text:
    style = {"done": "green", "failed": "bold red"}.get(step.state, "dim")
    name = figures.printable(step.name)
    return Text.assemble(
        (f"{facts.MARKS[step.state]} ", style), f"{name} ", (facts.step_time(step), "dim")
    )


def _endpoint(report: ReleaseReport, example: object) -> RenderableType | None:
    if report.deployment is None or report.outcome != "deployed":
        return None
    url = report.deployment.url
    if example is None:
        command = metadata_line(url, report.service)
    else:
        command = curl_line(url, report.service, example)
    return Stack(Text("\nLive at", "bold"), whole(url, "underline"), whole(command))


def _footer(report: ReleaseReport) -> RenderableType:
    lines = [f"release {report.release_id} · started {report.started_at}"]
    if report.registration:
        run = report.registration
        lines += [run.model_uri, f"MLflow run {run.run_url or run.run_id}"]
        if run.view_command:
            lines.append(f"to see it: {run.view_command}")
    return Stack(Text(), *(whole(line, "dim") for line in lines))
