"""What is started for each kind of component, word by word."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from modelport_engine.errors import EngineStartFailed
from modelport_engine.objects import read_spec
from modelport_engine.replicas.commands import Launch, Place, launch
from modelport_engine.settings import Settings
from modelport_engine.state.records import Key
from modelport_serving.settings import parse

SETTINGS = Settings(runtime="runtime --quiet")
PLACE = Place(
    key=Key("team", "tumor"),
    http_port=20_001,
    grpc_port=20_002,
    predictor_host="127.0.0.1:8780/revisions/team/tumor-predictor-00001",
    longest=60,
    environment={"PATH": "/bin", "OMP_NUM_THREADS": "9"},
    folder_of=lambda uri: Path(uri.removeprefix("file://")),
)
OURS = [
    *("runtime", "--quiet", "--model_name=tumor", "--http_port=20001", "--grpc_port=20002"),
    *("--host=127.0.0.1", "--shutdown_seconds=60", "--max_queue_length=8192"),
]
HOST = f"--predictor_host={PLACE.predictor_host}"


def launched(spec: dict[str, Any], component: str = "predictor", **settings: Any) -> Launch:
    """Launch from the template as it is stored."""
    template = json.loads(json.dumps(read_spec(spec).template))
    return launch(template, component, PLACE, Settings("runtime --quiet", **settings))


def model(name: str = "mlflow", **more: Any) -> dict[str, Any]:
    component = {key: more.pop(key) for key in ("batcher", "logger") if key in more}
    whole = {"modelFormat": {"name": name}, "storageUri": "file:///models/1", **more}
    return {"predictor": {"model": whole, **component}}


def container(*command: str, component: str = "predictor", **more: Any) -> dict[str, Any]:
    whole = {"name": "kserve-container", "command": [*command], **more}
    return {**model(), component: {"containers": [whole]}}


def test_a_model_is_served_by_our_runtime() -> None:
    started = launched(model())
    assert started == Launch(
        command=[*OURS, "--model_dir=/models/1"],
        environment={
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}/bin",
            "OMP_NUM_THREADS": "9",
            "INFERENCE_SERVICE_NAME": "tumor",
            "POD_NAMESPACE": "team",
            "PORT": "20001",
            "GRPC_PORT": "20002",
        },
        folder=None,
        readiness="/v2/health/ready",
        grpc=True,
        memory_limit=None,
    )


@pytest.mark.parametrize(
    ("spec", "arguments"),
    [
        (model("sklearn"), ["--model_format=sklearn"]),
        (model("tensorflow"), []),
        (model(batcher={"maxBatchSize": 8}), ["--max_batch_size=8"]),
        (model(batcher={"maxLatency": 20}), ["--max_batch_latency_ms=20"]),
        (
            model(logger={"url": "http://sink/"}),
            ["--logger_url=http://sink/", "--logger_mode=all"],
        ),
        (
            model(logger={"url": "https://sink/", "mode": "request"}),
            ["--logger_url=https://sink/", "--logger_mode=request"],
        ),
        (model(logger={"url": "s3://bucket"}), []),
        (model(resources={"limits": {"cpu": "1500m"}}), ["--max_threads=2"]),
        (
            model(args=["--workers=2", "--cache=/mnt/models/c"]),
            ["--workers=2", "--cache=/models/1/c"],
        ),
        (model(args=["$(TEAM)-$(X)-$$(X)"], env=[{"name": "TEAM", "value": "a"}]), ["a-$(X)-$(X)"]),
    ],
)
def test_what_our_runtime_is_told(spec: dict[str, Any], arguments: list[str]) -> None:
    assert launched(spec).command == [*OURS, "--model_dir=/models/1", *arguments]


def test_pickles_are_only_loaded_when_the_engine_is_told_so() -> None:
    command = launched(model(args=["--x"]), allow_pickle=True).command
    assert command == [*OURS, "--model_dir=/models/1", "--allow-pickle", "--x"]
    ours = {"name": "c", "image": "modelport-explainer:1", "args": ["--explainer=shap"]}
    spec = {**model(), "explainer": {"containers": [ours]}}
    assert "--allow-pickle" not in launched(spec, "explainer", allow_pickle=True).command


@pytest.mark.parametrize(("text", "value"), [("true", True), ("1", True), ("False", False)])
def test_the_setting_that_allows_pickles(text: str, value: bool) -> None:
    read = Settings.from_environment({"MODELPORT_ENGINE_ALLOW_PICKLE": text})
    assert read.allow_pickle is value
    with pytest.raises(EngineStartFailed, match="'yes!' is not true or false"):
        Settings.from_environment({"MODELPORT_ENGINE_ALLOW_PICKLE": "yes!"})


def test_limits() -> None:
    limits = {"cpu": "2500m", "memory": "1Gi"}
    started = launched(model(resources={"limits": limits}))
    assert started.memory_limit == 2**30
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    assert [started.environment[name] for name in names] == ["3", "3", "3"]
    own = container("serve", resources={"limits": limits}, env=[{"name": names[0], "value": "1"}])
    assert launched(own).memory_limit == 2**30
    assert [launched(own).environment[name] for name in names] == ["1", "3", "3"]


def test_a_front_of_our_own_image_is_our_runtime_too() -> None:
    whole = {
        "name": "kserve-container",
        "image": "example.org/modelport-explainer:1",
        "args": ["--explainer=shap", "--model_dir=/mnt/models"],
        "env": [{"name": "STORAGE_URI", "value": "file:///models/1"}],
    }
    spec = {
        **model(),
        "explainer": {"containers": [whole], "logger": {"url": "http://sink"}},
        "transformer": {"containers": [{**whole, "args": ["--transformer=mine:Mine"]}]},
    }
    assert launched(spec, "explainer").command == [
        *(*OURS, HOST, "--logger_url=http://sink", "--logger_mode=all"),
        *("--explainer=shap", "--model_dir=/models/1"),
    ]
    assert launched(spec, "transformer").command == [*OURS, HOST, "--transformer=mine:Mine"]


@pytest.mark.parametrize(
    ("command", "args", "words", "grpc"),
    [
        (["serve"], [], ["serve", "--http_port=20001"], False),
        (["serve"], ["--http_port=80"], ["serve", "--http_port=20001"], False),
        (["serve"], ["--http_port", "80", "a"], ["serve", "--http_port=20001", "a"], False),
        (["serve", "$(PORT)"], ["--http_port=1"], ["serve", "20001", "--http_port=1"], False),
        (["serve"], ["--p=$(PORT)", "$(GRPC_PORT)"], ["serve", "--p=20001", "20002"], True),
        (["serve", "$$(PORT)"], [], ["serve", "$(PORT)", "--http_port=20001"], False),
        (
            ["serve"],
            ["--grpc_port", "9000", "--http_port=1"],
            ["serve", "--grpc_port=20002", "--http_port=20001"],
            True,
        ),
        (
            ["serve", "/mnt/models/a", "/mnt/models2", "$(NO"],
            ["$(INFERENCE_SERVICE_NAME)$$"],
            ["serve", "/models/c/a", "/mnt/models2", "$(NO", "tumor$", "--http_port=20001"],
            False,
        ),
    ],
)
def test_a_command_is_told_its_ports(
    command: list[str],
    args: list[str],
    words: list[str],
    grpc: bool,
) -> None:
    env = [{"name": "STORAGE_URI", "value": "file:///models/c"}]
    started = launched(container(*command, args=args, env=env))
    assert (started.command, started.grpc) == (words, grpc)


def test_variables_may_name_those_before_them() -> None:
    values = {
        "A": "$(PORT)",
        "B": "$(A)/$(LATER)",
        "LATER": "x",
        "PORT": "80",
        "C": "/mnt/models",
        "INFERENCE_SERVICE_NAME": "other",
        "STORAGE_URI": "file:///models/c",
    }
    env = [{"name": name, "value": value} for name, value in values.items()]
    started = launched(container("serve", "$(B)", env=env))
    assert started.command == ["serve", "20001/$(LATER)"]  # a variable names the port
    assert started.environment.items() >= {
        ("A", "20001"),
        ("B", "20001/$(LATER)"),
        ("PORT", "20001"),
        ("C", "/models/c"),
        ("INFERENCE_SERVICE_NAME", "other"),
    }


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ([], ["--http_port=20001", "--model_name=tumor", HOST]),
        (["--model_name", "mnist"], ["--model_name", "mnist", "--http_port=20001", HOST]),
        (
            ["--predictor_host=h", "$(PORT)"],
            ["--predictor_host=h", "20001", "--model_name=tumor"],
        ),
    ],
)
def test_a_transformer_s_command_finds_its_predictor(args: list[str], words: list[str]) -> None:
    spec = container("python", "-m", "model", component="transformer", args=args)
    started = launched(spec, "transformer")
    assert started.command == ["python", "-m", "model", *words]
    assert started.environment["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)


def test_where_a_command_runs_and_when_it_is_ready() -> None:
    plain = launched(container("serve"))
    assert (plain.folder, plain.readiness) == (None, None)
    probe = {"httpGet": {"path": "/up?now=1", "port": 8080}}
    told = launched(container("serve", workingDir="/srv/app", readinessProbe=probe))
    assert (told.folder, told.readiness) == (Path("/srv/app"), "/up?now=1")
    assert launched(container("serve", readinessProbe={"httpGet": {}})).readiness == "/"
    assert launched(container("serve", readinessProbe={"tcpSocket": {}})).readiness is None


def test_the_runtime_understands_what_it_is_told() -> None:
    spec = model(
        "xgboost",
        batcher={"maxBatchSize": 8, "maxLatency": 20},
        logger={"url": "http://sink/", "mode": "response"},
        resources={"limits": {"cpu": 2}},
    )
    told = parse(launched(spec, allow_pickle=True).command[len(SETTINGS.runtime_command) :])
    assert (told.model_name, told.model_dir) == ("tumor", Path("/models/1"))
    assert (told.host, told.http_port, told.grpc_port) == ("127.0.0.1", 20_001, 20_002)
    assert (told.model_format, told.allow_pickle, told.max_threads) == ("xgboost", True, 2)
    assert (told.max_batch_size, told.max_batch_latency_ms) == (8, 20)
    assert (told.logger_url, told.logger_mode) == ("http://sink/", "response")


def test_python_is_the_engine_s_own() -> None:
    code = "import json, os, sys; print(json.dumps([sys.prefix, sys.argv[1:], os.environ['PORT']]))"
    started = launched(container("python", "-c", code, component="transformer"), "transformer")
    ran = subprocess.run(
        started.command, env=started.environment, capture_output=True, check=True, timeout=20
    )
    words = ["--http_port=20001", "--model_name=tumor", HOST]
    assert json.loads(ran.stdout) == [sys.prefix, words, "20001"]
