"""Reading an InferenceService: KServe's `serving.kserve.io/v1beta1`, as far as we honour it.

What an object must have is checked here; what this engine does not act on is collected, so that
the status can say so.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from modelport_engine.errors import InvalidObject
from modelport_engine.records import EXPLAINER, PREDICTOR

API_VERSION = "serving.kserve.io/v1beta1"
KIND = "InferenceService"
DEFAULT_NAMESPACE = "default"

_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
# KServe's own rule is stricter than DNS-1123: a service's name starts with a letter. 45 leaves
# room for `-predictor-00001` in the 63 characters of a DNS label.
_NAME = re.compile(r"[a-z]([-a-z0-9]{0,43}[a-z0-9])?")
_ENVIRONMENT_NAME = r"^[-._a-zA-Z][-._a-zA-Z0-9]*$"
_ENGINE_ARGS = ("--http_port", "--host")
MOUNT = "/mnt/models"
"""Where KServe puts what a component's storage URI names."""

_STORAGE_URI = "STORAGE_URI"
_RUNTIME_IMAGE = "modelport"
_TIMEOUT = 60  # seconds; KServe's default
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
    timeout: Annotated[int, Field(ge=1, le=86_400)] = _TIMEOUT

    @property
    def replicas(self) -> int:
        """Replicas to run; this engine never scales to zero."""
        return max(1, self.min_replicas)

    @property
    def template(self) -> dict[str, Any]:
        """What a replica's process depends on."""
        return {"model": self.model.model_dump(mode="json", by_alias=True, exclude_unset=True)}


class Container(_Part):
    """The container of a component that is not the predictor; ours is run, whatever its image."""

    name: Annotated[str, Field(min_length=1)]
    image: str = ""
    args: Annotated[list[str], Field(max_length=256)] = []
    env: Annotated[list[EnvVar], Field(max_length=256)] = []

    @property
    def storage_uri(self) -> str | None:
        """What KServe mounts at `MOUNT`: it is named by a variable of the container."""
        return next((item.value for item in self.env if item.name == _STORAGE_URI), None)


class Front(_Part):
    """`spec.explainer`: a component that asks the predictor. `timeout` as the predictor's."""

    containers: Annotated[list[Container], Field(min_length=1, max_length=1)]
    min_replicas: Annotated[int, Field(ge=0, le=64)] = 1
    timeout: Annotated[int, Field(ge=1, le=86_400)] = _TIMEOUT

    @property
    def container(self) -> Container:
        """The one container that it has."""
        return self.containers[0]

    @property
    def replicas(self) -> int:
        """Replicas to run; this engine never scales to zero."""
        return max(1, self.min_replicas)

    @property
    def template(self) -> dict[str, Any]:
        """What a replica's process depends on."""
        return self.model_dump(
            mode="json", by_alias=True, exclude_unset=True, include={"containers"}
        )


class Spec(_Part):
    """`spec`: the components of a service."""

    predictor: Predictor
    explainer: Front | None = None

    @property
    def replicas(self) -> dict[str, int]:
        """Replicas to run of each component."""
        return {name: part.replicas for name, part in self._parts.items()}

    @property
    def template(self) -> dict[str, Any]:
        """What the processes depend on: a change of it, and only that, is a new revision."""
        fronts = {name: front.template for name, front in self._fronts.items()}
        return {**self.predictor.template, **fronts}

    @property
    def storage_uris(self) -> list[str]:
        """Every folder that a component reads."""
        others = (front.container.storage_uri for front in self._fronts.values())
        return [self.predictor.model.storage_uri, *(uri for uri in others if uri is not None)]

    def timeouts(self, components: Sequence[str]) -> dict[str, int]:
        """Give the seconds that a request to each of these may take."""
        return {
            name: self._parts[name].timeout if name in self._parts else _TIMEOUT
            for name in components
        }

    @property
    def _fronts(self) -> dict[str, Front]:
        return {EXPLAINER: self.explainer} if self.explainer else {}

    @property
    def _parts(self) -> dict[str, Predictor | Front]:
        return {PREDICTOR: self.predictor, **self._fronts}


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
    components = read_spec(spec)
    return InferenceService(
        namespace=check_namespace(metadata.get("namespace") or DEFAULT_NAMESPACE),
        name=check_name(metadata.get("name")),
        labels=_texts(metadata.get("labels"), "metadata.labels"),
        annotations=annotations,
        resource_version=str(version) if (version := metadata.get("resourceVersion")) else None,
        spec=spec,
        components=components,
        unhonoured=unhonoured(metadata, spec),
    )


