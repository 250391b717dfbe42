"""A false 'pass' is the worst defect this project can have: wrong conversions are planted."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from modelport import parity
from modelport.convert import session
from modelport.convert import sklearn as sklearn_flavour
from modelport.errors import DataError
from modelport.reports import Column, Resolution

sklearn = pytest.importorskip("sklearn")


@pytest.fixture(scope="module")
def iris():
    from sklearn.datasets import load_iris

    return load_iris(return_X_y=True, as_frame=True)


@pytest.fixture(scope="module")
def fitted(iris):
    """A pipeline, and its honest conversion."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features, labels = iris
    pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(features, labels)
    return sklearn_flavour.SklearnModel(pipeline, takes_table=True)


def resolution(frame):
    columns = tuple(Column(name=name, type="double") for name in frame.columns)
    return Resolution(source="x", uri="x", flavour="sklearn", inputs=columns)


def convert(model, frame):
    return session.OnnxModel(sklearn_flavour.convert(model, resolution(frame)).onnx)


def certify(native, converted, rows):
    return parity.certify(native, converted, [parity.Probe("data", rows)])


def altered(model, change):
    """The converted model with its answers changed."""
    return SimpleNamespace(answer=lambda rows: change(model.answer(rows)))


def test_an_honest_conversion_passes(fitted, iris):
    certificate = certify(fitted, convert(fitted, iris[0]), iris[0])
    assert certificate.verdict == "passed"
    assert certificate.rows == {"data": 150, "synthetic": 512, "extremes": 35}
    assert certificate.explained == {}
    assert certificate.fault is None
    assert certificate.label_flips == 0
    assert 0 < certificate.max_abs_difference < 1e-5


def swap_classes(answers):
    return {**answers, "probabilities": answers["probabilities"][:, ::-1]}


def nudge_one(answers):
    moved = answers["probabilities"].copy()
    moved[0, 0] += 1e-3
    return {**answers, "probabilities": moved}


def drop_probabilities(answers):
    return {"label": answers["label"]}


def flip_one_label(answers):
    labels = answers["label"].copy()
    labels[0] = (labels[0] + 1) % 3
    return {**answers, "label": labels}


def make_nan(answers):
    moved = answers["probabilities"].copy()
    moved[0] = np.nan
    return {**answers, "probabilities": moved}


def drop_a_class(answers):
    return {**answers, "probabilities": answers["probabilities"][:, :2]}


@pytest.mark.parametrize(
    "plant",
    [swap_classes, nudge_one, drop_probabilities, flip_one_label, make_nan, drop_a_class],
)
def test_a_wrong_answer_is_caught(fitted, iris, plant):
    wrong = altered(convert(fitted, iris[0]), plant)
    certificate = certify(fitted, wrong, iris[0])
    assert certificate.verdict == "failed"
    assert not certificate.passed
    assert "answered differently" in certificate.reason


def test_a_dropped_scaler_is_caught(fitted, iris):
    bare = sklearn_flavour.SklearnModel(fitted.estimator[-1], takes_table=True)
    certificate = certify(fitted, convert(bare, iris[0]), iris[0])
    assert certificate.verdict == "failed"
    assert certificate.label_flips > 0
    assert certificate.worst


def test_a_changed_threshold_is_caught(iris):
    from sklearn.tree import DecisionTreeClassifier

    features, labels = iris
    model = sklearn_flavour.SklearnModel(
        DecisionTreeClassifier(random_state=0).fit(features, labels), takes_table=True
    )
    converted = convert(model, features)
    model.estimator.tree_.threshold[0] += 2.0
    assert certify(model, converted, features).verdict == "failed"


def test_an_answer_that_depends_on_the_batch_is_caught(fitted, iris):
    honest = convert(fitted, iris[0])

    def answer(rows):
        answers = honest.answer(rows)
        if len(rows) == 7:
            answers["probabilities"] = answers["probabilities"][::-1]
        return answers

    certificate = certify(fitted, SimpleNamespace(answer=answer), iris[0])
    assert certificate.verdict == "failed"
    assert "batch" in certificate.reason


