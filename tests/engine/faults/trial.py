"""One case at work: a service under load, and what is done to it."""

from __future__ import annotations

from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, Any

from tests.engine.conftest import eventually
from tests.engine.faults.traffic import now
from tests.engine.faults.verdict import Excuse, Ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.engine.faults.site import Document, Site
    from tests.engine.faults.traffic import Load, Request
    from tests.engine.faults.verdict import Result

LIMIT = 60.0
"""Seconds that anything may take to become as it should be."""

BOTH = ("rest", "grpc")


class Trial:
    """A service of its own, under load on both protocols.

    Args:
        site: Where it runs.
        load: What asks.
        name: Of the service.
        seconds: For how long a fault is repeated; 0: once.
        rate: Requests a second, of each protocol.
    """

    def __init__(self, site: Site, load: Load, name: str, seconds: float, rate: float) -> None:
        self.site = site
        self.name = name
        self._load = load
        self._seconds = seconds
        self._rate = rate
        self._pause = 0.3 if not seconds else 2.0
        self._ledger = Ledger()
        self._recoveries: dict[str, list[float]] = {}
        self._weights = count(1)
        self._problems: list[str] = []

    def next_weight(self) -> int:
        """Give the weight of a model that was not there before."""
        return next(self._weights)

    def service(self, weight: int, **predictor: Any) -> Document:
        """Write the service with the model of this weight."""
        return self.site.home.service(self.site.model(weight), self.name, **predictor)

    def serve(self, **predictor: Any) -> int:
        """Bring the service up and begin to ask it; give the weight of its model."""
        weight = self.next_weight()
        self.site.settle(self.site.apply(self.service(weight, **predictor)))
        self.expect(weight)
        self._load.ask([(protocol, self.name, self._rate) for protocol in BOTH])
        self.until_answered()
        return weight

    def rounds(self) -> Iterator[int]:
        """Repeat a fault as long as this case is to last, with quiet times in between."""
        end = now() + self._seconds
        for number in count():
            self.go_on(self._pause)
            yield number
            self.go_on(self._pause)
            if now() > end:
                return

    def expect(self, *weights: int) -> None:
        """From now on, only these models may answer."""
        self._ledger.expect(now(), weights)

    def excuse(self, why: str, kind: str, since: float, until: float) -> None:
        """Let failures of a kind pass which were under way between two moments."""
        self._ledger.excuse(Excuse(why, kind, since, until))

    @contextmanager
    def recovery(self, what: str = "") -> Iterator[float]:
        """Take the time until what is begun here is as it should be; gives when it began."""
        begun = now()
        yield begun
        self._recoveries.setdefault(what, []).append(now() - begun)

    def until(self, condition: Callable[[], Any]) -> Any:
        """Wait until a condition holds."""
        return eventually(condition, LIMIT)

    def until_answered(self, since: float | None = None) -> None:
        """Wait until both protocols have answered what was due since then."""
        moment = now() if since is None else since
        self.until(lambda: self._load.over_since(moment, answered=True) >= set(BOTH))

    def until_over(self) -> None:
        """Wait until both protocols have had something, if only a refusal, for what is due now."""
        moment = now()
        self.until(lambda: self._load.over_since(moment) >= set(BOTH))

    def go_on(self, seconds: float) -> list[Request]:
        """Ask for a while, with nothing done; give what was answered of it."""
        begun = now()
        self.until_answered(begun + seconds)
        return [one for one in self._load.requests if begun <= one.due < begun + seconds]

    def check(self, holds: bool, otherwise: str) -> None:
        """Note a problem unless something holds."""
        if not holds:
            self._problems.append(otherwise)

    def end(self) -> Result:
        """Stop asking, and judge."""
        result = self._ledger.judge(self.name, self._load.rest())
        result.recoveries = self._recoveries
        result.problems = [*self._problems, *result.problems]
        return result
