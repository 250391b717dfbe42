"""What a release would do: its steps, and the manifest that it would apply."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelport.render.layout import facts, fragment, part
from modelport.render.markup import tag

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelport.render.facts import Fact


def plan_text(manifest: str, steps: Sequence[Fact]) -> str:
    """Return the plan as YAML: the steps as comments, so that the whole can be applied.

    Args:
        manifest: The InferenceService as YAML.
        steps: (name, description) pairs in the order in which they run.
    """
    width = max(len(name) for name, _ in steps)
    lines = [f"#   {name:<{width}}  {told}".rstrip() for name, told in steps]
    return "\n".join(
        ["# Nothing was changed. The release would run these steps:", *lines, manifest]
    )


def plan_html(manifest: str, steps: Sequence[Fact]) -> str:
    """Return the plan as an HTML fragment."""
    return fragment(
        "Plan of a release",
        part("Steps", facts(steps), note="nothing was changed"),
        part("InferenceService", tag("pre", manifest, class_="mp-code")),
    )
