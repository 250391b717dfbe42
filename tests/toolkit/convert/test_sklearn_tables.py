"""Tables keep their columns, text and missing values among them."""

import numpy as np
import pytest
from sklearn import ensemble, linear_model, svm, tree
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler, TargetEncoder

from modelport.convert import sklearn as flavour
from modelport.errors import DataError, UnsupportedModel

TEXT, NUMBERS = ["town", "heating"], ["rooms", "area"]
ENCODED = OneHotEncoder(handle_unknown="ignore")
SCALED = make_pipeline(SimpleImputer(), StandardScaler())


def encoders(*text, columns=TEXT):
    return ColumnTransformer([("text", *text, columns), ("numbers", SCALED, NUMBERS)])


def logistic():
    return linear_model.LogisticRegression(max_iter=5000)


PIPELINES = {
    "one hot": make_pipeline(encoders(ENCODED), logistic()),
    "one hot without the first": make_pipeline(encoders(OneHotEncoder(drop="first")), logistic()),
    "target": make_pipeline(encoders(TargetEncoder(cv=2, random_state=0)), logistic()),
    "ordinal": make_pipeline(
        encoders(
            OrdinalEncoder(
                handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2
            )
        ),
        logistic(),
    ),
    "imputed text": make_pipeline(
        encoders(make_pipeline(SimpleImputer(strategy="most_frequent"), ENCODED)), logistic()
    ),
    "constant for missing text": make_pipeline(
        encoders(make_pipeline(SimpleImputer(strategy="constant", fill_value="?"), ENCODED)),
        logistic(),
    ),
    "no probabilities": make_pipeline(encoders(ENCODED), svm.LinearSVC()),
    "stacked": make_pipeline(
        encoders(ENCODED), ensemble.StackingClassifier([("line", logistic())])
    ),
    "votes of pipelines": ensemble.VotingClassifier(
        [("one", make_pipeline(encoders(ENCODED), logistic()))], voting="soft"
    ),
    "passed through": make_pipeline(
        ColumnTransformer(
            [("text", ENCODED, ["town"]), ("rest", "passthrough", ["rooms", "balcony"])]
        ),
        logistic(),
    ),
}


def fitted(estimator, rows, labels):
    return flavour.SklearnModel(estimator.fit(rows, labels), takes_table=True)


@pytest.mark.parametrize("name", PIPELINES)
def test_columns_keep_their_names_and_types(name, homes, assert_certified):
    rows, labels = homes
    native = fitted(PIPELINES[name], rows, labels)
    model = assert_certified(flavour, native, rows, optional=("heating",))
    assert [(tensor.name, tensor.datatype) for tensor in model.inputs] == [
        ("town", "BYTES"),
        ("heating", "BYTES"),
        ("rooms", "INT64"),
        ("street id", "INT64"),
        ("balcony", "BOOL"),
        ("area", "FP32"),
    ]


def test_large_whole_numbers_stay_apart(homes, assert_certified):
    rows, labels = homes
    picked = ColumnTransformer([("ids", ENCODED, ["street id"])])
    model = assert_certified(flavour, fitted(make_pipeline(picked, logistic()), rows, labels), rows)
    shares = model.answer(rows)["probabilities"][:, 1]
    assert len(set(shares.round(6))) == 3  # of 2**40 and its neighbours float32 makes one


def test_an_encoder_alone_sees_columns_too(homes, assert_certified):
    rows, labels = homes[0][["town", "street id"]], homes[1]
    native = fitted(make_pipeline(OrdinalEncoder(), tree.DecisionTreeClassifier()), rows, labels)
    model = assert_certified(flavour, native, rows)
    assert [tensor.datatype for tensor in model.inputs] == ["BYTES", "INT64"]


def test_whole_numbers_that_may_be_missing_are_floats(homes, assert_certified):
    rows, labels = homes
    rows = rows.assign(rooms=rows["rooms"].mask(rows.index % 5 == 0).astype("Int64"))
    native = fitted(make_pipeline(encoders(ENCODED), logistic()), rows, labels)
    model = assert_certified(flavour, native, rows, optional=("heating", "rooms"))
    assert {t.name: t.datatype for t in model.inputs}["rooms"] == "FP32"


def test_missing_whole_numbers_are_refused_and_not_made_up(homes, resolved, optimised):
    rows, labels = homes
    native = fitted(make_pipeline(encoders(ENCODED), logistic()), rows, labels)
    model = optimised(flavour.convert(native, resolved(rows)))
    with pytest.raises(DataError, match="whole numbers or booleans holds missing values"):
        model.answer(rows.assign(rooms=np.nan))


def test_kinds_of_missing_text_that_onnx_cannot_tell_apart(homes, resolved):
    rows, labels = homes
    rows = rows.assign(heating=rows["heating"].astype(object).where(rows.index % 3 > 0, "None"))
    native = fitted(make_pipeline(encoders(ENCODED), logistic()), rows, labels)
    with pytest.raises(UnsupportedModel, match="tells NaN, None and the word 'None' apart"):
        flavour.convert(native, resolved(rows))


def test_a_type_that_onnx_lacks(homes, resolved):
    rows, labels = homes
    native = fitted(make_pipeline(encoders(ENCODED), logistic()), rows, labels)
    known = resolved(rows)
    dated = known.inputs[-1].model_copy(update={"type": "datetime"})
    with pytest.raises(UnsupportedModel, match="column 'area' is datetime"):
        flavour.convert(native, known.model_copy(update={"inputs": (*known.inputs[:-1], dated)}))
