"""KServe's status of an InferenceService, as a pure function of what was observed.

Fields and conditions are those of `serving.kserve.io/v1beta1`; one condition is ours:
`SpecHonoured` says which fields of the spec this engine does not act on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from modelport_engine.records import PREDICTOR, Part

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from modelport_engine.records import Revision, Service

Truth = Literal["True", "False", "Unknown"]


@dataclass(frozen=True)
class Facts:
    """What was observed of one service.

    `wanted` counts the replicas of each component, `ready` and `started` those of each part;
    `crashes` has KServe's lastFailureInfo of components that ended while their revision was
    serving; `url` is where the gateway offers the service, None while it does not run.
    """

    service: Service
    revisions: Sequence[Revision]
    traffic: Sequence[tuple[str, int]]
    wanted: Mapping[str, int]
    ready: Mapping[Part, int]
    started: Mapping[Part, int]
    crashes: Mapping[str, dict[str, Any]]
    url: str | None

    @property
    def latest(self) -> Revision:
        """The revision of the newest spec."""
        return self.revisions[-1]

    @property
    def serving(self) -> bool:
        """True when every revision with traffic has a predictor that is ready."""
        return bool(self.traffic) and all(self.ready.get(Part(name)) for name, _ in self.traffic)

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
        "components": {name: _component(facts, name) for name in facts.latest.components},
        "modelStatus": _model_status(facts),
    }
    if facts.url and facts.traffic:
        document["url"] = facts.url
        document["address"] = {"url": facts.url}
    return document


def _conditions(facts: Facts) -> list[_Condition]:
    components = [_deployment(facts, name) for name in facts.latest.components]
    latest = _worst("LatestDeploymentReady", components)
    ingress = _ingress(facts)
    return [
        ingress,
        latest,
        *components,
        _worst("Ready", [latest, ingress]),
        _routes(facts),
        _honoured(facts.service.unhonoured),
    ]


def _deployment(facts: Facts, component: str) -> _Condition:
    """Tell how a component of the latest revision is; one that failed ends the others."""
    name = f"{component.capitalize()}Ready"
    latest, part = facts.latest, Part(facts.latest.name, component)
    if failure := latest.failure:
        if failure["modelRevisionName"] == str(part):
            return _Condition(name, "False", failure["reason"], failure["message"])
        return _Condition(name, "Unknown", "RevisionFailed", f"{failure['location']} failed")
    if facts.rolled_out and facts.ready.get(part):
        return _Condition(name, "True")
    if facts.rolled_out and (crash := facts.crashes.get(component)):
        return _Condition(name, "False", crash["reason"], crash["message"])
    progress = f"{part} is starting: {facts.ready.get(part, 0)} of {facts.wanted[component]} ready"
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
    if facts.latest.failure or PREDICTOR in facts.crashes:
        return _Condition(name, "False", "NoReadyReplica", "no replica can answer")
    return _Condition(name, "Unknown", "Starting", "no replica is ready yet")


def _worst(name: str, conditions: Sequence[_Condition]) -> _Condition:
    for truth in ("False", "Unknown"):
        for one in conditions:
            if one.status == truth:
                return one._replace(type=name)
    return _Condition(name, "True")


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


def _component(facts: Facts, name: str) -> dict[str, Any]:
    """Tell the revisions of a component, as far as they have it."""
    having = {known.name: known for known in facts.revisions if name in known.components}
    ready = [revision for revision, known in having.items() if known.state == "Ready"]
    component: dict[str, Any] = {"latestCreatedRevision": str(Part(facts.latest.name, name))}
    for field, revision in (
        ("latestReadyRevision", ready[-1] if ready else None),
        ("latestRolledoutRevision", facts.service.rolled_out),
        ("previousRolledoutRevision", facts.service.previous),
    ):
        if revision in having or (revision and name == PREDICTOR):
            component[field] = str(Part(revision, name))
    traffic = [(revision, percent) for revision, percent in facts.traffic if revision in having]
    if traffic:
        component["traffic"] = [
            {
                "revisionName": str(Part(revision, name)),
                "percent": percent,
                "latestRevision": revision == facts.latest.name,
            }
            for revision, percent in traffic
        ]
        if facts.url:
            component["url"] = facts.url
    return component


def _model_status(facts: Facts) -> dict[str, Any]:
    crash = facts.crashes.get(PREDICTOR)
    failure = facts.latest.failure or crash or next(iter(facts.crashes.values()), None)
    document: dict[str, Any] = {
        "transitionStatus": _transition(facts),
        "states": {
            "activeModelState": _active_state(facts),
            "targetModelState": _target_state(facts),
        },
        "copies": {
            "totalCopies": sum(facts.ready.get(Part(name), 0) for name, _ in facts.traffic),
            "failedCopies": facts.wanted[PREDICTOR] if facts.latest.failure else int(bool(crash)),
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
    return "Loading" if facts.started.get(Part(latest.name)) else "Pending"
