"""Model files without an MLmodel, as KServe's own servers take them, through real servers."""

from __future__ import annotations

import pickle
import shutil
from typing import TYPE_CHECKING, Any

import joblib
import numpy as np
import pytest

from modelport_serving import cache, plain
from modelport_serving.errors import ContractError, InvalidInput, ModelLoadFailed
from modelport_serving.model import Model
from modelport_serving.repository import find

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Server, Serving, Trained


def rows_and_labels() -> tuple[Any, Any]:
    from sklearn.datasets import load_iris

    rows, labels = load_iris(return_X_y=True)
    return rows[::10], labels[::10]


ROWS, LABELS = rows_and_labels()
FEATURES = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
CLASSES = 3


def save_sklearn(file: Path) -> Any:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(max_iter=500).fit(ROWS, LABELS)
    if file.suffix == ".joblib":
        joblib.dump(model, file, compress=3)
    else:
        file.write_bytes(pickle.dumps(model))
    return model.predict(ROWS)


def save_xgboost(file: Path) -> Any:
    import xgboost

    matrix = xgboost.DMatrix(ROWS, LABELS, feature_names=FEATURES)
    model = xgboost.train({"objective": "multi:softprob", "num_class": CLASSES}, matrix, 5)
    file.write_bytes(model.save_raw("json" if file.suffix == ".json" else "ubj"))
    return model.predict(matrix)


def save_lightgbm(file: Path) -> Any:
    import lightgbm

    data = lightgbm.Dataset(ROWS, LABELS, feature_name=FEATURES)
    options = {"objective": "multiclass", "num_class": CLASSES, "verbose": -1}
    model = lightgbm.train({**options, "min_data_in_leaf": 2}, data, 5)
    model.save_model(file)
    return model.predict(ROWS)


def ask_v1(server: Server, instances: list[Any]) -> Any:
    answer = server.post("/v1/models/m:predict", {"instances": instances})
    assert answer.status == 200, answer.body
    return answer.json["predictions"]


def ask_v2(server: Server, rows: Any, **content: Any) -> dict[str, Any]:
    tensor = {
        "name": "input-0",
        "shape": list(rows.shape),
        "datatype": "FP32",
        "data": rows.astype(np.float32).tolist(),
    }
    answer = server.post("/v2/models/m/infer", {"inputs": [tensor], **content})
    assert answer.status == 200, answer.body
    (output,) = answer.json["outputs"]
    return output


@pytest.mark.parametrize(
    ("save", "name", "arguments"),
    [
        (save_sklearn, "model.joblib", ["--allow-pickle"]),
        (save_xgboost, "model.bst", ["--model_format=xgboost"]),
        (save_xgboost, "model.json", []),
        (save_lightgbm, "model.bst", ["--model_format=lightgbm"]),
    ],
)
def test_answers_as_kserves_own_server(
    tmp_path: Path,
    serving: Serving,
    save: Callable[[Path], Any],
    name: str,
    arguments: list[str],
) -> None:
    expected = save(tmp_path / name)
    with serving("--model_name=m", f"--model_dir={tmp_path}", *arguments) as server:
        np.testing.assert_allclose(ask_v1(server, ROWS.tolist()), expected, rtol=1e-5)
        output = ask_v2(server, ROWS, outputs=[{"name": "output-0"}])
        metadata = server.get("/v2/models/m").json
        wrong = server.post("/v1/models/m:predict", {"instances": [[1.0]]})
        if save is not save_sklearn:  # it was trained on an array
            by_name = [dict(zip(FEATURES, row, strict=True)) for row in ROWS.tolist()]
            np.testing.assert_allclose(ask_v1(server, by_name), expected, rtol=1e-5)
        errors = server.errors()

    assert (output["name"], output["shape"]) == ("output-0", list(expected.shape))
    np.testing.assert_allclose(np.reshape(output["data"], expected.shape), expected, rtol=1e-5)
    assert metadata["platform"] == save.__name__.removeprefix("save_")
    assert metadata["inputs"] == [{"name": "input-0", "datatype": "FP64", "shape": [-1, 4]}]
    assert metadata["outputs"][0]["shape"] == [-1, *expected.shape[1:]]
    assert wrong.status == 400, wrong.body
    assert "Warning" not in errors


