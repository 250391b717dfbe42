"""Round trip: every kind of scikit-learn model, converted and certified on real rows."""

import numpy as np
import pandas as pd
import pytest
from sklearn import datasets, ensemble, linear_model, naive_bayes, svm, tree
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from modelport import convert
from modelport.convert import parity, session
from modelport.convert import sklearn as flavour
from modelport.errors import UnsupportedModel
from modelport.reports import Column, Resolution

CLASSIFIERS = [
    ensemble.RandomForestClassifier(n_estimators=20, random_state=0),
    ensemble.GradientBoostingClassifier(n_estimators=10, random_state=0),
    ensemble.HistGradientBoostingClassifier(max_iter=10, random_state=0),
    linear_model.LogisticRegression(max_iter=5000),
    make_pipeline(StandardScaler(), linear_model.SGDClassifier(random_state=0)),
    svm.LinearSVC(),
    naive_bayes.GaussianNB(),
    tree.DecisionTreeClassifier(random_state=0),
]
REGRESSORS = [
    ensemble.RandomForestRegressor(n_estimators=20, random_state=0),
    ensemble.GradientBoostingRegressor(n_estimators=10, random_state=0),
    linear_model.LinearRegression(),
    make_pipeline(StandardScaler(), linear_model.Ridge()),
]


def resolved(frame):
    kinds = {"f": "double", "i": "long", "O": "string", "T": "string"}
    columns = tuple(
        Column(name=name, type=kinds.get(frame[name].dtype.kind, "string")) for name in frame
    )
    return Resolution(source="x", uri="x", flavour="sklearn", inputs=columns)


def certified(estimator, frame):
    native = flavour.SklearnModel(estimator, takes_table=True)
    graph = flavour.convert(native, resolved(frame))
    model = session.OnnxModel(graph.onnx)
    probes = [
        parity.Probe("data", frame),
        parity.Probe("synthetic", parity.synthetic(frame, 128)),
    ]
    return model, parity.certify(native, model, probes)


@pytest.mark.parametrize("estimator", CLASSIFIERS, ids=lambda e: type(e).__name__)
def test_a_classifier_answers_the_same(estimator):
    features, labels = datasets.load_iris(return_X_y=True, as_frame=True)
    model, certificate = certified(estimator.fit(features, labels), features)
    assert certificate.verdict == "passed", certificate
    assert [tensor.name for tensor in model.inputs] == ["input"]
    expected = ["label", "probabilities"] if hasattr(estimator, "predict_proba") else ["label"]
    assert [tensor.name for tensor in model.outputs] == expected


@pytest.mark.parametrize("estimator", REGRESSORS, ids=lambda e: type(e).__name__)
def test_a_regressor_answers_the_same(estimator):
    features, labels = datasets.load_diabetes(return_X_y=True, as_frame=True)
    model, certificate = certified(estimator.fit(features, labels), features)
    assert certificate.verdict == "passed", certificate
    assert [tensor.name for tensor in model.outputs] == ["prediction"]


def test_labels_of_text_stay_text():
    features, labels = datasets.load_iris(return_X_y=True, as_frame=True)
    names = np.array(["setosa", "versicolor", "virginica"])[labels]
    model, certificate = certified(
        linear_model.LogisticRegression(max_iter=5000).fit(features, names), features
    )
    assert certificate.verdict == "passed"
    assert model.outputs[0].datatype == "BYTES"
    assert set(model.answer(features)["label"]) <= set(names)


def test_a_table_with_text_keeps_its_named_columns():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"town": rng.choice(["Rome", "Oslo", "Lima"], 200), "rooms": rng.integers(1, 9, 200)}
    ).assign(area=lambda f: f.rooms * 20.5)
    price = frame.area * 3 + (frame.town == "Oslo") * 50
    encode = ColumnTransformer(
        [("town", OneHotEncoder(), ["town"]), ("rest", StandardScaler(), ["rooms", "area"])]
    )
    model, certificate = certified(
        make_pipeline(encode, linear_model.Ridge()).fit(frame, price), frame
    )
    assert certificate.verdict == "passed", certificate
    assert [(i.name, i.datatype) for i in model.inputs] == [
        ("town", "BYTES"),
        ("rooms", "INT64"),
        ("area", "FP32"),
    ]


def test_a_model_without_converter_says_so():
    features, labels = datasets.load_iris(return_X_y=True, as_frame=True)

    class Odd(linear_model.LogisticRegression):
        def predict(self, X):  # noqa: N803 - scikit-learn's own name
            return super().predict(X)[::-1]

    native = flavour.SklearnModel(Odd(max_iter=5000).fit(features, labels), takes_table=True)
    with pytest.raises(UnsupportedModel, match="skl2onnx does not convert Odd"):
        flavour.convert(native, resolved(features))


def test_other_flavours_are_pyfuncs_without_converter():
    resolution = Resolution(source="x", uri="x", flavour="prophet")
    with pytest.raises(UnsupportedModel, match="no ONNX converter for the flavour 'prophet'"):
        convert.flavour("prophet").convert(None, resolution)


def test_a_broken_graph_is_refused():
    with pytest.raises(UnsupportedModel, match="ONNX Runtime does not load"):
        session.OnnxModel(b"not a graph")


def test_optimisation_keeps_the_answers(tmp_path):
    features, labels = datasets.load_iris(return_X_y=True, as_frame=True)
    native = flavour.SklearnModel(CLASSIFIERS[4].fit(features, labels), takes_table=True)
    graph = flavour.convert(native, resolved(features)).onnx
    smaller = session.optimise(graph, tmp_path)
    before, after = session.OnnxModel(graph), session.OnnxModel(smaller)
    assert not parity.compare(before.answer(features), after.answer(features)).failed.any()
    assert session.opset(smaller) >= 15
