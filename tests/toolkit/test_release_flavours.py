"""Models of every flavour, the whole way from MLflow to a verified endpoint."""

import os
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow.models import ModelSignature, infer_signature
from mlflow.types import Schema, TensorSpec
from sklearn import cluster, compose, datasets, ensemble, impute, linear_model, multioutput, tree
from sklearn import preprocessing as pre
from sklearn.pipeline import make_pipeline

import modelport
from modelport import launch, parity, workbench

os.environ.setdefault("KERAS_BACKEND", "torch")

pytestmark = pytest.mark.usefixtures("store", "home", "warm")


@dataclass(frozen=True)
class Case:
    """A registered model with the rows that it is asked for, and the data it is released on."""

    uri: str
    rows: Any
    data: Any
    target: str | None = None


@pytest.fixture(scope="module")
def warm(tmp_path_factory, store, home):  # noqa: ARG001 - the workbenches work on both
    """Workbenches that all releases of this module share: they import every library but once."""
    with (
        (tmp_path_factory.mktemp("warm") / "log.txt").open("wb") as log,
        workbench.started(os.environ, log) as variables,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(launch.workbench, "started", lambda *_: nullcontext(variables))
        yield


def released(case, **options):
    """Carry a model to an endpoint and ask that; return its answers and the report."""
    release = modelport.deploy(
        case.uri, name="kind", **{"data": case.data, "target": case.target, **options}
    )
    try:
        answers = modelport.predict("kind", case.rows)
    finally:
        modelport.delete("kind")
    shown = release._repr_mimebundle_()
    assert all(release.report.resolution.uri in shown[kind] for kind in ("text/html", "text/plain"))
    return answers, release.report


def registered(name, library, model, rows, answers, **options):
    import mlflow

    log_model = getattr(mlflow, library).log_model
    given = {"signature": infer_signature(rows, answers), "input_example": rows[:6], **options}
    logged = log_model(model, name=name, registered_model_name=name, pip_requirements=[], **given)
    return f"models:/{name}/{logged.registered_model_version}"


def iris():
    return datasets.load_iris(return_X_y=True, as_frame=True)


def diabetes():
    return datasets.load_diabetes(return_X_y=True, as_frame=True)


def homes():
    """Numbers with gaps, text with gaps, truth values; and which homes are dear, in words."""
    rng, count = np.random.default_rng(0), 150
    rows = pd.DataFrame(
        {
            "town": rng.choice(["Rome", "Oslo", "Lima"], count),
            "heating": rng.choice(["gas", "oil", None], count),
            "area": rng.normal(60, 20, count),
            "balcony": rng.integers(0, 2, count).astype(bool),
        }
    )
    rows.loc[::7, "area"] = np.nan
    return rows, pd.Series(np.where(rows["town"] == "Oslo", "dear", "cheap"), name="price")


def xgboost():
    import xgboost

    rows, labels = iris()
    model = xgboost.XGBClassifier(n_estimators=5).fit(rows, labels)
    uri = registered("xgb", "xgboost", model, rows, labels, model_format="json")
    return Case(uri, rows, rows.assign(label=labels), "label")


def lightgbm():
    import lightgbm

    rows, target = diabetes()
    model = lightgbm.LGBMRegressor(n_estimators=5, verbose=-1).fit(rows, target)
    uri = registered("lgbm", "lightgbm", model, rows, target)
    return Case(uri, rows, rows.assign(label=target), "label")


def catboost():
    import catboost

    rows, labels = iris()
    model = catboost.CatBoostClassifier(iterations=5, verbose=0, allow_writing_files=False)
    model.fit(rows, labels)
    uri = registered("cat", "catboost", model, rows, labels)
    return Case(uri, rows, rows.assign(label=labels), "label")


def perceptron():
    import torch

    rows = diabetes()[0].astype(np.float32)
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(10, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
    with torch.no_grad():
        answers = module(torch.from_numpy(rows.to_numpy())).numpy()
    uri = registered("mlp", "pytorch", module.eval(), rows, answers, serialization_format="pickle")
    return Case(uri, rows, rows.assign(target=answers[:, 0]), "target")


def wide():
    """A network with weights enough to gain by narrower ones."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(16, 256), nn.ReLU(), nn.Linear(256, 4), nn.Softmax(1)).eval()
    rows = np.random.default_rng(0).normal(size=(60, 16)).astype(np.float32)
    with torch.no_grad():
        answers = module(torch.from_numpy(rows)).numpy()
    uri = registered("wide", "pytorch", module, rows, answers, serialization_format="pickle")
    return Case(uri, rows, rows)


def images(size=16, count=24):
    return np.random.default_rng(0).random((count, 3, size, size)).astype(np.float32)


def convolutions(width=4):
    import torch
    from torch import nn

    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(2 * width, 5),
    ).eval()


def picture(folder):
    import torch

    shown, network = images(), convolutions()
    shape = (-1, *shown.shape[1:])
    float32 = np.dtype("float32")
    signature = ModelSignature(
        inputs=Schema([TensorSpec(float32, shape, "images")]),
        outputs=Schema([TensorSpec(float32, (-1, 5))]),
    )
    uri = registered(
        "conv",
        "pytorch",
        network,
        shown,
        None,
        signature=signature,
        serialization_format="pickle",
    )
    with torch.no_grad():
        seen = network(torch.from_numpy(shown)).argmax(1).numpy()
    np.savez(folder / "images.npz", inputs=shown, label=seen)
    return Case(uri, shown, str(folder / "images.npz"), "label")


def keras():
    import keras

    rows, _ = iris()
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(8, activation="relu"),
            keras.layers.Dense(3, activation="softmax"),
        ]
    )
    matrix = rows.to_numpy(np.float32)
    answers = model.predict(matrix, verbose=0)
    uri = registered("dense", "keras", model, matrix, answers, input_example=None)
    return Case(uri, matrix, matrix)


def onnx():
    from skl2onnx import to_onnx

    rows, labels = iris()
    matrix = rows.to_numpy(np.float32)
    estimator = linear_model.LogisticRegression(max_iter=5000).fit(matrix, labels)
    graph = to_onnx(estimator, matrix[:1])
    uri = registered("graph", "onnx", graph, matrix, None, signature=infer_signature(matrix))
    return Case(uri, matrix, rows.assign(label=labels), "label")


def sklearn(name, model, rows, answers):
    return registered(name, "sklearn", model, rows, answers, serialization_format="cloudpickle")


def pipeline():
    rows, labels = homes()
    numbers = make_pipeline(impute.SimpleImputer(), pre.StandardScaler())
    words = make_pipeline(
        impute.SimpleImputer(strategy="constant", fill_value="none"),
        pre.OneHotEncoder(handle_unknown="ignore"),
    )
    columns = compose.make_column_transformer(
        (numbers, ["area", "balcony"]), (words, ["town", "heating"])
    )
    model = make_pipeline(columns, linear_model.LogisticRegression()).fit(rows, labels)
    uri = sklearn("mixed", model, rows, labels)
    return Case(uri, rows, rows.assign(price=labels), "price")


def targets():
    rows, labels = iris()
    both = np.stack([labels, labels == 1], axis=1)
    model = multioutput.MultiOutputClassifier(linear_model.LogisticRegression(max_iter=5000))
    return Case(sklearn("both", model.fit(rows, both), rows, both), rows, rows)


def uneven_targets():
    """Two targets of different classes, which skl2onnx does not convert."""
    rows, labels = iris()
    both = np.stack([labels, labels == 1], axis=1)
    model = tree.DecisionTreeClassifier(max_depth=3, random_state=0).fit(rows, both)
    return Case(sklearn("uneven", model, rows, model.predict(rows)), rows, rows)


def clusters():
    rows, _ = iris()
    model = cluster.KMeans(3, n_init=1, random_state=0).fit(rows)
    return Case(sklearn("clusters", model, rows, model.predict(rows)), rows, rows)


def outliers():
    rows, _ = iris()
    model = ensemble.IsolationForest(n_estimators=5, random_state=0).fit(rows)
    return Case(sklearn("outliers", model, rows, model.predict(rows)), rows, rows)


CERTIFIED = [
    (xgboost, "tree"),
    (lightgbm, "tree"),
    (catboost, "tree"),
    (perceptron, "deep"),
    (picture, "permutation"),
    (keras, "permutation"),
    (onnx, "permutation"),
    (pipeline, "linear"),
    (targets, "permutation"),
    (clusters, "permutation"),
    (outliers, "permutation"),
]


@pytest.fixture
def made(tmp_path):
    """Trains and registers a model."""
    return lambda make: make(tmp_path) if make is picture else make()


@pytest.mark.parametrize(
    ("make", "method"), CERTIFIED, ids=[make.__name__ for make, _ in CERTIFIED]
)
def test_a_model_is_certified_measured_explained_and_verified(make, method, made):
    case = made(make)
    answers, report = released(case, require_onnx=True)
    assert len(answers) == len(case.rows)
    assert report.certificate.verdict == "passed"
    assert report.certificate.rows["data"] == len(case.rows)
    assert {one.subject for one in report.benchmark.measurements} == {"native", "converted"}
    assert (report.explanation.explained, report.explanation.method) == (True, method)
    assert report.verification.rows == len(case.rows)
    assert report.verification.rows_differing == report.verification.label_flips == 0
    assert report.evaluation.measured == (case.target is not None)
    assert report.verification.metrics == pytest.approx(
        report.evaluation.metrics.get("native", {}), rel=1e-4, abs=1e-6
    )


def test_what_is_not_converted_answers_over_the_wire_as_it_does_here(made):
    _, report = released(made(uneven_targets))
    assert "skl2onnx does not convert" in report.conversion.reason
    assert report.verification.rows_differing == 0
    assert {one.subject for one in report.benchmark.measurements} == {"native"}


def test_a_network_may_compute_in_float16():
    _, report = released(wide(), precision="float16", data=None)
    assert report.conversion.precision == report.certificate.precision == "float16"
    assert report.certificate.tolerance_abs == parity.TOLERANCES["float16"].absolute
    assert report.certificate.max_abs_difference > 0
    assert report.verification.rows_differing == 0
    assert report.explanation.sampled.startswith("the input example: ")


def test_auto_takes_what_passes_and_shows_what_was_tried():
    _, report = released(wide(), precision="auto")
    tried = {one.precision: one for one in report.conversion.precisions}
    assert list(tried) == ["float32", "float16", "int8"]
    assert tried["float32"].size_bytes > tried["float16"].size_bytes > tried["int8"].size_bytes
    (chosen,) = (one for one in tried.values() if one.chosen)
    assert chosen.passed
    assert chosen.precision == report.conversion.precision == report.certificate.precision
    assert chosen.size_bytes == report.conversion.size_bytes
    assert report.verification.rows_differing == 0


def test_trees_have_no_int8(made):
    with pytest.raises(modelport.UnsupportedModel, match="no layer of the graph has weights"):
        released(made(xgboost), precision="int8")


def test_a_model_of_images_gets_no_served_explainer(made):
    with pytest.raises(modelport.DataError, match=r"explains tables.*\[-1, 3, 16, 16\]"):
        released(made(picture), explainer=True)
    with pytest.raises(modelport.ServiceNotFound):
        modelport.status("kind")
