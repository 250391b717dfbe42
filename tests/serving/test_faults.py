"""Faults under load, in short: real servers, real callers; `faults.py` is the long form."""

from __future__ import annotations

import asyncio
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.append(str(Path(__file__).parent))  # where the long form finds the same modules

from faults import CASES, save_models

if TYPE_CHECKING:
    from conftest import Serving

SECONDS = 0.3
"""Of load in each part of a case."""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_models(tmp_path_factory.mktemp("faults"))


@pytest.mark.parametrize("case", CASES)
def test_nothing_is_lost_and_nothing_is_wrong(serving: Serving, models: Path, case: str) -> None:
    if case == "Redis killed" and shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed")

    tally, problems = asyncio.run(CASES[case](serving, models, SECONDS))

    assert problems == [], tally
