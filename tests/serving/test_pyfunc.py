"""Models in their own MLflow flavour, served when pickles are allowed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Server, Serving, Trained


@pytest.fixture(scope="module")
def server(pickled: Trained, serving: Serving) -> Iterator[Server]:
    with serving(*pickled.arguments("m"), "--allow-pickle") as running:
        yield running


def test_metadata_comes_from_the_signature(server: Server) -> None:
    answer = server.get("/v2/models/m").json

    assert answer["platform"] == "mlflow_sklearn"
    assert answer["inputs"] == [
        {"name": "a", "datatype": "FP64", "shape": [-1]},
        {"name": "n", "datatype": "INT64", "shape": [-1]},
    ]


@pytest.mark.parametrize("form", ["values", "records"])
def test_v1(server: Server, pickled: Trained, form: str) -> None:
    frame = pickled.rows
    instances = frame.to_dict("records")
    if form == "values":
        instances = [list(row.values()) for row in instances]

    answer = server.post("/v1/models/m:predict", {"instances": instances})

    assert answer.json["predictions"] == pickled.model.predict(frame).tolist()


def test_v2(server: Server, pickled: Trained) -> None:
    inputs = [
        {"name": "n", "datatype": "INT32", "shape": [4], "data": [1, 2, 3, 4]},
        {"name": "a", "datatype": "FP32", "shape": [4, 1], "data": [0, 1, 2, 3]},
    ]

    answer = server.post("/v2/models/m/infer", {"inputs": inputs}).json

    assert answer["outputs"][0]["data"] == pickled.model.predict(pickled.rows).tolist()
    assert answer["outputs"][0]["datatype"] == "BYTES"


def test_a_float_for_a_whole_number_is_refused(server: Server) -> None:
    answer = server.post("/v1/models/m:predict", {"instances": [[0.5, 1.5]]})

    assert answer.status == 400
    assert answer.json["error"] == "input 'n': expected INT64, FP64 given"


def test_an_unknown_output_is_refused(server: Server) -> None:
    inputs = [
        {"name": "n", "datatype": "INT64", "shape": [1], "data": [1]},
        {"name": "a", "datatype": "FP64", "shape": [1], "data": [0]},
    ]

    answer = server.post("/v2/models/m/infer", {"inputs": inputs, "outputs": [{"name": "x"}]})

    assert answer.status == 400
    assert "unknown output 'x'" in answer.json["error"]
