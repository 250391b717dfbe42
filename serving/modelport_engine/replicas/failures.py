"""Why a replica failed, in plain language, and how long to wait before the next try."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from modelport_engine.state.records import replica_name, timestamp

if TYPE_CHECKING:
    from modelport_engine.replicas.fleet import Replica
    from modelport_engine.settings import Settings
    from modelport_engine.state.records import Part

Reason = Literal["ModelLoadFailed", "RuntimeUnhealthy"]
"""KServe's words: the first before a revision has ever been ready, the second after."""

STABLE = 60.0
"""Seconds that a replica must have been ready for its next crash to count as the first."""


@dataclass
class Trouble:
    """The crashes of one slot of a part.

    `not_before` is in the event loop's time, seconds. `restarts` counts all there were.
    """

    crashes: int = 0
    failure: dict[str, Any] | None = None
    not_before: float = 0.0
    restarts: int = 0

    def note(self, failure: dict[str, Any], served: float, now: float, settings: Settings) -> None:
        """Count a crash and set when to try again.

        The first time at once, then after a while that doubles with each crash, within a bound.
        `served`: the seconds that the replica was ready.
        """
        if served > STABLE:
            self.crashes = 0
        doublings = min(self.crashes - 1, 30)
        delay = settings.backoff_first * 2.0**doublings if self.crashes else 0.0
        self.not_before = now + min(settings.backoff_limit, delay)
        self.failure = failure
        self.crashes += 1


class Troubles:
    """The crashes of one service's replicas, by part and slot."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._by_place: dict[tuple[Part, int], Trouble] = {}

    def forgive(self) -> None:
        """Let everything be tried at once: the object was applied anew."""
        for trouble in self._by_place.values():
            trouble.crashes, trouble.failure, trouble.not_before = 0, None, 0.0

    def note(
        self,
        part: Part,
        slot: int,
        failure: dict[str, Any],
        served: float,
        now: float,
        restarts: int,
    ) -> Trouble:
        """Count a crash; `served`: the seconds that the replica was ready."""
        trouble = self._by_place.setdefault((part, slot), Trouble())
        trouble.note(failure, served, now, self._settings)
        trouble.restarts = max(trouble.restarts, restarts)
        return trouble

    def of(self, part: Part, slot: int) -> Trouble:
        """Give those of one slot."""
        return self._by_place.get((part, slot), Trouble())

    def failures(self) -> dict[Part, dict[str, Any]]:
        """Give KServe's lastFailureInfo of each part that had trouble."""
        by_time = sorted(
            (
                (part, trouble.failure)
                for (part, _), trouble in self._by_place.items()
                if trouble.failure
            ),
            key=lambda found: str(found[1]["time"]),
        )
        return dict(by_time)


def start_failure_info(part: Part, slot: int, reason: Reason, message: str) -> dict[str, Any]:
    """Give KServe's lastFailureInfo for a replica that has no process."""
    return {
        "location": replica_name(part, slot),
        "reason": reason,
        "message": message,
        "modelRevisionName": str(part),
        "time": timestamp(),
    }


def failure_info(replica: Replica, reason: Reason, message: str) -> dict[str, Any]:
    """Give KServe's lastFailureInfo; the message ends with the last lines of the replica's log."""
    words = replica.last_words()
    message = f"{message}: {words}" if words else message
    info = start_failure_info(replica.record.part, replica.record.slot, reason, message)
    if replica.process.exit_code is not None:
        info["exitCode"] = replica.process.exit_code
    return info


def exit_message(replica: Replica) -> str:
    """Say how a replica's process ended."""
    code = replica.process.exit_code
    if code is None:
        return f"{replica.name} ended"
    if code >= 0:
        return f"{replica.name} ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = " (out of memory?)" if -code == signal.SIGKILL else ""
    return f"{replica.name} was ended by {name}{hint}"
