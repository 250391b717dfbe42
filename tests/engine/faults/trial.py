"""One case at work: a service under load, and what is done to it."""

from __future__ import annotations

import time
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, Any

from tests.engine.faults.site import POLL, SERVICE
from tests.engine.faults.traffic import now
from tests.engine.faults.verdict import Excuse, Ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from tests.engine.faults.site import Site
    from tests.engine.faults.traffic import Load, Request
    from tests.engine.faults.verdict import Result

_LIMIT = 60.0
# Seconds that anything may take to become as it should be.

_PAUSE, _SHORT_PAUSE = 2.0, 0.2
# Seconds under load before a fault and after it.


class Trial:
    """The site's service under load on both protocols, and what is done to it.

    Args:
        site: Where it runs.
        load: What asks.
        seconds: For how long a fault is repeated; 0: once.
        rate: Requests a second, of each protocol.
    """

    def __init__(self, site: Site, load: Load, seconds: float, rate: float) -> None:
        self.site = site
        self._load = load
        self._seconds = seconds
        self._rate = rate
        self._pause = _PAUSE if seconds else _SHORT_PAUSE
        self._protocols: set[str] = set()
        self._ledger = Ledger()
        self._recoveries: dict[str, list[float]] = {}
        self._problems: list[str] = []

    def serve(self, **predictor: Any) -> None:
        """Have the service as it shall be at first, and begin to ask it."""
        self.apply(**predictor)
        self.ask(self._rate)

    def apply(self, **predictor: Any) -> None:
        """Give the service other fields, its model stays; wait until all is so."""
        self.site.settle(self.site.service(**predictor))
        self.until_replicas(predictor.get("minReplicas", 1))

    def ask(self, rate: float, protocols: Sequence[str] = ("rest", "grpc")) -> None:
        """Ask so often from now on: the model that serves alone may answer."""
        self._protocols = set(protocols)
        self.expect(self.site.serving)
        self._load.ask([(protocol, SERVICE, rate) for protocol in protocols])
        self.until_answered()

    @contextmanager
    def new_model(self) -> Iterator[int]:
        """Go over to a new model, whose weight this gives: to it alone at the end."""
        before, weight = self.site.serving, self.site.next_weight()
        self.expect(before, weight)
        yield weight
        self.expect(weight)
        self.site.serving = weight

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

    def excuse(self, why: str, kind: str, since: float, until: float, least: float = 0.0) -> None:
        """Let failures of a kind pass, under way between two moments, that waited so long."""
        self._ledger.excuse(Excuse(why, kind, since, until, least))

    @contextmanager
    def recovery(self, what: str = "") -> Iterator[float]:
        """Take the time until what is begun here is as it should be; gives when it began."""
        begun = now()
        yield begun
        self._recoveries.setdefault(what, []).append(now() - begun)

    def until(self, condition: Callable[[], Any], what: str) -> Any:
        """Wait until a condition holds, and give what it gave."""
        deadline = now() + _LIMIT
        while not (given := condition()):
            assert now() < deadline, f"{what} was not seen in {_LIMIT:g} s"
            time.sleep(POLL)
        return given

    def until_replicas(self, count: int, without: Collection[int] = ()) -> None:
        """Wait until there are so many, all ready, and none of these processes."""
        self.until(
            lambda: self.site.has_replicas(SERVICE, count, without),
            f"a service of {count} replicas",
        )

    def until_answered(self, since: float | None = None) -> None:
        """Wait until each protocol has answered what was due since then."""
        self._until_over(now() if since is None else since, answered=True)

    def until_over(self) -> None:
        """Wait until each protocol has had something, if only a refusal, for what is due now."""
        self._until_over(now(), answered=False)

    def _until_over(self, since: float, *, answered: bool) -> None:
        self.until(
            lambda: self._load.over_since(since, answered=answered) >= self._protocols,
            "an answer" if answered else "the end of a request",
        )

    def go_on(self, seconds: float) -> list[Request]:
        """Ask for a while, with nothing done; give what was answered of it."""
        begun = now()
        self.until_answered(begun + seconds)
        return [one for one in self._load.requests if begun <= one.due < begun + seconds]

    def check(self, holds: bool, otherwise: str) -> None:
        """Note a problem unless something holds."""
        if not holds:
            self._problems.append(otherwise)

    def end(self, name: str) -> Result:
        """Stop asking, and judge."""
        result = self._ledger.judge(name, self._load.rest())
        result.recoveries = self._recoveries
        result.problems = [*self._problems, *result.problems]
        return result
