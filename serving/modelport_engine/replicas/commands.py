"""What is run for a part of a revision, as a pure function of its template.

A model, or a container without a command, is served by modelport's runtime. A container's command
is run as Kubernetes would run it: with `$(VARIABLES)` filled in and the arguments that KServe
adds, but on ports that the engine chooses and with folders of this machine.
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelport_engine.objects import MOUNT, Container, Front, Model, Predictor
from modelport_engine.state.records import PREDICTOR, TRANSFORMER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from modelport_engine.objects.containers import Framework
    from modelport_engine.settings import Settings
    from modelport_engine.state.records import Key

READY_PATH = "/v2/health/ready"

_QUEUE = 8192
# Requests that wait in a replica: as many as the gateway takes connections, for after an outage
# all that it has held come at once. How long they wait is bounded by the runtime itself.

_PLAIN_FORMATS = ("sklearn", "xgboost", "lightgbm", "onnx", "pytorch")
"""Formats that the runtime can read without an MLmodel file, once it is told which it is."""

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_FILLED_IN = re.compile(rf"\$\$|\$\((?P<name>[^)]*)\)|{re.escape(MOUNT)}(?![\w.-])")


@dataclass(frozen=True)
class Launch:
    """How a replica is started.

    `environment` is all of it. `folder`: its working directory, if it asks for one. `readiness`:
    the HTTP path that tells whether it is ready; None: it is when its port can be connected to.
    `grpc`: whether it listens on its gRPC port. `memory_limit`: in bytes, if it has one.
    """

    command: list[str]
    environment: dict[str, str]
    folder: Path | None
    readiness: str | None
    grpc: bool
    memory_limit: int | None


@dataclass(frozen=True)
class Place:
    """What the engine gives to one replica.

    `predictor_host` is as KServe's argument has it. `longest`: seconds that a request may take,
    which it may finish when it is stopped. `environment`: what it sees of the engine's own.
    `folder_of` tells the folder here that holds what a storage URI names.
    """

    key: Key
    http_port: int
    grpc_port: int
    predictor_host: str
    longest: int
    environment: Mapping[str, str]
    folder_of: Callable[[str], Path]


def launch(template: Mapping[str, Any], component: str, place: Place, settings: Settings) -> Launch:
    """Tell how to start a replica of a component of the revision with this template."""
    if component == PREDICTOR:
        part: Predictor | Front = Predictor.model_validate(template)
    else:
        part = Front.model_validate(template[component])
    program = part.program
    mount = str(place.folder_of(program.storage_uri)) if program.storage_uri else MOUNT
    variables = _variables(program, place, mount)
    fill = partial(_filled, variables=variables, mount=mount)
    model_name = _model_name(template, place)
    threads = program.resources.threads
    environment = {
        **place.environment,
        "PATH": _path(place.environment),
        **(dict.fromkeys(_THREADS, str(threads)) if threads else {}),
        **variables,
    }
    if isinstance(program, Container) and program.command:
        front_of = model_name if isinstance(part, Front) else None
        return _own_command(program, place, fill, environment, front_of)
    arguments = [
        f"--model_name={model_name}",
        f"--http_port={place.http_port}",
        f"--grpc_port={place.grpc_port}",
        "--host=127.0.0.1",
        f"--shutdown_seconds={place.longest}",
        f"--max_queue_length={_QUEUE}",
        *_runtime_arguments(part, place, settings, mount),
        *(fill(word) for word in program.args),
    ]
    return Launch(
        command=[*settings.runtime_command, *arguments],
        environment=environment,
        folder=None,
        readiness=READY_PATH,
        grpc=True,
        memory_limit=program.resources.memory_limit,
    )


def _runtime_arguments(
    part: Predictor | Front, place: Place, settings: Settings, mount: str
) -> Iterator[str]:
    """Give what modelport's runtime is told by the fields of a component."""
    program = part.program
    if isinstance(program, Model):
        yield f"--model_dir={mount}"
        if program.model_format.name in _PLAIN_FORMATS:
            yield f"--model_format={program.model_format.name}"
        if settings.allow_pickle:
            yield "--allow-pickle"
    if isinstance(part, Front):
        yield f"--predictor_host={place.predictor_host}"
    if threads := program.resources.threads:
        yield f"--max_threads={threads}"
    if isinstance(part, Predictor) and part.batcher:
        if part.batcher.max_batch_size:
            yield f"--max_batch_size={part.batcher.max_batch_size}"
        if part.batcher.max_latency:
            yield f"--max_batch_latency_ms={part.batcher.max_latency}"
    if part.logger and part.logger.can_send:
        yield f"--logger_url={part.logger.url}"
        yield f"--logger_mode={part.logger.mode}"


