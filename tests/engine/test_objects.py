from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from modelport_engine.errors import InvalidObject
from modelport_engine.objects import Predictor, check_folder, is_fetched, parse, storage_path


def document(**changes: Any) -> dict[str, Any]:
    """A valid object with dotted paths replaced; None removes."""
    whole: dict[str, Any] = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "tumor"},
        "spec": {
            "predictor": {"model": {"modelFormat": {"name": "onnx"}, "storageUri": "/models/1"}}
        },
    }
    for path, value in changes.items():
        *parents, last = path.split("__")
        part = whole
        for parent in parents:
            part = part[parent]
        if value is None:
            del part[last]
        else:
            part[last] = value
    return whole


def test_a_plain_object_is_read_with_kubernetes_defaults() -> None:
    service = parse(document(metadata__annotations={"team": "a"}))
    assert (service.namespace, service.name) == ("default", "tumor")
    assert service.annotations == {"team": "a"}
    assert service.components.predictor.replicas == 1
    assert service.components.predictor.timeout == 60
    assert service.unhonoured == ()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"apiVersion": "v1"}, "apiVersion is 'v1': write apiVersion: serving.kserve.io/v1beta1"),
        ({"kind": None}, "kind is None"),
        ({"metadata": "x"}, "metadata is missing or not a mapping"),
        ({"metadata__name": None}, "metadata.name None"),
        ({"metadata__name": "Tumor"}, "metadata.name 'Tumor'"),
        ({"metadata__name": "a" * 46}, "at most 45"),
        ({"metadata__namespace": "a/b"}, "metadata.namespace 'a/b'"),
        ({"metadata__labels": {"a": 1}}, "metadata.labels is not a mapping of texts"),
        ({"metadata__annotations": {1: "a"}}, "metadata.annotations is not a mapping of texts"),
        ({"spec__predictor": None}, "spec.predictor is missing or not a mapping"),
        ({"spec__predictor__model": None}, "spec.predictor.model is missing"),
        ({"spec__transformer": {}}, "spec.transformer.containers is wrong: it is required"),
        ({"spec__predictor__model__storageUri": None}, "model.storageUri is missing"),
        ({"spec__predictor__model__storageUri": "s3://b/m"}, "not reachable here: download it and"),
        ({"spec__predictor__model__storageUri": "http://["}, "is no URI"),
        ({"spec__predictor__model__storageUri": "models:/a/../b"}, "names no model of MLflow"),
        ({"spec__predictor__model__storageUri": "runs:/"}, "names no model of MLflow"),
        ({"spec__predictor__model__storageUri": "file://host/m"}, "is not a folder of this"),
        ({"spec__predictor__model__storageUri": "models/1"}, "'models/1' is not a folder"),
        ({"spec__predictor__minReplicas": -1}, "minReplicas is wrong: input should be greater"),
        ({"spec__predictor__minReplicas": "2"}, "minReplicas is wrong: input should be a valid i"),
        ({"spec__predictor__timeout": 0}, "spec.predictor.timeout is wrong"),
        ({"spec__predictor__model__args": ["--http_port=1"]}, "'--http_port=1' cannot be given"),
        ({"spec__predictor__model__args": ["a\0b"]}, "cannot be given"),
        ({"spec__predictor__model__env": [{"name": "A", "value": "a\0"}]}, r"env\[0\].value has a"),
        ({"spec__predictor__model__env": [{"name": "A=B"}]}, r"env\[0\].name is wrong"),
        ({"spec__predictor__model__protocolVersion": "v3"}, "protocolVersion is wrong"),
        ({"spec__predictor__model__protocolVersion": "grpc-v1"}, "protocolVersion is wrong"),
        ({"spec__predictor__model__args": ["--grpc_port", "1"]}, "'--grpc_port' cannot be given"),
        ({"spec__predictor__model__command": ["serve"]}, "model.command is not supported"),
        (
            {"spec__predictor__model__env": [{"name": "A", "valueFrom": {}}]},
            r"env\[0\].valueFrom cannot be read without a cluster: write the variable's value",
        ),
        ({"spec__predictor__model__envFrom": []}, "model.envFrom cannot be read without"),
        ({"spec__predictor__storageUris": [{"uri": "/m"}]}, "storageUris is not supported"),
        ({"spec__predictor__sklearn": {"storageUri": "/m"}}, "has model and sklearn: keep one"),
        ({"spec__predictor__maxReplicas": 65}, "maxReplicas is wrong"),
        (
            {"spec__predictor__minReplicas": 3, "spec__predictor__maxReplicas": 2},
            "minReplicas 3 is above maxReplicas 2",
        ),
        ({"spec__predictor__canaryTrafficPercent": 101}, "canaryTrafficPercent is wrong"),
        ({"spec__predictor__batcher": {"maxBatchSize": 0}}, "batcher.maxBatchSize is wrong"),
        ({"spec__predictor__logger": {"mode": "some"}}, "logger.mode is wrong"),
        (
            {"spec__predictor__model__resources": {"limits": {"cpu": "2 cores"}}},
            "limits.cpu is wrong: write a quantity",
        ),
    ],
)
def test_what_is_wrong_is_named_in_one_line(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidObject, match=words) as caught:
        parse(document(**changes))
    assert "\n" not in str(caught.value)


