"""Which fields of an accepted object are not acted on, and why: nothing is ignored in silence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from modelport_engine.objects.components import Component, Front, Predictor
from modelport_engine.objects.containers import Container, Model, Program, names_ours
from modelport_engine.objects.parts import ObjectPart
from modelport_engine.state.records import EXPLAINER

if TYPE_CHECKING:
    from modelport_engine.objects.spec import Spec

_METADATA = ("name", "namespace", "labels", "annotations")
_SERVER_METADATA = (
    *("uid", "generation", "resourceVersion", "creationTimestamp", "deletionTimestamp"),
    *("managedFields", "selfLink"),
)
_SPEAKING = ("kserve.io/", "knative.dev/", "istio.io/")
"""In a key: the annotation or label asks for something; any other is a note."""

_ACTED_ON = {
    "serving.kserve.io/deploymentMode": ("Standard", "RawDeployment"),
    "serving.kserve.io/stop": ("true", "false"),
    "serving.kserve.io/autoscalerClass": ("hpa", "keda"),
}
_RELATIVE = ("cpu", "memory")
_RUNTIME_IS_RUN = "modelport's runtime is run instead"
_MEASURED = "only cpu, memory and the 99th percentile of request_predict_seconds are measured"
_NOT_SENT = "events carry a request or an answer as it is, each on its own"
_REASONS = {
    **dict.fromkeys(("affinity", "nodeSelector", "tolerations"), "there is one machine"),
    **dict.fromkeys(("volumes", "volumeMounts"), "paths are those of this machine"),
    **dict.fromkeys(("serviceAccountName", "securityContext"), "processes run as the engine does"),
    **dict.fromkeys(("imagePullPolicy", "imagePullSecrets", "initContainers"), "no image is run"),
    **dict.fromkeys(("livenessProbe", "startupProbe"), "a process that ends is started again"),
    **dict.fromkeys(("runtimeVersion", "version"), "what is installed here serves"),
    **dict.fromkeys(("metadataHeaders", "metadataAnnotations", "batchSize"), _NOT_SENT),
    **dict.fromkeys(("backend", "serverAddress"), "the engine measures by itself"),
    **dict.fromkeys(("labels", "annotations"), "there are no pods"),
    "ports": "the engine chooses the port, PORT in the environment",
    "port": "the container's PORT is asked",
    "storage": "storageUri says it",
    "workerSpec": "one process serves a replica",
    "deploymentStrategy": "a new revision comes up beside the old one",
    **dict.fromkeys(("exec", "grpc", "tcpSocket"), "a TCP connection to its PORT is tried"),
    "readinessProbe": "the runtime's own readiness is asked",
    "batcher": "only modelport's predictor makes batches",
    "canaryTrafficPercent": "the predictor's holds for all components",
}


def unhonoured(metadata: dict[str, Any], spec: dict[str, Any], parsed: Spec) -> tuple[str, ...]:
    """Name the fields of an accepted object that this engine does not act on.

    Args:
        metadata: The object's, as written.
        spec: The object's, as written.
        parsed: What was read from it.
    """
    found = [*_metadata(metadata, parsed), *_unknown(parsed, "spec")]
    if EXPLAINER in spec and parsed.explainer is None:
        found.append("spec.explainer (only explainers with a container are run)")
    for name, component in parsed.components.items():
        found += _of_component(component, f"spec.{name}")
    for index, entry in enumerate(parsed.canary):
        field = f"spec.canary[{index}].predictor"
        found += [*_of_component(entry.predictor, field), *_of_canary(entry.predictor, field)]
    return tuple(sorted(found))


def _metadata(metadata: dict[str, Any], parsed: Spec) -> Iterator[str]:
    for field in metadata:
        if field not in (*_METADATA, *_SERVER_METADATA):
            yield f"metadata.{field}"
    for kind in ("annotations", "labels"):
        texts: Mapping[str, str] = metadata.get(kind) or {}
        for key, value in texts.items():
            asks = any(domain in key for domain in _SPEAKING)
            if asks and value not in _ACTED_ON.get(key, ()) and not _is_fixed(key, value, parsed):
                yield f"metadata.{kind}[{key}]"


def _is_fixed(key: str, value: str, parsed: Spec) -> bool:
    """Tell whether there is no autoscaler, as the object wants it."""
    return (
        key == "serving.kserve.io/autoscalerClass"
        and value in ("none", "external")
        and not any(component.is_scaled for component in parsed.components.values())
    )


def _unknown(part: ObjectPart, path: str) -> Iterator[str]:
    for name in part.model_extra or {}:
        yield _because(f"{path}.{name}", _REASONS.get(name))
    for name, field in type(part).model_fields.items():
        value, here = getattr(part, name), f"{path}.{field.alias}"
        if isinstance(value, ObjectPart):
            yield from _unknown(value, here)
        elif isinstance(value, list):
            for index, item in enumerate(value):
                if isinstance(item, ObjectPart):
                    yield from _unknown(item, f"{here}[{index}]")


def _of_component(component: Predictor | Front, path: str) -> Iterator[str]:
    program, field = component.program, f"{path}.{component.program_field}"
    has_command = isinstance(program, Container) and bool(program.command)
    if component.min_replicas == 0:
        yield f"{path}.minReplicas: 0 (one replica stays)"
    if component.logger and has_command:
        yield f"{path}.logger (only modelport's runtime sends events)"
    elif component.logger and not component.logger.can_send:
        yield f"{path}.logger (its url is not http:// or https://)"
    if isinstance(component, Predictor) and component.batcher and has_command:
        yield _because(f"{path}.batcher", _REASONS["batcher"])
    yield from _of_image(program, field)
    yield from _of_container(program, field)
    yield from _of_resources(program, field)
    yield from _of_scaling(component, path)


def _of_image(program: Program, field: str) -> Iterator[str]:
    if isinstance(program, Container) and program.command:
        if program.image:
            yield f"{field}.image (the command is run without it)"
    elif program.image and not program.is_ours:
        yield f"{field}.image ({_RUNTIME_IS_RUN})"
    if isinstance(program, Model) and program.runtime and not names_ours(program.runtime):
        yield f"{field}.runtime ({_RUNTIME_IS_RUN})"


def _of_container(program: Program, field: str) -> Iterator[str]:
    for index, variable in enumerate(program.env):
        if variable.name in ("PORT", "GRPC_PORT"):
            yield f"{field}.env[{index}] (the engine chooses {variable.name})"
    if isinstance(program, Container) and not program.command:
        if program.readiness_probe:
            yield _because(f"{field}.readinessProbe", _REASONS["readinessProbe"])
        if program.working_dir:
            yield f"{field}.workingDir ({_RUNTIME_IS_RUN})"


def _of_resources(program: Program, field: str) -> Iterator[str]:
    for name in program.resources.requests:
        yield f"{field}.resources.requests.{name} (nothing is reserved)"
    for name in program.resources.limits:
        if name == "cpu":
            yield f"{field}.resources.limits.cpu (it limits threads, not the share of the cores)"
        elif name != "memory":
            yield f"{field}.resources.limits.{name} (processes see what the engine sees)"


def _of_scaling(component: Predictor | Front, path: str) -> Iterator[str]:
    if not component.is_scaled:
        yield from _short_fields(component, path, "maxReplicas is not above minReplicas")
        if component.auto_scaling:
            yield f"{path}.autoScaling (maxReplicas is not above minReplicas)"
        return
    decided = False
    for index, goal in enumerate(component.auto_scaling.goals if component.auto_scaling else []):
        if decided or not goal:
            why = "the first one decides" if goal else _MEASURED
            yield f"{path}.autoScaling.metrics[{index}] ({why})"
        decided = decided or goal is not None
    scale = component.scale(component.program.resources)
    if decided:
        yield from _short_fields(component, path, "autoScaling decides")
    elif component.scale_metric_type in ("Value", "AverageValue") and scale.metric in _RELATIVE:
        yield f"{path}.scaleMetricType ({scale.metric} is per cent of what is requested)"
    if scale.metric == "memory" and scale.memory_bytes is None:
        yield f"{path}.maxReplicas (no memory is requested, so none is per cent of it)"


def _of_canary(predictor: Predictor, path: str) -> Iterator[str]:
    for name in ("timeout", "container_concurrency"):
        if name in predictor.model_fields_set:
            alias = type(predictor).model_fields[name].alias
            yield f"{path}.{alias} (the stable predictor's holds)"


def _short_fields(component: Component, path: str, why: str) -> Iterator[str]:
    for name in ("scale_target", "scale_metric", "scale_metric_type"):
        if getattr(component, name) is not None:
            yield f"{path}.{type(component).model_fields[name].alias} ({why})"


def _because(path: str, why: str | None) -> str:
    return f"{path} ({why})" if why else path
