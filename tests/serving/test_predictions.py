"""Predictions over real HTTP, against what the model itself says."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from modelport_serving import tensors
from modelport_serving.rest import v1

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Server, Serving, Trained

    from modelport_serving.tensors import Array

PREDICT = "/v1/models/m:predict"
INFER = "/v2/models/m/infer"


@pytest.fixture(scope="module")
def tumor_server(tumor: Trained, serving: Serving) -> Iterator[Server]:
    with serving(*tumor.arguments("m")) as server:
        yield server


@pytest.fixture(scope="module")
def flower_server(flower: Trained, serving: Serving) -> Iterator[Server]:
    with serving(*flower.arguments("m")) as server:
        yield server


@pytest.fixture(scope="module")
def price_server(price: Trained, serving: Serving) -> Iterator[Server]:
    with serving(*price.arguments("m")) as server:
        yield server


def tensor(name: str, values: Any, datatype: str = "FP64") -> dict[str, Any]:
    array = np.asarray(values)
    data = array.ravel().tolist()
    return {"name": name, "datatype": datatype, "shape": list(array.shape), "data": data}


def outputs_of(answer: dict[str, Any]) -> dict[str, Array]:
    return {
        item["name"]: np.array(item["data"]).reshape(item["shape"]) for item in answer["outputs"]
    }


def check_tumor(trained: Trained, rows: Any, label: Any, probabilities: Any) -> None:
    expected = trained.model.predict_proba(rows.to_numpy())
    np.testing.assert_array_equal(label, trained.model.predict(rows.to_numpy()))
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)


@pytest.mark.parametrize("form", ["lists", "objects", "shuffled objects"])
@pytest.mark.parametrize("key", ["instances", "inputs"])
def test_v1_rows(tumor_server: Server, tumor: Trained, form: str, key: str) -> None:
    rows = tumor.rows.head(7)
    shown = rows[sorted(rows.columns)] if form.startswith("shuffled") else rows
    instances = rows.values.tolist() if form == "lists" else shown.to_dict("records")

    answer = tumor_server.post(PREDICT, {key: instances})

    assert answer.status == 200
    predictions = answer.json["predictions"]
    check_tumor(
        tumor,
        rows,
        [row["label"] for row in predictions],
        [row["probabilities"] for row in predictions],
    )


def test_v1_one_output_is_its_values(price_server: Server, price: Trained) -> None:
    answer = price_server.post(PREDICT, {"instances": price.rows.values.tolist()})

    expected = price.model.predict(price.rows.to_numpy()).reshape(-1, 1)
    np.testing.assert_allclose(answer.json["predictions"], expected, rtol=1e-4)


def test_v1_texts_and_numbers(flower_server: Server, flower: Trained) -> None:
    answer = flower_server.post(PREDICT, {"instances": flower.rows.head(4).to_dict("records")})

    labels = [row["label"] for row in answer.json["predictions"]]
    assert labels == flower.model.predict(flower.rows.head(4)).tolist()


@pytest.mark.parametrize("datatype", ["FP32", "FP64"])
@pytest.mark.parametrize("nested", [False, True])
def test_v2_one_tensor(tumor_server: Server, tumor: Trained, datatype: str, nested: bool) -> None:
    rows = tumor.rows.head(7)
    given = tensor("input", rows, datatype)
    if nested:
        given["data"] = rows.values.tolist()

    answer = tumor_server.post(INFER, {"id": "r-1", "inputs": [given], "parameters": {"x": 1}})

    assert answer.status == 200
    assert answer.json["model_name"] == "m"
    assert answer.json["id"] == "r-1"
    assert "model_version" not in answer.json
    assert [item["datatype"] for item in answer.json["outputs"]] == ["INT64", "FP32"]
    check_tumor(tumor, rows, **outputs_of(answer.json))


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_v2_by_column(tumor_server: Server, tumor: Trained, shape: tuple[int, ...]) -> None:
    rows = tumor.rows.head(7)
    inputs = [tensor(name, rows[name].to_numpy().reshape(shape)) for name in sorted(rows.columns)]

    answer = tumor_server.post(INFER, {"inputs": inputs})

    assert "id" not in answer.json
    check_tumor(tumor, rows, **outputs_of(answer.json))


def test_v2_texts_and_numbers(flower_server: Server, flower: Trained) -> None:
    rows = flower.rows.head(4)
    inputs = [tensor("size", rows["size"]), tensor("colour", rows["colour"], "BYTES")]

    answer = flower_server.post(INFER, {"inputs": inputs, "outputs": [{"name": "label"}]})

    assert outputs_of(answer.json)["label"].tolist() == flower.model.predict(rows).tolist()
    assert answer.json["outputs"][0]["datatype"] == "BYTES"


def test_v2_answers_only_the_outputs_asked_for(tumor_server: Server, tumor: Trained) -> None:
    request = {
        "inputs": [tensor("input", tumor.rows.head(2))],
        "outputs": [{"name": "probabilities"}],
    }

    assert list(outputs_of(tumor_server.post(INFER, request).json)) == ["probabilities"]


def test_v2_no_rows(tumor_server: Server) -> None:
    answer = tumor_server.post(INFER, {"inputs": [tensor("input", np.empty((0, 30)))]})

    assert [item["shape"] for item in answer.json["outputs"]] == [[0], [0, 2]]


def test_v2_binary_both_ways(tumor_server: Server, tumor: Trained) -> None:
    rows = tumor.rows.head(3).to_numpy().astype(np.float32)
    given = tensor("input", rows, "FP32")
    del given["data"]
    given["parameters"] = {"binary_data_size": rows.nbytes}
    outputs = [
        {"name": "label"},
        {"name": "probabilities", "parameters": {"binary_data": True}},
    ]
    header = json.dumps({"inputs": [given], "outputs": outputs}).encode()
    length = {"Inference-Header-Content-Length": str(len(header))}

    answer = tumor_server.post(INFER, header + tensors.to_binary(rows), **length)

    size = int(answer.headers["Inference-Header-Content-Length"])
    label, probabilities = json.loads(answer.body[:size])["outputs"]
    assert probabilities["parameters"]["binary_data_size"] == len(answer.body) - size
    decoded = np.frombuffer(answer.body[size:], "<f4").reshape(probabilities["shape"])
    check_tumor(tumor, tumor.rows.head(3), label["data"], decoded)


def test_v2_raw_tensor(tumor_server: Server, tumor: Trained) -> None:
    rows = tumor.rows.head(3).to_numpy().astype(np.float32)

    answer = tumor_server.post(INFER, rows.tobytes(), **{"Inference-Header-Content-Length": "0"})

    size = int(answer.headers["Inference-Header-Content-Length"])
    label, probabilities = json.loads(answer.body[:size])["outputs"]
    assert (label["shape"], probabilities["shape"]) == ([3], [3, 2])
    labels = np.frombuffer(answer.body[size : size + 24], "<i8")
    np.testing.assert_array_equal(labels, tumor.model.predict(rows))


def test_missing_and_infinite_answers_are_null(price_server: Server) -> None:
    answer = price_server.post(PREDICT, {"instances": [[None, 1], [3e38, 3]]})

    assert answer.status == 200
    assert answer.json["predictions"][0] == [None]


def test_a_chunked_body_is_read_whole(tumor_server: Server, tumor: Trained) -> None:
    body = json.dumps({"instances": tumor.rows.head(3).values.tolist()}).encode()
    parts = (body[start : start + 100] for start in range(0, len(body), 100))

    answer = tumor_server.request("POST", PREDICT, body=parts, chunked=True)

    assert len(answer.json["predictions"]) == 3


def test_v1_elements_that_are_lists() -> None:
    array = np.fromiter([[1, 2], [3, 4]], object, 2)

    assert json.loads(v1.encode({"x": array}).body) == {"predictions": [[1, 2], [3, 4]]}
