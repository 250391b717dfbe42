"""InferenceServices as HTML: a status table, and one service in detail."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelport.render.layout import facts, fragment, part, passed, row, table
from modelport.render.markup import Html, join, link, tag
from modelport.render.services import (
    HEADER,
    NEITHER,
    NO_SERVICES,
    Condition,
    Resource,
    Service,
    read,
)

if TYPE_CHECKING:
    from datetime import datetime


def services_html(items: list[Resource], now: datetime | None = None) -> str:
    """Return InferenceServices as a table; one that is not ready says why.

    Args:
        items: The resources, as KServe's API gives them.
        now: The moment for which ages are told; by default the present.
    """
    if not items:
        return fragment("InferenceServices", tag("div", NO_SERVICES, class_="mp-part mp-soft"))
    rows = (line for item in items for line in _rows(read(item, now)))
    whole = table(HEADER, rows, "InferenceServices")
    return fragment("InferenceServices", tag("div", whole, class_="mp-part mp-words"))


def service_html(item: Resource, now: datetime | None = None) -> str:
    """Return one InferenceService in detail: facts, conditions, components with revisions."""
    service = read(item, now)
    return fragment(
        f"InferenceService {service.name}",
        _head(service),
        part("Model", facts(service.facts)) if service.facts else None,
        _components(service),
        _conditions(service),
    )


def _rows(service: Service) -> list[Html]:
    line = row(
        service.name,
        service.namespace,
        _short(_state(service.ready)),
        service.revision,
        link(service.url, service.url),
        service.model,
        _short(service.age),
    )
    if not service.why:
        return [line]
    return [line, tag("tr", tag("td", service.why, colspan=str(len(HEADER)), class_="mp-why"))]


def _short(text: str) -> Html:
    """Return a cell whose few characters stay on one line."""
    return tag("td", text, class_="mp-short")


def _state(status: str) -> Html:
    """Return a condition's status; Unknown is neither good nor bad."""
    if status == "Unknown":
        return tag("span", f"· {status}", class_="mp-soft")
    return passed(ok=status == "True", text=status)


def _condition(one: Condition) -> Html:
    return tag("span", one.status) if one.type in NEITHER else _state(one.status)


def _head(service: Service) -> Html:
    tones = {"True": ("Ready", "mp-good"), "False": ("Not ready", "mp-bad")}
    word, tone = tones.get(service.ready, ("Not known to be ready", "mp-soft"))
    heading = (tag("b", word, class_=tone), tag("span", f" · {service.name}"))
    about = f"namespace {service.namespace}{service.age and f' · {service.age} old'}"
    url = join([" · ", link(service.url, service.url)]) if service.url else None
    return tag(
        "div",
        tag("div", *heading, class_="mp-outcome", role="heading", aria_level="2"),
        tag("div", about, url, class_="mp-soft"),
        tag("p", service.why) if service.why else None,
        class_=f"mp-head {tone}",
    )


def _components(service: Service) -> Html | None:
    if not service.components:
        return None
    rows = (
        row(one.name, one.ready_revision, one.created_revision, one.traffic)
        for one in service.components
    )
    header = ("component", "ready revision", "created revision", "traffic")
    return part("Components", tag("div", table(header, rows, "Components"), class_="mp-words"))


def _conditions(service: Service) -> Html | None:
    if not service.conditions:
        return None
    rows = (
        row(one.type, _short(_condition(one)), one.reason, one.message)
        for one in service.conditions
    )
    whole = table(("condition", "status", "reason", "message"), rows, "Conditions")
    return part("Conditions", tag("div", whole, class_="mp-words"))
