"""Every kind of scikit-learn model is converted, and answers the same."""

import numpy as np
import pandas as pd
import pytest
from sklearn import (
    calibration,
    cluster,
    ensemble,
    linear_model,
    model_selection,
    multioutput,
    naive_bayes,
    svm,
    tree,
)
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from modelport.convert import sklearn as flavour
from modelport.errors import UnsupportedModel


def logistic():
    return linear_model.LogisticRegression(max_iter=5000)


MEMBERS = [("line", logistic()), ("tree", tree.DecisionTreeClassifier(max_depth=3))]
CLASSIFIERS = {
    "forest": ensemble.RandomForestClassifier(n_estimators=9, random_state=0),
    "gradient boosting": ensemble.GradientBoostingClassifier(n_estimators=5, random_state=0),
    "histograms": ensemble.HistGradientBoostingClassifier(max_iter=5, random_state=0),
    "logistic": logistic(),
    "bayes": naive_bayes.GaussianNB(),
    "tree": tree.DecisionTreeClassifier(random_state=0),
    "calibrated": calibration.CalibratedClassifierCV(svm.LinearSVC()),
    "stacked": ensemble.StackingClassifier(MEMBERS),
    "voting": ensemble.VotingClassifier(MEMBERS, voting="soft"),
    "bagging": ensemble.BaggingClassifier(logistic(), n_estimators=3, random_state=0),
    "searched": model_selection.GridSearchCV(
        make_pipeline(StandardScaler(), logistic()), {"logisticregression__C": [1, 2]}
    ),
}
WITHOUT_PROBABILITIES = {
    "linear": svm.LinearSVC(),
    "linear in a pipeline": make_pipeline(StandardScaler(), svm.LinearSVC()),
    "hard votes": ensemble.VotingClassifier([*MEMBERS, ("bayes", naive_bayes.GaussianNB())]),
}
REGRESSORS = {
    "forest": ensemble.RandomForestRegressor(n_estimators=9, random_state=0),
    "line": linear_model.LinearRegression(),
    "pipeline": make_pipeline(StandardScaler(), linear_model.Ridge()),
    "stacked": ensemble.StackingRegressor([("ridge", linear_model.Ridge())]),
    "bagging": ensemble.BaggingRegressor(n_estimators=3, random_state=0),
}


def fitted(estimator, *given):
    return flavour.SklearnModel(estimator.fit(*given), takes_table=True)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_has_labels_and_probabilities(name, iris, assert_certified):
    model = assert_certified(flavour, fitted(CLASSIFIERS[name], *iris), iris[0])
    assert [(t.name, t.datatype, t.shape) for t in model.inputs] == [("input", "FP32", (-1, 4))]
    assert [tensor.name for tensor in model.outputs] == ["label", "probabilities"]


@pytest.mark.parametrize("name", WITHOUT_PROBABILITIES)
def test_a_classifier_without_probabilities_has_labels(name, iris, assert_certified):
    model = assert_certified(flavour, fitted(WITHOUT_PROBABILITIES[name], *iris), iris[0])
    assert [tensor.name for tensor in model.outputs] == ["label"]


@pytest.mark.parametrize("name", REGRESSORS)
def test_a_regressor_has_a_prediction(name, diabetes, assert_certified):
    model = assert_certified(flavour, fitted(REGRESSORS[name], *diabetes), diabetes[0])
    assert [tensor.name for tensor in model.outputs] == ["prediction"]


def test_labels_keep_their_type(iris, assert_certified):
    rows, labels = iris
    names = np.array(["setosa", "versicolor", "virginica"])[labels]
    model = assert_certified(flavour, fitted(logistic(), rows, names), rows)
    assert model.outputs[0].datatype == "BYTES"
    assert set(model.answer(rows)["label"]) == set(names)
    model = assert_certified(flavour, fitted(logistic(), rows, labels == 0), rows)
    assert model.answer(rows)["label"].dtype == bool


def test_a_clusterer_predicts_clusters(iris, assert_certified):
    native = fitted(cluster.KMeans(3, n_init=1, random_state=0), iris[0])
    model = assert_certified(flavour, native, iris[0])
    assert model.outputs[0].datatype == "INT64"


@pytest.mark.parametrize(
    "estimator", [ensemble.IsolationForest(n_estimators=9, random_state=0), svm.OneClassSVM()]
)
def test_an_outlier_detector_has_scores(estimator, iris, assert_certified):
    model = assert_certified(flavour, fitted(estimator, iris[0]), iris[0])
    answers = model.answer(iris[0])
    assert set(answers["prediction"].ravel()) == {-1, 1}
    assert ((answers["scores"] < 0) == (answers["prediction"] == -1)).all()


