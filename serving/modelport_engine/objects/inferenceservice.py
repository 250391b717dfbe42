"""Reading an InferenceService: KServe's `serving.kserve.io/v1beta1`, as far as we honour it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from modelport_engine.errors import InvalidObject
from modelport_engine.objects.names import (
    API_VERSION,
    DEFAULT_NAMESPACE,
    KIND,
    check_name,
    check_namespace,
)
from modelport_engine.objects.spec import Spec, read_spec
from modelport_engine.objects.unhonoured import unhonoured

_STOP = "serving.kserve.io/stop"


@dataclass(frozen=True)
class InferenceService:
    """An accepted object. `unhonoured` names the fields that this engine does not act on."""

    namespace: str
    name: str
    labels: dict[str, str]
    annotations: dict[str, str]
    resource_version: str | None
    spec: dict[str, Any]
    components: Spec
    unhonoured: tuple[str, ...]

    @property
    def stopped(self) -> bool:
        """Whether it shall run nothing."""
        return is_stopped(self.annotations)


def is_stopped(annotations: dict[str, str]) -> bool:
    """Tell whether a service with these annotations shall run nothing."""
    return annotations.get(_STOP) == "true"


def parse(document: Any) -> InferenceService:
    """Read and check an InferenceService; `InvalidObject` says which field is wrong and why."""
    if not isinstance(document, dict):
        raise InvalidObject("the object is not a mapping", f"write an {API_VERSION} {KIND}")
    for field, wanted in (("apiVersion", API_VERSION), ("kind", KIND)):
        if document.get(field) != wanted:
            raise InvalidObject(f"{field} is {document.get(field)!r}", f"write {field}: {wanted}")
    metadata = _mapping(document.get("metadata"), "metadata")
    spec = _mapping(document.get("spec"), "spec")
    labels = _texts(metadata.get("labels"), "metadata.labels")
    annotations = _texts(metadata.get("annotations"), "metadata.annotations")
    components = read_spec(spec)
    return InferenceService(
        namespace=check_namespace(metadata.get("namespace") or DEFAULT_NAMESPACE),
        name=check_name(metadata.get("name")),
        labels=labels,
        annotations=annotations,
        resource_version=str(version) if (version := metadata.get("resourceVersion")) else None,
        spec=spec,
        components=components,
        unhonoured=unhonoured(metadata, spec, components),
    )


def _mapping(value: Any, field: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidObject(f"{field} is missing or not a mapping", "add it")
    return value


def _texts(value: Any, field: str) -> dict[str, str]:
    texts = value or {}
    if not isinstance(texts, dict) or not all(
        isinstance(text, str) for pair in texts.items() for text in pair
    ):
        raise InvalidObject(f"{field} is not a mapping of texts", "put its values in quotes")
    return texts
