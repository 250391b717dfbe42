from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from modelport_engine.state.records import (
    STABLE,
    Key,
    Part,
    Revision,
    RevisionState,
    Service,
    Track,
)
from modelport_engine.status import Facts, Urls, status

if TYPE_CHECKING:
    from syrupy.assertion import SnapshotAssertion

FAILURE = {
    "location": "tumor-predictor-00002-1",
    "reason": "ModelLoadFailed",
    "message": "tumor-predictor-00002-1 ended with exit code 1: no such file",
    "modelRevisionName": "tumor-predictor-00002",
    "time": "2026-01-01T00:00:00Z",
    "exitCode": 1,
}
CRASH = FAILURE | {"reason": "RuntimeUnhealthy", "message": "was ended by SIGKILL"}


def facts(*states: RevisionState, ready: int = 0, old_ready: int = 0, **changes: Any) -> Facts:
    """Facts of a service at its latest revision; one before it, if any, has the traffic."""
    canary = changes.pop("canary", None)
    names = [f"tumor-predictor-{number:05d}" for number in range(1, len(states) + 1)]
    served = [name for name, state in zip(names, states, strict=True) if state == "Ready"]
    line = [name for name in names if name != canary]
    out = [name for name in served if name != canary]
    # One that shares the traffic has not rolled out.
    out = out[:-1] if changes.pop("sharing", False) else out
    tracks = {STABLE: Track(line[-1], *out[::-1][:2])}
    if canary:
        tracks["v2"] = Track(canary, canary if canary in served else None)
    service = Service(
        namespace="default",
        name="tumor",
        uid="u",
        created="then",
        deleted=None,
        generation=len(states),
        resource_version=9,
        labels={},
        annotations={},
        spec={},
        status=changes.pop("before", {}),
        unhonoured=changes.pop("unhonoured", ()),
        last_revision=len(states),
        tracks=tracks,
    )
    template = changes.pop("template", {})
    revisions = [
        Revision(
            Key("default", "tumor"),
            name,
            1,
            template,
            {},
            "then",
            state,
            FAILURE | {"modelRevisionName": name} if state == "Failed" else None,
        )
        for name, state in zip(names, states, strict=True)
    ]
    explained = {Part(names[-1], "explainer"): changes.pop("explainer_ready", 0)}
    known: dict[str, Any] = {
        "service": service,
        "revisions": revisions,
        "traffic": ((out[-1], 100),) if out else (),
        "wanted": {Part(names[-1]): 1, Part(names[-1], "explainer"): 1},
        "ready": {
            Part(name): count for name, count in zip(names[::-1], (ready, old_ready), strict=False)
        }
        | explained,
        "started": {Part(names[-1]): 1},
        "crashes": {},
        "urls": Urls("http://127.0.0.1:8780/serving/default/tumor"),
    }
    return Facts(**{**known, **changes})


FIRST, SECOND = Part("tumor-predictor-00001"), Part("tumor-predictor-00002")
EXPLAINED = {"template": {"explainer": {}}}
CASES = {
    "first revision, not started": facts("Pending", started={}),
    "first revision, starting": facts("Pending"),
    "first revision, ready": facts("Ready", ready=1),
    "first revision, failed": facts("Failed"),
    "second revision, starting": facts("Ready", "Pending", old_ready=1),
    "second revision, ready": facts("Ready", "Ready", ready=1),
    "second revision, failed": facts("Ready", "Failed", old_ready=1),
    "replica crashed": facts("Ready", crashes={FIRST: CRASH}),
    "one of two replicas crashed": facts(
        "Ready", ready=1, wanted={FIRST: 2}, crashes={FIRST: CRASH}
    ),
    "engine just restarted": facts("Ready"),
    "gateway down": facts("Ready", ready=1, urls=None),
    "explainer starting": facts("Pending", ready=1, **EXPLAINED),
    "explainer ready": facts("Ready", ready=1, explainer_ready=1, **EXPLAINED),
    "explainer crashed": facts(
        "Ready", ready=1, crashes={FIRST._replace(component="explainer"): CRASH}, **EXPLAINED
    ),
    "latest has a share": facts(
        "Ready",
        "Ready",
        ready=1,
        old_ready=1,
        sharing=True,
        traffic=((SECOND.revision, 5), (FIRST.revision, 95)),
    ),
    "canary starting": facts("Ready", "Pending", old_ready=1, canary=SECOND.revision),
    "canary ready": facts(
        "Ready",
        "Ready",
        ready=1,
        old_ready=1,
        canary=SECOND.revision,
        traffic=((SECOND.revision, 10), (FIRST.revision, 90)),
    ),
    "canary failed": facts("Ready", "Failed", old_ready=1, canary=SECOND.revision),
    "speaks gRPC": facts("Ready", ready=1, urls=Urls("http://rest", "grpc://gateway:8780")),
    "stopped": facts("Ready", traffic=(), started={}, stopped=True),
    "fields not honoured": facts("Ready", ready=1, unhonoured=("spec.predictor.batcher",)),
}


@pytest.mark.parametrize("case", CASES)
def test_status(case: str, snapshot: SnapshotAssertion) -> None:
    assert status(CASES[case], "2026-01-01T00:00:01Z") == snapshot


def test_a_transition_is_dated_when_it_happens_and_only_then() -> None:
    first = status(facts("Ready", ready=1), "monday")
    later = status(facts("Ready", ready=1, before=first), "tuesday")
    assert later == first
    crashed = status(facts("Ready", crashes={FIRST: CRASH}, before=first), "tuesday")
    dates = {entry["type"]: entry["lastTransitionTime"] for entry in crashed["conditions"]}
    assert dates == {
        "IngressReady": "monday",
        "LatestDeploymentReady": "tuesday",
        "PredictorReady": "tuesday",
        "Ready": "tuesday",
        "RoutesReady": "tuesday",
        "SpecHonoured": "monday",
        "Stopped": "monday",
    }