def test_a_tie_explains_a_flipped_label():
    native = {"label": np.array([0, 0]), "probabilities": np.array([[0.5, 0.5], [0.9, 0.1]])}
    given = {"label": np.array([1, 1]), "probabilities": native["probabilities"]}
    seen = parity.compare(native, given, classes=np.array([0, 1]))
    assert list(seen.flipped) == [True, True]
    assert list(seen.failed) == [False, True]
    assert list(parity.compare(native, given).failed) == [True, True]


@pytest.mark.parametrize(
    ("native", "given", "same"),
    [
        (np.array([0.0, 1.0]), np.array([0, 1]), True),
        (np.array([False, True]), np.array([0, 1]), True),
        (np.array([0, 1]), np.array([[0], [1]]), True),
        (np.array(["a", "b"]), np.array(["a", "b"], dtype=object), True),
        (np.array([0, 1], dtype=object), np.array([0, 1]), True),
        (np.array([0, 1]), np.array(["0", "1"], dtype=object), False),
        (np.array([0, 1]), np.array([1, 0]), False),
        (np.array([0, 1]), np.array([0]), False),
    ],
)
def test_labels_are_compared_as_what_they_are(native, given, same):
    seen = parity.compare({"label": native}, {"label": given})
    assert (not seen.failed.any()) is same


def test_a_transposed_output_of_the_same_size_is_caught():
    square = np.arange(9.0).reshape(3, 3)
    assert parity.compare({"prediction": square}, {"prediction": square.T}).failed.any()
    flat = square.reshape(1, 9)
    assert parity.compare({"prediction": square}, {"prediction": flat}).failed.all()


def test_text_answers_are_compared():
    seen = parity.compare(
        {"prediction": np.array(["a", "b"])}, {"prediction": np.array(["a", "c"])}
    )
    assert list(seen.failed) == [False, True]


def test_a_certificate_does_not_hide_flips_at_ties():
    rows = pd.DataFrame({"a": [0.0]})
    native = SimpleNamespace(
        classes=np.array([0, 1, 2]),
        groves=list,
        categories=dict,
        answer=lambda r: {
            "label": np.zeros(len(r), int),
            "probabilities": np.tile([0.45, 0.45, 0.1], (len(r), 1)),
        },
    )
    other = altered(native, lambda answers: {**answers, "label": answers["label"] + 1})
    certificate = parity.certify(native, other, [parity.Probe("invented", rows)])
    assert certificate.verdict == "passed"
    assert certificate.label_flips == certificate.explained["tie"] == certificate.rows_compared
    assert "got another label" in certificate.reason
    assert certificate.flips[0].cause == "tie"
    third = altered(native, lambda answers: {**answers, "label": answers["label"] + 2})
    assert not parity.certify(native, third, [parity.Probe("data", rows)]).passed


def test_nan_agrees_with_nan_alone():
    seen = parity.compare(
        {"prediction": np.array([np.nan, np.nan, 1.0])},
        {"prediction": np.array([np.nan, 1.0, np.nan])},
    )
    assert list(seen.failed) == [False, True, True]


def test_synthetic_rows_reach_the_extremes(iris):
    rows = parity.synthetic(iris[0], 64)
    assert len(rows) == 64
    assert (rows.iloc[0] == iris[0].min()).all()
    assert (rows.iloc[1] == iris[0].max()).all()
    assert list(rows.columns) == list(iris[0].columns)


def test_rows_are_invented_from_a_numeric_signature_only():
    columns = (
        Column(name="a", type="double"),
        Column(name="b", type="long"),
        Column(name="c", type="boolean"),
    )
    rows = parity.invented(columns, 10)
    assert rows.dtypes.astype(str).to_dict() == {"a": "float64", "b": "int64", "c": "bool"}
    matrix = parity.invented((Column(name=None, type="tensor(float64)", shape=(-1, 3)),), 10)
    assert parity.synthetic(matrix, 5).shape == (5, 3)
    with pytest.raises(DataError, match="no row to certify"):
        parity.invented((Column(name="a", type="string"),), 10)


