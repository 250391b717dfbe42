"""The spec as a whole, and what of it is refused in plain words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import Field, ValidationError

from modelport_engine.errors import InvalidObject
from modelport_engine.objects.components import (
    DEFAULT_TIMEOUT,
    CanaryEntry,
    Component,
    Front,
    Predictor,
)
from modelport_engine.objects.containers import STORAGE_URI, Container, check_program
from modelport_engine.objects.parts import ObjectPart, plain
from modelport_engine.objects.storage import check_storage_uri
from modelport_engine.state.records import EXPLAINER, PREDICTOR, TRANSFORMER

if TYPE_CHECKING:
    from modelport_engine.scaling.policy import Scale

_FORBIDDEN_IN_CANARIES = (
    *("max_replicas", "scale_target", "scale_metric", "auto_scaling"),
    "canary_traffic_percent",
)


@dataclass(frozen=True)
class Canary:
    """A track beside the stable one. `template`: what its processes depend on, fronts included."""

    name: str
    percent: int
    template: dict[str, Any]
    replicas: int


class Spec(ObjectPart):
    """`spec`: the components of a service."""

    predictor: Predictor
    transformer: Front | None = None
    explainer: Front | None = None
    canary: list[CanaryEntry] = Field([], max_length=16)

    @property
    def replicas(self) -> dict[str, int]:
        """Replicas that each component has at least."""
        return {name: part.replicas for name, part in self.components.items()}

    @property
    def scales(self) -> dict[str, Scale]:
        """What each component is scaled by."""
        return {name: part.scale(part.program.resources) for name, part in self.components.items()}

    @property
    def template(self) -> dict[str, Any]:
        """What the processes depend on: a change of it, and only that, is a new revision."""
        return self._template(self.predictor)

    @property
    def canaries(self) -> tuple[Canary, ...]:
        """The tracks beside the stable one, in the order written."""
        return tuple(
            Canary(
                entry.predictor.name or "",
                entry.traffic_percent,
                self._template(entry.predictor),
                entry.predictor.replicas,
            )
            for entry in self.canary
        )

    @property
    def canary_percent(self) -> int | None:
        """Share of the latest stable revision; None when it is to have all of it."""
        return self.predictor.canary_traffic_percent

    @property
    def storage_uris(self) -> list[str]:
        """Everything that a component reads, canaries' included."""
        predictors = [self.predictor, *(entry.predictor for entry in self.canary)]
        uris = [predictor.program.storage_uri for predictor in predictors]
        uris += [front.container.storage_uri for front in self._fronts.values()]
        return list(dict.fromkeys(uri for uri in uris if uri is not None))

    @property
    def components(self) -> dict[str, Predictor | Front]:
        """The stable track's components."""
        return {PREDICTOR: self.predictor, **self._fronts}

    def timeouts(self, components: Sequence[str]) -> dict[str, int]:
        """Give the seconds that a request to each of these may take."""
        known = self.components
        return {
            name: known[name].timeout if name in known else DEFAULT_TIMEOUT for name in components
        }

    def concurrency(self, component: str) -> int | None:
        """Give the requests that one replica may work on at a time; None: no limit."""
        part = self.components.get(component)
        return (part.container_concurrency or None) if part else None

    @property
    def _fronts(self) -> dict[str, Front]:
        fronts = {TRANSFORMER: self.transformer, EXPLAINER: self.explainer}
        return {name: front for name, front in fronts.items() if front}

    def _template(self, predictor: Predictor) -> dict[str, Any]:
        fronts = {name: front.template for name, front in self._fronts.items()}
        return {**predictor.template, **fronts}


def read_spec(spec: dict[str, Any]) -> Spec:
    """Read the components of a service; `InvalidObject` names the first field that is wrong."""
    if not isinstance(spec.get(PREDICTOR), dict):
        raise InvalidObject("spec.predictor is missing or not a mapping", "add it")
    try:
        parsed = Spec.model_validate(_runnable(spec))
    except ValidationError as error:
        raise plain(error) from error
    _check_predictor(parsed.predictor, "spec.predictor")
    for name in (TRANSFORMER, EXPLAINER):
        front = parsed.components.get(name)
        if isinstance(front, Front):
            _check_front(front, name)
    _check_canaries(parsed)
    return parsed


