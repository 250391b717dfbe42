"""Reading an InferenceService: KServe's `serving.kserve.io/v1beta1`, as far as we honour it.

What an object must have is checked here; what this engine does not act on is collected, so that
the status can say so.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from modelport_engine.errors import InvalidObject

API_VERSION = "serving.kserve.io/v1beta1"
KIND = "InferenceService"
DEFAULT_NAMESPACE = "default"

_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
# KServe's own rule is stricter than DNS-1123: a service's name starts with a letter. 45 leaves
# room for `-predictor-00001` in the 63 characters of a DNS label.
_NAME = re.compile(r"[a-z]([-a-z0-9]{0,43}[a-z0-9])?")
_ENVIRONMENT_NAME = r"^[-._a-zA-Z][-._a-zA-Z0-9]*$"
_ENGINE_ARGS = ("--model_dir", "--http_port", "--host")
_REFUSED_COMPONENTS = {
    "transformer": "the local engine runs no transformers, and answers would differ without it",
}
_KNOWN_ANNOTATIONS = {"serving.kserve.io/deploymentMode": ("Standard", "RawDeployment")}
_METADATA = ("name", "namespace", "labels", "annotations")
_SERVER_METADATA = (
    "uid",
    "generation",
    "resourceVersion",
    "creationTimestamp",
    "deletionTimestamp",
    "managedFields",
    "selfLink",
)


class _Part(BaseModel):
    """A part of the object: KServe's camelCase names; unknown fields are kept, not refused."""

    model_config = ConfigDict(
        extra="allow", frozen=True, alias_generator=to_camel, populate_by_name=True, strict=True
    )


class EnvVar(_Part):
    """One environment variable of the runtime."""

    name: Annotated[str, Field(pattern=_ENVIRONMENT_NAME, max_length=256)]
    value: str = ""


class ModelFormat(_Part):
    """What the folder holds; the runtime reads the details from the folder itself."""

    name: Annotated[str, Field(min_length=1)]
    version: str | None = None


class Model(_Part):
    """`spec.predictor.model`."""

    model_format: ModelFormat
    storage_uri: str
    args: Annotated[list[str], Field(max_length=256)] = []
    env: Annotated[list[EnvVar], Field(max_length=256)] = []
    protocol_version: Literal["v1", "v2"] | None = None


class Predictor(_Part):
    """`spec.predictor`. `timeout` in seconds, for one request through the gateway."""

    model: Model
    min_replicas: Annotated[int, Field(ge=0, le=64)] = 1
    timeout: Annotated[int, Field(ge=1, le=86_400)] = 60

    @property
    def replicas(self) -> int:
        """Replicas to run; this engine never scales to zero."""
        return max(1, self.min_replicas)

    @property
    def template(self) -> dict[str, Any]:
        """What a replica's process depends on: a change of it, and only that, is a new revision."""
        return {"model": self.model.model_dump(mode="json", by_alias=True, exclude_unset=True)}


class _Spec(_Part):
    predictor: Predictor


@dataclass(frozen=True)
class InferenceService:
    """An accepted object. `unhonoured` names the fields that this engine does not act on."""

    namespace: str
    name: str
    labels: dict[str, str]
    annotations: dict[str, str]
    resource_version: str | None
    spec: dict[str, Any]
    predictor: Predictor
    unhonoured: tuple[str, ...]


def parse(document: Any) -> InferenceService:
    """Read and check an InferenceService; `InvalidObject` says which field is wrong and why."""
    if not isinstance(document, dict):
        raise InvalidObject("the object is not a mapping", f"write an {API_VERSION} {KIND}")
    for field, wanted in (("apiVersion", API_VERSION), ("kind", KIND)):
        if document.get(field) != wanted:
            raise InvalidObject(f"{field} is {document.get(field)!r}", f"write {field}: {wanted}")
    metadata = _mapping(document.get("metadata"), "metadata")
    spec = _mapping(document.get("spec"), "spec")
    annotations = _texts(metadata.get("annotations"), "metadata.annotations")
    predictor = read_predictor(spec)
    return InferenceService(
        namespace=check_namespace(metadata.get("namespace") or DEFAULT_NAMESPACE),
        name=check_name(metadata.get("name")),
        labels=_texts(metadata.get("labels"), "metadata.labels"),
        annotations=annotations,
        resource_version=str(version) if (version := metadata.get("resourceVersion")) else None,
        spec=spec,
        predictor=predictor,
        unhonoured=unhonoured(metadata, spec),
    )


