"""KServe's status of an InferenceService, as a pure function of what was observed.

Fields and conditions are those of `serving.kserve.io/v1beta1`; one condition is ours:
`SpecHonoured` says which fields of the spec this engine does not act on.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from modelport_engine.state.records import PREDICTOR, STABLE, Part

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from modelport_engine.state.records import Revision, Service, Track

Truth = Literal["True", "False", "Unknown"]

_STOPPED = "Stopped"


@dataclass(frozen=True)
class Urls:
    """Where the gateway offers a service. `grpc` is None if it speaks no gRPC."""

    rest: str
    grpc: str | None = None


@dataclass(frozen=True)
class Facts:
    """What was observed of one service.

    `wanted`, `ready` and `started` count the replicas of each part; `crashes` has KServe's
    lastFailureInfo of parts that lack a replica which ended; `urls` is None while the gateway
    does not run; `is_moving`: the traffic is about to change.
    """

    service: Service
    revisions: Sequence[Revision]
    traffic: Sequence[tuple[str, int]]
    wanted: Mapping[Part, int]
    ready: Mapping[Part, int]
    started: Mapping[Part, int]
    crashes: Mapping[Part, dict[str, Any]]
    urls: Urls | None
    stopped: bool = False
    is_moving: bool = False

    @cached_property
    def known(self) -> Mapping[str, Revision]:
        """The revisions by name."""
        return {revision.name: revision for revision in self.revisions}

    @property
    def latest(self) -> Revision:
        """The revision of the present `spec.predictor`."""
        return self.known[self.service.stable.latest]

    @property
    def serving(self) -> bool:
        """True when every revision with traffic has a predictor that is ready."""
        return bool(self.traffic) and all(self.ready.get(Part(name)) for name, _ in self.traffic)

    @property
    def canaries(self) -> Mapping[str, Track]:
        """The canaries' tracks by name."""
        return {name: track for name, track in self.service.tracks.items() if name != STABLE}

    def is_up(self, revision: Revision) -> bool:
        """Tell whether a revision may have traffic, and can answer."""
        ready = all(self.ready.get(part) for part in revision.parts)
        return revision.state == "Ready" and ready and not self.stopped


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
        "modelStatus": _model_status(facts, facts.latest),
    }
    if facts.canaries:
        document["canaryStatuses"] = [
            _canary(facts, name, track) for name, track in facts.canaries.items()
        ]
    if facts.urls and facts.traffic:
        document["url"] = facts.urls.rest
        document["address"] = {"url": facts.urls.rest}
    return document


def _conditions(facts: Facts) -> list[_Condition]:
    components = [_deployment(facts, part) for part in facts.latest.parts]
    latest = _worst("LatestDeploymentReady", components)
    ingress = _ingress(facts)
    return [
        ingress,
        latest,
        *components,
        *_canary_condition(facts),
        _worst("Ready", [latest, ingress]),
        _routes(facts),
        _stopped(facts),
        _honoured(facts.service.unhonoured),
    ]


def _deployment(facts: Facts, part: Part) -> _Condition:
    """Tell how a part of the latest revision is; one that failed ends the others."""
    name = f"{part.component.capitalize()}Ready"
    latest = facts.known[part.revision]
    if facts.stopped:
        return _Condition(name, "False", _STOPPED, _how_to_start(facts))
    if failure := latest.failure:
        if failure["modelRevisionName"] == str(part):
            return _Condition(name, "False", failure["reason"], failure["message"])
        return _Condition(name, "Unknown", "RevisionFailed", f"{failure['location']} failed")
    ready = facts.ready.get(part, 0)
    if latest.state == "Ready" and ready:
        return _Condition(name, "True")
    if latest.state == "Ready" and (crash := facts.crashes.get(part)):
        return _Condition(name, "False", crash["reason"], crash["message"])
    progress = f"{part} is starting: {ready} of {facts.wanted.get(part, 1)} ready"
    return _Condition(name, "Unknown", "Starting", progress)


def _canary_condition(facts: Facts) -> list[_Condition]:
    """One condition for all canaries, as KServe has it; none without them."""
    if not facts.canaries:
        return []
    parts = [part for track in facts.canaries.values() for part in facts.known[track.latest].parts]
    return [_worst("CanaryPredictorReady", [_deployment(facts, part) for part in parts])]


def _ingress(facts: Facts) -> _Condition:
    name = "IngressReady"
    if facts.urls is None:
        return _Condition(name, "False", "GatewayUnavailable", "the gateway is being restarted")
    if facts.stopped:
        return _Condition(name, "False", _STOPPED, _how_to_start(facts))
    if facts.is_moving and facts.is_up(facts.latest):
        return _Condition(name, "Unknown", "TrafficMoving", "the traffic is being moved")
    if facts.traffic:
        return _Condition(name, "True")
    if facts.latest.failure:
        return _Condition(name, "False", "NoReadyRevision", "no revision has become ready")
    return _Condition(name, "Unknown", "Starting", "no revision is ready yet")


