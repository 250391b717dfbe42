"""Reports, services and live steps as people read them: HTML, terminal, widgets.

Each view is loaded when it is first used: rich and the notebook's libraries cost nothing before.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modelport.render.curl import curl_line as curl_line
    from modelport.render.curl import metadata_line as metadata_line
    from modelport.render.grid import Grid as Grid
    from modelport.render.grid import Section as Section
    from modelport.render.grid import grid_text as grid_text
    from modelport.render.grid import sections_text as sections_text
    from modelport.render.html import release_html as release_html
    from modelport.render.html import release_page as release_page
    from modelport.render.html_benchmark import benchmark_html as benchmark_html
    from modelport.render.html_certificate import certificate_html as certificate_html
    from modelport.render.html_explanation import explanation_page as explanation_page
    from modelport.render.html_explanation import waterfall_html as waterfall_html
    from modelport.render.html_grid import grid_html as grid_html
    from modelport.render.html_grid import sections_html as sections_html
    from modelport.render.html_services import service_html as service_html
    from modelport.render.html_services import services_html as services_html
    from modelport.render.plan import plan_html as plan_html
    from modelport.render.plan import plan_text as plan_text
    from modelport.render.progress import Progress as Progress
    from modelport.render.served_explanation import served_html as served_html
    from modelport.render.served_explanation import served_renderable as served_renderable
    from modelport.render.sinks import Sink as Sink
    from modelport.render.sinks import choose as choose
    from modelport.render.stages import Stages as Stages
    from modelport.render.terminal import release_renderable as release_renderable
    from modelport.render.terminal_benchmark import benchmark_renderable as benchmark_renderable
    from modelport.render.terminal_certificate import (
        certificate_renderable as certificate_renderable,
    )
    from modelport.render.terminal_explanation import waterfall_renderable as waterfall_renderable
    from modelport.render.terminal_layout import as_text as as_text
    from modelport.render.terminal_layout import show as show
    from modelport.render.terminal_services import service_renderable as service_renderable
    from modelport.render.terminal_services import services_renderable as services_renderable

_HOMES = {
    "Grid": "grid",
    "Progress": "progress",
    "Section": "grid",
    "Sink": "sinks",
    "Stages": "stages",
    "as_text": "terminal_layout",
    "benchmark_html": "html_benchmark",
    "benchmark_renderable": "terminal_benchmark",
    "certificate_html": "html_certificate",
    "certificate_renderable": "terminal_certificate",
    "choose": "sinks",
    "curl_line": "curl",
    "explanation_page": "html_explanation",
    "grid_html": "html_grid",
    "grid_text": "grid",
    "metadata_line": "curl",
    "plan_html": "plan",
    "plan_text": "plan",
    "release_html": "html",
    "release_page": "html",
    "release_renderable": "terminal",
    "sections_html": "html_grid",
    "sections_text": "grid",
    "served_html": "served_explanation",
    "served_renderable": "served_explanation",
    "service_html": "html_services",
    "service_renderable": "terminal_services",
    "services_html": "html_services",
    "services_renderable": "terminal_services",
    "show": "terminal_layout",
    "waterfall_html": "html_explanation",
    "waterfall_renderable": "terminal_explanation",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
