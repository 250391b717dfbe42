"""What a service should look like now, as a pure function of what it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from modelport_engine.records import Part, Revision


@dataclass(frozen=True)
class Plan:
    """Replicas to run of each revision's parts, and the revisions' traffic in per cent."""

    replicas: Mapping[Part, int]
    traffic: tuple[tuple[str, int], ...]


def plan(
    revisions: Sequence[Revision],
    rolled_out: str | None,
    wanted: Mapping[str, int],
    ready: Mapping[Part, int],
) -> Plan:
    """Decide which revisions run, and which one answers.

    The latest revision is brought up beside the one that serves; it takes the traffic once all
    of its replicas are ready, and never if it failed.

    Args:
        revisions: The service's revisions, oldest first.
        rolled_out: The revision that has the traffic now, if any.
        wanted: Replicas that the spec asks for, by component; one of those it leaves out.
        ready: Ready replicas of each part.
    """
    latest = revisions[-1]
    serving = rolled_out
    is_up = all(ready.get(part, 0) >= wanted.get(part.component, 1) for part in latest.parts)
    if latest.state == "Pending" and is_up:
        serving = latest.name
    running = {serving, latest.name if latest.state != "Failed" else serving}
    return Plan(
        replicas={
            part: wanted.get(part.component, 1)
            for revision in revisions
            if revision.name in running
            for part in revision.parts
        },
        traffic=((serving, 100),) if serving else (),
    )
