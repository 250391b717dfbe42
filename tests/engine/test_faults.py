"""Faults under load, in short: real processes; `make faults` is the long form."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.engine.faults.cases import CASES
from tests.engine.faults.suite import suite_at

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.engine.faults.suite import Suite

RATE = 30.0
"""Requests a second, of each protocol."""

WINDOWS = {
    f"MODELPORT_ENGINE_SCALE_{name}_WINDOW": "2" for name in ("STABLE", "PANIC", "SHORT", "QUIET")
}


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    with suite_at(tmp_path_factory.mktemp("faults"), RATE, **WINDOWS) as suite:
        yield suite


@pytest.mark.parametrize("case", CASES)
def test_nothing_is_lost_and_all_comes_back(suite: Suite, case: str) -> None:
    result = suite.tried(case)
    assert result.problems == [], result


def test_all_comes_back_whatever_happens(suite: Suite) -> None:
    result = suite.by_chance(seconds=8, seed=1)
    assert result.problems == [], result
