"""`modelport.certify`: conversions that were made elsewhere, whatever they look like."""

import json
import subprocess
import sys
from importlib import import_module

import nbformat
import numpy as np
import onnx
import pytest
from mlflow.models import infer_signature
from nbclient import NotebookClient
from skl2onnx import to_onnx
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import modelport
from modelport import cli
from modelport.convert.fitted import fitted as fitted_model
from modelport.errors import DataError, ModelportError, UnsupportedModel, UsageError
from modelport.reports import Column, Resolution

wine = load_wine(as_frame=True)
FEATURES = wine.data.iloc[:, :5]
NAMES = np.array(["barolo", "grignolino", "barbera"])[wine.target]


def attribute(proto, node_type, name):
    node = next(node for node in proto.graph.node if node.op_type == node_type)
    return next(given for given in node.attribute if given.name == name)


@pytest.fixture(scope="module")
def fitted():
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    return model.fit(FEATURES, wine.target)


@pytest.fixture
def foreign(fitted):
    """What skl2onnx makes on its own: a ZipMap, and names that are its own."""
    proto = to_onnx(fitted, FEATURES.to_numpy(dtype=np.float32), target_opset=21)
    assert [node.op_type for node in proto.graph.node][-1] == "ZipMap"
    assert [output.name for output in proto.graph.output] == ["output_label", "output_probability"]
    return proto


@pytest.fixture
def wrong(foreign):
    """The same, with the scale of one column changed."""
    attribute(foreign, "Scaler", "scale").floats[2] *= 1.01
    return foreign


@pytest.mark.parametrize("given", ["bytes", "path", "text", "proto"])
def test_a_graph_is_given_in_any_form(fitted, foreign, tmp_path, given):
    path = tmp_path / "model.onnx"
    onnx.save(foreign, path)
    forms = {"bytes": path.read_bytes(), "path": path, "text": str(path), "proto": foreign}

    certificate = modelport.certify(fitted, forms[given], FEATURES.head(40))

    assert certificate.passed
    assert certificate.rows["data"] == 40
    assert certificate.flips == ()
    assert certificate.differences["max_abs"] < 1e-5


@pytest.mark.parametrize("kind", ["frame", "array", "csv", "parquet"])
def test_rows_are_given_in_any_form(fitted, foreign, tmp_path, kind):
    rows = FEATURES.head(30)
    rows.to_csv(tmp_path / "rows.csv", index=False)
    rows.to_parquet(tmp_path / "rows.parquet")
    forms = {
        "frame": rows,
        "array": rows.to_numpy(),
        "csv": tmp_path / "rows.csv",
        "parquet": str(tmp_path / "rows.parquet"),
    }
    model = fitted
    if kind == "array":
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        model.fit(FEATURES.to_numpy(), wine.target)
        foreign = to_onnx(model, rows.to_numpy(dtype=np.float32), target_opset=21)

    certificate = modelport.certify(model, foreign, forms[kind])

    assert certificate.passed
    assert certificate.rows["data"] == 30


def test_a_target_column_is_no_input(fitted, foreign):
    rows = FEATURES.assign(kind=wine.target).head(20)

    assert modelport.certify(fitted, foreign, rows, target="kind").passed


def test_a_wrong_conversion_fails_and_is_returned(fitted, wrong):
    certificate = modelport.certify(fitted, wrong, FEATURES.head(40))

    assert not certificate.passed
    assert certificate.record.fault == "converter"
    assert certificate.record.worst[0].cause == "unexplained"
    assert "Certificate failed" in repr(certificate)
    assert "unexplained" in certificate._repr_mimebundle_()["text/html"]


def test_probabilities_are_read_in_the_order_of_zipmaps_labels(fitted, foreign):
    """Columns and labels that are swapped together mean the same."""
    attribute(foreign, "ZipMap", "classlabels_int64s").ints[:] = [2, 0, 1]
    zipped = next(node for node in foreign.graph.node if node.op_type == "ZipMap")
    order = onnx.numpy_helper.from_array(np.array([2, 0, 1], dtype=np.int64), "order")
    foreign.graph.initializer.append(order)
    gather = onnx.helper.make_node("Gather", [zipped.input[0], "order"], ["swapped"], axis=1)
    foreign.graph.node.insert(len(foreign.graph.node) - 1, gather)
    zipped.input[0] = "swapped"

    assert modelport.certify(fitted, foreign, FEATURES.head(40)).passed


