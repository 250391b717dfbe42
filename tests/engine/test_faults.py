"""Faults under load, in short: real processes; `make faults` is the long form."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.engine.faults.__main__ import by_chance, site_at, tried
from tests.engine.faults.cases import CASES
from tests.engine.faults.traffic import Load

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.engine.faults.site import Site

RATE = 50.0
"""Requests a second, of each protocol."""

WINDOWS = {
    f"MODELPORT_ENGINE_SCALE_{name}_WINDOW": "2" for name in ("STABLE", "PANIC", "SHORT", "QUIET")
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site_at(tmp_path_factory.mktemp("faults"), **WINDOWS) as site:
        yield site


@pytest.fixture(scope="module")
def load(site: Site) -> Iterator[Load]:
    with Load(site.port) as load:
        yield load


@pytest.mark.parametrize("case", CASES)
def test_nothing_is_lost_and_all_comes_back(site: Site, load: Load, case: str) -> None:
    result = tried(site, load, case, 0, RATE)
    assert result.problems == [], result


def test_all_comes_back_whatever_happens(site: Site, load: Load) -> None:
    result = by_chance(site, load, 15, 1, RATE)
    assert result.problems == [], result
