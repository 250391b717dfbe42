"""What a model answers before it is ready, and which models mix the rows of a request."""

from __future__ import annotations

import json
import logging
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pandas as pd
import pytest
import yaml
from onnx import TensorProto, helper

from modelport_serving import contract, warmup
from modelport_serving.model import Model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Trained

ROWS = [[1.0, 2.0], [3.0, 5.0]]


class Echo:
    """What a pyfunc may be: it answers the sum of a row, and counts its calls."""

    def __new__(cls, **options: Any) -> Any:
        import mlflow

        class Model(mlflow.pyfunc.PythonModel):
            calls = 0

            def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
                del context, params
                self.calls += 1
                if options.get("fails"):
                    raise ValueError("not today")
                if options.get("at_random"):
                    return np.random.default_rng().normal(size=len(model_input))
                values = np.asarray(model_input, dtype=float).sum(axis=1)
                return values - values.mean() if options.get("mixes") else values

        return Model()


def saved(folder: Path, example: Any, **options: Any) -> Model:
    import mlflow

    sample = pd.DataFrame(ROWS, columns=["a", "b"])
    mlflow.pyfunc.save_model(
        folder,
        python_model=Echo(**options),
        input_example=None if options else example,
        signature=mlflow.models.infer_signature(sample, [1.0, 2.0]),
        pip_requirements=[],
    )
    if options:  # MLflow itself would run the example
        (folder / "example.json").write_text(json.dumps({"instances": example}))
        document = yaml.safe_load((folder / "MLmodel").read_text())
        document["saved_input_example_info"] = {"artifact_path": "example.json"}
        (folder / "MLmodel").write_text(yaml.safe_dump(document))
    return Model("m", folder, allow_pickle=True)


def graph(folder: Path, *nodes: Any, shape: tuple[Any, ...] = ("n", 2), **more: Any) -> Model:
    """Write an ONNX model from `x` to `y` and load it."""
    value = helper.make_tensor_value_info
    kind = more.get("kind", TensorProto.FLOAT)
    outputs = [value("y", more.get("answers", TensorProto.FLOAT), more.get("output", shape))]
    body = helper.make_graph(
        list(nodes), "g", [value("x", kind, shape)], outputs, more.get("weights", [])
    )
    proto = helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(proto)
    onnx.save(proto, folder / "model.onnx")
    document = {"flavors": {"onnx": {"data": "model.onnx"}}}
    (folder / "MLmodel").write_text(yaml.safe_dump(document))
    model = Model("m", folder)
    model.load()
    return model


def ints(name: str, *values: int) -> Any:
    return helper.make_tensor(name, TensorProto.INT64, [len(values)], values)


def node(operator: str, inputs: str, output: str = "y", **attributes: Any) -> Any:
    return helper.make_node(operator, inputs.split(), [output], **attributes)


# --- examples --------------------------------------------------------------------------------


FRAME = pd.DataFrame(
    {"a": [1.5, np.nan], "s": ["x", None], "when": pd.to_datetime(["2020", "2021"])}
)
COLUMNS = {"x": np.ones((2, 2)), "n": np.array([1, 2])}


@pytest.mark.parametrize(
    ("example", "rows"),
    [
        (
            FRAME,
            [
                {"a": 1.5, "s": "x", "when": "2020-01-01T00:00:00"},
                {"a": None, "s": None, "when": "2021-01-01T00:00:00"},
            ],
        ),
        (pd.DataFrame(ROWS), ROWS),
        (np.array(ROWS), ROWS),
        (COLUMNS, [{"x": [1.0, 1.0], "n": 1}, {"x": [1.0, 1.0], "n": 2}]),
        (["a", "b"], ["a", "b"]),
        ([{"a": 1}, {"a": 2}], [{"a": 1}, {"a": 2}]),
        ({"question": "why", "k": 3}, [{"question": "why", "k": 3}]),
    ],
)
@pytest.mark.parametrize("form", ["serving_input_path", "artifact_path"])
def test_reads_the_examples_that_mlflow_writes(
    tmp_path: Path, example: Any, rows: list[Any], form: str
) -> None:
    from mlflow.models import Model as MlflowModel
    from mlflow.models.utils import _save_example

    model = MlflowModel()
    _save_example(model, example, str(tmp_path))
    document = model.to_dict() | {"flavors": {"python_function": {}}}
    info = document["saved_input_example_info"]
    document["saved_input_example_info"] = {form: info[form]}
    (tmp_path / "MLmodel").write_text(yaml.safe_dump(document))

    assert warmup.example(contract.read(tmp_path).example) == rows