def read_predictor(spec: dict[str, Any]) -> Predictor:
    """Read `spec.predictor`; `InvalidObject` names the first field that is wrong."""
    for component, why in _REFUSED_COMPONENTS.items():
        if component in spec:
            raise InvalidObject(f"spec.{component} is not supported ({why})", "take it out")
    predictor = _mapping(spec.get("predictor"), "spec.predictor")
    if "model" not in predictor:
        raise InvalidObject(
            "spec.predictor.model is missing",
            "write model: {modelFormat: {name: onnx}, storageUri: file:///...}",
        )
    try:
        parsed = _Spec.model_validate(spec).predictor
    except ValidationError as error:
        raise _plain(error) from error
    storage_path(parsed.model.storage_uri)
    _check_args(parsed.model.args)
    _check_env(parsed.model.env)
    return parsed


def storage_path(uri: str) -> Path:
    """Give the folder that a storageUri names: `file:///abs` or `/abs`; else `InvalidObject`."""
    parts = urlsplit(uri)
    text = unquote(parts.path) if parts.scheme == "file" else uri
    local = parts.netloc in ("", "localhost") and parts.scheme in ("file", "")
    if not local or not text.startswith("/") or "\0" in text:
        raise InvalidObject(
            f"spec.predictor.model.storageUri {uri!r} is not a folder of this machine",
            "write file:///path/to/folder",
        )
    return Path(text)


def check_folder(uri: str) -> None:
    """Raise `InvalidObject` unless the storageUri names a folder that exists now."""
    path = storage_path(uri)
    if not path.is_dir():
        what = "is a file" if path.exists() else "does not exist"
        raise InvalidObject(
            f"spec.predictor.model.storageUri {str(path)!r} {what}",
            "name the folder that holds the model",
        )


def check_name(name: Any) -> str:
    """Give the name back if a service can have it; else `InvalidObject`."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidObject(
            f"metadata.name {name!r} is not a service name",
            "use at most 45 lower-case letters, digits and '-', starting with a letter",
        )
    return name


def check_namespace(namespace: Any) -> str:
    """Give the namespace back if it is a DNS-1123 label; else `InvalidObject`."""
    if not isinstance(namespace, str) or not _NAMESPACE.fullmatch(namespace):
        raise InvalidObject(
            f"metadata.namespace {namespace!r} is not a namespace name",
            "use at most 63 lower-case letters, digits and '-'",
        )
    return namespace


def unhonoured(metadata: dict[str, Any], spec: dict[str, Any]) -> tuple[str, ...]:
    """Name the fields of an accepted object that this engine does not act on."""
    parsed = _Spec.model_validate(spec)
    found = list(_unknown(parsed, "spec"))
    if parsed.predictor.min_replicas == 0:
        found.append("spec.predictor.minReplicas: 0 (one replica stays)")
    known = {*_METADATA, *_SERVER_METADATA}
    found += [f"metadata.{field}" for field in metadata if field not in known]
    for key, value in (metadata.get("annotations") or {}).items():
        if "kserve.io/" in key and value not in _KNOWN_ANNOTATIONS.get(key, ()):
            found.append(f"metadata.annotations[{key}]")
    return tuple(sorted(found))


def _unknown(part: _Part, path: str) -> list[str]:
    found = [f"{path}.{name}" for name in part.model_extra or {}]
    for name, field in type(part).model_fields.items():
        value = getattr(part, name)
        here = f"{path}.{field.alias}"
        if isinstance(value, _Part):
            found += _unknown(value, here)
        elif isinstance(value, list):
            for index, item in enumerate(value):
                found += _unknown(item, f"{here}[{index}]") if isinstance(item, _Part) else []
    return found


def _check_args(args: list[str]) -> None:
    for arg in args:
        if arg.split("=", 1)[0] in _ENGINE_ARGS or "\0" in arg:
            raise InvalidObject(
                f"spec.predictor.model.args {arg!r} cannot be given",
                f"take it out; the engine itself sets {', '.join(_ENGINE_ARGS)}",
            )


def _check_env(env: list[EnvVar]) -> None:
    for index, variable in enumerate(env):
        if "\0" in variable.value:
            raise InvalidObject(
                f"spec.predictor.model.env[{index}].value has a NUL character",
                "no process can get it; take it out",
            )


def _mapping(value: Any, field: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidObject(f"{field} is missing or not a mapping", "add it")
    return value


def _texts(value: Any, field: str) -> dict[str, str]:
    texts = value or {}
    if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
        raise InvalidObject(f"{field} is not a mapping of texts", "put its values in quotes")
    return texts


def _plain(error: ValidationError) -> InvalidObject:
    first = error.errors(include_url=False)[0]
    path = "spec" + "".join(
        f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]
    )
    message = "it is required" if first["type"] == "missing" else first["msg"]
    return InvalidObject(f"{path} is wrong", message[0].lower() + message[1:])
