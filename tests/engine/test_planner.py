from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from modelport_engine.planner import Plan, plan
from modelport_engine.records import Key, Part, Revision, RevisionState

if TYPE_CHECKING:
    from collections.abc import Mapping


def revision(number: int, state: RevisionState) -> Revision:
    return Revision(Key("default", "t"), f"r{number}", number, {}, "now", state, None)


@pytest.mark.parametrize(
    ("states", "rolled_out", "ready", "expected"),
    [
        pytest.param(["Pending"], None, {}, Plan({"r1": 2}, ()), id="the first one starts"),
        pytest.param(["Pending"], None, {"r1": 1}, Plan({"r1": 2}, ()), id="half is not ready"),
        pytest.param(
            ["Pending"], None, {"r1": 2}, Plan({"r1": 2}, (("r1", 100),)), id="ready takes traffic"
        ),
        pytest.param(["Failed"], None, {}, Plan({}, ()), id="a failed one is not run"),
        pytest.param(
            ["Ready", "Pending"],
            "r1",
            {"r1": 2, "r2": 1},
            Plan({"r1": 2, "r2": 2}, (("r1", 100),)),
            id="the new one comes up beside the old",
        ),
        pytest.param(
            ["Ready", "Pending"],
            "r1",
            {"r1": 2, "r2": 2},
            Plan({"r2": 2}, (("r2", 100),)),
            id="the new one takes over",
        ),
        pytest.param(
            ["Ready", "Failed"],
            "r1",
            {"r1": 2},
            Plan({"r1": 2}, (("r1", 100),)),
            id="the old one stays when the new one failed",
        ),
        pytest.param(
            ["Ready", "Retired", "Pending"],
            "r1",
            {"r1": 2, "r2": 2},
            Plan({"r1": 2, "r3": 2}, (("r1", 100),)),
            id="a replaced one goes even if it was ready",
        ),
        pytest.param(
            ["Ready"], "r1", {}, Plan({"r1": 2}, (("r1", 100),)), id="a crashed one keeps its place"
        ),
    ],
)
def test_plan(
    states: list[RevisionState], rolled_out: str | None, ready: dict[str, int], expected: Plan
) -> None:
    revisions = [revision(number, state) for number, state in enumerate(states, start=1)]
    assert plan(revisions, rolled_out, {"predictor": 2}, _parts(ready)) == Plan(
        _parts(expected.replicas), expected.traffic
    )


def _parts(counts: Mapping[str, int]) -> dict[Part, int]:
    return {Part(name): count for name, count in counts.items()}


def test_a_revision_is_up_when_all_its_components_are() -> None:
    plain = revision(1, "Ready")
    explained = replace(revision(2, "Pending"), template={"explainer": {}})
    old, predictor, explainer = Part("r1"), Part("r2"), Part("r2", "explainer")
    wanted = {"predictor": 2, "explainer": 1}
    coming = plan([plain, explained], "r1", wanted, {old: 2, predictor: 2})
    assert coming == Plan({old: 2, predictor: 2, explainer: 1}, (("r1", 100),))
    come = plan([plain, explained], "r1", wanted, {old: 2, predictor: 2, explainer: 1})
    assert come == Plan({predictor: 2, explainer: 1}, (("r2", 100),))