def test_every_field_that_is_not_acted_on_is_named() -> None:
    service = parse(
        document(
            metadata__finalizers=["x"],
            metadata__annotations={
                "serving.kserve.io/deploymentMode": "Knative",
                "serving.kserve.io/stop": "maybe",
                "autoscaling.knative.dev/target": "5",
                "mine": "1",
            },
            metadata__labels={"networking.kserve.io/visibility": "cluster-local", "app": "a"},
            spec__explainer={"art": {}},
            spec__predictor__minReplicas=0,
            spec__predictor__nodeSelector={"gpu": "yes"},
            spec__predictor__scaleMetric="cpu",
            spec__predictor__logger={"url": "s3://bucket", "metadataHeaders": ["a"]},
            spec__predictor__model__resources={
                "limits": {"cpu": "1", "memory": "1Gi", "nvidia.com/gpu": 1},
                "requests": {"cpu": "1"},
            },
            spec__predictor__model__runtime="kserve-sklearnserver",
            spec__predictor__model__image="other/server:1",
            spec__predictor__model__readinessProbe={"httpGet": {"path": "/", "port": 1}},
        )
    )
    assert service.unhonoured == (
        "metadata.annotations[autoscaling.knative.dev/target]",
        "metadata.annotations[serving.kserve.io/deploymentMode]",
        "metadata.annotations[serving.kserve.io/stop]",
        "metadata.finalizers",
        "metadata.labels[networking.kserve.io/visibility]",
        "spec.explainer (only explainers with a container are run)",
        "spec.predictor.logger (its url is not http:// or https://)",
        "spec.predictor.logger.metadataHeaders"
        " (events carry a request or an answer as it is, each on its own)",
        "spec.predictor.minReplicas: 0 (one replica stays)",
        "spec.predictor.model.image (modelport's runtime is run instead)",
        "spec.predictor.model.readinessProbe (the runtime's own readiness is asked)",
        "spec.predictor.model.resources.limits.cpu (it limits threads, not the share of the cores)",
        "spec.predictor.model.resources.limits.nvidia.com/gpu (processes see what the engine sees)",
        "spec.predictor.model.resources.requests.cpu (nothing is reserved)",
        "spec.predictor.model.runtime (modelport's runtime is run instead)",
        "spec.predictor.nodeSelector (there is one machine)",
        "spec.predictor.scaleMetric (maxReplicas is not above minReplicas)",
    )


def test_what_is_acted_on_is_not_named() -> None:
    service = parse(
        document(
            metadata__annotations={
                "serving.kserve.io/deploymentMode": "Standard",
                "serving.kserve.io/stop": "true",
                "serving.kserve.io/autoscalerClass": "none",
            },
            spec__predictor__timeout=5,
            spec__predictor__containerConcurrency=3,
            spec__predictor__canaryTrafficPercent=5,
            spec__predictor__batcher={"maxBatchSize": 8, "maxLatency": 20},
            spec__predictor__logger={"url": "http://127.0.0.1:9"},
            spec__predictor__model__protocolVersion="grpc-v2",
            spec__predictor__model__runtime="modelport-onnx",
            spec__predictor__model__resources={"limits": {"memory": "1Gi"}},
        )
    )
    assert service.unhonoured == ()
    assert service.stopped
    spec = service.components
    assert spec.timeouts(("predictor", "explainer")) == {"predictor": 5, "explainer": 60}
    assert (spec.concurrency("predictor"), spec.concurrency("explainer")) == (3, None)
    assert spec.canary_percent == 5


