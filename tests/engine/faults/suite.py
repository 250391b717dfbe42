"""Trying cases on an engine: what the program and the tests have in common."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.engine.faults.audit import flaws
from tests.engine.faults.cases import CASES
from tests.engine.faults.chaos import Chaos
from tests.engine.faults.site import Site
from tests.engine.faults.traffic import Load
from tests.engine.faults.trial import Trial

from modelport_engine.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.engine.faults.cases import Case
    from tests.engine.faults.verdict import Result


class Suite:
    """Cases on one engine, one after the other.

    Args:
        site: Where they run.
        load: What asks.
        rate: Requests a second, of each protocol.
    """

    def __init__(self, site: Site, load: Load, rate: float) -> None:
        self._site = site
        self._load = load
        self._rate = rate

    def tried(self, name: str, seconds: float = 0) -> Result:
        """Try a case; for so many seconds, or once."""
        trial = Trial(self._site, self._load, seconds, self._rate)
        return self._result(name, trial, CASES[name])

    def by_chance(self, seconds: float, seed: int) -> Result:
        """Try faults by chance for so many seconds."""
        trial = Trial(self._site, self._load, 0, self._rate)
        chaos = Chaos(trial, seed)
        result = self._result(f"by chance, seed {seed}", trial, lambda _: chaos.run(seconds))
        result.problems += [f"after {', '.join(chaos.done)}"] if result.problems else []
        return result

    def _result(self, name: str, trial: Trial, case: Case) -> Result:
        try:
            case(trial)
        except (AssertionError, EngineError) as error:
            trial.check(False, f"{type(error).__name__}: {error}")
        result = trial.end(name)
        result.problems += [] if result.problems else flaws(self._site)
        return result


@contextmanager
def suite_at(folder: Path, rate: float, **settings: str) -> Iterator[Suite]:
    """An engine and its load. `settings` are its variables; nothing may outlive it."""
    site = Site(folder, **settings)
    try:
        site.start()
        with Load(site.port) as load:
            yield Suite(site, load, rate)
    finally:
        left = site.close()
    assert not left, left
