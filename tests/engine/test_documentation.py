"""What KServe's documentation applies and asks, with the runtime that ships.

The documents are of its own kind; only their bucket is a folder here, filled as KServe fills it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import numpy as np
import pytest
import yaml
from tritonclient import grpc as triton

from modelport_engine.errors import InvalidObject
from tests.engine import bucket
from tests.engine.conftest import new_home

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.engine.conftest import Home

IMAGES = Path(__file__).with_name("documentation")
CRD = Path(__file__).parents[3] / "shared" / "kserve-crds" / "inferenceservices.yaml"
APPLIED = ("sklearn", "sklearn-shorthand", "sklearn-v2", "xgboost", "lightgbm", "onnx", "canaries")

FLOWERS = [[6.8, 2.8, 4.8, 1.4], [6.0, 3.4, 4.5, 1.6]]
V1 = {"instances": FLOWERS}
V2 = {"inputs": [{"name": "input-0", "shape": [2, 4], "datatype": "FP32", "data": FLOWERS}]}
ROWS = {"instances": [{"x": [1, 2, 3, 4], "text": "a"}]}
IMAGE = {"instances": [{"image": {"b64": "AQIDBA=="}}]}


class Kserve:
    """An engine that takes KServe's documents, each into a namespace of its own."""

    def __init__(self, home: Home, models: Path) -> None:
        self.home = home
        self.models = models

    def read(self, name: str, namespace: str | None = None) -> dict[str, Any]:
        return bucket.document(name, self.models, namespace or name)

    def apply(self, document: dict[str, Any]) -> dict[str, Any]:
        """Apply a document, and give the object once it is ready."""
        applied = self.home.client.apply(document)["metadata"]
        return self.home.client.wait_ready(
            applied["name"], applied["namespace"], generation=applied["generation"], timeout=90
        )

    def ready(self, name: str) -> dict[str, Any]:
        """Give the object of a document that was applied before, once it is ready."""
        service = self.read(name)["metadata"]["name"]
        return self.home.client.wait_ready(service, namespace=name, timeout=90)

    def ask(self, service: dict[str, Any], path: str, content: Any) -> Any:
        body = json.dumps(content).encode()
        headers = {"Content-Type": "application/json"}
        status, answer = self.home.request(service["status"]["url"], path, body, headers=headers)
        assert status == 200, answer
        return answer

    def predict(self, service: dict[str, Any], content: Any, model: str | None = None) -> Any:
        path = f"/v1/models/{model or service['metadata']['name']}:predict"
        return self.ask(service, path, content)["predictions"]

    def counts(self, service: dict[str, Any], content: Any, times: int = 200) -> Counter[str]:
        return Counter(str(self.predict(service, content)) for _ in range(times))


@pytest.fixture(scope="module")
def kserve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kserve]:
    """Apply what needs no image, all at once."""
    folder = tmp_path_factory.mktemp("documentation")
    bucket.fill(folder / "bucket")
    with new_home(folder) as home, pytest.MonkeyPatch.context() as patch:
        patch.delenv("MODELPORT_ENGINE_RUNTIME")
        patch.setenv("MODELPORT_ENGINE_ALLOW_PICKLE", "true")
        home.start()
        kserve = Kserve(home, folder / "bucket")
        for name in APPLIED:
            home.client.apply(kserve.read(name))
        yield kserve


@pytest.fixture(scope="module")
def kserve_python() -> Path:
    """The interpreter of the environment that KServe's SDK is installed in."""
    default = Path(__file__).parents[2] / ".venv-kserve/bin/python"
    python = Path(os.environ.get("KSERVE_PYTHON") or default)
    if not python.exists():
        pytest.skip("KServe's SDK needs an environment of its own: make test makes it")
    return python


@pytest.fixture(scope="module")
def schema() -> jsonschema.Draft202012Validator:
    if not CRD.is_file():
        pytest.skip(f"KServe's schemas are not at {CRD.parent}")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    crd = yaml.load(CRD.read_text(), Loader=loader)  # noqa: S506 - a safe loader, in C
    properties = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    return jsonschema.Draft202012Validator(closed(properties["status"]))


def closed(node: Any) -> Any:
    """Refuse unknown fields: an API server would drop them without a word."""
    if not isinstance(node, dict):
        return node
    node = {key: closed(value) for key, value in node.items()}
    is_object = node.get("type") == "object" and isinstance(node.get("properties"), dict)
    return {"additionalProperties": False, **node} if is_object else node


def in_image(container: dict[str, Any], image: str, python: Path) -> None:
    """Add what an image would bring: its files, and its own Python first."""
    path = os.pathsep.join((str(python.parent), os.environ["PATH"]))
    container["workingDir"] = str(IMAGES / image)
    container["env"] = [*container.get("env", []), {"name": "PATH", "value": path}]


