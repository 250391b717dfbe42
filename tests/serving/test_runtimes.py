"""Every flavour in its own library: the same answers, no MLflow, and no code unless allowed."""

from __future__ import annotations

import importlib
import json
import logging
import pickle
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import yaml

from modelport_serving import contract
from modelport_serving.errors import InvalidInput, ModelLoadFailed
from modelport_serving.model import Model
from modelport_serving.runtimes import runtime_for
from modelport_serving.runtimes.onnx import OnnxRuntime

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Trained

generator = np.random.default_rng(0)
TABLE = pd.DataFrame(generator.normal(size=(60, 4)), columns=["a", "b", "c", "d"])
LABELS = (TABLE["a"] + TABLE["b"] > 0).astype(int)
WORDS = np.where(LABELS == 1, "high", "low")


def save(flavour: str, model: Any, folder: Path, rows: Any = TABLE, **options: Any) -> Path:
    import mlflow

    if "signature" not in options:
        answers = options.pop("answers", None)
        answers = model.predict(rows) if answers is None else answers
        options["signature"] = mlflow.models.infer_signature(rows, answers)
    getattr(mlflow, flavour).save_model(model, folder, pip_requirements=[], **options)
    return folder


def load(folder: Path, *, allow_pickle: bool = True) -> Model:
    model = Model("m", folder, allow_pickle=allow_pickle)
    model.load()
    return model


def v1(model: Model, rows: pd.DataFrame) -> dict[str, Any]:
    """Ask as V1 does, with rows as objects."""
    instances = json.loads(rows.to_json(orient="records", date_format="iso"))
    return model.predict(model.mapping.rows(instances))


def v2(model: Model, rows: pd.DataFrame) -> dict[str, Any]:
    """Ask as V2 does, with one tensor a column."""
    given = {name: rows[name].to_numpy() for name in rows}
    return model.predict(model.mapping.tensors(given))


def metadata(model: Model) -> dict[str, Any]:
    runtime = model.runtime
    return {s.name: (s.datatype, s.shape) for s in (*runtime.inputs, *runtime.outputs)}


# --- scikit-learn ----------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["cloudpickle", "pickle", "skops"])
def test_sklearn_classifier(tmp_path: Path, form: str) -> None:
    from sklearn.ensemble import RandomForestClassifier

    forest = RandomForestClassifier(5, random_state=0, n_jobs=-1).fit(TABLE, WORDS)
    trusted = {"skops_trusted_types": ["sklearn.tree._tree.Tree"]} if form == "skops" else {}
    folder = save("sklearn", forest, tmp_path / "m", serialization_format=form, **trusted)
    model = load(folder)

    for answers in (v1(model, TABLE), v2(model, TABLE)):
        assert answers["label"].tolist() == WORDS.tolist()
        np.testing.assert_array_equal(answers["probabilities"], forest.predict_proba(TABLE))
    assert metadata(model) == {
        "input": ("FP64", (-1, 4)),
        "label": ("BYTES", (-1,)),
        "probabilities": ("FP64", (-1, 2)),
    }
    assert list(model.predict({"input": TABLE.to_numpy()}, ["label"])) == ["label"]
    assert model.runtime.platform == "mlflow_sklearn"
    assert model.runtime.may_run_inline


def test_sklearn_regressor_trained_on_arrays(tmp_path: Path) -> None:
    from sklearn.linear_model import LinearRegression

    rows = TABLE.to_numpy(np.float32)
    line = LinearRegression().fit(rows, rows[:, :2])
    model = load(save("sklearn", line, tmp_path / "m", rows, serialization_format="pickle"))

    answers = model.predict(model.mapping.rows(rows.tolist()))

    np.testing.assert_allclose(answers["prediction"], rows[:, :2], atol=1e-5)
    assert metadata(model) == {
        "input-0": ("FP32", (-1, 4)),
        "prediction": (answers["prediction"].dtype.name.replace("float", "FP"), (-1, 2)),
    }