@pytest.mark.parametrize(
    "document",
    [
        {"dataframe_split": {"columns": ["a"], "data": [[1], [2]], "index": [0, 1]}},
        {"dataframe_records": [{"a": 1}, {"a": 2}]},
        {"instances": [{"a": 1}, {"a": 2}]},
        {"inputs": {"a": [1, 2]}},
    ],
)
def test_reads_what_a_scoring_server_takes(tmp_path: Path, document: Any) -> None:
    file = tmp_path / "example.json"
    file.write_text(json.dumps(document))

    assert warmup.example(file) == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize("text", ["{", "\xff", '{"columns": ["a"], "data": [[1, 2]]}'])
def test_a_broken_example_is_no_reason_not_to_serve(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    file = tmp_path / "example.json"
    file.write_bytes(text.encode("latin-1"))

    assert warmup.example(file) == []
    assert "cannot be read" in caplog.text


# --- warm-up ---------------------------------------------------------------------------------


def test_warms_up_with_the_example(tmp_path: Path) -> None:
    model = saved(tmp_path / "m", ROWS, fails=False)
    model.load()
    calls = model.runtime._loaded.unwrap_python_model().calls

    assert 10 <= calls <= 30
    assert 0 < model.warmup_seconds < 5
    assert model.load_seconds > 0


def test_a_failing_warm_up_is_told_and_keeps_nobody_from_serving(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = saved(tmp_path / "m", ROWS, fails=True)
    with caplog.at_level(logging.WARNING):
        model.load()

    assert "fails on its own input example: not today" in caplog.text
    assert model.state == "READY"
    assert not model.batchable


def test_an_example_of_other_columns_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    saved(tmp_path / "m", [{"a": 1, "c": 2}], fails=False).load()

    assert "fails on its own input example: instance 0: missing column 'b'" in caplog.text


def test_a_pyfunc_without_example_is_left_alone(tmp_path: Path) -> None:
    model = saved(tmp_path / "m", None)
    model.load()

    assert model.runtime._loaded.unwrap_python_model().calls == 0
    assert not model.batchable


def test_made_up_rows_of_a_graph_are_not_told_of(
    moody: Trained, caplog: pytest.LogCaptureFixture
) -> None:
    Model("m", moody.folder).load()

    assert caplog.text == ""


# --- rows that are independent, and not ------------------------------------------------------


def test_models_of_scikit_learn_are_batched(tumor: Trained, price: Trained) -> None:
    for trained in (tumor, price):
        model = Model("m", trained.folder)
        model.load()
        assert model.batchable, trained.folder


def test_texts_that_a_model_knows_come_from_the_example(flower: Trained, tmp_path: Path) -> None:
    folder = shutil.copytree(flower.folder, tmp_path / "flower")
    document = yaml.safe_load((folder / "MLmodel").read_text())
    document["saved_input_example_info"] = {"artifact_path": "example.json"}
    (folder / "MLmodel").write_text(yaml.safe_dump(document))
    (folder / "example.json").write_text(flower.rows.head(3).to_json(orient="split"))

    models = [Model("m", path) for path in (flower.folder, folder)]
    for model in models:
        model.load()

    assert [model.batchable for model in models] == [False, True]


def test_a_pyfunc_with_independent_rows_is_batched(tmp_path: Path) -> None:
    model = saved(tmp_path / "m", ROWS[:1], fails=False)
    model.load()

    assert model.batchable


@pytest.mark.parametrize("option", ["mixes", "at_random"])
def test_a_pyfunc_that_mixes_rows_is_not(tmp_path: Path, option: str) -> None:
    model = saved(tmp_path / "m", ROWS, **{option: True})
    model.load()

    assert not model.batchable


INDEPENDENT: dict[str, Callable[[], Any]] = {
    "relu": lambda: node("LeakyRelu", "x"),
    "softmax of a row": lambda: node("Softmax", "x", axis=1),
    "mean of a row": lambda: node("ReduceMean", "x", axes=[1], keepdims=1),
}
MIXING: dict[str, Callable[[], list[Any]]] = {
    "softmax": lambda: [node("Softmax", "x", axis=0)],
    "running sum": lambda: [node("CumSum", "x zero")],
    "sum from the end": lambda: [node("CumSum", "x zero", reverse=1)],
    "mean": lambda: [node("ReduceMean", "x", "mean", axes=[0]), node("Sub", "x mean")],
    "largest": lambda: [node("ReduceMax", "x", "top", axes=[0]), node("Div", "x top")],
    "rows": lambda: [
        node("Shape", "x", "s", end=1),
        node("Cast", "s", "f", to=TensorProto.FLOAT),
        node("Mul", "x f"),
    ],
    "sorted": lambda: [
        node("Shape", "x", "s", end=1),
        helper.make_node("TopK", ["x", "s"], ["y", "i"], axis=0),
    ],
    "upside down": lambda: [node("Slice", "x minus_one far zero minus_one")],
    "first": lambda: [node("Gather", "x zero", "first", axis=0), node("Add", "x first")],
}


@pytest.mark.parametrize("name", INDEPENDENT)
def test_a_graph_with_independent_rows_is_batched(tmp_path: Path, name: str) -> None:
    assert graph(tmp_path, INDEPENDENT[name]()).batchable


@pytest.mark.parametrize("name", MIXING)
def test_a_graph_that_mixes_rows_is_not(tmp_path: Path, name: str) -> None:
    weights = [ints("zero", 0), ints("minus_one", -1), ints("far", -(2**40))]

    assert not graph(tmp_path, *MIXING[name](), weights=weights).batchable


def test_a_difference_that_only_large_numbers_show_is_found(tmp_path: Path) -> None:
    """As with thresholds of a tree: no sum of rows below 500 changes the answer."""
    five_hundred = helper.make_tensor("big", TensorProto.FLOAT, [1], [500.0])
    model = graph(
        tmp_path,
        node("ReduceSum", "x zero", "sum"),
        node("Add", "x sum", "shifted"),
        node("Greater", "shifted big"),
        weights=[ints("zero", 0), five_hundred],
        answers=TensorProto.BOOL,
    )

    assert not model.batchable


def test_a_model_that_answers_all_rows_alike_shows_nothing(tmp_path: Path) -> None:
    zero = helper.make_tensor("zero", TensorProto.FLOAT, [1], [0.0])

    assert not graph(tmp_path, node("Mul", "x zero"), weights=[zero]).batchable


@pytest.mark.parametrize("shape", [(1, 2), (2,), ()])
def test_a_graph_without_a_variable_first_dimension_is_not(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    assert not graph(tmp_path, node("Neg", "x"), shape=shape).batchable


def test_one_answer_for_all_rows_is_not(tmp_path: Path) -> None:
    model = graph(tmp_path, node("ReduceMean", "x", axes=[0], keepdims=1), output=("m", 2))

    assert not model.batchable


@pytest.mark.parametrize(
    ("kind", "operator"),
    [(TensorProto.INT64, "Neg"), (TensorProto.STRING, "Identity"), (TensorProto.BOOL, "Not")],
)
def test_made_up_rows_come_in_every_type(tmp_path: Path, kind: int, operator: str) -> None:
    assert graph(tmp_path, node(operator, "x"), kind=kind, answers=kind).batchable