def read_spec(spec: dict[str, Any]) -> Spec:
    """Read the components of a service; `InvalidObject` names the first field that is wrong."""
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
        parsed = Spec.model_validate(_runnable(spec))
    except ValidationError as error:
        raise _plain(error) from error
    model = parsed.predictor.model
    storage_path(model.storage_uri)
    _check_args(model.args, "spec.predictor.model.args", (*_ENGINE_ARGS, "--model_dir"))
    _check_env(model.env, "spec.predictor.model.env")
    if parsed.explainer:
        container, field = parsed.explainer.container, "spec.explainer.containers[0]"
        if container.storage_uri is not None:
            storage_path(container.storage_uri, f"{field}.env {_STORAGE_URI}")
        _check_args(container.args, f"{field}.args", (*_ENGINE_ARGS, "--predictor_host"))
        _check_env(container.env, f"{field}.env")
    return parsed


def storage_path(uri: str, field: str = "spec.predictor.model.storageUri") -> Path:
    """Give the folder that a storageUri names: `file:///abs` or `/abs`; else `InvalidObject`."""
    parts = urlsplit(uri)
    text = unquote(parts.path) if parts.scheme == "file" else uri
    local = parts.netloc in ("", "localhost") and parts.scheme in ("file", "")
    if not local or not text.startswith("/") or "\0" in text:
        raise InvalidObject(
            f"{field} {uri!r} is not a folder of this machine",
            "write file:///path/to/folder",
        )
    return Path(text)


def check_folder(uri: str) -> None:
    """Raise `InvalidObject` unless the storageUri names a folder that exists now."""
    path = storage_path(uri)
    if not path.is_dir():
        what = "is a file" if path.exists() else "does not exist"
        raise InvalidObject(
            f"the storage URI {str(path)!r} {what}",
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
    parsed = Spec.model_validate(_runnable(spec))
    found = list(_unknown(parsed, "spec"))
    if EXPLAINER in spec and parsed.explainer is None:
        found.append("spec.explainer")
    for name, part in ((PREDICTOR, parsed.predictor), (EXPLAINER, parsed.explainer)):
        if part and part.min_replicas == 0:
            found.append(f"spec.{name}.minReplicas: 0 (one replica stays)")
    if parsed.explainer and not _is_ours(parsed.explainer.container.image):
        found.append("spec.explainer.containers[0].image (modelport's runtime is run instead)")
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


def _runnable(spec: dict[str, Any]) -> dict[str, Any]:
    """Leave out an explainer without a container of its own: KServe's kinds are not run here."""
    explainer = spec.get(EXPLAINER)
    if isinstance(explainer, dict) and "containers" not in explainer:
        return {name: part for name, part in spec.items() if name != EXPLAINER}
    return spec


def _is_ours(image: str) -> bool:
    """Tell modelport's own images, in whichever registry, from others."""
    return image.rpartition("/")[2].startswith(_RUNTIME_IMAGE)


def _check_args(args: list[str], field: str, ours: Sequence[str]) -> None:
    for arg in args:
        if arg.split("=", 1)[0] in ours or "\0" in arg:
            raise InvalidObject(
                f"{field} {arg!r} cannot be given",
                f"take it out; the engine itself sets {', '.join(ours)}",
            )


def _check_env(env: list[EnvVar], field: str) -> None:
    for index, variable in enumerate(env):
        if "\0" in variable.value:
            raise InvalidObject(
                f"{field}[{index}].value has a NUL character",
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