def test_swapped_labels_alone_fail(fitted, foreign):
    attribute(foreign, "ZipMap", "classlabels_int64s").ints[:] = [2, 0, 1]

    certificate = modelport.certify(fitted, foreign, FEATURES.head(40))

    assert not certificate.passed
    assert certificate.record.fault == "converter"
    assert certificate.record.max_abs_difference > 0.5


def test_labels_of_another_model_are_refused(fitted, foreign):
    attribute(foreign, "ZipMap", "classlabels_int64s").ints[:] = [1, 2, 3]

    with pytest.raises(DataError, match="classes \\[1, 2, 3\\] are not the model's"):
        modelport.certify(fitted, foreign, FEATURES.head(40))


def test_string_labels():
    model = LogisticRegression(max_iter=5000).fit(FEATURES, NAMES)
    proto = to_onnx(model, FEATURES.to_numpy(dtype=np.float32), target_opset=21)
    assert modelport.certify(model, proto, FEATURES.head(40)).passed

    labels = attribute(proto, "ZipMap", "classlabels_strings")
    labels.strings[:] = [labels.strings[1], labels.strings[0], labels.strings[2]]
    assert not modelport.certify(model, proto, FEATURES.head(40)).passed


@pytest.fixture(scope="module")
def table():
    """A model of named columns, spaces in the names, and the graph that skl2onnx makes of it."""
    rows = FEATURES.rename(columns={"malic_acid": "malic acid"}).iloc[:, :3]
    rows["cellar kind"] = np.where(FEATURES["ash"] > 2.4, "old", "new")
    prepared = ColumnTransformer(
        [("text", OneHotEncoder(handle_unknown="ignore"), ["cellar kind"])],
        remainder=StandardScaler(),
    )
    model = make_pipeline(prepared, LogisticRegression(max_iter=1000)).fit(rows, wine.target)
    narrow = rows.head(1).astype(dict.fromkeys(rows.columns[:3], np.float32))
    return model, to_onnx(model, narrow, target_opset=21), rows


def test_inputs_are_found_by_name(table):
    model, proto, rows = table
    assert [value.name for value in proto.graph.input][1::2] == ["malic_acid", "cellar_kind"]

    certificate = modelport.certify(model, proto, rows.head(40))

    assert certificate.passed
    assert certificate.record.coverage.categories_visited == 2


def test_inputs_in_another_order_are_found_by_name(table):
    model, proto, rows = table
    turned = onnx.ModelProto()
    turned.CopyFrom(proto)
    inputs = list(reversed(proto.graph.input))
    del turned.graph.input[:]
    turned.graph.input.extend(inputs)

    assert modelport.certify(model, turned, rows.head(40)).passed


def test_inputs_that_are_no_columns_are_named(table):
    model, proto, rows = table
    more = onnx.ModelProto()
    more.CopyFrom(proto)
    more.graph.input.append(onnx.helper.make_tensor_value_info("extra", 1, [None, 1]))

    with pytest.raises(DataError, match="extra, which are not the data's columns"):
        modelport.certify(model, more, rows.head(40))


@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
def test_a_booster(library):
    package = pytest.importorskip(library)
    numbers = FEATURES.to_numpy(dtype=np.float32).astype(float)
    if library == "xgboost":
        settings = {"objective": "multi:softprob", "num_class": 3, "max_depth": 3}
        model = package.train(settings, package.DMatrix(numbers, wine.target), 5)
    else:
        settings = {"objective": "multiclass", "num_class": 3, "verbose": -1}
        model = package.train(settings, package.Dataset(numbers, wine.target), 5)
    flavour = import_module(f"modelport.convert.{library}")
    native = fitted_model(model)
    columns = tuple(Column(name=str(place), type="double") for place in range(5))
    resolution = Resolution(source="x", uri="x", flavour=library, inputs=columns)
    graph = flavour.convert(native, resolution).onnx

    assert modelport.certify(model, graph, numbers[:40]).passed


@pytest.fixture(scope="module")
def logged(store, fitted, tmp_path_factory):
    """`models:/wine/1` in MLflow, and a folder with graphs of it, made elsewhere, and rows."""
    store.mlflow.sklearn.log_model(
        fitted,
        name="wine",
        registered_model_name="wine",
        signature=infer_signature(FEATURES, wine.target),
        input_example=FEATURES.head(3),
        pip_requirements=["scikit-learn", "skops"],
    )
    folder = tmp_path_factory.mktemp("made-elsewhere")
    proto = to_onnx(fitted, FEATURES.to_numpy(dtype=np.float32), target_opset=21)
    onnx.save(proto, folder / "right.onnx")
    attribute(proto, "Scaler", "offset").floats[0] += 0.1
    onnx.save(proto, folder / "wrong.onnx")
    FEATURES.head(40).to_csv(folder / "rows.csv", index=False)
    return folder