def test_there_must_be_rows(fitted):
    with pytest.raises(DataError, match="no row to certify"):
        parity.certify(fitted, fitted, [parity.Probe("data", pd.DataFrame())])


def wrapped(estimator, frame):
    return sklearn_flavour.SklearnModel(estimator, takes_table=isinstance(frame, pd.DataFrame))


def answers_of(function):
    """A model that answers a prediction, and has neither trees nor categories."""
    return SimpleNamespace(
        answer=lambda rows: {"prediction": function(rows)}, groves=list, categories=dict
    )


@pytest.mark.parametrize(
    ("offset", "unit"), [(0.0, 1e-6), (1e4, 1.0), (1e6, 1.0), (1.6e9, 1.0), (1.6e9, 1e5)]
)
def test_a_constant_in_place_of_the_model_is_caught_in_any_unit(iris, offset, unit):
    native = answers_of(lambda rows: offset + unit * rows.iloc[:, 0].to_numpy())
    centre = offset + unit * iris[0].iloc[:, 0].mean()
    wrong = answers_of(lambda rows: np.full(len(rows), centre))
    assert certify(native, wrong, iris[0]).verdict == "failed"


@pytest.mark.parametrize(("offset", "unit"), [(0.0, 1e-6), (1e4, 1.0), (0.0, 1e9), (5.0, 0.0)])
def test_answers_in_float32_pass_in_any_unit(iris, offset, unit):
    native = answers_of(lambda rows: offset + unit * rows.iloc[:, 0].to_numpy())
    honest = altered(native, lambda answers: {"prediction": answers["prediction"].astype("f4")})
    assert certify(native, honest, iris[0]).verdict == "passed"


def test_answers_that_float32_cannot_tell_apart_are_its_fault(iris):
    native = answers_of(lambda rows: 1.6e9 + rows.iloc[:, 0].to_numpy())
    honest = altered(native, lambda answers: {"prediction": answers["prediction"].astype("f4")})
    seen = certify(native, honest, iris[0])
    assert (seen.verdict, seen.fault) == ("failed", "float32")
    assert "cannot tell apart" in seen.reason


@pytest.mark.parametrize("kind", ["float", "int"])
def test_a_moved_threshold_among_small_numbers_of_a_large_column_is_caught(kind):
    """Where trees see the column as it is, its large numbers blur no small one."""
    from sklearn.tree import DecisionTreeRegressor

    large = np.random.default_rng(0).uniform(1e6, 1e8, 200)
    large[:20] = 0 if kind == "int" else np.linspace(0, 1, 20)
    frame = pd.DataFrame({"a": large}).astype(kind)
    model = DecisionTreeRegressor(max_leaf_nodes=3).fit(frame, (frame.a > 0.5) * 10.0)
    native = wrapped(model, frame)
    converted = convert(native, frame.astype(float))
    model.tree_.threshold[0] = -0.5 if kind == "int" else 0.6
    assert certify(native, converted, frame.iloc[20:]).verdict == "failed"


@pytest.mark.parametrize("kind", ["bool", "boolean", "Float64", "Int64"])
def test_a_dropped_column_that_is_constant_in_the_data_is_caught(iris, kind):
    frame = iris[0].assign(flag=pd.Series(1, index=iris[0].index).astype(kind))
    native = answers_of(lambda rows: rows["flag"].to_numpy(dtype=float) * 3)
    wrong = answers_of(lambda rows: np.full(len(rows), 3.0))
    assert certify(native, wrong, frame).verdict == "failed"


def test_categories_of_columns_without_names_are_visited():
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    rows = np.arange(60.0).reshape(-1, 1) % 5
    encoder = ColumnTransformer([("codes", OneHotEncoder(), [0])])
    model = make_pipeline(encoder, Ridge()).fit(rows, rows[:, 0] ** 2)
    few = pd.DataFrame(rows[:3])
    native = sklearn_flavour.SklearnModel(model, takes_table=False)
    wrong = answers_of(lambda r: native.answer(r.replace({3.0: 4.0, 4.0: 3.0}))["prediction"])
    seen = certify(native, wrong, few)
    assert (seen.verdict, seen.coverage.categories_visited) == ("failed", 5)
    assert certify(native, native, few).verdict == "passed"


