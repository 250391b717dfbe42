"""What our own converters of scikit-learn's estimators mend, on models that need it."""

import numpy as np
import pandas as pd
import pytest
from sklearn import (
    calibration,
    compose,
    datasets,
    discriminant_analysis,
    dummy,
    ensemble,
    feature_selection,
    frozen,
    isotonic,
    linear_model,
    model_selection,
    multioutput,
    naive_bayes,
    preprocessing,
    semi_supervised,
    svm,
    tree,
)
from sklearn.experimental import enable_halving_search_cv  # noqa: F401 - adds one more search
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline

from modelport.convert import sklearn as flavour
from modelport.convert import sklearn_forests
from modelport.errors import UnsupportedModel


def logistic():
    return linear_model.LogisticRegression(max_iter=5000)


def scaled(model):
    return make_pipeline(preprocessing.StandardScaler(), model)


def small_tree(**arguments):
    return tree.DecisionTreeClassifier(max_depth=3, random_state=0, **arguments)


def fitted(estimator, rows, target):
    return flavour.SklearnModel(estimator.fit(rows, target), takes_table=True)


def calibrated(inner, method):
    return calibration.CalibratedClassifierCV(inner, method=method, cv=2)


@pytest.fixture(scope="module")
def cancer():
    """Two classes, in columns from thousandths to thousands."""
    rows, labels = datasets.load_breast_cancer(return_X_y=True, as_frame=True)
    return rows[["mean area", "mean texture", "mean smoothness", "fractal dimension error"]], labels


TWO_CLASSES = {
    "linear discriminant": discriminant_analysis.LinearDiscriminantAnalysis(),
    "quadratic discriminant": discriminant_analysis.QuadraticDiscriminantAnalysis(reg_param=0.1),
    "complement bayes": naive_bayes.ComplementNB(),
    "multinomial bayes": naive_bayes.MultinomialNB(),
    "bernoulli bayes": naive_bayes.BernoulliNB(binarize=0.1),
    "taught itself": semi_supervised.SelfTrainingClassifier(logistic()),
    "calibrated discriminant": calibrated(
        discriminant_analysis.LinearDiscriminantAnalysis(), "isotonic"
    ),
    "calibrated pipeline": calibrated(scaled(logistic()), "sigmoid"),
    "tempered": calibrated(scaled(logistic()), "temperature"),
    "threshold": model_selection.FixedThresholdClassifier(logistic(), threshold=0.3),
    "threshold of the first class": model_selection.FixedThresholdClassifier(
        logistic(), threshold=0.9, pos_label=0
    ),
    "tuned threshold": model_selection.TunedThresholdClassifierCV(logistic(), cv=2),
    "dummy": dummy.DummyClassifier(),
    "dummy of one class": dummy.DummyClassifier(strategy="constant", constant=0),
}
THREE_CLASSES = {
    "linear discriminant": discriminant_analysis.LinearDiscriminantAnalysis(),
    "quadratic discriminant": discriminant_analysis.QuadraticDiscriminantAnalysis(),
    "isotonic": calibrated(small_tree(), "isotonic"),
    "tempered": calibrated(small_tree(), "temperature"),
    "halving": model_selection.HalvingGridSearchCV(small_tree(), {"max_depth": [2, 4]}),
    "eliminated": feature_selection.RFE(small_tree(), n_features_to_select=2),
    "eliminated, then a model": make_pipeline(
        feature_selection.RFE(small_tree(), n_features_to_select=2), logistic()
    ),
    "the first column": make_pipeline(
        feature_selection.SelectKBest(lambda rows, _: -np.arange(rows.shape[1]), k=1), small_tree()
    ),
    "bins": make_pipeline(
        preprocessing.KBinsDiscretizer(3, quantile_method="averaged_inverted_cdf"), logistic()
    ),
}
REGRESSORS = {
    "dummy": dummy.DummyRegressor(strategy="median"),
    "eliminated": feature_selection.RFECV(tree.DecisionTreeRegressor(max_depth=3, random_state=0)),
    "target in logarithms": compose.TransformedTargetRegressor(
        linear_model.Ridge(), func=np.log1p, inverse_func=np.expm1
    ),
    "scaled target": compose.TransformedTargetRegressor(
        ensemble.RandomForestRegressor(5, random_state=0),
        transformer=preprocessing.StandardScaler(),
    ),
    "target as it is": compose.TransformedTargetRegressor(linear_model.Ridge()),
}


@pytest.mark.parametrize("name", TWO_CLASSES)
def test_of_two_classes(name, cancer, assert_certified):
    assert_certified(flavour, fitted(TWO_CLASSES[name], *cancer), cancer[0])


