from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modelport_engine.errors import InvalidObject
from modelport_engine.objects import parse, storage_path


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
        ({"spec__predictor__model": None}, "spec.predictor.model is missing"),
        ({"spec__transformer": {}}, "spec.transformer is not supported"),
        ({"spec__predictor__model__storageUri": None}, "storageUri is wrong: it is required"),
        ({"spec__predictor__model__storageUri": "s3://b/m"}, "'s3://b/m' is not a folder"),
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
                "serving.kserve.io/stop": "true",
                "mine": "1",
            },
            spec__explainer={},
            spec__predictor__minReplicas=0,
            spec__predictor__canaryTrafficPercent=10,
            spec__predictor__model__resources={"limits": {"cpu": "1"}},
            spec__predictor__model__env=[{"name": "A", "valueFrom": {"secretKeyRef": {}}}],
        )
    )
    assert service.unhonoured == (
        "metadata.annotations[serving.kserve.io/deploymentMode]",
        "metadata.annotations[serving.kserve.io/stop]",
        "metadata.finalizers",
        "spec.explainer",
        "spec.predictor.canaryTrafficPercent",
        "spec.predictor.minReplicas: 0 (one replica stays)",
        "spec.predictor.model.env[0].valueFrom",
        "spec.predictor.model.resources",
    )


def test_only_what_a_process_depends_on_is_in_the_template() -> None:
    plain = parse(document()).components.template
    assert parse(document(spec__predictor__minReplicas=3)).components.template == plain
    assert parse(document(spec__predictor__timeout=3)).components.template == plain
    assert parse(document(spec__predictor__model__args=["--x"])).components.template != plain


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
