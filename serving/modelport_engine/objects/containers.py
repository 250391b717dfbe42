"""What is run for a component: our runtime on a model, or a container's command."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

from pydantic import Field

from modelport_engine.errors import InvalidObject
from modelport_engine.objects.parts import ObjectPart
from modelport_engine.objects.quantities import Quantity, quantity

STORAGE_URI = "STORAGE_URI"
_OURS = "modelport"
_ENVIRONMENT_NAME = r"^[-._a-zA-Z][-._a-zA-Z0-9]*$"
_ENGINE_ARGS = ("--http_port", "--grpc_port", "--host")


class EnvVar(ObjectPart):
    """One environment variable of a process."""

    name: Annotated[str, Field(pattern=_ENVIRONMENT_NAME, max_length=256)]
    value: str = ""


class HttpGet(ObjectPart):
    """What is asked to learn whether a container is ready."""

    path: Annotated[str, Field(pattern=r"^/[!-~]*$")] = "/"


class Probe(ObjectPart):
    """How a container is asked whether it is ready."""

    http_get: HttpGet | None = None


class Resources(ObjectPart):
    """Cores and bytes as quantities, by Kubernetes' names."""

    limits: dict[str, Quantity] = Field({})
    requests: dict[str, Quantity] = Field({}, exclude=True)

    @property
    def threads(self) -> int | None:
        """Threads that suit the limit of cores; None without one."""
        return math.ceil(quantity(self.limits.get("cpu", 0))) or None

    @property
    def memory_limit(self) -> int | None:
        """The limit of memory in bytes; None without one."""
        return int(quantity(self.limits.get("memory", 0))) or None

    def asked(self, name: str) -> float | None:
        """Give what a process asks for: its request, which is its limit if it has none."""
        amounts = (quantity(of.get(name, 0)) for of in (self.requests, self.limits))
        return next(filter(None, amounts), None)


class Program(ObjectPart):
    """What a process of any component is started with."""

    image: str = ""
    args: list[str] = Field([], max_length=256)
    env: list[EnvVar] = Field([], max_length=256)
    resources: Resources = Field(Resources(), exclude_if=lambda resources: not resources.limits)

    @property
    def is_ours(self) -> bool:
        """Tell modelport's own images, in whichever registry, from others."""
        return names_ours(self.image.rpartition("/")[2])


class Framework(Program):
    """`spec.predictor.sklearn` and its like: a model whose format the field's name tells."""

    storage_uri: str = ""
    # A container's name, which some of KServe's schemas ask for.
    name: Annotated[str, Field(exclude=True)] = ""
    # Our runtime speaks all of them at once, so that no process depends on it.
    protocol_version: Annotated[Literal["v1", "v2", "grpc-v2"] | None, Field(exclude=True)] = None


class ModelFormat(ObjectPart):
    """What the folder holds; the runtime reads the details from the folder itself."""

    name: Annotated[str, Field(min_length=1)]


class Model(Framework):
    """`spec.predictor.model`."""

    model_format: ModelFormat
    runtime: Annotated[str | None, Field(exclude=True)] = None


class Container(Program):
    """The one container of a component: its command is run, or our runtime if it has none."""

    name: Annotated[str, Field(min_length=1)]
    command: list[str] = Field([], max_length=256)
    working_dir: Annotated[str | None, Field(pattern=r"^/[^\x00]*$")] = None
    readiness_probe: Probe | None = None

    @property
    def storage_uri(self) -> str | None:
        """What KServe mounts at `MOUNT`: it is named by a variable of the container."""
        return next((item.value for item in self.env if item.name == STORAGE_URI), None)


def names_ours(name: str) -> bool:
    """Tell the name of an image or a runtime of modelport's from others."""
    return name.startswith(_OURS)


def check_program(program: Program, field: str, ours: Sequence[str]) -> None:
    """Raise `InvalidObject` if a process cannot be started as written.

    Args:
        program: What is to be run.
        field: Where it stands in the object.
        ours: Arguments that the engine itself gives to our runtime, beside ports and address.
    """
    reserved = (*_ENGINE_ARGS, *ours)
    is_own_command = isinstance(program, Container) and bool(program.command)
    for arg in program.args:
        if "\0" in arg or (not is_own_command and arg.split("=", 1)[0] in reserved):
            raise InvalidObject(
                f"{field}.args {arg!r} cannot be given",
                f"take it out; the engine itself sets {', '.join(reserved)}",
            )
    if isinstance(program, Container):
        _check_command(program, field)
    elif "command" in (program.model_extra or {}):
        raise InvalidObject(
            f"{field}.command is not supported (modelport's runtime serves models)",
            "take it out, or write a container of your own: spec.predictor.containers",
        )
    _check_env(program, field)


def _check_command(container: Container, field: str) -> None:
    if any("\0" in word for word in container.command) or container.command[:1] == [""]:
        raise InvalidObject(f"{field}.command cannot be run", "write a program and its arguments")


def _check_env(program: Program, field: str) -> None:
    for elsewhere in _set_elsewhere(program):
        raise InvalidObject(
            f"{field}.{elsewhere} cannot be read without a cluster",
            "write the variable's value, or read it from a file",
        )
    for index, variable in enumerate(program.env):
        if "\0" in variable.value:
            raise InvalidObject(
                f"{field}.env[{index}].value has a NUL character",
                "no process can get it; take it out",
            )


def _set_elsewhere(program: Program) -> Iterator[str]:
    """Name what sets variables from a cluster's secrets, maps and fields."""
    for index, variable in enumerate(program.env):
        if "valueFrom" in (variable.model_extra or {}):
            yield f"env[{index}].valueFrom"
    if "envFrom" in (program.model_extra or {}):
        yield "envFrom"