def test_sklearn_without_a_signature(tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression

    regression = LogisticRegression().fit(TABLE.to_numpy(), LABELS)
    folder = save(
        "sklearn", regression, tmp_path / "m", signature=False, serialization_format="pickle"
    )
    model = load(folder)

    answers = model.predict(model.mapping.rows(TABLE.to_numpy().tolist()))

    assert answers["label"].tolist() == regression.predict(TABLE.to_numpy()).tolist()
    assert metadata(model)["input"] == ("FP64", (-1, 4))


def test_the_signature_may_name_the_answer(tmp_path: Path) -> None:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema
    from sklearn.tree import DecisionTreeClassifier

    columns = Schema([ColSpec("double", name) for name in TABLE])
    signature = ModelSignature(columns, Schema([ColSpec("string", "level")]))
    tree = DecisionTreeClassifier().fit(TABLE, WORDS)
    folder = save(
        "sklearn", tree, tmp_path / "m", signature=signature, serialization_format="pickle"
    )

    assert list(v1(load(folder), TABLE)) == ["level", "probabilities"]


def test_a_classifier_of_several_targets_predicts(tmp_path: Path) -> None:
    from sklearn.tree import DecisionTreeClassifier

    targets = np.column_stack([LABELS, 1 - LABELS])
    tree = DecisionTreeClassifier().fit(TABLE, targets)
    model = load(save("sklearn", tree, tmp_path / "m", serialization_format="pickle"))

    answers = v1(model, TABLE)

    assert list(answers) == ["prediction"]
    np.testing.assert_array_equal(answers["prediction"], targets)


def test_columns_in_another_order_than_trained_are_put_right(tmp_path: Path) -> None:
    from mlflow.models import infer_signature
    from sklearn.linear_model import LinearRegression

    line = LinearRegression().fit(TABLE, TABLE["a"] - 3 * TABLE["d"])
    turned = TABLE[["d", "c", "b", "a"]]
    folder = save(
        "sklearn",
        line,
        tmp_path / "m",
        signature=infer_signature(turned, TABLE["a"].to_numpy()),
        serialization_format="pickle",
    )
    model = load(folder)

    expected = line.predict(TABLE)
    np.testing.assert_allclose(v1(model, TABLE)["prediction"], expected)
    answers = model.predict(model.mapping.rows(turned.to_numpy().tolist()))
    np.testing.assert_allclose(answers["prediction"], expected)


MIXED = pd.DataFrame(
    {
        "colour": ["red", "blue", None, "red", "green", "blue"],
        "size": [1.5, np.nan, 2.5, 0.5, 3.5, 1.0],
        "count": [1, 2, 3, 4, 5, 6],
        "new": [True, False, True, True, False, False],
    }
)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """A pipeline that picks columns by name: texts, numbers, booleans, missing ones among them."""
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    texts = make_pipeline(
        SimpleImputer(strategy="constant", fill_value="?"),
        OneHotEncoder(handle_unknown="ignore"),
    )
    columns = make_column_transformer(
        (texts, ["colour"]), (SimpleImputer(), ["size", "count"]), ("passthrough", ["new"])
    )
    labels = ["a", "b", "a", "b", "a", "b"]
    pipeline = make_pipeline(columns, LogisticRegression()).fit(MIXED, labels)
    folder = tmp_path_factory.mktemp("mixed") / "m"
    return pipeline, save("sklearn", pipeline, folder, MIXED, serialization_format="cloudpickle")


def test_a_table_of_mixed_columns(mixed: tuple[Any, Path]) -> None:
    pipeline, folder = mixed
    model = load(folder)
    expected = pipeline.predict_proba(MIXED)
    rows = [[None if pd.isna(cell) else cell for cell in row] for row in MIXED.values.tolist()]
    given = {name: MIXED[name].to_numpy() for name in MIXED}
    given["colour"] = np.array([row[0] for row in rows], object)

    forms = [
        model.mapping.rows([dict(zip(MIXED, row, strict=True)) for row in rows]),
        model.mapping.rows(rows),
        model.mapping.tensors(given),
        model.mapping.tensors({name: array.reshape(-1, 1) for name, array in given.items()}),
    ]

    for form in forms:
        np.testing.assert_allclose(model.predict(form)["probabilities"], expected)
    assert metadata(model) == {
        "colour": ("BYTES", (-1,)),
        "size": ("FP64", (-1,)),
        "count": ("INT64", (-1,)),
        "new": ("BOOL", (-1,)),
        "label": ("BYTES", (-1,)),
        "probabilities": ("FP64", (-1, 2)),
    }


def test_dates_through_a_pyfunc(tmp_path: Path) -> None:
    import mlflow

    class Year(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):  # noqa: ARG002
            return model_input["when"].dt.year

    rows = pd.DataFrame({"when": pd.to_datetime(["2020-02-29T00:00:00", "2021-12-31T23:59:59"])})
    mlflow.pyfunc.save_model(
        tmp_path / "m",
        python_model=Year(),
        signature=mlflow.models.infer_signature(rows, pd.Series([2020, 2021], dtype="int32")),
        pip_requirements=[],
    )
    model = load(tmp_path / "m")
    texts = np.array(["2020-02-29", b"2021-12-31T23:59:59"], object)

    for inputs in (
        model.mapping.tensors({"when": texts}),
        model.mapping.rows([["2020-01-01"]] * 2),
    ):
        (answer,) = model.predict(inputs).values()
        assert answer[0] == 2020
    assert v1(model, rows)["output-0"].tolist() == [2020, 2021]
    with pytest.raises(InvalidInput, match="input 'when': expected dates as in ISO 8601"):
        model.predict(model.mapping.rows([["yesterday"]]))


# --- XGBoost and LightGBM --------------------------------------------------------------------


def boosters() -> dict[str, tuple[str, Callable[[], Any], Callable[[Any], dict[str, Any]]]]:
    import lightgbm
    import xgboost

    matrix = xgboost.DMatrix(TABLE, LABELS)
    data = lightgbm.Dataset(TABLE, LABELS)
    quiet = {"verbose": -1, "min_data_in_leaf": 2}

    def both(model: Any) -> dict[str, Any]:
        return {"label": model.predict(TABLE), "probabilities": model.predict_proba(TABLE)}

    def one(model: Any) -> dict[str, Any]:
        return {"prediction": model.predict(TABLE)}

    return {
        "xgboost classifier": (
            "xgboost",
            lambda: xgboost.XGBClassifier(n_estimators=5).fit(TABLE, LABELS),
            both,
        ),
        "xgboost regressor": (
            "xgboost",
            lambda: xgboost.XGBRegressor(n_estimators=5).fit(TABLE, TABLE["a"]),
            one,
        ),
        "xgboost linear classifier": (
            "xgboost",
            lambda: xgboost.XGBClassifier(n_estimators=5, booster="gblinear").fit(TABLE, LABELS),
            both,
        ),
        "xgboost booster": (
            "xgboost",
            lambda: xgboost.train({"objective": "binary:logistic"}, matrix, 5),
            lambda model: {"prediction": model.predict(matrix)},
        ),
        "xgboost linear": (
            "xgboost",
            lambda: xgboost.train({"booster": "gblinear"}, matrix, 5),
            lambda model: {"prediction": model.predict(matrix)},
        ),
        "lightgbm booster": ("lightgbm", lambda: lightgbm.train(quiet, data, 5), one),
        "lightgbm classifier": (
            "lightgbm",
            lambda: lightgbm.LGBMClassifier(n_estimators=5, **quiet).fit(TABLE, LABELS),
            both,
        ),
    }


@pytest.mark.parametrize("kind", boosters())
def test_boosted_trees(tmp_path: Path, kind: str) -> None:
    flavour, train, answers = boosters()[kind]
    trained = train()
    expected = answers(trained)
    folder = save(flavour, trained, tmp_path / "m", answers=next(iter(expected.values())))
    model = load(folder, allow_pickle=kind == "lightgbm classifier")

    for given in (v1(model, TABLE), v2(model, TABLE)):
        assert list(given) == list(expected)
        for name, values in expected.items():
            np.testing.assert_allclose(given[name], values, rtol=1e-6)
    assert metadata(model)["input"] == ("FP64", (-1, 4))
    assert model.runtime.platform == f"mlflow_{flavour}"
    assert model.batchable


def test_xgboost_in_its_json_format(tmp_path: Path) -> None:
    import xgboost

    trained = xgboost.XGBClassifier(n_estimators=3).fit(TABLE, LABELS)
    folder = save("xgboost", trained, tmp_path / "m", model_format="json")

    assert v1(load(folder, allow_pickle=False), TABLE)["label"].tolist() == (
        trained.predict(TABLE).tolist()
    )


# --- PyTorch ---------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["exported", "script", "pickled"])
def test_pytorch(tmp_path: Path, form: str) -> None:
    import torch
    from mlflow.models import infer_signature

    module = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Softmax(dim=1))
    rows = TABLE.to_numpy(np.float32)
    expected = module(torch.from_numpy(rows)).detach().numpy()
    signature = infer_signature(rows, expected)
    options = {"serialization_format": "pickle"}
    if form == "exported":
        options = {"serialization_format": "pt2", "input_example": rows[:3]}
    saved = torch.jit.script(module) if form == "script" else module
    model = load(save("pytorch", saved, tmp_path / "m", signature=signature, **options))

    (answer,) = model.predict(model.mapping.rows(rows.tolist())).values()

    np.testing.assert_allclose(answer, expected, rtol=1e-5)
    assert metadata(model) == {"input-0": ("FP32", (-1, 4)), "output-0": ("FP32", (-1, 3))}
    assert model.batchable is (form == "exported")  # the others came without an example


