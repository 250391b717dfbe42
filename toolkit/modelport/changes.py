"""Changes of an InferenceService, as pure functions: each gives the object to apply."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from modelport.errors import UsageError
from modelport.manifests import COMPONENTS, STOP, Manifest

_PREDICTOR = COMPONENTS[0]
_PERCENT = "canaryTrafficPercent"
# What a canary may not say, or only as a canary: after its promotion the stable one's hold.
_STABLE_FIELDS = (
    *("minReplicas", "maxReplicas", "scaleTarget", "scaleMetric", "scaleMetricType"),
    *("autoScaling", "workerSpec"),
)


def scaled(
    manifest: Manifest, component: str, *, least: int | None = None, most: int | None = None
) -> Manifest:
    """Set the bounds within which a component's replicas are; an upper one below is raised."""
    changed = deepcopy(manifest)
    part = _component(changed, component)
    if least is not None:
        part["minReplicas"] = least
    if most is not None:
        part["maxReplicas"] = most
    elif least is not None and part.get("maxReplicas"):
        part["maxReplicas"] = max(least, part["maxReplicas"])
    low, high = part.get("minReplicas", 1), part.get("maxReplicas")
    if high and low > high:
        raise UsageError(f"{low} replicas are more than {high} at most", "raise --max as well")
    return changed


def stopped(manifest: Manifest) -> Manifest:
    """Say that the service shall have no processes."""
    changed = deepcopy(manifest)
    changed["metadata"]["annotations"] = {**_annotations(changed), STOP: "true"}
    return changed


def started(manifest: Manifest) -> Manifest:
    """Say that the service shall run."""
    changed = deepcopy(manifest)
    kept = {key: value for key, value in _annotations(changed).items() if key != STOP}
    changed["metadata"]["annotations"] = kept
    return changed


def is_stopped(manifest: Manifest) -> bool:
    """Tell whether the service shall have no processes."""
    return _annotations(manifest).get(STOP) == "true"


def with_canary(manifest: Manifest, percent: int) -> Manifest:
    """Give the latest revision that share of the traffic, the one before it the rest."""
    if manifest["spec"].get("canary"):
        raise UsageError(
            "spec.canary[] shares the traffic out already",
            "change its trafficPercent, and apply the object",
        )
    changed = deepcopy(manifest)
    changed["spec"][_PREDICTOR][_PERCENT] = percent
    return changed


def promoted(manifest: Manifest, canary: str | None = None) -> Manifest:
    """Give the latest revision, or an entry of `canary[]`, all traffic of the stable one.

    An entry takes the stable predictor's place, within the stable one's replicas.
    """
    changed = deepcopy(manifest)
    spec = changed["spec"]
    entries = {str(one["predictor"].get("name")): one for one in spec.get("canary") or ()}
    if canary is None:
        if spec[_PREDICTOR].pop(_PERCENT, None) is None:
            names = ", ".join(entries)
            todo = f"name one of its canaries: --canary {names}" if names else "there is no canary"
            raise UsageError(f"the predictor has no {_PERCENT}", todo)
        return changed
    if canary not in entries:
        known = ", ".join(entries) or "there is none"
        raise UsageError(f"there is no canary {canary!r}", f"name one of these: {known}")
    stable = {key: value for key, value in spec[_PREDICTOR].items() if key in _STABLE_FIELDS}
    own = {k: v for k, v in entries[canary]["predictor"].items() if k not in _STABLE_FIELDS}
    spec[_PREDICTOR] = own | stable
    spec["canary"] = [one for name, one in entries.items() if name != canary]
    if not spec["canary"]:
        del spec["canary"]
    return changed


def _component(manifest: Manifest, name: str) -> dict[str, Any]:
    part = manifest["spec"].get(name)
    if not isinstance(part, dict):
        known = ", ".join(one for one in COMPONENTS if one in manifest["spec"])
        raise UsageError(f"the service has no {name}", f"it has: {known}")
    return part


def _annotations(manifest: Manifest) -> dict[str, str]:
    return manifest["metadata"].get("annotations") or {}
