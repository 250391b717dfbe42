"""What came of the requests of a case: which were lost, which were wrong, which had to be."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.engine.faults.traffic import Request

_EXAMPLES = 3


class Excuse(NamedTuple):
    """A class of failures that cannot be avoided.

    `kind` matches what came of them, `since` and `until` bound when they were under way, and
    they waited for `least` seconds.
    """

    why: str
    kind: str
    since: float
    until: float
    least: float = 0.0

    def covers(self, request: Request) -> bool:
        """Tell whether a failed request is of this class."""
        in_time = request.due <= self.until and request.done >= self.since
        fits = in_time and request.waited >= self.least
        return fits and re.match(self.kind, request.outcome) is not None


@dataclass
class Result:
    """What came of a case.

    `recoveries`: seconds until the state was as wished, by what was done. `excused` counts by
    class and protocol; `problems` are what must not be.
    """

    name: str
    sent: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    excused: Counter[tuple[str, str]] = field(default_factory=Counter)
    longest: float = 0.0
    recoveries: dict[str, list[float]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


class Ledger:
    """Whose answers are right when, and which failures are excused."""

    def __init__(self) -> None:
        self._expected: list[tuple[float, frozenset[int]]] = []
        self._excuses: list[Excuse] = []

    def expect(self, since: float, weights: Iterable[int]) -> None:
        """From this moment on, only models of these weights may answer."""
        self._expected.append((since, frozenset(weights)))

    def excuse(self, excuse: Excuse) -> None:
        """Let a class of failures pass."""
        self._excuses.append(excuse)

    def judge(self, name: str, requests: Iterable[Request]) -> Result:
        """Count what came of these requests."""
        result = Result(name)
        bad: list[str] = []
        for request in requests:
            result.sent += 1
            result.longest = max(result.longest, request.waited)
            if request.weight is None:
                result.failed[request.protocol] += 1
                excuse = next((one for one in self._excuses if one.covers(request)), None)
                if excuse:
                    result.excused[excuse.why, request.protocol] += 1
                else:
                    bad.append(f"{request.protocol} lost: {request.outcome}")
            elif request.weight not in self._right(request):
                bad.append(f"{request.protocol} wrong: model {request.weight:g} answered")
        counted = Counter(bad).most_common(_EXAMPLES)
        result.problems += [f"{count} x {what}" for what, count in counted]
        return result

    def _right(self, request: Request) -> set[int]:
        """Give the weights that may have answered at any time while it was under way."""
        right: set[int] = set()
        ends = [since for since, _ in self._expected[1:]] + [float("inf")]
        for (since, weights), end in zip(self._expected, ends, strict=True):
            if since <= request.done and end >= request.due:
                right |= weights
        return right