def test_pytorch_takes_a_table_and_answers_by_name(tmp_path: Path) -> None:
    import torch
    from mlflow.models import infer_signature

    class Two(torch.nn.Module):
        def forward(self, rows: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"sum": rows.sum(dim=1), "largest": rows.amax(dim=1)}

    model = load(
        save(
            "pytorch",
            torch.jit.script(Two()),
            tmp_path / "m",
            signature=infer_signature(TABLE),
            serialization_format="pickle",
        )
    )

    answers = v1(model, TABLE)

    np.testing.assert_allclose(answers["sum"], TABLE.sum(axis=1), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(answers["largest"], TABLE.max(axis=1), rtol=1e-5)


# --- what runs no code, and what could -------------------------------------------------------


@pytest.mark.parametrize(
    ("flavour", "config", "needs"),
    [
        ("onnx", {}, False),
        ("xgboost", {"model_class": "xgboost.core.Booster"}, False),
        ("xgboost", {"model_class": "xgboost.sklearn.XGBClassifier"}, False),
        ("xgboost", {}, False),
        ("xgboost", {"model_class": "os.system"}, True),
        ("xgboost", {"model_class": "xgboost.dask.XGBClassifier"}, True),
        ("lightgbm", {"model_class": "lightgbm.basic.Booster"}, False),
        ("lightgbm", {"model_class": "lightgbm.sklearn.LGBMClassifier"}, True),
        ("sklearn", {"serialization_format": "skops"}, True),
        ("pytorch", {}, True),
        ("python_function", {}, True),
        ("somebodys", {}, True),
    ],
)
def test_what_needs_to_be_allowed(
    tmp_path: Path, flavour: str, config: dict[str, Any], needs: bool
) -> None:
    (tmp_path / "model").touch()
    flavours = {flavour: {"data": "model", **config}}
    flavours.setdefault("python_function", {"data": "model"})
    (tmp_path / "MLmodel").write_text(yaml.safe_dump({"flavors": flavours}))
    served = contract.read(tmp_path)

    assert served.needs_pickle is needs
    if needs:
        with pytest.raises(ModelLoadFailed, match="--allow-pickle"):
            runtime_for(served, allow_pickle=False)


def test_a_pickle_under_the_name_of_a_plain_file_is_not_run(tmp_path: Path) -> None:
    """A flavour that needs no permission must never unpickle, whatever the file holds."""
    mark = tmp_path / "mark"

    class Bomb:
        def __reduce__(self) -> Any:
            return mark.touch, ()

    for flavour in ("xgboost", "lightgbm"):
        (tmp_path / "model.pkl").write_bytes(pickle.dumps(Bomb()))
        document = {
            "flavors": {
                flavour: {"data": "model.pkl", "serialization_format": "pickle"},
                "python_function": {"data": "model.pkl", "loader_module": "mlflow.sklearn"},
            }
        }
        (tmp_path / "MLmodel").write_text(yaml.safe_dump(document))
        with pytest.raises(ModelLoadFailed):
            load(tmp_path, allow_pickle=False)
        assert not mark.exists()


def test_an_exported_program_can_run_code_so_it_needs_to_be_allowed(tmp_path: Path) -> None:
    """Why .pt2 counts as a pickle: PyTorch evaluates its symbolic sizes as Python."""
    import torch

    rows = TABLE.to_numpy(np.float32)
    folder = save(
        "pytorch",
        torch.nn.Linear(4, 2),
        tmp_path / "m",
        answers=rows[:, :2],
        rows=rows,
        serialization_format="pt2",
        input_example=rows[:3],
    )
    mark = tmp_path / "mark"
    file = folder / "data" / "model.pt2"
    with zipfile.ZipFile(file) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    name = next(name for name in parts if name.endswith("models/model.json"))
    program = json.loads(parts[name])
    _replace(program, "expr_str", f'open("{mark}", "w")')
    parts[name] = json.dumps(program).encode()
    with zipfile.ZipFile(file, "w") as archive:
        for part, content in parts.items():
            archive.writestr(part, content)

    with pytest.raises(ModelLoadFailed, match="--allow-pickle"):
        load(folder, allow_pickle=False)
    assert not mark.exists()
    with pytest.raises(ModelLoadFailed, match="PyTorch cannot load"):
        load(folder)
    assert mark.exists()


def _replace(document: Any, key: str, value: str) -> None:
    """Set a key wherever it is."""
    for name, inner in document.items() if isinstance(document, dict) else enumerate(document):
        if name == key:
            document[name] = value
        elif isinstance(inner, dict | list):
            _replace(inner, key, value)


def test_native_models_need_no_mlflow(tmp_path: Path, mixed: tuple[Any, Path]) -> None:
    import xgboost
    from sklearn.linear_model import LinearRegression

    line = LinearRegression().fit(TABLE, TABLE["a"])
    booster = xgboost.train({}, xgboost.DMatrix(TABLE, LABELS), 2)
    folders = [
        save("sklearn", line, tmp_path / "s", serialization_format="pickle"),
        save("xgboost", booster, tmp_path / "x", answers=LABELS),
        mixed[1],
    ]
    code = """
import sys
from pathlib import Path
from modelport_serving.model import Model
for folder in sys.argv[1:]:
    model = Model("m", Path(folder), allow_pickle=True)
    model.load()
    print(model.runtime.platform)
print({"mlflow", "onnxruntime"} & set(sys.modules))
"""
    result = subprocess.run(
        [sys.executable, "-c", code, *map(str, folders)], capture_output=True, text=True, check=True
    )

    assert result.stdout.split() == ["mlflow_sklearn", "mlflow_xgboost", "mlflow_sklearn", "set()"]


def test_modules_logged_with_a_model_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pickle refers to its class by name; the folder brings the module."""
    package = tmp_path / "site" / "own_estimator"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(
        "class Doubler:\n    def predict(self, rows):\n        return rows.sum(axis=1) * 2\n"
    )
    rows = np.ones((2, 2))
    with monkeypatch.context() as patch:
        patch.syspath_prepend(str(package.parent))
        doubler = importlib.import_module("own_estimator").Doubler()
        save(
            "sklearn",
            doubler,
            tmp_path / "m",
            rows,
            code_paths=[str(package)],
            serialization_format="pickle",
        )
    del sys.modules["own_estimator"]
    monkeypatch.setattr(sys, "path", [*sys.path])
    model = load(tmp_path / "m")

    assert model.predict(model.mapping.rows([[1.0, 2.0]]))["prediction"].tolist() == [6.0]
    assert not model.runtime.may_run_inline  # nobody knows what it does


# --- other packages' runtimes ----------------------------------------------------------------


def test_another_package_brings_a_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "site"
    info = site / "constant_runtime-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: constant-runtime\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[modelport.runtimes]\nconstant = constant_runtime:Constant\nmissing = no_such_module:X\n"
    )
    (site / "constant_runtime.py").write_text(
        "import numpy as np\n"
        "from modelport_serving.runtimes.base import Runtime\n"
        "from modelport_serving.tensors import TensorSpec\n"
        "class Constant(Runtime):\n"
        "    platform = 'constant'\n"
        "    inputs = outputs = (TensorSpec('x', 'FP32', (-1,)),)\n"
        "    def __init__(self, model, *, max_threads): self.value = model.config['value']\n"
        "    def load(self): pass\n"
        "    def unload(self): pass\n"
        "    def predict(self, inputs, outputs):\n"
        "        return {'x': np.full(len(inputs['x']), self.value, np.float32)}\n"
    )
    monkeypatch.syspath_prepend(str(site))
    folder = tmp_path / "m"
    folder.mkdir()

    def write(flavour: str) -> None:
        flavours = {flavour: {"value": 7}, "python_function": {}}
        (folder / "MLmodel").write_text(yaml.safe_dump({"flavors": flavours}))

    write("constant")
    model = load(folder)
    assert model.runtime.platform == "constant"
    assert model.predict(model.mapping.rows([1.0, 2.0]))["x"].tolist() == [7, 7]
    write("missing")
    with pytest.raises(ModelLoadFailed, match="a library that is not installed: No module named"):
        load(folder)


# --- ONNX Runtime's threads and providers ----------------------------------------------------


def test_threads_of_a_small_and_a_large_graph(tumor: Trained, tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weight = numpy_helper.from_array(np.ones((2100, 2100), np.float32), "w")  # 17 MB
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "large",
        [value("x", TensorProto.FLOAT, ["n", 2100])],
        [value("y", TensorProto.FLOAT, ["n", 2100])],
        [weight],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)

    def threads(most: int, **options: Any) -> int:
        flavour = {"data": "model.onnx", "onnx_session_options": options}
        (tmp_path / "MLmodel").write_text(yaml.safe_dump({"flavors": {"onnx": flavour}}))
        runtime = OnnxRuntime(contract.read(tmp_path), max_threads=most)
        runtime.load()
        return runtime.threads

    (tmp_path / "model.onnx").write_bytes((tumor.folder / "model.onnx").read_bytes())
    assert threads(4) == 1
    assert threads(4, intra_op_num_threads=3) == 3
    assert threads(2, intra_op_num_threads=3) == 2
    onnx.save(proto, tmp_path / "model.onnx")
    assert threads(2) == 2
    assert threads(2, intra_op_num_threads=1) == 1
    large = ["model.onnx.data", "model.onnx"]
    onnx.save(proto, tmp_path / large[1], save_as_external_data=True, location=large[0])
    assert threads(2) == 2


def test_a_provider_that_does_not_start_is_told_and_left_out(
    tumor: Trained, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a machine whose ONNX Runtime is built for a GPU that it does not have."""
    import onnxruntime

    here = [*onnxruntime.get_available_providers(), "CUDAExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: here)
    runtime = OnnxRuntime(contract.read(tumor.folder), max_threads=1)
    with caplog.at_level(logging.WARNING):
        runtime.load()

    assert "is served without CUDAExecutionProvider" in caplog.text
    rows = tumor.rows.to_numpy(np.float32)
    assert len(runtime.predict({"input": rows}, ())) == 2