def _own_command(
    container: Container,
    place: Place,
    fill: Callable[[str], str],
    environment: dict[str, str],
    front_of: str | None,
) -> Launch:
    """Run a container's command; where it is told no port, KServe's argument tells it.

    `front_of`: the model that it asks the predictor for; None for a predictor.
    """
    texts = (*container.command, *container.args, *(item.value for item in container.env))
    named = {match["name"] for text in texts for match in _FILLED_IN.finditer(text)}
    words = [fill(word) for word in (*container.command, *container.args)]
    given = {"--http_port": str(place.http_port)} if "PORT" not in named else {}
    if _has(words, "--grpc_port"):
        given["--grpc_port"] = str(place.grpc_port)
    if front_of and not _has(words, "--model_name"):
        given["--model_name"] = front_of
    if front_of and not _has(words, "--predictor_host"):
        given["--predictor_host"] = place.predictor_host
    for flag, value in given.items():
        words = _with(words, flag, value)
    probe = container.readiness_probe
    return Launch(
        command=words,
        environment=environment,
        folder=Path(container.working_dir) if container.working_dir else None,
        readiness=probe.http_get.path if probe and probe.http_get else None,
        grpc="GRPC_PORT" in named or "--grpc_port" in given,
        memory_limit=container.resources.memory_limit,
    )


def _model_name(template: Mapping[str, Any], place: Place) -> str:
    """Name the model as its transformer does, which asks the predictor for that one."""
    if TRANSFORMER not in template:
        return place.key.name
    container = Front.model_validate(template[TRANSFORMER]).container
    words = [word for text in (*container.command, *container.args) for word in text.split("=", 1)]
    if "--model_name" not in words[:-1]:
        return place.key.name
    return _filled(
        words[words.index("--model_name") + 1], _variables(container, place, MOUNT), MOUNT
    )


def _variables(program: Framework | Container, place: Place, mount: str) -> dict[str, str]:
    """Give the variables of a container; each may name those before it."""
    ports = {"PORT": str(place.http_port), "GRPC_PORT": str(place.grpc_port)}
    variables = {
        "INFERENCE_SERVICE_NAME": place.key.name,  # as KServe's own runtimes find it
        "POD_NAMESPACE": place.key.namespace,
        **ports,
    }
    for item in program.env:
        variables[item.name] = ports.get(item.name) or _filled(item.value, variables, mount)
    return variables


def _filled(text: str, variables: Mapping[str, str], mount: str) -> str:
    """Fill in variables as Kubernetes does; name what it would mount where it lies."""

    def value(match: re.Match[str]) -> str:
        if match[0] == MOUNT:
            return mount
        return "$" if match[0] == "$$" else variables.get(match["name"], match[0])

    return _FILLED_IN.sub(value, text)


def _path(environment: Mapping[str, str]) -> str:
    """Put the engine's own Python first: `python` is the one that has modelport."""
    return os.pathsep.join((str(Path(sys.executable).parent), environment.get("PATH", os.defpath)))


def _has(words: Sequence[str], flag: str) -> bool:
    return any(word.split("=", 1)[0] == flag for word in words)


def _with(words: Sequence[str], flag: str, value: str) -> list[str]:
    """Give the words with a flag's value replaced, or with the flag added."""
    given = f"{flag}={value}"
    replaced: list[str] = []
    before = ""
    for word in words:
        if before == flag:
            replaced[-1] = given
        else:
            replaced.append(given if word.startswith(f"{flag}=") else word)
        before = word
    return replaced if _has(words, flag) else [*words, given]