@pytest.mark.parametrize(
    ("name", "predictions"),
    [
        ("sklearn", [1, 1]),
        ("sklearn-shorthand", [1, 1]),
        ("sklearn-v2", [1, 1]),
        ("xgboost", [1.0, 1.0]),
    ],
)
def test_classes_are_told_by_v1_and_v2(kserve: Kserve, name: str, predictions: list[int]) -> None:
    service = kserve.ready(name)
    model = service["metadata"]["name"]
    assert kserve.predict(service, V1) == predictions
    answer = kserve.ask(service, f"/v2/models/{model}/infer", V2)
    (output,) = answer["outputs"]
    assert (answer["model_name"], output["shape"], output["data"]) == (model, [2], predictions)


def test_lightgbm_tells_probabilities(kserve: Kserve) -> None:
    service = kserve.ready("lightgbm")
    (output,) = kserve.ask(service, "/v2/models/lightgbm-iris/infer", V2)["outputs"]
    assert (output["shape"], output["datatype"]) == ([2, 3], "FP64")
    predicted = kserve.predict(service, V1)
    assert predicted == np.reshape(output["data"], (2, 3)).tolist()
    assert np.argmax(predicted, axis=1).tolist() == [1, 1]
    names = ("sepal_length_(cm)", "sepal_width_(cm)", "petal_length_(cm)", "petal_width_(cm)")
    named = {"instances": [dict(zip(names, row, strict=True)) for row in FLOWERS]}
    assert kserve.predict(service, named) == predicted


def test_onnx_with_a_batcher_and_limits(kserve: Kserve) -> None:
    service = kserve.ready("onnx")
    assert kserve.predict(service, ROWS) == [{"y": [2, 4, 6, 8], "told": "a"}]
    process = kserve.home.client.replicas("style-sample", "onnx")["items"]
    assert len(process) == 1
    (honoured,) = [
        one for one in service["status"]["conditions"] if one["type"] == "SpecHonoured"
    ]
    assert "minReplicas: 0 (one replica stays)" in honoured["message"]


@pytest.mark.parametrize("name", APPLIED)
def test_the_status_is_kserve_s(
    kserve: Kserve, schema: jsonschema.Draft202012Validator, name: str
) -> None:
    status = kserve.ready(name)["status"]
    assert [f"{error.json_path}: {error.message}" for error in schema.iter_errors(status)] == []
    assert kserve.home.conditions({"status": status})["Ready"] == "True"
    assert status["observedGeneration"] == 1
    assert status["modelStatus"]["transitionStatus"] == "UpToDate"
    assert status["modelStatus"]["states"] == {
        "activeModelState": "Loaded",
        "targetModelState": "Loaded",
    }
    predictor = status["components"]["predictor"]
    assert predictor["latestReadyRevision"] == predictor["latestCreatedRevision"]
    assert predictor["url"] == status["url"] == status["address"]["url"]


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
@pytest.mark.parametrize("by_host", [True, False])
def test_curl(kserve: Kserve, tmp_path: Path, by_host: bool) -> None:
    url = kserve.ready("sklearn")["status"]["url"]
    (tmp_path / "iris-input.json").write_text(json.dumps(V1))
    command = ["curl", "-sS", "--fail", "-H", "Content-Type: application/json"]
    if by_host:
        url = f"http://127.0.0.1:{kserve.home.port}"
        command += ["-H", "Host: sklearn-iris.sklearn.example.com"]
    command += ["-d", "@./iris-input.json", f"{url}/v1/models/sklearn-iris:predict"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=30, check=True)
    assert json.loads(done.stdout) == {"predictions": [1, 1]}


def test_a_logger_sends_cloud_events(kserve: Kserve) -> None:
    with message_dumper() as (url, events):
        document = kserve.read("sklearn-shorthand")
        document["spec"]["predictor"]["logger"]["url"] = url
        kserve.predict(kserve.apply(document), V1)
        kserve.home.eventually(lambda: len(events) == 2)
    told = [(event["ce-type"].rpartition(".")[2], event["body"]) for event in events]
    assert told == [("request", V1), ("response", {"predictions": [1, 1]})]
    service = ("ce-inferenceservicename", "ce-namespace", "ce-component")
    assert {tuple(event[name] for name in service) for event in events} == {
        ("sklearn-iris", "sklearn-shorthand", "predictor")
    }


