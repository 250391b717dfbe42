"""What a service should look like now, as a pure function of what it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from modelport_engine.records import Revision


@dataclass(frozen=True)
class Plan:
    """Replicas to run, and the share of the traffic in per cent, for each revision."""

    replicas: Mapping[str, int]
    traffic: tuple[tuple[str, int], ...]


def plan(
    revisions: Sequence[Revision], rolled_out: str | None, wanted: int, ready: Mapping[str, int]
) -> Plan:
    """Decide which revisions run, and which one answers.

    The latest revision is brought up beside the one that serves; it takes the traffic once all
    of its replicas are ready, and never if it failed.

    Args:
        revisions: The service's revisions, oldest first.
        rolled_out: The revision that has the traffic now, if any.
        wanted: Replicas that the spec asks for.
        ready: Ready replicas of each revision.
    """
    latest = revisions[-1]
    serving = rolled_out
    if latest.state == "Pending" and ready.get(latest.name, 0) >= wanted:
        serving = latest.name
    running = {serving, latest.name if latest.state != "Failed" else serving}
    return Plan(
        replicas={name: wanted for name in running if name},
        traffic=((serving, 100),) if serving else (),
    )
