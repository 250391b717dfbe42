"""All models of the sweep, by name."""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import TYPE_CHECKING

from benchmarks.sweep import boosters, estimators, pipelines

if TYPE_CHECKING:
    from benchmarks.sweep.cases import Case, LeftOut


@lru_cache
def catalogue() -> dict[str, Case]:
    """Return every case by its name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of estimators that are on their way out
        found = [*estimators.cases(), *boosters.cases(), *pipelines.cases()]
    return {case.name: case for case in found}


def case_named(name: str) -> Case:
    """Return a case; `KeyError` when there is none of this name."""
    return catalogue()[name]


def left_out() -> list[LeftOut]:
    """Return what scikit-learn lists and does not predict."""
    return list(estimators.left_out())