def test_an_onnx_file_itself_can_be_served(
    tumor: Trained, tmp_path: Path, serving: Serving
) -> None:
    (tmp_path / "other.onnx").write_bytes(b"")  # one model in a folder of several
    file = shutil.copy(tumor.folder / "model.onnx", tmp_path / "tumor.onnx")
    rows = tumor.rows.to_numpy()[:5]
    with serving("--model_name=m", f"--model_dir={file}", "--cache_bytes=1000000") as server:
        predictions = ask_v1(server, rows.tolist())

    labels = tumor.model.predict(rows).tolist()
    assert [prediction["label"] for prediction in predictions] == labels


def test_a_pickle_needs_to_be_allowed(tmp_path: Path, launch: type[Server]) -> None:
    mark = tmp_path / "mark"

    class Bomb:
        def __reduce__(self) -> Any:
            return mark.touch, ()

    folder = tmp_path / "m"
    folder.mkdir()
    for name in ("model.joblib", "model.pkl", "model.pickle"):
        file = folder / name
        file.write_bytes(pickle.dumps(Bomb()))
        with pytest.raises(ModelLoadFailed, match="MODELPORT_ENGINE_ALLOW_PICKLE=true"):
            Model("m", folder).load()
        for wrong in ("model.ubj", "model.txt", "model.onnx"):
            disguised = file.rename(folder / wrong)
            with pytest.raises(ModelLoadFailed):
                Model("m", folder).load()
            file = disguised.rename(file)
        file.unlink()
    save_sklearn(folder / "model.joblib")
    server = launch(f"--model_dir={folder}")
    try:
        assert server.process.wait(timeout=30) == 1
        assert "start with --allow-pickle" in server.errors()
    finally:
        server.kill()
    assert not mark.exists()


def test_probabilities_as_kserve_is_asked_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = save_sklearn(tmp_path / "model.pkl")
    monkeypatch.setenv("PREDICT_PROBA", "true")
    model = Model("m", tmp_path, allow_pickle=True)
    model.load()

    answer = model.predict(model.mapping.rows(ROWS.tolist()))["output-0"]

    assert answer.shape == (len(ROWS), CLASSES)
    assert answer.argmax(axis=1).tolist() == labels.tolist()


def test_pipelines_that_take_no_table_of_numbers(tmp_path: Path) -> None:
    """One of texts, and one that picks its columns by their names, as KServe gives them."""
    import pandas as pd
    from sklearn.compose import make_column_transformer
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    texts = ["good film", "bad film", "good book", "bad book"]
    moods = ["glad", "sad", "glad", "sad"]
    joblib.dump(
        make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts, moods),
        tmp_path / "model.joblib",
    )
    model = Model("m", tmp_path, allow_pickle=True)
    model.load()
    assert model.predict(model.mapping.rows(texts))["output-0"].tolist() == moods
    assert [(spec.name, spec.datatype) for spec in model.runtime.outputs] == [("output-0", "BYTES")]
    with pytest.raises(InvalidInput, match="no inputs"):
        model.predict(model.mapping.tensors({}))

    table = pd.DataFrame({"colour": ["red", "blue", "red", "blue"], "size": [1.0, 2.0, 3.0, 4.0]})
    columns = make_column_transformer((OneHotEncoder(), ["colour"]), ("passthrough", ["size"]))
    joblib.dump(
        make_pipeline(columns, LogisticRegression()).fit(table, moods), tmp_path / "model.joblib"
    )
    model.load()
    rows = table.to_dict("records")
    assert model.predict(model.mapping.rows(rows))["output-0"].tolist() == moods
    listed = [{name: [value] for name, value in row.items()} for row in rows]
    assert model.predict(model.mapping.rows(listed))["output-0"].tolist() == moods
    with pytest.raises(InvalidInput, match="'size': expected one value for each of 1 rows"):
        model.predict({"colour": np.array(["red"], object), "size": np.ones(2)})