def _routes(facts: Facts) -> _Condition:
    name = "RoutesReady"
    if facts.serving:
        return _Condition(name, "True")
    if facts.stopped:
        return _Condition(name, "False", _STOPPED, _how_to_start(facts))
    crashed = any(part.component == PREDICTOR for part in facts.crashes)
    if facts.latest.failure or crashed:
        return _Condition(name, "False", "NoReadyReplica", "no replica can answer")
    return _Condition(name, "Unknown", "Starting", "no replica is ready yet")


def _stopped(facts: Facts) -> _Condition:
    if facts.stopped:
        return _Condition(_STOPPED, "True", _STOPPED, _how_to_start(facts))
    return _Condition(_STOPPED, "False")


def how_to_start(name: str) -> str:
    """Say how a service that was stopped is started."""
    return f"start it with `modelport start {name}`"


def _how_to_start(facts: Facts) -> str:
    return f"it was stopped; {how_to_start(facts.service.name)}"


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
    if condition.type in ("SpecHonoured", _STOPPED):
        # As Knative marks a condition that does not stand against readiness.
        document["severity"] = "Info"
    return document


def _component(facts: Facts, name: str) -> dict[str, Any]:
    """Tell the revisions of a component, as far as they have it."""
    stable = facts.service.stable
    ready = [one for one in (stable.latest, stable.rolled_out) if one and _was_up(facts, one)]
    component: dict[str, Any] = {"latestCreatedRevision": str(Part(stable.latest, name))}
    for field, revision in (
        ("latestReadyRevision", ready[0] if ready else None),
        ("latestRolledoutRevision", stable.rolled_out),
        ("previousRolledoutRevision", stable.previous),
    ):
        if revision and (name == PREDICTOR or _has(facts, revision, name)):
            component[field] = str(Part(revision, name))
    traffic = [share for share in facts.traffic if _has(facts, share[0], name)]
    if traffic:
        component["traffic"] = [_share(facts, name, *share) for share in traffic]
        component |= _addresses(facts.urls)
    return component


def _was_up(facts: Facts, revision: str) -> bool:
    return facts.known[revision].state == "Ready"


def _has(facts: Facts, revision: str, component: str) -> bool:
    # A revision before the one that serves may be forgotten already.
    return revision in facts.known and component in facts.known[revision].components


def _share(facts: Facts, component: str, revision: str, percent: int) -> dict[str, Any]:
    share = {
        "revisionName": str(Part(revision, component)),
        "percent": percent,
        "latestRevision": revision == facts.latest.name,
    }
    tag = next(
        (name for name, track in facts.canaries.items() if track.rolled_out == revision), None
    )
    return {**share, "tag": tag} if tag else share


def _addresses(urls: Urls | None) -> dict[str, str]:
    if urls is None:
        return {}
    addresses = {"url": urls.rest, "restUrl": urls.rest}
    return {**addresses, "grpcUrl": urls.grpc} if urls.grpc else addresses


def _canary(facts: Facts, name: str, track: Track) -> dict[str, Any]:
    revision = facts.known[track.latest]
    traffic = dict(facts.traffic)
    return {
        "name": name,
        "ready": facts.is_up(revision),
        "trafficPercent": traffic.get(track.rolled_out or "", 0),
        "modelStatus": _model_status(facts, revision),
    }


def _model_status(facts: Facts, revision: Revision) -> dict[str, Any]:
    crash = facts.crashes.get(Part(revision.name))
    failure = revision.failure or crash or next(iter(facts.crashes.values()), None)
    document: dict[str, Any] = {
        "transitionStatus": _transition(facts, revision),
        "states": {
            "activeModelState": _active_state(facts),
            "targetModelState": _target_state(facts, revision),
        },
        "copies": {
            "totalCopies": sum(facts.ready.get(Part(name), 0) for name, _ in facts.traffic),
            "failedCopies": _wanted(facts, revision) if revision.failure else int(bool(crash)),
        },
    }
    if failure:
        document["lastFailureInfo"] = failure
    return document


def _wanted(facts: Facts, revision: Revision) -> int:
    return facts.wanted.get(Part(revision.name), 1)


def _transition(facts: Facts, revision: Revision) -> str:
    if revision.failure:
        return "BlockedByFailedLoad"
    return "UpToDate" if facts.is_up(revision) else "InProgress"


def _active_state(facts: Facts) -> str:
    if not facts.traffic:
        return ""
    return "Loaded" if facts.serving else "Loading"


def _target_state(facts: Facts, revision: Revision) -> str:
    if revision.failure:
        return "FailedToLoad"
    if facts.is_up(revision):
        return "Loaded"
    if facts.stopped:
        return "Standby"
    return "Loading" if facts.started.get(Part(revision.name)) else "Pending"