def _runnable(spec: dict[str, Any]) -> dict[str, Any]:
    """Leave out an explainer without a container of its own: KServe's kinds are not run here."""
    explainer = spec.get(EXPLAINER)
    if isinstance(explainer, dict) and "containers" not in explainer:
        return {name: part for name, part in spec.items() if name != EXPLAINER}
    return spec


def _check_predictor(predictor: Predictor, field: str) -> None:
    written = predictor.implementations
    if not written:
        raise InvalidObject(
            f"{field}.model is missing",
            "write model: {modelFormat: {name: onnx}, storageUri: file:///...}",
        )
    if len(written) > 1:
        raise InvalidObject(f"{field} has {' and '.join(written)}", "keep one of them")
    _check_component(predictor, field)
    program, here = predictor.program, f"{field}.{predictor.program_field}"
    if isinstance(program, Container):
        _check_container(program, here, ())
    else:
        check_program(program, here, ("--model_dir",))
        if not program.storage_uri:
            raise InvalidObject(f"{here}.storageUri is missing", "write storageUri: file:///...")
        check_storage_uri(program.storage_uri, f"{here}.storageUri")


def _check_front(front: Front, name: str) -> None:
    _check_component(front, f"spec.{name}")
    _check_container(front.container, f"spec.{name}.containers[0]", ("--predictor_host",), name)


def _check_component(component: Component, field: str) -> None:
    if 0 < component.max_replicas < component.min_replicas:
        raise InvalidObject(
            f"{field}.minReplicas {component.min_replicas} is above maxReplicas"
            f" {component.max_replicas}",
            "raise maxReplicas",
        )
    if "storageUris" in (component.model_extra or {}):
        raise InvalidObject(
            f"{field}.storageUris is not supported (nothing is mounted here)",
            f"write storageUri, or {STORAGE_URI} in a container's env",
        )


def _check_container(
    container: Container, field: str, ours: Sequence[str], front: str | None = None
) -> None:
    if not container.command and not _runs_ours(container, front):
        raise InvalidObject(
            f"{field}.image {container.image!r} cannot be run here (no image is)",
            "write the command that its processes run, or name modelport's own image",
        )
    check_program(container, field, ours)
    if container.storage_uri is not None:
        check_storage_uri(container.storage_uri, f"{field}.env {STORAGE_URI}")


def _runs_ours(container: Container, front: str | None) -> bool:
    """Tell whether our runtime can stand in: for its own image, and for one built from it."""
    is_explainer = front == EXPLAINER and any(
        arg.split("=", 1)[0] == "--explainer" for arg in container.args
    )
    return container.is_ours or is_explainer


def _check_canaries(spec: Spec) -> None:
    if not spec.canary:
        return
    if spec.canary_percent is not None:
        raise InvalidObject(
            "spec.canary and spec.predictor.canaryTrafficPercent exclude each other",
            "keep one of them",
        )
    names = [spec.predictor.name] if spec.predictor.name else []
    for index, entry in enumerate(spec.canary):
        field = f"spec.canary[{index}].predictor"
        _check_predictor(entry.predictor, field)
        _check_canary(entry.predictor, field, spec.predictor)
        if entry.predictor.name in names:
            raise InvalidObject(
                f"{field}.name {entry.predictor.name!r} is another predictor's", "name it otherwise"
            )
        names.append(str(entry.predictor.name))
    total = sum(entry.traffic_percent for entry in spec.canary)
    if total > 100:
        raise InvalidObject(
            f"the trafficPercent of spec.canary add up to {total}", "keep them at 100 or below"
        )


def _check_canary(predictor: Predictor, field: str, stable: Predictor) -> None:
    if predictor.name is None:
        raise InvalidObject(f"{field}.name is missing", "name the canary, such as v2")
    for forbidden in _forbidden(predictor):
        raise InvalidObject(f"{field}.{forbidden} is not allowed in a canary", "take it out")
    if predictor.replicas > stable.replicas:
        raise InvalidObject(
            f"{field}.minReplicas {predictor.replicas} is above the stable predictor's"
            f" {stable.replicas}",
            "lower it",
        )


def _forbidden(predictor: Predictor) -> Iterator[str]:
    for name in _FORBIDDEN_IN_CANARIES:
        if name in predictor.model_fields_set:
            yield str(type(predictor).model_fields[name].alias)
    if "workerSpec" in (predictor.model_extra or {}):
        yield "workerSpec"
