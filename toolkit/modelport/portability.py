"""What a cluster makes of an InferenceService: KServe's and Kubernetes' own rules.

Source: `serving.kserve.io/v1beta1`, KServe 0.20: its webhook's validation and its controllers.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from modelport.manifests import Manifest, components, storages

Severity = Literal["error", "warning"]

_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_LABEL_LIMIT = 63  # characters of a DNS label
_MODE = "serving.kserve.io/deploymentMode"
_STANDARD, _KNATIVE = "Standard", "Knative"
_DEPRECATED_MODES = {"RawDeployment": _STANDARD, "Serverless": _KNATIVE}
_AUTOSCALER = "serving.kserve.io/autoscalerClass"
_KNATIVE_METRICS, _HPA_METRICS = ("concurrency", "rps"), ("cpu", "memory")
_NOT_IN_A_CANARY = ("maxReplicas", "scaleTarget", "scaleMetric", "autoScaling", "workerSpec")
_MLFLOW = {"models:/": "mlflow://models/", "runs:/": "mlflow://runs/"}

# Fields that articles about KServe name and KServe does not have, or has no longer.
_NO_FIELDS = {
    "spec.traffic": "write predictor.canaryTrafficPercent or canary[].trafficPercent",
    "spec.predictor.traffic": "write canaryTrafficPercent, or spec.canary[].trafficPercent",
    "spec.predictor.custom": "write predictor.containers[]",
    "spec.transformer.custom": "write transformer.containers[]",
    "spec.explainer.custom": "write explainer.containers[]",
    "spec.explainer.alibi": "it was removed; write explainer.containers[]",
    "spec.explainer.aix": "it was removed; write explainer.containers[]",
}


class Said(NamedTuple):
    """One remark about a field."""

    severity: Severity
    path: str
    message: str


def remarks(manifest: Manifest) -> Iterator[Said]:
    """Say what a cluster refuses of an InferenceService (errors), and what it passes over."""
    metadata, spec = _mapping(manifest.get("metadata")), _mapping(manifest.get("spec"))
    annotations = _mapping(metadata.get("annotations"))
    if not spec:
        yield Said("error", "spec", "is missing or no mapping: add it")
    yield from _metadata(metadata)
    yield from _mode(annotations)
    for path, part in components(manifest):
        yield from _replicas(path, part)
        yield from _environment(path, part)
        yield from _scaling(annotations, path, part)
        yield from _traffic(annotations, path, part)
    yield from _canaries(annotations, spec)
    for path, uri in storages(manifest):
        yield from _storage(path, uri)
    for path, todo in _NO_FIELDS.items():
        if _has(manifest, path):
            yield Said("warning", path, f"KServe has no such field: {todo}")


def _metadata(metadata: Manifest) -> Iterator[Said]:
    name, namespace = metadata.get("name"), metadata.get("namespace") or "default"
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        yield Said(
            "error", "metadata.name", "use lower-case letters, digits and '-', a letter first"
        )
    elif len(host := f"{name}-predictor-{namespace}") > _LABEL_LIMIT:
        message = (
            f"KServe makes it part of the host name {host}, whose {len(host)} characters are more "
            f"than the {_LABEL_LIMIT} of a DNS label (kserve issue 4807): shorten it"
        )
        yield Said("warning", "metadata.name", message)
    for field in ("labels", "annotations"):
        for key, value in _mapping(metadata.get(field)).items():
            if not isinstance(value, str):
                yield Said("error", f"metadata.{field}[{key}]", f'write "{_plain(value)}", quoted')


def _mode(annotations: Manifest) -> Iterator[Said]:
    written, today = annotations.get(_MODE), _today(annotations)
    if written != today:
        message = f"{written} is deprecated: write {today}"
        yield Said("warning", f"metadata.annotations[{_MODE}]", message)


def _replicas(path: str, part: Manifest) -> Iterator[Said]:
    low, high = part.get("minReplicas", 1), part.get("maxReplicas", 0)
    if isinstance(low, int) and isinstance(high, int) and low > high > 0:
        yield Said("error", f"{path}.minReplicas", f"{low} is more than maxReplicas, {high}")


def _environment(path: str, value: Any) -> Iterator[Said]:
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _environment(f"{path}[{index}]", item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _environment(f"{path}.{key}", item)
        if ".env[" in path and not isinstance(value.get("value", ""), str):
            yield Said("error", f"{path}.value", f'write "{_plain(value["value"])}", quoted')


def _scaling(annotations: Manifest, path: str, part: Manifest) -> Iterator[Said]:
    metric, mode = part.get("scaleMetric"), _today(annotations)
    if metric is None or ".canary[" in path:
        return
    where = f"{path}.scaleMetric"
    if annotations.get(_AUTOSCALER) == "keda":
        yield Said("error", where, "KEDA takes none: write autoScaling.metrics[]")
    elif mode == _STANDARD and metric not in _HPA_METRICS:
        message = f"the autoscaler of Standard mode knows {' and '.join(_HPA_METRICS)} alone"
        yield Said("warning", where, message)
    elif mode != _STANDARD and metric not in _KNATIVE_METRICS:
        message = (
            f"KServe refuses {metric} without the annotation {_MODE}: {_STANDARD}; "
            f"Knative scales by {' and '.join(_KNATIVE_METRICS)}"
        )
        yield Said("error", where, message)


def _traffic(annotations: Manifest, path: str, part: Manifest) -> Iterator[Said]:
    if "canaryTrafficPercent" not in part:
        return
    where, mode = f"{path}.canaryTrafficPercent", _today(annotations)
    yield from _percent(where, part["canaryTrafficPercent"])
    if mode != _KNATIVE:
        when = "in Standard mode" if mode else "wherever the cluster's mode is Standard"
        message = f"KServe ignores it {when} (kserve issue 5335): use spec.canary[]"
        yield Said("warning", where, message)


def _canaries(annotations: Manifest, spec: Manifest) -> Iterator[Said]:
    if "canary" not in spec:
        return
    message = "needs KServe 0.20 or later, Standard mode and the Gateway API"
    yield Said("warning", "spec.canary", message)
    if _today(annotations) == _KNATIVE:
        yield Said("error", "spec.canary", "is for Standard mode: use canaryTrafficPercent")
    found = [one for one in _list(spec["canary"]) if isinstance(one, dict)]
    percents = [one.get("trafficPercent") for one in found]
    if sum(p for p in percents if isinstance(p, int)) > 100:
        yield Said("error", "spec.canary", "the traffic of all entries is more than 100 per cent")
    for index, percent in enumerate(percents):
        yield from _percent(f"spec.canary[{index}].trafficPercent", percent)
    predictors = [one["predictor"] for one in found if isinstance(one.get("predictor"), dict)]
    yield from _canary_predictors(predictors, _mapping(spec.get("predictor")))


def _canary_predictors(predictors: list[Manifest], stable: Manifest) -> Iterator[Said]:
    names = Counter(one.get("name") for one in predictors)
    most = stable.get("minReplicas", 1)
    for index, one in enumerate(predictors):
        path = f"spec.canary[{index}].predictor"
        if not one.get("name"):
            yield Said("error", path, "has no name: add one")
        elif names[one["name"]] > 1 or one["name"] == stable.get("name"):
            yield Said("error", f"{path}.name", f"{one['name']} is not the only one: rename it")
        for field in _NOT_IN_A_CANARY:
            if field in one:
                yield Said("error", f"{path}.{field}", "is not allowed in a canary: take it out")
        least = one.get("minReplicas", 0)
        if isinstance(least, int) and isinstance(most, int) and least > most:
            yield Said("error", f"{path}.minReplicas", f"is more than the stable one's, {most}")


def _percent(path: str, value: Any) -> Iterator[Said]:
    if isinstance(value, bool) or not isinstance(value, int):
        digits = re.sub(r"\D.*", "", str(value)) or "20"
        yield Said("error", path, f"{value!r} is no whole number: write {digits}, unquoted")
    elif not 0 <= value <= 100:
        yield Said("error", path, f"{value} is not from 0 to 100")


def _storage(path: str, uri: str) -> Iterator[Said]:
    if uri.startswith(("file:", "/")):
        message = "a folder of this machine does not exist in a cluster: write mlflow:// or s3://"
        yield Said("warning", path, message)
    for ours, everywhere in _MLFLOW.items():
        if uri.startswith(ours):
            there = f"{everywhere}{uri.removeprefix(ours)}"
            yield Said("warning", path, f"KServe knows no {ours}: write {there}, as here too")


def _today(annotations: Manifest) -> Any:
    """Return the deployment mode by the name that it has today; None where none is written."""
    mode = annotations.get(_MODE)
    return _DEPRECATED_MODES.get(mode, mode) if isinstance(mode, str) else mode


def _has(value: Any, path: str) -> bool:
    for key in path.split("."):
        if not isinstance(value, dict) or key not in value:
            return False
        value = value[key]
    return True


def _mapping(value: Any) -> Manifest:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
