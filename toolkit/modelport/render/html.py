"""The report of a release as HTML: a fragment for the notebook, a page for MLflow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelport.render import facts, figures
from modelport.render.comparison import Comparison, Group, compare
from modelport.render.curl import curl_line, metadata_line
from modelport.render.html_benchmark import candidates, loads_table, tiles
from modelport.render.html_certificate import certificate_part
from modelport.render.html_explanation import feature_effects, top_features
from modelport.render.layout import facts as fact_list
from modelport.render.layout import (
    folded,
    fragment,
    page,
    part,
    passed,
    row,
    table,
)
from modelport.render.markup import Html, join, link, tag

if TYPE_CHECKING:
    from modelport.reports import (
        ReleaseReport,
        StepRecord,
        Subject,
        Verdict,
    )

_HOW: dict[Subject, str] = {
    "native": "in process",
    "converted": "in process",
    "live": "over HTTP",
}


def release_html(report: ReleaseReport, example: object = None) -> str:
    """Return the report as one self-contained HTML fragment, for light and dark themes.

    Args:
        report: The release, however it ended.
        example: One row for the curl line; without it the line asks for the model's metadata.
    """
    parts = (
        _head(report),
        _alert(report),
        tiles(facts.key_figures(report)),
        _endpoint(report, example),
        _comparison(report),
        _pair(certificate_part(report.certificate), top_features(report.explanation)),
        feature_effects(report.explanation),
        _pair(_serving(report), _gates(report)),
        _steps(report.steps),
        _footer(report),
    )
    return fragment(f"Release report of {report.service}", *parts)


def release_page(report: ReleaseReport, example: object = None) -> str:
    """Return the report as a whole HTML document that stands alone."""
    title = f"{report.service}: {facts.headline(report).outcome}"
    return page(title, Html(release_html(report, example)))


def _head(report: ReleaseReport) -> Html:
    said = facts.headline(report)
    outcome = tag("b", said.outcome, class_=f"mp-{said.tone}")
    service = tag("span", f" · {report.service}")
    heading = tag("div", outcome, service, class_="mp-outcome", role="heading", aria_level="2")
    subtitle = tag("div", facts.subtitle(report), class_="mp-soft")
    return tag("div", heading, subtitle, class_=f"mp-head mp-{said.tone}")


def _alert(report: ReleaseReport) -> Html | None:
    serving = facts.keeps_serving(report)
    if serving is None:
        return None
    error = tag("p", tag("b", report.error)) if report.error else None
    failed = (tag("p", _missed(verdict)) for verdict in facts.untold_verdicts(report))
    return tag("div", error, *failed, tag("p", serving), class_="mp-alert", role="alert")


def _missed(verdict: Verdict) -> Html:
    measured = f"{verdict.metric} {verdict.measured}" if verdict.measured else "not measured"
    return join([passed(ok=False, text=verdict.gate), f" {measured}. {verdict.reason}"])


def _endpoint(report: ReleaseReport, example: object) -> Html | None:
    if report.deployment is None or report.outcome != "deployed":
        return None
    url = report.deployment.url
    if example is None:
        command = metadata_line(url, report.service)
    else:
        command = curl_line(url, report.service, example)
    address = tag("div", link(url, url), class_="mp-url")
    return part("Live at", address, tag("pre", command, tabindex="0", aria_label="curl command"))


def _comparison(report: ReleaseReport) -> Html | None:
    compared = compare(report)
    if not compared.subjects and report.evaluation is None:
        return None
    groups = (line for group in compared.groups for line in _group(group, compared))
    columns = ("", *(_column(subject, compared) for subject in compared.subjects))
    header = (*columns, "native → converted") if compared.has_changes else columns
    whole = table(header, groups, "Native, converted and live model compared")
    even = tag("div", whole, class_="mp-even")
    return part("Accuracy and speed", even, _other_loads(compared))


def _column(subject: Subject, compared: Comparison) -> Html:
    measured = ", ".join(filter(None, (_HOW[subject], compared.loads.get(subject))))
    return join([tag("b", subject), " ", measured])


def _group(group: Group, compared: Comparison) -> list[Html]:
    if not group.lines and not group.note:
        return []
    width = str(len(compared.subjects) + 1 + compared.has_changes)
    note = tag("span", f" · {group.note}", class_="mp-soft") if group.note else None
    head = tag("tr", tag("th", group.title, note, colspan=width), class_="mp-group")
    lines = []
    for line in group.lines:
        values = (line.values.get(subject, figures.NOTHING) for subject in compared.subjects)
        change = tag("td", line.change, class_="mp-change") if compared.has_changes else None
        lines.append(row(line.name, *values, *([change] if change else [])))
    return [head, *lines]


def _other_loads(compared: Comparison) -> Html | None:
    if not compared.other_loads:
        return None
    whole = loads_table(compared.other_loads, "Latency under other loads")
    return folded("Other loads", whole)


def _pair(*parts: Html | None) -> Html | None:
    shown = [one for one in parts if one]
    return tag("div", *shown, class_="mp-pair") if shown else None


def _gates(report: ReleaseReport) -> Html | None:
    rows = facts.gate_rows(report)
    if not rows:
        return part("Gates", tag("p", "none were set", class_="mp-soft")) if report.gates else None
    lines = (row(one.gate, _verdict(one.before), _verdict(one.live)) for one in rows)
    return part("Gates", table(("gate", "before", "live"), lines, "Gates with their verdicts"))


def _verdict(verdict: Verdict | None) -> Html:
    if verdict is None:
        return tag("td", figures.NOTHING, class_="mp-soft")
    shown = passed(ok=verdict.passed, text=verdict.measured or "not measured")
    return tag("td", shown, title=verdict.reason or None)


def _serving(report: ReleaseReport) -> Html | None:
    shown = facts.serving_facts(report)
    if not shown:
        return None
    return part("Serving", fact_list(shown), _precisions(report), candidates(report.benchmark))


def _precisions(report: ReleaseReport) -> Html | None:
    tried = facts.precisions(report)
    if not tried:
        return None
    lines = (_precision(*facts.precision_cells(one)) for one in tried)
    whole = table(facts.PRECISION_HEADER, lines, "Precisions that were tried")
    return folded("Precisions that were tried", tag("div", whole, class_="mp-words"))


def _precision(name: str, *cells: str) -> Html:
    *short, verdict = cells
    return row(name, *(tag("td", cell, class_="mp-short") for cell in short), verdict)


def _steps(steps: tuple[StepRecord, ...]) -> Html | None:
    if not steps:
        return None
    timeline = (
        tag("span", style=f"flex:{step.seconds:.3f}", title=step.name)
        for step in steps
        if step.seconds
    )
    return part(
        "Steps",
        tag("div", *timeline, class_="mp-timeline", aria_hidden="true"),
        tag("ol", *(_step(step) for step in steps), class_="mp-steps"),
    )


def _step(step: StepRecord) -> Html:
    tone = {"done": "mp-good", "failed": "mp-bad"}.get(step.state, "mp-soft")
    return tag(
        "li",
        tag("span", f"{facts.MARKS[step.state]} ", class_=tone, aria_hidden="true"),
        step.name,
        tag("span", f" {facts.step_time(step)}", class_="mp-soft"),
    )


def _footer(report: ReleaseReport) -> Html:
    found: list[str] = [f"release {report.release_id} · started {report.started_at}"]
    if report.registration:
        run = report.registration
        found += [" · ", run.model_uri, " · ", link(run.run_url, f"MLflow run {run.run_id}")]
        if run.view_command:
            found += [" · to see it: ", tag("code", run.view_command)]
    return tag("div", *found, class_="mp-part mp-soft")