@contextmanager
def message_dumper() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Serve what the documentation calls a message dumper; it gives its URL and its events."""
    events: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            events.append({**headers, "body": json.loads(body)})
            self.send_response(202)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        yield f"http://127.0.0.1:{server.server_port}/", events
        server.shutdown()


def test_a_canary_by_percent_is_promoted_and_taken_back(kserve: Kserve) -> None:
    kserve.ready("sklearn")
    canary = kserve.read("canary", namespace="sklearn")
    service = kserve.apply(canary)
    old, new = (f"sklearn-iris-predictor-{number:05}" for number in (1, 2))
    shares = {one["revisionName"]: one for one in predictor_of(service)["traffic"]}
    assert {name: share["percent"] for name, share in shares.items()} == {new: 10, old: 90}
    assert [shares[name]["latestRevision"] for name in (new, old)] == [True, False]
    assert predictor_of(service)["latestRolledoutRevision"] == old
    counts = kserve.counts(service, V1)
    assert set(counts) == {"[1, 1]", "[2, 2]"}
    assert counts["[1, 1]"] > counts["[2, 2]"]

    del canary["spec"]["predictor"]["canaryTrafficPercent"]
    service = kserve.apply(canary)
    assert predictor_of(service)["latestRolledoutRevision"] == new
    assert predictor_of(service)["previousRolledoutRevision"] == old
    assert set(kserve.counts(service, V1, times=20)) == {"[2, 2]"}

    back = kserve.apply(kserve.read("sklearn"))
    assert set(kserve.counts(back, V1, times=20)) == {"[1, 1]"}


def test_a_canary_by_name_is_promoted(kserve: Kserve) -> None:
    service = kserve.ready("canaries")
    (told,) = service["status"]["canaryStatuses"]
    assert (told["name"], told["ready"], told["trafficPercent"]) == ("v2", True, 20)
    counts = kserve.counts(service, ROWS)
    assert len(counts) == 2
    before, after = (name for name, _ in counts.most_common())
    assert "[2.0, 4.0, 6.0, 8.0]" in before
    assert "[3.0, 6.0, 9.0, 12.0]" in after

    def pids() -> set[int]:
        found = kserve.home.client.replicas("style-sample", "canaries")["items"]
        return {one["pid"] for one in found}

    running = pids()
    promoted = kserve.read("canaries")
    promoted["spec"]["predictor"] = promoted["spec"].pop("canary")[0]["predictor"]
    service = kserve.apply(promoted)
    assert set(kserve.counts(service, ROWS, times=20)) == {after}
    assert "canaryStatuses" not in service["status"]
    assert pids() <= running, "the canary's own process goes on"


def test_a_transformer_of_kserve_s_sdk_asks_its_predictor(
    kserve: Kserve, kserve_python: Path
) -> None:
    document = kserve.read("transformer")
    in_image(document["spec"]["transformer"]["containers"][0], "transformer", kserve_python)
    service = kserve.apply(document)
    # The image has the four bytes 1 to 4, and the predictor doubles them.
    assert kserve.predict(service, IMAGE, model="mnist") == [8.0]
    status = service["status"]
    assert kserve.home.conditions(service)["TransformerReady"] == "True"
    assert status["components"]["transformer"]["traffic"][0]["percent"] == 100
    assert len(kserve.home.client.replicas("image-classifier", "transformer")["items"]) == 2


def test_a_custom_predictor_of_kserve_s_sdk_speaks_all_protocols(
    kserve: Kserve, kserve_python: Path
) -> None:
    document = kserve.read("custom")
    in_image(document["spec"]["predictor"]["containers"][0], "custom", kserve_python)
    service = kserve.apply(document)
    assert kserve.predict(service, {"instances": [1, 2]}) == [3, 6]
    (output,) = kserve.ask(service, "/v2/models/custom-model/infer", V2)["outputs"]
    assert output["data"] == pytest.approx([3 * value for row in FLOWERS for value in row])

    given = triton.InferInput("input-0", [1, 2], "FP32")
    given.set_data_from_numpy(np.array([[1, 2]], np.float32))
    authority = [("grpc.default_authority", "custom-model.custom.example.com")]
    with triton.InferenceServerClient(
        f"127.0.0.1:{kserve.home.port}", channel_args=authority
    ) as client:
        answer = client.infer("custom-model", [given])
    assert answer.as_numpy("output-0").tolist() == [[3, 6]]


def test_what_cannot_be_run_here_is_refused_in_plain_words(kserve: Kserve) -> None:
    unmodified = yaml.safe_load((IMAGES / "xgboost.yaml").read_text())
    with pytest.raises(InvalidObject, match=r"models/xgboost/iris' is not reachable here: download"):
        kserve.home.client.apply(unmodified)
    custom = kserve.read("custom")
    del custom["spec"]["predictor"]["containers"][0]["command"]
    with pytest.raises(InvalidObject, match=r"custom-model:v1' cannot be run here .*command"):
        kserve.home.client.apply(custom)
    scaled = kserve.read("onnx")
    scaled["spec"]["predictor"]["scaleMetric"] = "qps"
    with pytest.raises(InvalidObject, match=r"predictor\.scaleMetric is wrong.*'rps'"):
        kserve.home.client.apply(scaled)


def predictor_of(service: dict[str, Any]) -> dict[str, Any]:
    component: dict[str, Any] = service["status"]["components"]["predictor"]
    return component