@pytest.mark.parametrize(
    "estimator",
    [
        ensemble.RandomForestClassifier(n_estimators=5, random_state=0),
        multioutput.MultiOutputClassifier(logistic()),
    ],
)
def test_every_target_has_outputs_of_its_own(estimator, iris, assert_certified):
    rows, labels = iris
    targets = np.column_stack([labels, rows["sepal width (cm)"] > 3]).astype(int)
    model = assert_certified(flavour, fitted(estimator, rows, targets), rows)
    assert [(tensor.name, tensor.shape[1:]) for tensor in model.outputs] == [
        ("label_0", ()),
        ("label_1", ()),
        ("probabilities_0", (3,)),
        ("probabilities_1", (2,)),
    ]


def test_several_targets_are_regressed_at_once(diabetes, assert_certified):
    rows, target = diabetes
    both = np.column_stack([target, -target])
    model = assert_certified(flavour, fitted(linear_model.LinearRegression(), rows, both), rows)
    assert model.answer(rows)["prediction"].shape == (len(rows), 2)


@pytest.mark.parametrize(
    "estimator",
    [
        ensemble.RandomForestClassifier(n_estimators=9, random_state=0),
        ensemble.HistGradientBoostingClassifier(max_iter=5),
    ],
)
def test_missing_numbers_go_where_the_trees_send_them(estimator, iris, assert_certified):
    rows, labels = iris
    rows = rows.mask(np.random.default_rng(0).random(rows.shape) < 0.2)
    assert_certified(flavour, fitted(estimator, rows, labels), rows)


def test_an_array_stays_one_tensor(iris, assert_certified):
    rows, labels = iris
    array = rows.to_numpy(dtype=np.float32)
    native = flavour.SklearnModel(logistic().fit(array, labels), takes_table=False)
    assert [t.name for t in assert_certified(flavour, native, array).inputs] == ["input"]


def test_a_gaussian_process_computes_in_float64(diabetes, resolved, optimised):
    from sklearn.gaussian_process import GaussianProcessRegressor

    rows, target = diabetes[0][:80], diabetes[1][:80]
    native = fitted(GaussianProcessRegressor(normalize_y=True), rows, target)
    model = optimised(flavour.convert(native, resolved(rows)))
    assert model.inputs[0].datatype == "FP64"
    np.testing.assert_allclose(model.predict(rows).ravel(), native.predict(rows), rtol=1e-9)


def test_what_has_no_converter_says_so(iris, resolved):
    class Odd(linear_model.LogisticRegression):
        def predict(self, X):  # noqa: N803 - scikit-learn's own name
            return super().predict(X)[::-1]

    with pytest.raises(UnsupportedModel, match="skl2onnx does not convert Odd"):
        flavour.convert(fitted(Odd(max_iter=5000), *iris), resolved(iris[0]))


def test_a_graph_that_does_not_load_says_so(iris, resolved, optimised):
    rows, labels = iris
    targets = np.column_stack([labels, labels == 0]).astype(int)
    graph = flavour.convert(fitted(KNeighborsClassifier(), rows, targets), resolved(rows))
    with pytest.raises(UnsupportedModel, match="ONNX Runtime does not load"):
        optimised(graph)


def test_a_column_by_an_outputs_name_is_refused(iris, resolved):
    rows = iris[0].iloc[:, :1].set_axis(["label"], axis=1).assign(kind="a")
    from sklearn.compose import make_column_transformer
    from sklearn.preprocessing import OneHotEncoder

    encode = make_column_transformer((OneHotEncoder(), ["kind"]), remainder="passthrough")
    native = fitted(make_pipeline(encode, logistic()), rows, iris[1])
    with pytest.raises(UnsupportedModel, match="the column 'label' has the name of an output"):
        flavour.convert(native, resolved(rows))


def test_the_original_is_left_alone(homes):
    from sklearn.preprocessing import OneHotEncoder

    from modelport.convert import sklearn_copies

    encoder = OneHotEncoder().fit(homes[0][["heating"]])
    known = list(encoder.categories_[0])
    copied = sklearn_copies.convertible(encoder)
    assert str(copied.categories_[0][-1]) == "None"
    assert copied is not encoder
    assert pd.isna(encoder.categories_[0][-1])
    assert len(known) == 3
