"""What KServe's documentation applies and asks, with the runtime that ships.

The documents are of its own kind; only their bucket is a folder here, filled as KServe fills it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
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
from tests.engine.conftest import new_home
from tests.engine.kserve_examples import BUCKET, DOCUMENTS, SDK, document, fill, needs_sdk
from tritonclient import grpc as triton

from modelport_engine.errors import InvalidObject

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.engine.conftest import Home

CRD = Path(__file__).parents[3] / "shared" / "kserve-crds" / "inferenceservices.yaml"
DUMPER = "http://message-dumper.default/"
APPLIED = ("sklearn", "sklearn-shorthand", "xgboost", "lightgbm", "onnx", "canaries")

FLOWERS = [[6.8, 2.8, 4.8, 1.4], [6.0, 3.4, 4.5, 1.6]]
V1 = {"instances": FLOWERS}
V2 = {"inputs": [{"name": "input-0", "shape": [2, 4], "datatype": "FP32", "data": FLOWERS}]}
ROWS = {"instances": [{"x": [1, 2, 3, 4], "text": "a"}]}
IMAGE = {"instances": [{"image": {"b64": "AQIDBA=="}}]}


class Kserve:
    """An engine that takes KServe's documents, each into a namespace of its own."""

    def __init__(self, home: Home, places: dict[str, str], events: list[dict[str, Any]]) -> None:
        self.home = home
        self.client = home.client
        self.events = events
        self._places = places

    def read(self, name: str, namespace: str | None = None) -> dict[str, Any]:
        return document(name, self._places, namespace or name)

    def apply(self, document: dict[str, Any]) -> dict[str, Any]:
        """Apply a document, and give the object once it is ready."""
        applied = self.client.apply(document)["metadata"]
        return self.client.wait_ready(
            applied["name"], applied["namespace"], generation=applied["generation"], timeout=90
        )

    def ready(self, name: str) -> dict[str, Any]:
        """Give the object of a document that the fixture has applied, once it is ready."""
        service = self.read(name)["metadata"]["name"]
        return self.client.wait_ready(service, namespace=name, timeout=90)

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
    """Apply all that needs no other before it, at once: what waits for one waits for all."""
    folder = tmp_path_factory.mktemp("documentation")
    fill(folder / "bucket")
    with (
        message_dumper() as (url, events),
        new_home(folder) as home,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.delenv("MODELPORT_ENGINE_RUNTIME")
        patch.setenv("MODELPORT_ENGINE_ALLOW_PICKLE", "true")
        home.start()
        kserve = Kserve(home, {BUCKET: f"file://{folder}/bucket", DUMPER: url}, events)
        for name in APPLIED:
            home.client.apply(kserve.read(name))
        if SDK.exists():
            home.client.apply(in_image("transformer", kserve.read("transformer"), "transformer"))
            home.client.apply(in_image("custom", kserve.read("custom"), "predictor"))
        yield kserve


@contextmanager
def message_dumper() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Keep what loggers send: what the documentation calls a message dumper."""
    events: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            events.append({**headers, "body": json.loads(body)})
            self.send_response(202)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        yield f"http://127.0.0.1:{server.server_port}/", events
        server.shutdown()


def in_image(name: str, document: dict[str, Any], component: str) -> dict[str, Any]:
    """Add what a container's image would bring: its files, and its own Python first."""
    (container,) = document["spec"][component]["containers"]
    path = os.pathsep.join((str(SDK.parent), os.environ["PATH"]))
    container["workingDir"] = str(DOCUMENTS / name)
    container["env"] = [*container.get("env", []), {"name": "PATH", "value": path}]
    return document


@pytest.fixture(scope="module")
def schema() -> jsonschema.Draft202012Validator:
    """KServe's schema of a status."""
    if not CRD.is_file():
        pytest.skip(f"KServe's schemas are not at {CRD.parent}")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    crd = yaml.load(CRD.read_text(), Loader=loader)  # noqa: S506 - a safe loader, in C
    known = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    return jsonschema.Draft202012Validator(closed(known["status"]))


def closed(node: Any) -> Any:
    """Refuse unknown fields: an API server would drop them without a word."""
    if not isinstance(node, dict):
        return node
    node = {key: closed(value) for key, value in node.items()}
    is_object = node.get("type") == "object" and isinstance(node.get("properties"), dict)
    return {"additionalProperties": False, **node} if is_object else node


@pytest.mark.parametrize("name", ["sklearn", "sklearn-shorthand", "xgboost"])
def test_flowers_are_told_by_v1_and_v2(kserve: Kserve, name: str) -> None:
    service = kserve.ready(name)
    model = service["metadata"]["name"]
    assert kserve.predict(service, V1) == [1, 1]
    answer = kserve.ask(service, f"/v2/models/{model}/infer", V2)
    (output,) = answer["outputs"]
    assert (answer["model_name"], output["shape"], output["data"]) == (model, [2], [1, 1])


def test_lightgbm_tells_probabilities(kserve: Kserve) -> None:
    service = kserve.ready("lightgbm")
    (output,) = kserve.ask(service, "/v2/models/lightgbm-iris/infer", V2)["outputs"]
    assert (output["shape"], output["datatype"]) == ([2, 3], "FP64")
    predicted = kserve.predict(service, V1)
    assert predicted == np.reshape(output["data"], (2, 3)).tolist()
    assert np.argmax(predicted, axis=1).tolist() == [1, 1]
    names = ("sepal_length_(cm)", "sepal_width_(cm)", "petal_length_(cm)", "petal_width_(cm)")
    first = {name: [value] for name, value in zip(names, FLOWERS[0], strict=True)}
    assert kserve.predict(service, {"inputs": [first]}) == predicted[:1]


def test_onnx_with_a_batcher_and_limits(kserve: Kserve) -> None:
    service = kserve.ready("onnx")
    assert kserve.predict(service, ROWS) == [{"y": [2, 4, 6, 8], "told": "a"}]
    assert len(kserve.client.replicas("style-sample", "onnx")["items"]) == 1
    conditions = {one["type"]: one for one in service["status"]["conditions"]}
    said = conditions["SpecHonoured"]["message"]
    assert "spec.predictor.minReplicas: 0 (one replica stays)" in said
    assert "batcher" not in said
    assert "containerConcurrency" not in said


@pytest.mark.parametrize("name", APPLIED)
def test_the_status_is_kserve_s(
    kserve: Kserve, schema: jsonschema.Draft202012Validator, name: str
) -> None:
    service = kserve.ready(name)
    status = service["status"]
    assert [f"{error.json_path}: {error.message}" for error in schema.iter_errors(status)] == []
    assert kserve.home.conditions(service)["Ready"] == "True"
    model = status["modelStatus"]
    assert (model["transitionStatus"], status["observedGeneration"]) == ("UpToDate", 1)
    assert set(model["states"].values()) == {"Loaded"}
    predictor = predictor_of(service)
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
    service = kserve.ready("sklearn-shorthand")
    asked = {"instances": [[5.1, 3.5, 1.4, 0.2]]}
    assert kserve.predict(service, asked) == [0]

    def events() -> list[dict[str, Any]]:
        requests = [one["ce-id"] for one in kserve.events if one["body"] == asked]
        return [one for one in kserve.events if one["ce-id"] in requests]

    kserve.home.eventually(lambda: len(events()) == 2)
    told = {event["ce-type"]: event["body"] for event in events()}
    kind = "org.kubeflow.serving.inference"
    assert told == {f"{kind}.request": asked, f"{kind}.response": {"predictions": [0]}}
    place = ("ce-inferenceservicename", "ce-namespace")
    assert {tuple(event[name] for name in place) for event in events()} == {
        ("sklearn-irisv2", "sklearn-shorthand")
    }


def test_a_canary_by_percent_is_rolled_back_and_promoted(kserve: Kserve) -> None:
    kserve.ready("sklearn")
    canary = kserve.read("canary", namespace="sklearn")
    predictor = canary["spec"]["predictor"]
    service = kserve.apply(canary)
    old, new = (f"sklearn-iris-predictor-{number:05}" for number in (1, 2))
    shares = {one["revisionName"]: one for one in predictor_of(service)["traffic"]}
    assert {name: share["percent"] for name, share in shares.items()} == {new: 10, old: 90}
    assert [shares[name]["latestRevision"] for name in (new, old)] == [True, False]
    assert predictor_of(service)["latestRolledoutRevision"] == old
    counts = kserve.counts(service, V1)
    assert counts["[1, 1]"] > counts["[2, 2]"] > 0
    assert counts.total() == counts["[1, 1]"] + counts["[2, 2]"]

    predictor["canaryTrafficPercent"] = 0
    assert set(kserve.counts(kserve.apply(canary), V1, times=20)) == {"[1, 1]"}

    del predictor["canaryTrafficPercent"]
    service = kserve.apply(canary)
    assert predictor_of(service)["latestRolledoutRevision"] == new
    assert predictor_of(service)["previousRolledoutRevision"] == old
    assert set(kserve.counts(service, V1, times=20)) == {"[2, 2]"}


def test_a_canary_by_name_is_promoted(kserve: Kserve) -> None:
    service = kserve.ready("canaries")
    (told,) = service["status"]["canaryStatuses"]
    assert (told["name"], told["ready"], told["trafficPercent"]) == ("v2", True, 20)
    counts = kserve.counts(service, ROWS)
    stable, canary = (
        str([{"y": [times * x for x in (1.0, 2.0, 3.0, 4.0)], "told": "a"}]) for times in (2, 3)
    )
    assert counts[stable] > counts[canary] > 0
    assert counts.total() == counts[stable] + counts[canary]

    def pids() -> set[int]:
        found = kserve.client.replicas("style-sample", "canaries")["items"]
        return {one["pid"] for one in found}

    running = pids()
    promoted = kserve.read("canaries")
    promoted["spec"]["predictor"] = promoted["spec"].pop("canary")[0]["predictor"]
    service = kserve.apply(promoted)
    assert set(kserve.counts(service, ROWS, times=20)) == {canary}
    assert "canaryStatuses" not in service["status"]
    assert pids() <= running, "the canary's own process goes on"


@needs_sdk
def test_a_transformer_of_kserve_s_sdk_asks_its_predictor(kserve: Kserve) -> None:
    service = kserve.ready("transformer")
    assert kserve.home.conditions(service)["TransformerReady"] == "True"
    # The image has the four bytes 1 to 4, and the predictor doubles them.
    assert kserve.predict(service, IMAGE, model="mnist") == [8.0]
    components = service["status"]["components"].values()
    assert [one["traffic"][0]["percent"] for one in components] == [100, 100]
    assert not any("grpcUrl" in one for one in components), "requests enter at the transformer"


@needs_sdk
def test_a_custom_predictor_of_kserve_s_sdk_speaks_all_protocols(kserve: Kserve) -> None:
    service = kserve.ready("custom")
    assert kserve.predict(service, {"instances": [1, 2]}) == [3, 6]
    (output,) = kserve.ask(service, "/v2/models/custom-model/infer", V2)["outputs"]
    assert output["data"] == pytest.approx([3 * value for row in FLOWERS for value in row])

    given = triton.InferInput("input-0", [1, 2], "FP32")
    given.set_data_from_numpy(np.array([[1, 2]], np.float32))
    authority = [("grpc.default_authority", "custom-model.custom.example.com")]
    address = f"127.0.0.1:{kserve.home.port}"
    with triton.InferenceServerClient(address, channel_args=authority) as client:
        answer = client.infer("custom-model", [given])
    assert answer.as_numpy("output-0").tolist() == [[3, 6]]


def test_what_cannot_be_run_here_is_refused_in_plain_words(kserve: Kserve) -> None:
    unmodified = yaml.safe_load((DOCUMENTS / "xgboost.yaml").read_text())
    with pytest.raises(InvalidObject, match=r"models/xgboost/iris' is not reachable here: down"):
        kserve.client.apply(unmodified)
    custom = kserve.read("custom")
    del custom["spec"]["predictor"]["containers"][0]["command"]
    with pytest.raises(InvalidObject, match=r"custom-model:v1' cannot be run here .*command"):
        kserve.client.apply(custom)
    scaled = kserve.read("onnx")
    scaled["spec"]["predictor"]["scaleMetric"] = "qps"
    with pytest.raises(InvalidObject, match=r"predictor\.scaleMetric is wrong.*'rps'"):
        kserve.client.apply(scaled)


def predictor_of(service: dict[str, Any]) -> dict[str, Any]:
    component: dict[str, Any] = service["status"]["components"]["predictor"]
    return component
