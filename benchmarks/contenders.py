"""Who takes part: each server's command, and the requests that it is measured with."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import protocols
from benchmarks.environments import python
from benchmarks.models import Forest
from benchmarks.places import RIVALS
from benchmarks.servers import Ports

if TYPE_CHECKING:
    from benchmarks.protocols import Request

OURS = "Modelport"

Command = Callable[[Ports, Forest], Sequence[str]]


@dataclass(frozen=True)
class Contender:
    """One server: how it is started, and the requests that it answers.

    `rival` names the folder below rivals/ and its environment; None is the runtime itself.
    """

    title: str
    rival: str | None
    command: Command
    requests: Sequence[Callable[[Forest], Request]]
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def slug(self) -> str:
        """The title as a file name."""
        return "".join(letter if letter.isalnum() else "-" for letter in self.title.lower())

    def environment(self, ports: Ports, forest: Forest) -> dict[str, str]:
        """Return the variables that the server is started with."""
        common = {
            "GRAPH": str(forest.graph),
            "HTTP_PORT": str(ports.http),
            "GRPC_PORT": str(ports.grpc),
            "OMP_NUM_THREADS": "1",
        }
        if self.rival is None:
            return common
        common["PYTHONPATH"] = f"{RIVALS / 'common'}:{RIVALS / self.rival}"
        common["PATH"] = f"{python(self.rival).parent}:{os.environ['PATH']}"
        given = {"http": ports.http, "grpc": ports.grpc}
        return common | {name: value.format(**given) for name, value in self.settings.items()}


def serving(model: Path, ports: Ports, *arguments: str) -> list[str]:
    """Return the command of the runtime."""
    return [
        *(sys.executable, "-m", "modelport_serving"),
        *("--model_name", protocols.NAME, "--model_dir", str(model)),
        *("--http_port", str(ports.http), "--grpc_port", str(ports.grpc)),
        *arguments,
    ]


def _run(rival: str, *arguments: str) -> Command:
    """Run the rival's interpreter; {http} stands for the port, {here} for the rival's folder."""

    def command(ports: Ports, forest: Forest) -> list[str]:
        del forest
        given = {"http": ports.http, "here": RIVALS / rival}
        return [str(python(rival)), *(argument.format(**given) for argument in arguments)]

    return command


def _mlflow(flavour: str) -> Command:
    def command(ports: Ports, forest: Forest) -> list[str]:
        model = {"onnx": forest.onnx, "sklearn": forest.sklearn}[flavour]
        main = [str(python("mlflow")), "-m", "mlflow", "models", "serve"]
        where = ["--host", "127.0.0.1", "--port", str(ports.http)]
        return [*main, "--model-uri", str(model), "--env-manager", "local", *where]

    return command


def _granian(handler: str) -> Command:
    options = "--interface rsgi --runtime-mode st --no-ws --http 1 --loop uvloop --workers 1"
    where = "--host 127.0.0.1 --port {http} --log-level warning"
    return _run("bare", "-m", "granian", *f"{options} {where} rsgi:{handler}".split())


def _uvicorn(handler: str) -> Command:
    options = "--interface asgi3 --loop uvloop --http httptools --lifespan off --no-access-log"
    where = "--host 127.0.0.1 --port {http} --log-level warning"
    return _run("bare", "-m", "uvicorn", *f"{options} {where} asgi:{handler}".split())


def _at(path: str) -> Callable[[Forest], Request]:
    return lambda forest: protocols.v2(forest, path)


_MOSEC = _run(
    "mosec",
    *("{here}/server.py", "--address", "127.0.0.1", "--port", "{http}", "--log-level", "warning"),
)
_BENTOML = {"BENTOML_DO_NOT_TRACK": "True"}
_QUIET = {"UVICORN_LOG_LEVEL": "warning", "MLFLOW_DISABLE_TELEMETRY": "true"}

MODELPORT = Contender(
    OURS,
    None,
    lambda ports, forest: serving(forest.onnx, ports),
    (protocols.v2, protocols.v2_binary, protocols.v1, protocols.grpc),
)
PEERS = (
    Contender(
        "KServe ModelServer",
        "kserve",
        _run("kserve", "{here}/server.py"),
        (protocols.v2, protocols.v1, protocols.grpc),
    ),
    Contender(
        "MLServer",
        "mlserver",
        _run("mlserver", "-c", "from mlserver.cli import main; main()", "start", "{here}"),
        (protocols.v2, protocols.grpc),
        {
            "MLSERVER_DEBUG": "false",
            "MLSERVER_PARALLEL_WORKERS": "0",  # a second process only costs on one core
            "MLSERVER_HOST": "127.0.0.1",
            "MLSERVER_HTTP_PORT": "{http}",
            "MLSERVER_GRPC_PORT": "{grpc}",
            "MLSERVER_METRICS_PORT": "0",
        },
    ),
    Contender(
        "mlflow models serve, sklearn", "mlflow", _mlflow("sklearn"), (protocols.mlflow,), _QUIET
    ),
    Contender(
        "mlflow models serve, onnx", "mlflow", _mlflow("onnx"), (protocols.mlflow_named,), _QUIET
    ),
    Contender(
        "BentoML",
        "bentoml",
        _run(
            "bentoml",
            *("-m", "bentoml", "serve", "service:Service", "--working-dir", "{here}"),
            *("--host", "127.0.0.1", "--port", "{http}"),
        ),
        (protocols.bentoml,),
        _BENTOML,
    ),
    Contender("LitServe", "litserve", _run("litserve", "{here}/server.py"), (_at("/predict"),)),
    Contender("mosec", "mosec", _MOSEC, (_at("/inference"),)),
    Contender("mosec, batching", "mosec", _MOSEC, (_at("/inference"),), {"MOSEC_BATCH": "64"}),
    Contender(
        "Triton, Python backend",
        "triton",
        _run("triton", "{here}/server.py"),
        (protocols.v2, protocols.grpc),
    ),
)
CEILINGS = (
    Contender("bare Granian (RSGI)", "bare", _granian("infer"), (_at("/"),)),
    Contender("bare uvicorn (ASGI)", "bare", _uvicorn("infer"), (_at("/"),)),
    Contender("echo on Granian (RSGI)", "bare", _granian("echo"), (protocols.echo,)),
    Contender("echo on uvicorn (ASGI)", "bare", _uvicorn("echo"), (protocols.echo,)),
)
EVERYONE = (MODELPORT, *PEERS, *CEILINGS)
