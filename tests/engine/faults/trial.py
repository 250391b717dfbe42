"""One case at work: a service under load, what is done to it, and what came of the requests."""

from __future__ import annotations

import re
import time
from collections import Counter, defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.engine.conftest import eventually
from tests.engine.faults.site import POLL
from tests.engine.faults.traffic import now

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.engine.faults.site import Document, Killed, Site
    from tests.engine.faults.traffic import Load, Request, Stream

LIMIT = 30.0
"""Seconds that anything may take to come back."""

BASE = 1
"""The weight of the model that a service begins with."""


class Excuse(NamedTuple):
    """Failures that cannot be avoided: of which kind, of what was under way when, and why."""

    why: str
    kind: re.Pattern[str]
    since: float
    until: float

    def covers(self, request: Request) -> bool:
        """Tell whether a failed request is of this class."""
        in_time = request.due <= self.until and request.done >= self.since
        return in_time and bool(self.kind.match(request.outcome))


class _Expected(NamedTuple):
    since: float
    weights: frozenset[float]


@dataclass
class Result:
    """What came of a case: the line of the table."""

    name: str
    sent: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    excused: Counter[tuple[str, str]] = field(default_factory=Counter)
    longest: float = 0.0
    recoveries: dict[str, list[float]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def failed(self, protocol: str) -> int:
        """Count the requests of a protocol that have no answer, excused or not."""
        excused = sum(n for (_, one), n in self.excused.items() if one == protocol)
        return self.lost[protocol] + excused