@pytest.mark.parametrize("name", THREE_CLASSES)
def test_of_three_classes(name, iris, assert_certified):
    rows, labels = iris
    names = np.array(["setosa", "versicolor", "virginica"])[labels]
    assert_certified(flavour, fitted(THREE_CLASSES[name], rows, names), rows)


@pytest.mark.parametrize("name", REGRESSORS)
def test_of_numbers(name, diabetes, assert_certified):
    assert_certified(flavour, fitted(REGRESSORS[name], *diabetes), diabetes[0])


def test_a_threshold_moves_labels_and_not_probabilities(cancer, assert_certified):
    rows, labels = cancer
    model = assert_certified(flavour, fitted(TWO_CLASSES["threshold"], rows, labels), rows)
    answers = model.answer(rows)
    shares = answers["probabilities"][:, 1]
    assert ((shares > 0.31) & (shares < 0.49)).any()
    assert answers["label"][(shares > 0.31)].all()


@pytest.mark.parametrize("bounds", ["nan", "clip"])
def test_isotonic_lines_within_and_out_of_bounds(bounds, diabetes, assert_certified):
    rows, target = diabetes[0][["bmi"]], diabetes[1]
    native = fitted(isotonic.IsotonicRegression(out_of_bounds=bounds), rows[:300], target[:300])
    model = assert_certified(flavour, native, rows)
    outside = pd.DataFrame({"bmi": [rows["bmi"].min() - 1, rows["bmi"].max() + 1]})
    expected = native.predict(outside)
    np.testing.assert_allclose(model.predict(outside).ravel(), expected, rtol=1e-6)
    assert np.isnan(expected).all() == (bounds == "nan")


@pytest.mark.parametrize("kernel", ["rbf", "poly", "sigmoid", "linear"])
def test_one_class_machines(kernel, cancer, assert_certified):
    assert_certified(flavour, fitted(svm.OneClassSVM(kernel=kernel), *cancer), cancer[0])


def test_a_frozen_estimator_however_deep(iris, assert_certified):
    kept = frozen.FrozenEstimator(logistic().fit(*iris))
    assert_certified(flavour, fitted(calibration.CalibratedClassifierCV(kept), *iris), iris[0])
    assert_certified(flavour, fitted(scaled(kept), *iris), iris[0])


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (dummy.DummyClassifier(strategy="uniform"), "answers by chance"),
        (
            model_selection.FixedThresholdClassifier(svm.LinearSVC(), threshold=0.1),
            "a threshold for decision_function",
        ),
        (
            calibrated(
                model_selection.FixedThresholdClassifier(logistic(), threshold=0.3), "sigmoid"
            ),
            "the decision function of FixedThresholdClassifier",
        ),
    ],
)
def test_a_classifier_that_cannot_be_right_is_refused(model, reason, cancer, resolved):
    with pytest.raises(UnsupportedModel, match=reason):
        flavour.convert(fitted(model, *cancer), resolved(cancer[0]))


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (isotonic.IsotonicRegression(out_of_bounds="raise"), "raises errors out of bounds"),
        (
            compose.TransformedTargetRegressor(
                linear_model.Ridge(), transformer=preprocessing.QuantileTransformer(n_quantiles=9)
            ),
            "QuantileTransformer has no converter",
        ),
    ],
)
def test_a_regressor_that_cannot_be_right_is_refused(model, reason, diabetes, resolved):
    rows = diabetes[0][["bmi"]]
    with pytest.raises(UnsupportedModel, match=reason):
        flavour.convert(fitted(model, rows, diabetes[1]), resolved(rows))


def test_forests_undecided_between_two_classes_say_the_first(cancer, assert_certified):
    assert sklearn_forests.excess(20) > 0
    assert sklearn_forests.excess(21) == sklearn_forests.excess(100) == 0
    rows, labels = cancer
    forest = ensemble.RandomForestClassifier(20, random_state=0)
    native = fitted(forest, rows, labels)
    model = assert_certified(flavour, native, rows)
    rng = np.random.default_rng(0)
    one, other = rows.sample(4000, replace=True, random_state=1), rows.sample(4000, replace=True)
    mixed = np.where(rng.random(one.shape) < 0.5, one, other).astype(np.float32)
    fresh = pd.DataFrame(mixed.astype(float), columns=rows.columns)
    tied = native.answer(fresh)["probabilities"][:, 0] == 0.5
    assert tied.any()
    assert (model.answer(fresh)["label"][tied] == 0).all()


