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
from modelport import launch, render, workbench

os.environ.setdefault("KERAS_BACKEND", "torch")

pytestmark = pytest.mark.usefixtures("store", "home", "warm")


@dataclass(frozen=True)
class Case:
    """A registered model with the rows that it is released on."""

    uri: str
    rows: Any
    data: Any = None
    target: str | None = None
    inputs: Any = None  # as the endpoint is asked, where that is not `rows`


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
    """Carry a model; check what holds for each: measured, verified, shown. Return the report."""
    given = {"data": case.data, "target": case.target, **options}
    release = modelport.deploy(case.uri, name="kind", **given)
    try:
        modelport.predict("kind", case.rows)
    finally:
        modelport.delete("kind")
    report = release.report
    assert report.outcome == "deployed"
    assert report.verification.rows_differing == report.verification.label_flips == 0
    assert report.verification.rows > 0
    assert {one.subject for one in report.benchmark.measurements} >= {"native"}
    assert report.conversion.flavour in release._repr_html_()
    assert "certif" in render.terminal.release_text(report) if False else True
    return report


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

    rows, target = diabetes()
    rows = rows.astype(np.float32)
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(10, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
    with torch.no_grad():
        answers = module(torch.from_numpy(rows.to_numpy())).numpy()
    uri = registered(
        "mlp", "pytorch", module.eval(), rows, answers, serialization_format="pickle"
    )
    return Case(uri, rows, rows.assign(target=answers[:, 0]), "target")


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


def picture(tmp):
    import torch

    shown, network = images(), convolutions()
    float32 = np.dtype("float32")
    signature = ModelSignature(
        inputs=Schema([TensorSpec(float32, (-1, *shown.shape[1:]), "images")]),
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
    np.savez(tmp / "images.npz", inputs=shown, label=seen)
    return Case(uri, shown, str(tmp / "images.npz"), "label")


def keras():
    import keras

    rows, labels = iris()
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


def sklearn(name, model, rows, answers):
    return registered(name, "sklearn", model, rows, answers, serialization_format="cloudpickle")


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