def test_no_autoscaler_is_only_had_without_a_maximum() -> None:
    annotations = {"serving.kserve.io/autoscalerClass": "external"}
    scaled = document(metadata__annotations=annotations, spec__predictor__maxReplicas=3)
    assert parse(scaled).unhonoured == ("metadata.annotations[serving.kserve.io/autoscalerClass]",)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("minReplicas", 3),
        ("maxReplicas", 3),
        ("timeout", 3),
        ("containerConcurrency", 3),
        ("canaryTrafficPercent", 3),
        ("name", "blue"),
        ("scaleTarget", 50),
        ("labels", {"a": "b"}),
        ("model__protocolVersion", "v2"),
        ("model__args", []),
        ("model__resources", {"requests": {"cpu": 1}}),
        ("model__volumeMounts", [{}]),
    ],
)
def test_what_no_process_depends_on_makes_no_revision(path: str, value: Any) -> None:
    changed = parse(document(**{f"spec__predictor__{path}": value}))
    assert changed.components.template == parse(document()).components.template


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("batcher", {"maxBatchSize": 4}),
        ("logger", {"url": "http://127.0.0.1:9"}),
        ("model__args", ["--x"]),
        ("model__storageUri", "/models/2"),
        ("model__resources", {"limits": {"cpu": 1}}),
    ],
)
def test_what_a_process_depends_on_makes_a_revision(path: str, value: Any) -> None:
    template = parse(document(**{f"spec__predictor__{path}": value})).components.template
    assert template != parse(document()).components.template
    assert Predictor.model_validate(json.loads(json.dumps(template))).template == template


def test_a_framework_s_name_is_a_model_of_that_format() -> None:
    shorthand = {"sklearn": {"storageUri": "/m", "args": ["--x"], "protocolVersion": "v2"}}
    model = {"modelFormat": {"name": "sklearn"}, "storageUri": "/m", "args": ["--x"]}
    written = parse(document(spec__predictor=shorthand)).components.template
    assert written == parse(document(spec__predictor={"model": model})).components.template
    assert written == {"model": model}
    with pytest.raises(InvalidObject, match=r"spec.predictor.pmml.storageUri is missing"):
        parse(document(spec__predictor={"pmml": {}}))


@pytest.mark.parametrize(
    "uri", ["models:/a/1", "models:/a@b", "runs:/1/m", "mlflow://models/a/1", "mlflow://runs/1/m"]
)
def test_what_mlflow_keeps_is_fetched(uri: str) -> None:
    service = parse(document(spec__predictor__model__storageUri=uri))
    assert service.components.storage_uris == [uri]
    assert is_fetched(uri)
    check_folder(uri)
    assert not is_fetched("/models/1")


def test_a_storage_uri_is_decoded() -> None:
    assert storage_path("file:///a%20b/c") == Path("/a b/c")
    assert storage_path("file://localhost/a") == Path("/a")
    assert storage_path("/a b") == Path("/a b")


def explainer(**container: Any) -> dict[str, Any]:
    env = [{"name": "STORAGE_URI", "value": "file:///models/1"}]
    args = ["--model_dir=/mnt/models", "--explainer=shap"]
    whole = {"name": "kserve-container", "image": "modelport-runtime:1", "args": args, "env": env}
    return {"containers": [{**whole, **container}]}


