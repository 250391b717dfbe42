"""What an InferenceService says about itself, read from KServe's own fields.

Source: `serving.kserve.io/v1beta1`, `InferenceServiceStatus` (KServe 0.20).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modelport.render.facts import Fact

HEADER = ("NAME", "NAMESPACE", "READY", "REVISION", "URL", "MODEL", "AGE")
MODEL_ANNOTATION = "modelport.dev/model"
RELEASE_ANNOTATION = "modelport.dev/release"
# Conditions that say neither good nor bad, whatever their status.
NEITHER = ("Stopped",)
NO_SERVICES = "No InferenceService here yet: deploy one with %kserve_deploy or `modelport deploy`."

Resource = dict[str, Any]

# kubectl's steps (apimachinery, duration.HumanDuration): up to so many seconds, these units.
_LENGTHS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_AGES: tuple[tuple[float, str, str], ...] = (
    (120, "s", ""),
    (600, "m", "s"),
    (10_800, "m", ""),
    (28_800, "h", "m"),
    (172_800, "h", ""),
    (691_200, "d", "h"),
    (float("inf"), "d", ""),
)


@dataclass(frozen=True)
class Condition:
    """One condition of the status: `status` is True, False or Unknown, as Kubernetes has it."""

    type: str
    status: str
    reason: str = ""
    message: str = ""


@dataclass(frozen=True)
class Component:
    """A predictor, transformer or explainer with the revisions that take its traffic."""

    name: str
    ready_revision: str
    created_revision: str
    traffic: str
    url: str


@dataclass(frozen=True)
class Service:
    """An InferenceService as a line of `kubectl get`, and what `describe` adds to it."""

    name: str
    namespace: str
    ready: str
    revision: str
    url: str
    model: str
    age: str
    why: str
    conditions: tuple[Condition, ...]
    components: tuple[Component, ...]
    facts: tuple[Fact, ...]


def read(item: Resource, now: datetime | None = None) -> Service:
    """Read one InferenceService; fields that it lacks stay empty.

    Args:
        item: The resource, as KServe's API gives it.
        now: The moment for which ages are told; by default the present.
    """
    metadata, status = item.get("metadata") or {}, item.get("status") or {}
    conditions = tuple(_condition(one) for one in status.get("conditions") or ())
    components = tuple(_components(status))
    ready = next((one.status for one in conditions if one.type == "Ready"), "Unknown")
    predictor = next((one for one in components if one.name == "predictor"), None)
    return Service(
        name=metadata.get("name", ""),
        namespace=metadata.get("namespace", ""),
        ready=ready,
        revision=predictor.ready_revision if predictor else "",
        url=status.get("url") or "",
        model=_model(item),
        age=age(metadata.get("creationTimestamp"), now),
        why="" if ready == "True" else _why(conditions, status),
        conditions=conditions,
        components=components,
        facts=_facts(item),
    )


def age(created: str | None, now: datetime | None = None) -> str:
    """Return the time since an RFC 3339 moment as kubectl does: `42s`, `5m10s`, `3h20m`, `12d`."""
    if not created:
        return ""
    passed = (now or datetime.now(UTC)) - datetime.fromisoformat(created)
    total = max(0, int(passed.total_seconds()))
    _, unit, rest_unit = next(step for step in _AGES if total < step[0])
    whole, rest = divmod(total, _LENGTHS[unit])
    rest = rest // _LENGTHS[rest_unit] if rest_unit else 0
    return f"{whole}{unit}{rest}{rest_unit}" if rest else f"{whole}{unit}"


def _condition(one: Resource) -> Condition:
    return Condition(
        one.get("type", ""),
        one.get("status", "Unknown"),
        one.get("reason") or "",
        one.get("message") or "",
    )


def _components(status: Resource) -> list[Component]:
    return [
        Component(
            name,
            one.get("latestReadyRevision") or "",
            one.get("latestCreatedRevision") or "",
            _traffic(one.get("traffic") or ()),
            one.get("url") or "",
        )
        for name, one in (status.get("components") or {}).items()
    ]


def _traffic(targets: tuple[Resource, ...] | list[Resource]) -> str:
    return ", ".join(f"{one.get('percent', 0)}% {one.get('revisionName', '')}" for one in targets)


def _model(item: Resource) -> str:
    annotations = (item.get("metadata") or {}).get("annotations") or {}
    predictor = (item.get("spec") or {}).get("predictor") or {}
    storage = (predictor.get("model") or {}).get("storageUri") or ""
    return str(annotations.get(MODEL_ANNOTATION) or storage)


def _why(conditions: tuple[Condition, ...], status: Resource) -> str:
    """Return why a service is not ready: the model's own failure says most, if there is one."""
    failure = (status.get("modelStatus") or {}).get("lastFailureInfo") or {}
    if failure:
        return _said(failure.get("reason"), failure.get("message"))
    unmet = sorted(
        (one for one in conditions if one.status != "True" and (one.message or one.reason)),
        key=lambda one: (one.status != "False", one.type == "Ready"),
    )
    return _said(unmet[0].reason, unmet[0].message) if unmet else ""


def _said(reason: str | None, message: str | None) -> str:
    return ": ".join(filter(None, (reason, message)))


def _facts(item: Resource) -> tuple[Fact, ...]:
    metadata, status = item.get("metadata") or {}, item.get("status") or {}
    model = status.get("modelStatus") or {}
    states = model.get("states") or {}
    failure = model.get("lastFailureInfo") or {}
    found = (
        ("model", _model(item)),
        ("release", (metadata.get("annotations") or {}).get(RELEASE_ANNOTATION)),
        ("created", metadata.get("creationTimestamp")),
        ("transition", model.get("transitionStatus")),
        ("active model", states.get("activeModelState")),
        ("target model", states.get("targetModelState")),
        ("last failure", _said(failure.get("reason"), failure.get("message"))),
    )
    return tuple((name, str(value)) for name, value in found if value)
