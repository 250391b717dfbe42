"""Models that are served as they are, when pickles are allowed: their own library, or MLflow's."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import cloudpickle
import mlflow
import numpy as np
import pandas as pd
import pytest

from modelport_serving.model import Model

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Server, Serving, Trained

PATH = "/v1/models/m:predict"


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
    assert answer["outputs"] == [
        {"name": "label", "datatype": "BYTES", "shape": [-1]},
        {"name": "probabilities", "datatype": "FP64", "shape": [-1, 2]},
    ]


@pytest.mark.parametrize("form", ["values", "records"])
def test_v1(server: Server, pickled: Trained, form: str) -> None:
    frame = pickled.rows
    instances = frame.to_dict("records")
    if form == "values":
        instances = [list(row.values()) for row in instances]

    answer = server.post(PATH, {"instances": instances})

    labels, probabilities = pickled.model.predict(frame), pickled.model.predict_proba(frame)
    assert answer.json["predictions"] == [
        {"label": label, "probabilities": row}
        for label, row in zip(labels, probabilities.tolist(), strict=True)
    ]


def test_v2(server: Server, pickled: Trained) -> None:
    inputs = [
        {"name": "n", "datatype": "INT32", "shape": [4], "data": [1, 2, 3, 4]},
        {"name": "a", "datatype": "FP32", "shape": [4, 1], "data": [0, 1, 2, 3]},
    ]

    answer = server.post("/v2/models/m/infer", {"inputs": inputs}).json

    assert answer["outputs"][0]["data"] == pickled.model.predict(pickled.rows).tolist()
    assert answer["outputs"][0]["datatype"] == "BYTES"


def test_a_float_for_a_whole_number_is_refused(server: Server) -> None:
    answer = server.post(PATH, {"instances": [[0.5, 1.5]]})

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


class Report(mlflow.pyfunc.PythonModel):
    """Answers what it was given: the kind, and what is in it, as text."""

    def predict(self, context, model_input, params=None):  # noqa: ARG002
        kind = type(model_input).__name__
        if kind == "DataFrame":
            return [f"{kind} {row}" for row in model_input.to_dict("records")]
        if kind == "dict":
            names = sorted(model_input)
            return [f"{kind} {names}"] * len(next(iter(model_input.values())))
        return [f"{kind} {np.asarray(row).tolist()}" for row in model_input]


def saved(folder: Path, **options: Any) -> Path:
    # A server need not find this module.
    cloudpickle.register_pickle_by_value(sys.modules[Report.__module__])
    mlflow.pyfunc.save_model(folder, python_model=Report(), pip_requirements=[], **options)
    return folder


@pytest.fixture(scope="module")
def free(tmp_path_factory: pytest.TempPathFactory, serving: Serving) -> Iterator[Server]:
    """A pyfunc that was logged without a signature."""
    folder = saved(tmp_path_factory.mktemp("free") / "m", signature=False)
    with serving("--model_name", "m", "--model_dir", str(folder), "--allow-pickle") as running:
        yield running


@pytest.mark.parametrize(
    ("instances", "seen"),
    [
        ([[1, 2], [3, 4]], ["ndarray [1, 2]", "ndarray [3, 4]"]),
        ([[1.5, None]], ["ndarray [1.5, nan]"]),
        (["one", "two"], ["ndarray one", "ndarray two"]),
        ([{"a": 1, "s": "x"}], ["DataFrame {'a': 1, 's': 'x'}"]),
        ([{"image": [[1, 2], [3, 4]], "n": 1}], ["dict ['image', 'n']"]),
    ],
)
def test_without_a_signature_rows_are_given_as_they_are(
    free: Server, instances: list[Any], seen: list[str]
) -> None:
    assert free.post(PATH, {"instances": instances}).json == {"predictions": seen}


@pytest.mark.parametrize(
    ("instances", "message"),
    [
        ([[1, 2], [3]], "data has rows of different lengths"),
        ([{"a": 1}, {"b": 1}], "instance 1: expected an object with 'a'"),
        ([[1, "x"]], "expected BYTES, the number 1 given"),
        ([{"a": {}}], "an object given"),
    ],
)
def test_rows_without_a_form_are_refused(free: Server, instances: list[Any], message: str) -> None:
    answer = free.post(PATH, {"instances": instances})

    assert answer.status == 400
    assert message in answer.json["error"]


def test_without_a_signature_tensors_are_given_as_they_are(free: Server) -> None:
    matrix = {"name": "anything", "datatype": "FP32", "shape": [2, 2], "data": [1, 2, 3, 4]}
    column = {"name": "s", "datatype": "BYTES", "shape": [2], "data": ["x", "y"]}

    def ask(*inputs: Any) -> Any:
        return free.post("/v2/models/m/infer", {"inputs": inputs}).json["outputs"][0]["data"]

    assert ask(matrix) == ["ndarray [1.0, 2.0]", "ndarray [3.0, 4.0]"]
    assert ask(column) == ["DataFrame {'s': 'x'}", "DataFrame {'s': 'y'}"]
    assert ask(matrix, column) == ["dict ['anything', 's']"] * 2


def test_without_a_signature_the_metadata_has_no_tensors(free: Server) -> None:
    answer = free.get("/v2/models/m").json

    assert (answer["inputs"], answer["outputs"]) == ([], [])


def test_columns_that_pandas_numbered_keep_their_numbers(tmp_path: Path) -> None:
    rows = pd.DataFrame([["x", 1.5]])
    signature = mlflow.models.infer_signature(rows, ["text"])
    model = Model("m", saved(tmp_path / "m", signature=signature), allow_pickle=True)
    model.load()

    (answer,) = model.predict(model.mapping.rows([["x", 1.5]])).values()

    assert answer.tolist() == ["DataFrame {0: 'x', 1: 1.5}"]
    assert [spec.name for spec in model.runtime.inputs] == ["0", "1"]