def test_a_torch_script(tmp_path: Path) -> None:
    import torch

    module = torch.nn.Linear(4, 2)
    torch.jit.script(module).save(tmp_path / "model.pt")
    model = Model("m", tmp_path, allow_pickle=True)
    model.load()

    answer = model.predict(model.mapping.rows(ROWS.tolist()))["output-0"]

    expected = module(torch.tensor(ROWS, dtype=torch.float32)).detach().numpy()
    np.testing.assert_allclose(answer, expected, rtol=1e-5)
    assert model.runtime.platform == "pytorch"


@pytest.mark.parametrize("content", [b"binf" + bytes(200), bytes([0, 0, 0, 63]) + bytes(200)])
def test_xgboosts_old_binary_format_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.bst").write_bytes(content)

    with pytest.raises(ModelLoadFailed, match="old binary format, which XGBoost"):
        Model("m", tmp_path, model_format="xgboost").load()


@pytest.mark.parametrize(
    ("names", "model_format", "flavour"),
    [
        (["model.pickle"], None, "sklearn"),
        (["model.ubj"], None, "xgboost"),
        (["model.txt"], None, "lightgbm"),
        (["my.pickle"], "sklearn", "sklearn"),
        (["model.pth", "config.json"], None, "pytorch"),
        (["my.onnx", "my.onnx.data"], "onnx", "onnx"),
        (["my.bst", "requirements.txt"], "lightgbm", "lightgbm"),
        (["my.bst", "model.pkl"], "xgboost", "xgboost"),
    ],
)
def test_finds_the_model_file(
    tmp_path: Path, names: list[str], model_format: str | None, flavour: str
) -> None:
    for name in names:
        (tmp_path / name).touch()

    for path in (tmp_path, tmp_path / names[0]):
        served = plain.read(path, model_format)
        assert (served.flavour, served.model_file) == (flavour, tmp_path / names[0])
        assert served.plain


@pytest.mark.parametrize(
    ("names", "model_format", "fragment"),
    [
        ([], None, "no file MLmodel and no model.onnx, model.joblib, "),
        (["weights.onnx", "requirements.txt"], None, "no file MLmodel and no model.onnx"),
        (["model.pkl"], "xgboost", "no file MLmodel and no *.bst or *.json or *.ubj"),
        (["model.bst"], None, "start with --model_format xgboost or lightgbm"),
        (["a.pkl", "b.joblib"], "sklearn", "more than one model file, and only one is allowed: a."),
        (["model.onnx", "model.pkl"], None, "more than one model file"),
        (["model.zip"], "mlflow", "are served, not 'mlflow'"),
    ],
)
def test_refuses_a_folder(
    tmp_path: Path, names: list[str], model_format: str | None, fragment: str
) -> None:
    for name in names:
        (tmp_path / name).touch()

    with pytest.raises(ContractError) as refusal:
        plain.read(tmp_path, model_format)

    assert fragment in str(refusal.value)


def test_no_link_leaves_the_folder(tmp_path: Path) -> None:
    (tmp_path / "secret.onnx").touch()
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "model.onnx").symlink_to(tmp_path / "secret.onnx")

    with pytest.raises(ContractError, match="is a link out of"):
        plain.read(folder)
    assert plain.read(folder / "model.onnx").flavour == "onnx"  # what is named itself may be one


def test_a_folder_with_mlmodel_ignores_the_format(tumor: Trained) -> None:
    model = Model("m", tumor.folder, model_format="sklearn")
    model.load()

    assert not model.served.plain


def test_a_repository_of_plain_models(tmp_path: Path) -> None:
    for name in ("iris/model.pickle", "wine/1/model.bst", "wine/2/model.bst", "empty/readme.txt"):
        file = tmp_path / name
        file.parent.mkdir(parents=True)
        file.touch()

    assert find(tmp_path, "m").models == {
        "iris": {None: tmp_path / "iris"},
        "wine": {version: tmp_path / "wine" / version for version in "12"},
    }
    # Other folders beside a model are not models.
    (tmp_path / "model.joblib").touch()
    assert find(tmp_path, "m").models == {"m": {None: tmp_path}}


def test_a_model_file_has_an_identity_of_its_own(tmp_path: Path) -> None:
    files = [tmp_path / "a.onnx", tmp_path / "b.onnx"]
    for file in files:
        file.write_text(file.name)

    assert len({cache.identity(path) for path in (*files, tmp_path)}) == 3
