from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelport_engine.planner import ALL, Plan, Shares, plan
from modelport_engine.state.records import STABLE, Key, Part, Revision, RevisionState, Track

if TYPE_CHECKING:
    from collections.abc import Mapping

ALONE = Shares({})


def revision(number: int, state: RevisionState, **template: Any) -> Revision:
    return Revision(Key("default", "t"), f"r{number}", number, template, {}, "now", state, None)


def stable(latest: str, rolled_out: str | None) -> dict[str, Track]:
    return {STABLE: Track(latest, rolled_out)}


def parts(counts: Mapping[str, int]) -> dict[Part, int]:
    return {Part(name): count for name, count in counts.items()}


def wanted(count: int = 2) -> dict[Part, int]:
    return {Part(f"r{number}"): count for number in range(1, 9)}


@pytest.mark.parametrize(
    ("states", "rolled_out", "ready", "replicas", "traffic"),
    [
        pytest.param(["Pending"], None, {}, {"r1": 2}, (), id="the first one starts"),
        pytest.param(["Pending"], None, {"r1": 1}, {"r1": 2}, (), id="half is not ready"),
        pytest.param(
            ["Pending"], None, {"r1": 2}, {"r1": 2}, (("r1", 100),), id="ready takes traffic"
        ),
        pytest.param(["Failed"], None, {}, {}, (), id="a failed one is not run"),
        pytest.param(
            ["Ready", "Pending"],
            "r1",
            {"r1": 2, "r2": 1},
            {"r1": 2, "r2": 2},
            (("r1", 100),),
            id="the new one comes up beside the old",
        ),
        pytest.param(
            ["Ready", "Pending"],
            "r1",
            {"r1": 2, "r2": 2},
            {"r1": 2, "r2": 2},
            (("r2", 100),),
            id="the new one takes over",
        ),
        pytest.param(
            ["Ready", "Failed"],
            "r1",
            {"r1": 2},
            {"r1": 2},
            (("r1", 100),),
            id="the old one stays when the new one failed",
        ),
        pytest.param(
            ["Ready", "Retired", "Pending"],
            "r1",
            {"r1": 2, "r2": 2},
            {"r1": 2, "r3": 2},
            (("r1", 100),),
            id="a replaced one goes even if it was ready",
        ),
        pytest.param(
            ["Ready"], "r1", {}, {"r1": 2}, (("r1", 100),), id="a crashed one keeps its place"
        ),
    ],
)
def test_the_latest_revision_takes_over_when_it_is_up(
    states: list[RevisionState],
    rolled_out: str | None,
    ready: dict[str, int],
    replicas: dict[str, int],
    traffic: tuple[tuple[str, int], ...],
) -> None:
    revisions = [revision(number, state) for number, state in enumerate(states, start=1)]
    tracks = stable(revisions[-1].name, rolled_out)
    made = plan(revisions, tracks, ALONE, wanted(), parts(ready))
    assert (made.replicas, made.traffic) == (parts(replicas), traffic)
    takes_over = bool(traffic) and traffic[0][0] != rolled_out
    assert made.roll_outs == (((STABLE, traffic[0][0]),) if takes_over else ())
    assert made.up == ((traffic[0][0],) if takes_over else ())


def test_one_that_took_over_is_alone() -> None:
    made = plan(
        [revision(1, "Ready"), revision(2, "Ready")],
        stable("r2", "r2"),
        ALONE,
        wanted(),
        parts({"r1": 2, "r2": 2}),
    )
    assert made == Plan(parts({"r2": 2}), (("r2", 100),))


def test_a_revision_is_up_when_all_its_components_are() -> None:
    revisions = [revision(1, "Ready"), revision(2, "Pending", explainer={})]
    old, predictor, explainer = Part("r1"), Part("r2"), Part("r2", "explainer")
    counts = {old: 2, predictor: 2, explainer: 1}
    tracks = stable("r2", "r1")
    coming = plan(revisions, tracks, ALONE, counts, {old: 2, predictor: 2})
    assert coming == Plan(counts, (("r1", 100),))
    come = plan(revisions, tracks, ALONE, counts, counts)
    assert come == Plan(counts, (("r2", 100),), up=("r2",), roll_outs=((STABLE, "r2"),))