@pytest.mark.parametrize("alike", [str.lower, str.strip])
def test_texts_that_are_taken_for_others_are_caught(alike):
    rows = pd.DataFrame({"colour": ["red", "green", "blue"] * 4})
    native = answers_of(lambda r: np.array([float(value == "red") for value in r["colour"]]))
    wrong = answers_of(
        lambda r: np.array([float(alike(value or "") == "red") for value in r["colour"]])
    )
    assert certify(native, wrong, rows).verdict == "failed"


def test_words_that_no_row_of_the_data_holds_are_visited():
    from sklearn.compose import ColumnTransformer
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline

    rows = pd.DataFrame({"text": ["one two", "two three", "three four"] * 4})
    counts = ColumnTransformer([("words", CountVectorizer(), "text")])
    model = make_pipeline(counts, Ridge()).fit(rows, np.arange(12.0))
    native = wrapped(model, rows)
    wrong = answers_of(
        lambda r: native.answer(r.assign(text=[str(t).replace("four", "") for t in r["text"]]))[
            "prediction"
        ]
    )
    seen = certify(native, wrong, rows.iloc[:2])
    assert (seen.verdict, seen.coverage.categories_visited) == ("failed", 4)


def test_a_column_of_nothing_but_nan_hides_no_other():
    native = {"prediction": np.array([[np.nan, 1.0], [np.nan, 2.0]])}
    given = {"prediction": np.array([[np.nan, 100.0], [np.nan, 200.0]])}
    for tolerance in parity.TOLERANCES.values():
        assert parity.compare(native, given, tolerance=tolerance).failed.all()


def test_many_leaves_are_visited_in_seconds():
    """Work grows with the leaves, not with their square: 40,000 of them here."""
    from sklearn.tree import DecisionTreeRegressor

    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(40_000, 2)), columns=["a", "b"])
    native = wrapped(DecisionTreeRegressor().fit(frame, rng.normal(size=40_000)), frame)
    seen = certify(native, native, frame)
    assert seen.verdict == "passed"
    assert seen.coverage.leaves == seen.coverage.leaves_visited == 40_000


def test_labels_of_another_type_are_a_verdict(iris):
    """The graph names its classes '0', '1', '2', where the model's are numbers."""
    from skl2onnx import to_onnx
    from sklearn.tree import DecisionTreeClassifier

    from modelport.parity.foreign import ForeignGraph

    rows, labels = iris
    model = DecisionTreeClassifier(max_depth=2, random_state=0)
    proto = to_onnx(model.fit(rows, labels.astype(str)), rows.to_numpy(np.float32))
    native = wrapped(DecisionTreeClassifier(max_depth=2, random_state=0).fit(rows, labels), rows)
    graph = ForeignGraph(proto.SerializeToString(), native, rows)
    seen = certify(native, graph, rows)
    assert (seen.verdict, seen.fault) == ("failed", "converter")


def test_rows_that_the_model_refuses_do_not_take_the_others_with_them():
    """Some transformations take positive numbers alone; made-up rows hold others too."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    def positive(values):
        if (np.asarray(values) <= 0).any():
            raise ValueError("only positive numbers")
        return values

    rows = pd.DataFrame({"a": np.linspace(0.5, 9.5, 60), "b": np.linspace(8.0, 2.0, 60)})
    model = make_pipeline(FunctionTransformer(positive), LogisticRegression())
    native = sklearn_flavour.SklearnModel(model.fit(rows, rows["a"] > 4), takes_table=True)
    certificate = parity.certify(native, native, [parity.Probe("data", rows)])
    assert certificate.passed
    assert 0 < certificate.rows["synthetic"] < 512
    assert 0 < certificate.rows["extremes"] < 21
