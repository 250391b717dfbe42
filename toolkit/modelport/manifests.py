"""InferenceService manifests (`serving.kserve.io/v1beta1`), as pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml

API_VERSION = "serving.kserve.io/v1beta1"
KIND = "InferenceService"

# Annotations of ours: where the served model comes from.
MODEL = "modelport.dev/model"
SOURCE = "modelport.dev/source"
RELEASE = "modelport.dev/release"
RUN = "modelport.dev/mlflow-run"

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Served:
    """What a service is to serve.

    Attributes:
        storage_uri: Where the model folder lies, in a form that the target can fetch.
        model_format: KServe's name of the format: `onnx`, or `mlflow` for a flavour of its own.
        allow_pickle: Whether the runtime may load a pickled model.
    """

    storage_uri: str
    model_format: str = "onnx"
    allow_pickle: bool = False


def inference_service(
    name: str, namespace: str, served: Served, annotations: dict[str, str]
) -> Manifest:
    """Write the manifest of a service with one predictor on our runtime."""
    model: dict[str, Any] = {
        "modelFormat": {"name": served.model_format},
        "protocolVersion": "v2",
        "storageUri": served.storage_uri,
    }
    if served.allow_pickle:
        model["args"] = ["--allow-pickle"]
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {"app.kubernetes.io/managed-by": "modelport"},
            "annotations": annotations,
        },
        "spec": {"predictor": {"minReplicas": 1, "model": model}},
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


def to_yaml(manifest: Manifest) -> str:
    """Write YAML in the order that Kubernetes' own documents have."""
    return yaml.safe_dump(manifest, sort_keys=False, width=100)


def annotation(service: Manifest, name: str) -> str | None:
    """Return an annotation of a stored service, or None."""
    value = (service["metadata"].get("annotations") or {}).get(name)
    return None if value is None else str(value)