@pytest.mark.parametrize(
    ("percent", "traffic", "roll_outs"),
    [
        (0, (("r1", 100),), ()),
        (5, (("r2", 5), ("r1", 95)), ()),
        (99, (("r2", 99), ("r1", 1)), ()),
        (100, (("r2", 100),), ((STABLE, "r2"),)),
        (None, (("r2", 100),), ((STABLE, "r2"),)),
    ],
)
def test_a_share_of_the_latest(
    percent: int | None, traffic: tuple[tuple[str, int], ...], roll_outs: tuple[Any, ...]
) -> None:
    revisions = [revision(1, "Ready"), revision(2, "Pending")]
    up = parts({"r1": 2, "r2": 2})
    made = plan(revisions, stable("r2", "r1"), Shares({}, percent), wanted(), up)
    assert (made.traffic, made.roll_outs, made.up) == (traffic, roll_outs, ("r2",))
    assert made.replicas == up
    down = plan(revisions, stable("r2", "r1"), Shares({}, percent), wanted(), parts({"r1": 2}))
    assert (down.traffic, down.roll_outs) == ((("r1", 100),), ())


def test_a_first_revision_has_nobody_to_share_with() -> None:
    made = plan(
        [revision(1, "Pending")], stable("r1", None), Shares({}, 5), wanted(), parts({"r1": 2})
    )
    assert (made.traffic, made.roll_outs) == ((("r1", 100),), ((STABLE, "r1"),))


def canaries(*states: RevisionState) -> tuple[list[Revision], dict[str, Track]]:
    """A stable r1, and a canary c2, c3, ... for each further revision."""
    revisions = [revision(1, "Ready")]
    revisions += [revision(number, state) for number, state in enumerate(states, start=2)]
    tracks = stable("r1", "r1")
    for one in revisions[1:]:
        tracks[f"c{one.number}"] = Track(one.name, one.name if one.state == "Ready" else None)
    return revisions, tracks


def test_canaries_have_their_share_once_they_are_up() -> None:
    revisions, tracks = canaries("Ready", "Pending", "Failed")
    shares = Shares({"c2": 10, "c3": 20, "c4": 30})
    made = plan(revisions, tracks, shares, wanted(1), parts({"r1": 1, "r2": 1}))
    assert made.traffic == (("r2", 10), ("r1", 90))
    assert made.replicas == parts({"r1": 1, "r2": 1, "r3": 1})
    come = plan(revisions, tracks, shares, wanted(1), parts({"r1": 1, "r2": 1, "r3": 1}))
    assert come.traffic == (("r2", 10), ("r3", 20), ("r1", 70))
    assert (come.up, come.roll_outs) == (("r3",), (("c3", "r3"),))


def test_a_dark_canary_runs_without_traffic() -> None:
    revisions, tracks = canaries("Pending")
    up = parts({"r1": 1, "r2": 1})
    made = plan(revisions, tracks, Shares({"c2": 0}), wanted(1), up)
    assert (made.traffic, made.roll_outs) == ((("r1", 100),), (("c2", "r2"),))
    assert made.replicas == up


def test_a_canary_never_serves_alone_for_a_stable_one_that_is_not_up() -> None:
    revisions = [revision(1, "Pending"), revision(2, "Ready")]
    tracks = stable("r1", None) | {"c2": Track("r2", "r2")}
    made = plan(revisions, tracks, Shares({"c2": 10}), wanted(1), parts({"r2": 1}))
    assert made.traffic == ()


def test_a_promoted_canary_takes_over_at_once() -> None:
    revisions = [revision(1, "Ready"), revision(2, "Ready")]
    made = plan(revisions, stable("r2", "r1"), ALONE, wanted(1), parts({"r1": 1, "r2": 1}))
    assert (made.traffic, made.roll_outs) == ((("r2", 100),), ((STABLE, "r2"),))


@given(
    states=st.lists(
        st.sampled_from(("Pending", "Ready", "Failed", "Retired")), min_size=1, max_size=4
    ),
    percent=st.none() | st.integers(0, 100),
    shares=st.tuples(st.integers(0, 50), st.integers(0, 50)),
    data=st.data(),
)
def test_traffic_is_all_or_nothing_and_only_to_those_that_run(
    states: list[RevisionState],
    percent: int | None,
    shares: tuple[int, int],
    data: st.DataObject,
) -> None:
    revisions = [revision(number, state) for number, state in enumerate(states, start=1)]
    up = [one.name for one in revisions if one.state == "Ready"]
    latest = st.sampled_from([one.name for one in revisions])
    served = st.none() | st.sampled_from(up) if up else st.none()
    names = (STABLE, "a", "b")
    tracks = {name: Track(data.draw(latest), data.draw(served)) for name in names}
    ready = {Part(one.name): data.draw(st.integers(0, 2)) for one in revisions}
    both = Shares(dict(zip(names[1:], shares, strict=True)), percent)
    made = plan(revisions, tracks, both, wanted(), ready)
    assert sum(share for _, share in made.traffic) in (0, ALL)
    running = {part.revision for part in made.replicas}
    for name, share in made.traffic:
        assert share > 0
        assert name in running
        assert next(one for one in revisions if one.name == name).state in ("Ready", "Pending")
    assert len(dict(made.traffic)) == len(made.traffic)
