"""YAML of the kind that KServe's documentation shows, and mappings of any kind."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from modelport_engine.errors import InvalidObject
from modelport_engine.objects import Spec, parse, read_spec

CRD = Path(__file__).parents[3] / "shared" / "kserve-crds" / "inferenceservices.yaml"

SHORTHAND = """
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: sklearn-iris
spec:
  predictor:
    sklearn:
      storageUri: models:/iris/1
      resources:
        requests: {cpu: 100m, memory: 256Mi}
        limits: {cpu: 1, memory: 1Gi}
"""

NEW_STYLE = """
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: xgboost-iris
  annotations:
    serving.kserve.io/deploymentMode: Standard
spec:
  predictor:
    minReplicas: 1
    model:
      modelFormat:
        name: xgboost
      protocolVersion: v2
      runtime: kserve-xgbserver
      storageUri: file:///models/xgboost
"""

ONNX = """
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: style-sample
spec:
  predictor:
    onnx:
      storageUri: file:///models/onnx
    batcher:
      maxBatchSize: 32
      maxLatency: 500
    logger:
      mode: all
      url: http://message-dumper.default/
"""

TRANSFORMER = """
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: image-transformer
spec:
  predictor:
    model:
      modelFormat:
        name: pytorch
      storageUri: file:///models/mnist
  transformer:
    containers:
      - image: kserve/image-transformer:latest
        name: kserve-container
        command: [python, -m, model]
        args: [--model_name, mnist]
"""

CANARY_PERCENT = """
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: sklearn-iris
  annotations:
    serving.kserve.io/enable-tag-routing: "true"
spec:
  predictor:
    canaryTrafficPercent: 10
    model:
      modelFormat:
        name: sklearn
      storageUri: runs:/0123456789/model-2
"""

CANARY = """
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: sklearn-iris
spec:
  predictor:
    name: v1
    minReplicas: 1
    model:
      modelFormat: {name: sklearn}
      storageUri: file:///models/1
  canary:
    - trafficPercent: 20
      predictor:
        name: v2
        model:
          name: kserve-container
          modelFormat: {name: sklearn}
          storageUri: file:///models/2
"""

CUSTOM = """
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: custom-model
spec:
  predictor:
    timeout: 60
    containerConcurrency: 5
    containers:
      - name: kserve-container
        image: example.org/custom-model:v1
        command: [python, -m, model]
        env:
          - name: STORAGE_URI
            value: file:///models/custom
        ports:
          - containerPort: 8080
            protocol: TCP
"""

KEDA = """
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: sklearn-v2-iris
  annotations:
    serving.kserve.io/deploymentMode: Standard
    serving.kserve.io/autoscalerClass: keda
spec:
  predictor:
    model:
      modelFormat: {name: sklearn}
      protocolVersion: v2
      storageUri: file:///models/1
    minReplicas: 1
    maxReplicas: 5
    autoScaling:
      metrics:
        - type: Resource
          resource:
            name: cpu
            target: {type: Utilization, averageUtilization: 50}
        - type: External
          external:
            metric:
              backend: prometheus
              serverAddress: http://prometheus:9090
              query: >-
                histogram_quantile(0.99, sum by(le)
                (rate(request_predict_seconds_bucket{model_name="m"}[1m])))
            target: {type: Value, value: "0.2"}
