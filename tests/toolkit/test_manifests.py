"""Manifests, checked against KServe's own CustomResourceDefinition where it lies beside us."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from modelport import manifests

CRD = Path(__file__).parents[3] / "shared" / "kserve-crds" / "inferenceservices.yaml"

ONNX = manifests.Served("file:///models/tumor")
EXPLAINED = manifests.Served("file:///models/tumor", explainer=True)
NATIVE = manifests.Served("file:///models/echo", model_format="mlflow", allow_pickle=True)


@pytest.fixture(scope="module")
def validator():
    if not CRD.is_file():
        pytest.skip(f"KServe's schemas are not at {CRD.parent}")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    crd = yaml.load(CRD.read_text(), Loader=loader)  # noqa: S506 - a safe loader, in C
    (version,) = [v for v in crd["spec"]["versions"] if v["name"] == "v1beta1"]
    # Not `jsonschema.validate`, which would check the huge schema itself each time.
    return jsonschema.Draft202012Validator(strict(version["schema"]["openAPIV3Schema"]))


def strict(node):
    """Refuse unknown fields: an API server would drop them without a word."""
    if isinstance(node, dict):
        node = {key: strict(value) for key, value in node.items()}
        known = isinstance(node.get("properties"), dict) and node.get("type") == "object"
        if known and not node.get("x-kubernetes-preserve-unknown-fields"):
            node.setdefault("additionalProperties", False)
    return node


def manifest(served):
    return manifests.inference_service("tumor", "default", served, {manifests.MODEL: "models:/m/1"})


@pytest.mark.parametrize("served", [ONNX, NATIVE, EXPLAINED], ids=["onnx", "native", "explained"])
def test_kserve_knows_every_field(validator, served):
    written = manifest(served)
    del written["metadata"]  # the schema leaves it to Kubernetes
    validator.validate(written)


def test_an_unknown_field_would_be_noticed(validator):
    written = manifest(ONNX)
    del written["metadata"]
    written["spec"]["predictor"]["model"]["pickle"] = True
    with pytest.raises(jsonschema.ValidationError, match="pickle"):
        validator.validate(written)


def test_pickle_is_allowed_only_where_it_is_written():
    assert "args" not in manifest(ONNX)["spec"]["predictor"]["model"]
    assert manifest(NATIVE)["spec"]["predictor"]["model"]["args"] == ["--allow-pickle"]


def test_yaml_reads_back_in_kubernetes_order():
    text = manifests.to_yaml(manifest(ONNX))
    assert [line.split(":")[0] for line in text.splitlines() if line[0].isalpha()] == [
        "apiVersion",
        "kind",
        "metadata",
        "spec",
    ]
    assert yaml.safe_load(text) == manifest(ONNX)


def test_what_the_server_fills_in_is_not_applied_again():
    stored = json.loads(json.dumps(manifest(ONNX)))
    stored["metadata"] |= {"uid": "1", "generation": 3, "resourceVersion": "9"}
    stored["status"] = {"url": "http://x"}
    assert manifests.applied(stored) == manifest(ONNX)


def test_an_annotation_may_be_missing():
    assert manifests.annotation(manifest(ONNX), manifests.MODEL) == "models:/m/1"
    assert manifests.annotation({"metadata": {}}, manifests.MODEL) is None


def test_the_explainer_reads_the_predictors_folder():
    from modelport_engine import objects

    written = manifest(EXPLAINED)
    assert manifests.has_explainer(written)
    assert not manifests.has_explainer(manifest(ONNX))
    # What goes to a cluster is what the local engine runs, whole.
    service = objects.parse(written)
    assert service.unhonoured == ()
    assert set(service.components.storage_uris) == {EXPLAINED.storage_uri}