def test_a_model_in_mlflow_brings_its_own_rows(logged):
    certificate = modelport.certify("models:/wine/1", logged / "right.onnx")

    assert certificate.passed
    assert certificate.rows["data"] == 3


def test_a_model_in_a_folder(store, logged):
    folder = store.mlflow.artifacts.download_artifacts("models:/wine/1")

    assert modelport.certify(folder, logged / "right.onnx", logged / "rows.csv").passed
    assert not modelport.certify(folder, logged / "wrong.onnx", logged / "rows.csv").passed


@pytest.mark.parametrize(
    ("model", "graph", "rows", "error", "told"),
    [
        ("fitted", "gone.onnx", "rows", UsageError, "there is no file gone.onnx"),
        ("fitted", b"no graph", "rows", UsageError, "the file is no ONNX model"),
        ("fitted", b"", "rows", UsageError, "the file is no ONNX model"),
        ("object", "graph", "rows", UsageError, "a object is no model of"),
        ("models:/x", "graph", "rows", UsageError, "'models:/x' names no model version"),
        ("fitted", "graph", None, DataError, "there is no row to certify"),
        ("fitted", "graph", "none", DataError, "no row"),
        ("fitted", "graph", "line", DataError, "the rows are no table"),
        ("fitted", "graph", "fewer", DataError, "the model refuses the rows"),
        ("fitted", "graph", "texts", DataError, "the model refuses the rows"),
        ("fitted", "graph", "gone.csv", ModelportError, "there is no file"),
        ("fitted", "unknown", "rows", UnsupportedModel, ""),
        ("fitted", "regressor", "rows", DataError, "no output of the graph"),
    ],
)
def test_what_cannot_be_certified_is_told_in_one_line(
    fitted, foreign, model, graph, rows, error, told
):
    unknown = onnx.ModelProto()
    unknown.CopyFrom(foreign)
    unknown.graph.node[0].op_type = "Unheard"
    regressor = onnx.ModelProto()
    regressor.CopyFrom(foreign)
    del regressor.graph.output[0]
    things = {
        "fitted": fitted,
        "object": object(),
        "graph": foreign,
        "unknown": unknown,
        "regressor": regressor,
        "rows": FEATURES.head(9),
        "none": FEATURES.head(0),
        "line": [1.0, 2.0],
        "fewer": FEATURES.iloc[:9, :3],
        "texts": FEATURES.head(9).astype(str) + " g",
    }

    def thing(given):
        return things.get(given, given) if isinstance(given, str) else given

    with pytest.raises(error) as raised:
        modelport.certify(thing(model), thing(graph), thing(rows))

    assert told in str(raised.value)
    assert "\n" not in str(raised.value)
    assert ": " in str(raised.value)  # and what to do


def test_the_command_tells_by_its_status(logged):
    arguments = ["certify", "models:/wine/1", "--data", str(logged / "rows.csv")]

    right = cli.run([*arguments, str(logged / "right.onnx")])
    wrong = subprocess.run(
        [sys.executable, "-m", "modelport", *arguments, logged / "wrong.onnx", "--json"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert right.passed  # which is status 0
    assert wrong.returncode == 1
    record = json.loads(wrong.stdout)
    assert (record["verdict"], record["fault"]) == ("failed", "converter")
    assert record["rows"]["data"] == 40


def test_the_magic_takes_variables(logged, monkeypatch):
    monkeypatch.chdir(logged)
    sources = (
        "%load_ext modelport\n"
        "import onnx, pandas as pd\n"
        "rows, graph = pd.read_csv('rows.csv'), onnx.load('wrong.onnx')",
        "%kserve_certify models:/wine/1 right.onnx --data rows",
        "%kserve_certify models:/wine/1 graph --data rows",
    )
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()

    right, wrong = (
        next(output.data for output in cell.outputs if output.output_type == "execute_result")
        for cell in notebook.cells[1:]
    )
    assert "✓ passed" in right["text/plain"]
    assert "✗ failed" in wrong["text/plain"]
    assert "Rows that differ" in wrong["text/html"]