"""

DOCUMENTS = (
    SHORTHAND,
    NEW_STYLE,
    ONNX,
    TRANSFORMER,
    CANARY_PERCENT,
    CANARY,
    CUSTOM,
    KEDA,
)


def read(text: str) -> Spec:
    return parse(yaml.safe_load(text)).components


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft7Validator:
    """KServe's own schema of an InferenceService."""
    if not CRD.is_file():
        pytest.skip(f"KServe's schemas are not at {CRD.parent}")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    crd = yaml.load(CRD.read_text(), Loader=loader)  # noqa: S506 - a safe loader, in C
    return jsonschema.Draft7Validator(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"])


@pytest.mark.parametrize("text", DOCUMENTS)
def test_these_documents_are_kserve_s(validator: jsonschema.Draft7Validator, text: str) -> None:
    errors = validator.iter_errors(yaml.safe_load(text))
    assert [f"{error.json_path}: {error.message}" for error in errors] == []


def test_models_by_format_and_by_framework() -> None:
    assert read(SHORTHAND).template["model"] == {
        "modelFormat": {"name": "sklearn"},
        "storageUri": "models:/iris/1",
        "resources": {"limits": {"cpu": 1, "memory": "1Gi"}},
    }
    assert read(NEW_STYLE).template["model"]["modelFormat"] == {"name": "xgboost"}
    onnx = read(ONNX).template
    assert onnx["batcher"] == {"maxBatchSize": 32, "maxLatency": 500}
    assert onnx["logger"] == {"url": "http://message-dumper.default/"}


def test_components_and_containers() -> None:
    spec = read(TRANSFORMER)
    assert list(spec.components) == ["predictor", "transformer"]
    assert spec.template["transformer"]["containers"][0]["command"] == ["python", "-m", "model"]
    custom = read(CUSTOM)
    assert custom.storage_uris == ["file:///models/custom"]
    assert custom.concurrency("predictor") == 5


def test_canaries_and_scaling() -> None:
    assert read(CANARY_PERCENT).canary_percent == 10
    assert [(one.name, one.percent) for one in read(CANARY).canaries] == [("v2", 20)]
    scale = read(KEDA).scales["predictor"]
    assert (scale.minimum, scale.maximum, scale.metric, scale.target) == (1, 5, "cpu", 50)


_FIELDS = st.sampled_from(
    (
        *("predictor", "transformer", "explainer", "canary", "trafficPercent", "model", "sklearn"),
        *("storageUri", "modelFormat", "name", "containers", "command", "args", "env", "value"),
        *("resources", "limits", "requests", "cpu", "memory", "minReplicas", "maxReplicas"),
        *("scaleMetric", "scaleTarget", "autoScaling", "metrics", "type", "resource", "external"),
        *("metric", "query", "target", "readinessProbe", "httpGet", "path", "workingDir", "image"),
        *("logger", "url", "batcher", "timeout", "containerConcurrency", "storageUris"),
    )
)
_LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 200),
    st.floats(allow_nan=False),
    st.text(max_size=5),
    st.sampled_from(("/m", "file:///m", "models:/a/1", "s3://a", "http://[", "500m", "1Gi")),
    st.sampled_from(("cpu", "rps", "Resource", "External", "kserve-container", "modelport:1")),
)
_VALUES = st.recursive(
    _LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=2), st.dictionaries(_FIELDS | st.text(max_size=3), inner)
    ),
    max_leaves=20,
)
_AMOUNTS = st.dictionaries(st.sampled_from(("cpu", "memory", "gpu")), st.sampled_from((1, "5m")))
_PROGRAMS: dict[str, st.SearchStrategy[Any]] = {
    "args": st.lists(st.text(max_size=5)),
    "env": st.lists(st.fixed_dictionaries({"name": st.just("A"), "value": st.text(max_size=5)})),
    "resources": st.dictionaries(st.sampled_from(("limits", "requests")), _AMOUNTS),
    "readinessProbe": st.dictionaries(st.text(max_size=3), _VALUES),
}
_MODELS = st.fixed_dictionaries({"storageUri": st.just("/m")}, optional=_PROGRAMS)
_CONTAINERS = st.fixed_dictionaries(
    {"name": st.just("c"), "command": st.just(["serve"])}, optional=_PROGRAMS
)
_METRICS = st.fixed_dictionaries(
    {"type": st.sampled_from(("Resource", "External", "PodMetric"))},
    optional={
        "resource": st.fixed_dictionaries({"name": st.just("cpu"), "target": st.just({})}),
        "external": st.fixed_dictionaries({"metric": st.just({}), "target": st.just({})}),
    },
)
_COMPONENTS: dict[str, st.SearchStrategy[Any]] = {
    "minReplicas": st.integers(0, 3),
    "maxReplicas": st.integers(2, 5),
    "scaleMetric": st.sampled_from(("cpu", "memory", "rps")),
    "autoScaling": st.fixed_dictionaries({"metrics": st.lists(_METRICS, max_size=2)}),
    "logger": st.fixed_dictionaries({"url": st.text(max_size=5)}),
    "volumes": _VALUES,
}
_PREDICTORS = st.fixed_dictionaries({"onnx": _MODELS}, optional={**_COMPONENTS, "batcher": _VALUES})
_FRONTS = st.fixed_dictionaries(
    {"containers": st.lists(_CONTAINERS, min_size=1, max_size=1)}, optional=_COMPONENTS
)
_SPECS = st.one_of(
    st.dictionaries(_FIELDS | st.text(max_size=3) | st.integers(), _VALUES),
    st.fixed_dictionaries(
        {"predictor": _PREDICTORS},
        optional={
            "transformer": _FRONTS,
            "explainer": _FRONTS,
            "canary": st.lists(
                st.fixed_dictionaries(
                    {
                        "trafficPercent": st.integers(0, 60),
                        "predictor": st.fixed_dictionaries(
                            {"name": st.sampled_from(("a", "b")), "onnx": _MODELS}
                        ),
                    }
                ),
                max_size=2,
            ),
        },
    ),
)


@given(spec=_SPECS, metadata=st.dictionaries(st.text() | st.integers(), _VALUES))
def test_whatever_is_written_is_accepted_or_refused_in_plain_words(
    spec: dict[str, Any], metadata: dict[str, Any]
) -> None:
    document = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {**metadata, "name": "a"},
        "spec": spec,
    }
    with suppress(InvalidObject):
        service = parse(document)
        stored = read_spec(service.spec)
        assert stored.template == service.components.template
        assert stored.canaries == service.components.canaries
        assert set(stored.scales) == set(stored.replicas) == set(stored.components)
        assert all(scale.target > 0 and scale.cores > 0 for scale in stored.scales.values())
