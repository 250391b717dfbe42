"""InferenceServices for the terminal: a status table, and one service in detail."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group as Stack
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from modelport.render.services import HEADER, NEITHER, NO_SERVICES, Resource, Service, read
from modelport.render.terminal_layout import pairs, text, titled, whole

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

_UNBOUNDED = 10_000  # columns; a table is measured within a width
_STYLES = {"True": "green", "False": "bold red"}


def services_renderable(items: list[Resource], now: datetime | None = None) -> RenderableType:
    """Return InferenceServices as `kubectl get` lays them out; one not ready says why below.

    Args:
        items: The resources, as KServe's API gives them.
        now: The moment for which ages are told; by default the present.
    """
    if not items:
        return text(NO_SERVICES)
    return _Services([read(item, now) for item in items])


class _Services:
    """The table as it fits: where URLs would have to fold they follow it, whole, to be copied."""

    def __init__(self, services: list[Service]) -> None:
        self._services = services

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = _services_table(self._services, HEADER)
        unbounded = options.update(width=_UNBOUNDED)
        if Measurement.get(console, unbounded, table).maximum <= options.max_width:
            yield table
        else:
            yield _services_table(self._services, [name for name in HEADER if name != "URL"])
            yield from (whole(f"{one.name} {one.url}") for one in self._services if one.url)
        for one in self._services:
            if one.why:
                yield text(f"{one.name} is not ready: {one.why}")


def _services_table(services: list[Service], header: Sequence[str]) -> Table:
    table = _plain_table(*header)
    for one in services:
        cells = (getattr(one, name.lower()) for name in header)
        table.add_row(*(text(cell, _STYLES.get(cell, "")) for cell in cells))
    return table


def service_renderable(item: Resource, now: datetime | None = None) -> RenderableType:
    """Return one InferenceService in detail: facts, conditions, components with revisions."""
    service = read(item, now)
    parts = (_head(service), _components(service), _conditions(service))
    return Stack(*(part for part in parts if part is not None))


def _head(service: Service) -> RenderableType:
    first = (
        ("name", service.name),
        ("namespace", service.namespace),
        ("ready", f"{service.ready}, {service.why}" if service.why else service.ready),
        ("url", service.url),
    )
    return pairs([*(fact for fact in first if fact[1]), *service.facts])


def _components(service: Service) -> RenderableType | None:
    if not service.components:
        return None
    table = _plain_table("COMPONENT", "READY REVISION", "CREATED REVISION", "TRAFFIC")
    for one in service.components:
        cells = (one.name, one.ready_revision, one.created_revision, one.traffic)
        table.add_row(*(text(cell) for cell in cells))
    return titled("Components", table)


def _conditions(service: Service) -> RenderableType | None:
    if not service.conditions:
        return None
    table = _plain_table("CONDITION", "STATUS", "REASON", "MESSAGE")
    for one in service.conditions:
        style = "" if one.type in NEITHER else _STYLES.get(one.status, "dim")
        status = text(one.status, style)
        table.add_row(text(one.type), status, text(one.reason), text(one.message))
    return titled("Conditions", table)


def _plain_table(*names: str) -> Table:
    """Return a table without rules, as kubectl prints them; long cells fold."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for name in names:
        table.add_column(Text(name, "dim"), overflow="fold")
    return table
