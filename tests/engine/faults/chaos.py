"""Faults by chance: kills and changes in any order, one before the other has come to its end.

Requests may be lost meanwhile, and are counted; answers must be right all the time. At the end,
everything must come back by itself: as it was acknowledged last, with nothing left over.
"""

from __future__ import annotations

import random
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from tests.engine.faults.audit import flaws
from tests.engine.faults.cases import CUT, NO_GATEWAY, NO_REPLICA, STOPPED
from tests.engine.faults.site import SERVICE, stopped
from tests.engine.faults.traffic import now

from modelport_engine.errors import Conflict, NotFound

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.engine.faults.site import Document
    from tests.engine.faults.trial import Trial

_NEIGHBOUR = "neighbour"
_CHANCE = "something was killed just then"
_KILLED = f"{CUT}|{NO_GATEWAY}|{NO_REPLICA}|{STOPPED}"
_MODELS = 3
_MOST_PAUSE = 1.5
# Seconds from one fault to the next; what a kill starts takes about as long.


class Chaos:
    """Does things by chance, and remembers what the engine has acknowledged."""

    def __init__(self, trial: Trial, seed: int) -> None:
        self._trial = trial
        self._site = trial.site
        self._random = random.Random(seed)
        self._weights = [trial.site.serving, *(trial.site.next_weight() for _ in range(_MODELS))]
        self._acknowledged: dict[str, Document] = {}
        self.done: list[str] = []

    def run(self, seconds: float) -> None:
        """Do harm for so long, then see whether all comes back."""
        self._trial.serve()
        self._change()
        self._trial.expect(*self._weights)
        harms = {
            self._kill_replica: 4,
            self._kill_engine: 3,
            self._kill_standby: 1,
            self._kill_gateway: 2,
            self._kill_all: 1,
            self._change: 5,
            self._roll_back: 1,
            self._stop_and_start: 1,
            self._make_or_delete_neighbour: 2,
        }
        begun = now()
        while now() < begun + seconds:
            (harm,) = self._random.choices([*harms], [*harms.values()])
            self.done.append(harm.__name__.strip("_"))
            harm()
            time.sleep(self._random.uniform(0, _MOST_PAUSE))
        with self._trial.recovery("all is back"):
            self._see_to_the_engine()
            for flaw in flaws(self._site):
                self._trial.check(False, flaw)
        self._trial.excuse(_CHANCE, _KILLED, begun, now())
        self._check_what_was_acknowledged()
        self._trial.go_on(1)

    def _kill_replica(self) -> None:
        envoy = self._site.gateway()
        self._kill_one_of([pid for pid in self._site.others() if pid != envoy])

    def _kill_engine(self) -> None:
        self._kill_one_of([self._site.engine()])

    def _kill_standby(self) -> None:
        self._kill_one_of(self._site.standbys())

    def _kill_gateway(self) -> None:
        self._kill_one_of([self._site.gateway()])

    def _kill_one_of(self, pids: list[int]) -> None:
        living = sorted(filter(None, pids))
        if living:
            self._site.kill(self._random.choice(living))

    def _kill_all(self) -> None:
        self._site.kill_all()

    def _change(self) -> None:
        """Apply another model, more or fewer replicas, or a canary."""
        fields: Document = {"minReplicas": self._random.choice((1, 1, 2))}
        if self._random.random() < 0.4:
            fields["canaryTrafficPercent"] = self._random.choice((0, 20, 100))
        self._apply(self._site.service(self._random.choice(self._weights), **fields))

    def _stop_and_start(self) -> None:
        document = self._site.service(self._random.choice(self._weights))
        self._apply(stopped(document))
        self._apply(document)

    def _roll_back(self) -> None:
        with suppress(NotFound):  # there may be no revision before
            self._acknowledge(lambda: self._site.client.rollback(SERVICE))

    def _make_or_delete_neighbour(self) -> None:
        if _NEIGHBOUR not in self._acknowledged:
            document = self._site.service(self._random.choice(self._weights))
            with suppress(Conflict):  # the one before is still being deleted
                self._apply({**document, "metadata": {"name": _NEIGHBOUR}})
            return
        self._see_to_the_engine()
        with suppress(NotFound):  # it was told before it was killed
            self._site.calmly(lambda: self._site.client.delete(_NEIGHBOUR, wait=False))
        del self._acknowledged[_NEIGHBOUR]

    def _apply(self, document: Document) -> None:
        self._acknowledge(lambda: self._site.client.apply(document))

    def _acknowledge(self, change: Callable[[], Document]) -> None:
        self._see_to_the_engine()
        given = self._site.calmly(change)
        self._acknowledged[given["metadata"]["name"]] = given

    def _see_to_the_engine(self) -> None:
        """Start it by hand if nobody else does: its standby was killed as well."""
        if self._site.is_abandoned():
            self._site.start()

    def _check_what_was_acknowledged(self) -> None:
        kept = {item["metadata"]["name"]: item for item in self._site.client.list()["items"]}
        self._trial.check(kept.keys() == self._acknowledged.keys(), f"services: {[*kept]}")
        for name, given in self._acknowledged.items():
            fine = name in kept and kept[name]["spec"] == given["spec"]
            self._trial.check(fine, f"{name} is not as it was acknowledged")
        self._trial.expect(*self._site.weights_with_traffic())