def test_decimals_behind_a_scaler_go_as_in_float64(assert_certified):
    """Validation rows lie in the middle between trained ones, where the trees have thresholds."""
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(
        {
            "town": rng.choice(["Rome", "Oslo"], 400),
            "size": rng.integers(100, 200, 400) / 5,
            "rooms": 2 * rng.integers(1, 40, 400),
        }
    )
    target = rows["size"] * rows["rooms"] + rng.normal(size=400)
    between = rows.assign(size=rows["size"] + 0.1, rooms=rows["rooms"] + 1)
    numbers = make_pipeline(SimpleImputer(), preprocessing.StandardScaler())
    encode = compose.make_column_transformer(
        (preprocessing.OneHotEncoder(sparse_output=False), ["town"]), (numbers, ["size", "rooms"])
    )
    forest = ensemble.RandomForestRegressor(9, random_state=0)
    model = assert_certified(flavour, fitted(make_pipeline(encode, forest), rows, target), between)
    types = {tensor.name: tensor.datatype for tensor in model.inputs}
    assert types == {"town": "BYTES", "size": "FP64", "rooms": "INT64"}
    alone = between.drop(columns="town")
    native = fitted(scaled(forest), rows.drop(columns="town"), target)
    assert [one.datatype for one in assert_certified(flavour, native, alone).inputs] == ["FP64"]


def test_rare_categories_and_unknown_ones_are_one(homes, assert_certified):
    rows, labels = homes
    rows = rows[["town", "rooms"]].assign(town=rows["town"].where(rows.index % 40 > 0, "Bern"))
    encoder = preprocessing.OneHotEncoder(
        handle_unknown="infrequent_if_exist", min_frequency=10, sparse_output=False
    )
    model = assert_certified(
        flavour, fitted(make_pipeline(encoder, small_tree()), rows, labels), rows
    )
    unknown = rows.assign(town="Paris")
    rare = rows.assign(town="Bern")
    assert (model.answer(unknown)["label"] == model.answer(rare)["label"]).all()


def test_an_indicator_tells_what_was_missing(homes, assert_certified):
    rows, labels = homes
    rows = rows[["area", "rooms"]].assign(empty=rows["area"])
    marked = make_pipeline(SimpleImputer(add_indicator=True), small_tree())
    assert_certified(flavour, fitted(marked, rows, labels), rows)


def test_a_constant_for_missing_numbers(homes, assert_certified):
    rows, labels = homes
    filled = make_pipeline(SimpleImputer(strategy="constant", fill_value=-1.0), logistic())
    assert_certified(
        flavour, fitted(filled, rows[["area", "rooms"]], labels), rows[["area", "rooms"]]
    )


@pytest.mark.parametrize("vectorizer", [TfidfVectorizer(), CountVectorizer()])
def test_words_of_any_language(vectorizer, assert_certified):
    said = ["A cat slept", "UN ÉTÉ chaud", "the résumé of a cat", "été, été!"] * 5
    rows = pd.DataFrame({"said": said})
    words = compose.make_column_transformer((vectorizer, "said"))
    native = fitted(make_pipeline(words, logistic()), rows, [0, 1, 0, 1] * 5)
    model = assert_certified(flavour, native, rows)
    assert list(model.answer(rows)["label"]) == [0, 1, 0, 1] * 5


def test_a_chain_answers_every_target_natively(iris):
    rows, labels = iris
    targets = np.column_stack([labels > 0, labels > 1]).astype(int)
    native = fitted(multioutput.ClassifierChain(logistic()), rows, targets)
    answers = native.answer(rows)
    assert list(answers) == ["label_0", "label_1", "probabilities_0", "probabilities_1"]
    second = native.estimator.predict_proba(rows)[:, 1]
    np.testing.assert_allclose(answers["probabilities_1"], np.column_stack([1 - second, second]))


def test_missing_values_find_trees_that_differ_in_little(assert_certified):
    """Thresholds of a millionth and less, which trees of one shape must not be confused by."""
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(rng.normal(size=(300, 2)) * 1e-7, columns=["a", "b"])
    labels = (rows["a"] > 0) ^ rows["b"].isna()
    rows = rows.mask(rng.random(rows.shape) < 0.3)
    labels = (labels ^ rows["a"].isna()).astype(int)
    stumps = ensemble.RandomForestClassifier(31, max_depth=1, random_state=0)
    assert_certified(flavour, fitted(stumps, rows, labels), rows)
    some = ensemble.BaggingClassifier(small_tree(), 9, max_features=0.5, random_state=0)
    assert_certified(flavour, fitted(some, rows, labels), rows)
