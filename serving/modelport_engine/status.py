"""KServe's status of an InferenceService, as a pure function of what was observed.

Fields and conditions are those of `serving.kserve.io/v1beta1`; one condition is ours:
`SpecHonoured` says which fields of the spec this engine does not act on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from modelport_engine.records import Revision, Service

Truth = Literal["True", "False", "Unknown"]


@dataclass(frozen=True)
class Facts:
    """What was observed of one service.

    `wanted` counts the replicas of a revision, `ready` and `started` are by revision;
    `crash` is KServe's lastFailureInfo of a replica that ended while its revision was serving;
    `url` is where the gateway offers the service, None while it does not run.
    """

    service: Service
    revisions: Sequence[Revision]
    traffic: Sequence[tuple[str, int]]
    wanted: int
    ready: Mapping[str, int]
    started: Mapping[str, int]
    crash: dict[str, Any] | None
    url: str | None

    @property
    def latest(self) -> Revision:
        """The revision of the newest spec."""
        return self.revisions[-1]

    @property
    def serving(self) -> bool:
        """True when every revision with traffic has a ready replica."""
        return bool(self.traffic) and all(self.ready.get(name) for name, _ in self.traffic)

    @property
    def rolled_out(self) -> bool:
        """True when the latest revision has taken the traffic."""
        return self.latest.state == "Ready"


class _Condition(NamedTuple):
    type: str
    status: Truth
    reason: str = ""
    message: str = ""


def status(facts: Facts, now: str) -> dict[str, Any]:
    """Give the status to be stored. `now`: time as Kubernetes writes it."""
    old = {condition["type"]: condition for condition in facts.service.status.get("conditions", ())}
    document: dict[str, Any] = {
        "observedGeneration": facts.service.generation,
        "deploymentMode": "Standard",
        "conditions": [_written(condition, old, now) for condition in _conditions(facts)],
        "components": {"predictor": _component(facts)},
        "modelStatus": _model_status(facts),
    }
    if facts.url and facts.traffic:
        document["url"] = facts.url
        document["address"] = {"url": facts.url}
    return document


def _conditions(facts: Facts) -> list[_Condition]:
    latest = _latest_deployment(facts)
    ingress = _ingress(facts)
    return [
        ingress,
        latest,
        latest._replace(type="PredictorReady"),
        _both(latest, ingress),
        _routes(facts),
        _honoured(facts.service.unhonoured),
    ]


def _latest_deployment(facts: Facts) -> _Condition:
    name = "LatestDeploymentReady"
    latest = facts.latest
    if latest.failure:
        return _Condition(name, "False", latest.failure["reason"], latest.failure["message"])
    if facts.rolled_out and facts.ready.get(latest.name):
        return _Condition(name, "True")
    if facts.rolled_out and facts.crash:
        return _Condition(name, "False", facts.crash["reason"], facts.crash["message"])
    progress = (
        f"{latest.name} is starting: {facts.ready.get(latest.name, 0)} of {facts.wanted} ready"
    )
    return _Condition(name, "Unknown", "Starting", progress)


def _ingress(facts: Facts) -> _Condition:
    name = "IngressReady"
    if facts.url is None:
        return _Condition(name, "False", "GatewayUnavailable", "the gateway is being restarted")
    if facts.traffic:
        return _Condition(name, "True")
    if facts.latest.failure:
        return _Condition(name, "False", "NoReadyRevision", "no revision has become ready")
    return _Condition(name, "Unknown", "Starting", "no revision is ready yet")


def _routes(facts: Facts) -> _Condition:
    name = "RoutesReady"
    if facts.serving:
        return _Condition(name, "True")
    if facts.latest.failure or facts.crash:
        return _Condition(name, "False", "NoReadyReplica", "no replica can answer")
    return _Condition(name, "Unknown", "Starting", "no replica is ready yet")


def _both(predictor: _Condition, ingress: _Condition) -> _Condition:
    for truth in ("False", "Unknown"):
        for part in (predictor, ingress):
            if part.status == truth:
                return part._replace(type="Ready")
    return _Condition("Ready", "True")


def _honoured(unhonoured: Sequence[str]) -> _Condition:
    if not unhonoured:
        return _Condition("SpecHonoured", "True")
    fields = ", ".join(unhonoured)
    return _Condition(
        "SpecHonoured", "False", "FieldsNotHonoured", f"the local engine does not act on {fields}"
    )


def _written(condition: _Condition, old: Mapping[str, Any], now: str) -> dict[str, Any]:
    before = old.get(condition.type, {})
    changed = before.get("status") != condition.status
    document = {
        "type": condition.type,
        "status": condition.status,
        "lastTransitionTime": now if changed else before["lastTransitionTime"],
    }
    if condition.reason:
        document |= {"reason": condition.reason, "message": condition.message}
    if condition.type == "SpecHonoured":
        # As Knative marks a condition that does not stand against readiness.
        document["severity"] = "Info"
    return document


def _component(facts: Facts) -> dict[str, Any]:
    ready = [revision.name for revision in facts.revisions if revision.state == "Ready"]
    component: dict[str, Any] = {"latestCreatedRevision": facts.latest.name}
    if ready:
        component["latestReadyRevision"] = ready[-1]
    if facts.service.rolled_out:
        component["latestRolledoutRevision"] = facts.service.rolled_out
    if facts.service.previous:
        component["previousRolledoutRevision"] = facts.service.previous
    if facts.traffic:
        component["traffic"] = [
            {
                "revisionName": name,
                "percent": percent,
                "latestRevision": name == facts.latest.name,
            }
            for name, percent in facts.traffic
        ]
        if facts.url:
            component["url"] = facts.url
    return component


def _model_status(facts: Facts) -> dict[str, Any]:
    failure = facts.latest.failure or facts.crash
    document: dict[str, Any] = {
        "transitionStatus": _transition(facts),
        "states": {
            "activeModelState": _active_state(facts),
            "targetModelState": _target_state(facts),
        },
        "copies": {
            "totalCopies": sum(facts.ready.get(name, 0) for name, _ in facts.traffic),
            "failedCopies": facts.wanted if facts.latest.failure else int(bool(facts.crash)),
        },
    }
    if failure:
        document["lastFailureInfo"] = failure
    return document


def _transition(facts: Facts) -> str:
    if facts.latest.failure:
        return "BlockedByFailedLoad"
    return "UpToDate" if facts.rolled_out and facts.serving else "InProgress"


def _active_state(facts: Facts) -> str:
    if not facts.traffic:
        return ""
    return "Loaded" if facts.serving else "Loading"


def _target_state(facts: Facts) -> str:
    latest = facts.latest
    if latest.failure:
        return "FailedToLoad"
    if facts.rolled_out and facts.serving:
        return "Loaded"
    return "Loading" if facts.started.get(latest.name) else "Pending"