def test_an_explainer_is_a_part_of_the_revision() -> None:
    service = parse(document(spec__explainer=explainer()))
    assert service.unhonoured == ()
    assert service.components.replicas == {"predictor": 1, "explainer": 1}
    assert service.components.storage_uris == ["/models/1", "file:///models/1"]
    template = service.components.template
    assert parse(document(spec__explainer={**explainer(), "timeout": 9})).components.template == (
        template
    )
    other = explainer(args=["--explainer=mine:Own"])
    assert parse(document(spec__explainer=other)).components.template != template
    assert parse(document()).components.template == {"model": template["model"]}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"containers": []}, "spec.explainer.containers is wrong"),
        (explainer(args=["--predictor_host=h"]), r"containers\[0\].args '--predictor_host=h' cann"),
        (
            explainer(env=[{"name": "STORAGE_URI", "value": "s3://b"}]),
            "STORAGE_URI 's3://b' is not",
        ),
        ([], "spec.explainer is wrong"),
    ],
)
def test_what_is_wrong_with_an_explainer(changes: Any, words: str) -> None:
    with pytest.raises(InvalidObject, match=words):
        parse(document(spec__explainer=changes))


def test_another_image_is_said_not_to_run() -> None:
    service = parse(document(spec__explainer=explainer(image="other/explainer:2")))
    assert service.unhonoured == (
        "spec.explainer.containers[0].image (modelport's runtime is run instead)",
    )


def test_what_only_a_command_has_is_named_without_one() -> None:
    changes = {"workingDir": "/srv", "readinessProbe": {"httpGet": {"path": "/up"}}}
    service = parse(document(spec__explainer=explainer(**changes)))
    assert service.unhonoured == (
        "spec.explainer.containers[0].readinessProbe (the runtime's own readiness is asked)",
        "spec.explainer.containers[0].workingDir (modelport's runtime is run instead)",
    )


@pytest.mark.parametrize("component", ["predictor", "transformer", "explainer"])
def test_an_image_that_cannot_stand_for_another_is_refused(component: str) -> None:
    container = {"name": "kserve-container", "image": "other/image:1", "args": ["--x"]}
    changes = {f"spec__{component}": {"containers": [container]}}
    with pytest.raises(InvalidObject, match=rf"spec.{component}.*'other/image:1' cannot be run"):
        parse(document(**changes))
    container |= {"command": ["python", "-m", "model"]}
    assert parse(document(**changes)).unhonoured == (
        f"spec.{component}.containers[0].image (the command is run without it)",
    )


def test_a_container_of_its_own_is_the_predictor() -> None:
    container = {
        "name": "kserve-container",
        "image": "",
        "command": ["serve", "$(PORT)"],
        "env": [{"name": "STORAGE_URI", "value": "/models/1"}, {"name": "PORT", "value": "8080"}],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8080}, "periodSeconds": 1},
        "ports": [{"containerPort": 8080}],
    }
    predictor = {"containers": [container], "batcher": {}, "logger": {"url": "http://a"}}
    service = parse(document(spec__predictor=predictor))
    assert service.components.storage_uris == ["/models/1"]
    assert service.components.template["containers"][0]["command"] == ["serve", "$(PORT)"]
    assert service.unhonoured == (
        "spec.predictor.batcher (only modelport's predictor makes batches)",
        "spec.predictor.containers[0].env[1] (the engine chooses PORT)",
        "spec.predictor.containers[0].ports (the engine chooses the port, PORT in the environment)",
        "spec.predictor.containers[0].readinessProbe.httpGet.port (the container's PORT is asked)",
        "spec.predictor.containers[0].readinessProbe.periodSeconds",
        "spec.predictor.logger (only modelport's runtime sends events)",
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"command": [""]}, r"containers\[0\].command cannot be run"),
        ({"command": ["a", "b\0"]}, r"containers\[0\].command cannot be run"),
        ({"workingDir": "relative"}, "workingDir is wrong"),
        ({"readinessProbe": {"httpGet": {"path": "a b"}}}, "httpGet.path is wrong"),
        ({"name": None}, r"containers\[0\].name is wrong"),
    ],
)
def test_what_is_wrong_with_a_container(changes: dict[str, Any], words: str) -> None:
    container = {"name": "kserve-container", "command": ["serve"], **changes}
    with pytest.raises(InvalidObject, match=words):
        parse(document(spec__predictor={"containers": [container]}))


def test_two_containers_are_refused() -> None:
    containers = [{"name": name, "command": ["serve"]} for name in ("a", "b")]
    with pytest.raises(InvalidObject, match=r"spec\.predictor\.containers is wrong"):
        parse(document(spec__predictor={"containers": containers}))
