"""InferenceService manifests (`serving.kserve.io/v1beta1`), as pure functions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

API_VERSION = "serving.kserve.io/v1beta1"
KIND = "InferenceService"
COMPONENTS = ("predictor", "transformer", "explainer")
# The runtime with what its SHAP explainer needs; locally no image is used.
EXPLAINER_IMAGE = "ghcr.io/modelport/modelport-explainer:0.1.0"

# Annotations of ours: where the served model comes from.
MODEL = "modelport.dev/model"
SOURCE = "modelport.dev/source"
RELEASE = "modelport.dev/release"
RUN = "modelport.dev/mlflow-run"
# KServe's: "true" keeps a service without processes.
STOP = "serving.kserve.io/stop"

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Served:
    """What a service is to serve.

    Attributes:
        storage_uri: Where the model folder lies, in a form that the target can fetch.
        model_format: KServe's name of the format: `onnx`, or `mlflow` for a flavour of its own.
        allow_pickle: Whether the runtime may load a pickled model.
        explainer: Whether the service explains its answers, too.
    """

    storage_uri: str
    model_format: str = "onnx"
    allow_pickle: bool = False
    explainer: bool = False


def inference_service(
    name: str, namespace: str, served: Served, annotations: dict[str, str]
) -> Manifest:
    """Write the manifest of a service on our runtime: a predictor, and an explainer if wanted."""
    model: dict[str, Any] = {
        "modelFormat": {"name": served.model_format},
        "protocolVersion": "v2",
        "storageUri": served.storage_uri,
    }
    if served.allow_pickle:
        model["args"] = ["--allow-pickle"]
    spec: dict[str, Any] = {"predictor": {"minReplicas": 1, "model": model}}
    if served.explainer:
        spec["explainer"] = _explainer(served.storage_uri)
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {"app.kubernetes.io/managed-by": "modelport"},
            "annotations": annotations,
        },
        "spec": spec,
    }


def has_explainer(manifest: Manifest) -> bool:
    """Tell whether a service explains its answers."""
    return "explainer" in manifest["spec"]


def _explainer(storage_uri: str) -> dict[str, Any]:
    """Write the SHAP explainer: KServe runs it as a container of its own kind.

    KServe mounts what STORAGE_URI names, and adds where the predictor is (`--predictor_host`).
    """
    return {
        "minReplicas": 1,
        "timeout": 300,
        "containers": [
            {
                "name": "kserve-container",
                "image": EXPLAINER_IMAGE,
                "args": ["--explainer=shap", "--model_dir=/mnt/models", "--predictor_protocol=v2"],
                "env": [{"name": "STORAGE_URI", "value": storage_uri}],
            }
        ],
    }


def applied(stored: Manifest) -> Manifest:
    """Return what a user applies from a stored object: without what the server fills in."""
    metadata = {
        key: value
        for key, value in stored["metadata"].items()
        if key in {"name", "namespace", "labels", "annotations"}
    }
    return {
        "apiVersion": stored["apiVersion"],
        "kind": stored["kind"],
        "metadata": metadata,
        "spec": stored["spec"],
    }


def components(manifest: Manifest) -> Iterator[tuple[str, Manifest]]:
    """Give the components of a service with their paths, those of its canaries included."""
    spec = manifest.get("spec")
    found = spec if isinstance(spec, dict) else {}
    for name in COMPONENTS:
        if isinstance(part := found.get(name), dict):
            yield f"spec.{name}", part
    canaries = found.get("canary")
    for index, canary in enumerate(canaries if isinstance(canaries, list) else ()):
        if isinstance(canary, dict) and isinstance(part := canary.get(COMPONENTS[0]), dict):
            yield f"spec.canary[{index}].predictor", part


def storages(manifest: Manifest) -> Iterator[tuple[str, str]]:
    """Give every storage URI that a service names, with its path."""
    for path, part in components(manifest):
        yield from _storages(path, part)


def _storages(path: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _storages(f"{path}[{index}]", item)
    elif isinstance(value, dict):
        if value.get("name") == "STORAGE_URI" and isinstance(value.get("value"), str):
            yield f"{path}.value", value["value"]
        for key, item in value.items():
            listed = path.rpartition("[")[0].endswith(".storageUris") and key == "uri"
            if isinstance(item, str) and (key == "storageUri" or listed):
                yield f"{path}.{key}", item
            else:
                yield from _storages(f"{path}.{key}", item)


def to_yaml(manifest: Manifest) -> str:
    """Write YAML in the order that Kubernetes' own documents have."""
    return yaml.safe_dump(manifest, sort_keys=False, width=100)


def annotation(service: Manifest, name: str) -> str | None:
    """Return an annotation of a stored service, or None."""
    value = (service["metadata"].get("annotations") or {}).get(name)
    return None if value is None else str(value)
