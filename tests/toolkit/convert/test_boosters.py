"""XGBoost, LightGBM and CatBoost: as they are saved, inside pipelines, and what is refused."""

import catboost
import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost
from sklearn.ensemble import StackingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from modelport.convert import catboost as cat
from modelport.convert import lightgbm as light
from modelport.convert import sklearn as pipelines
from modelport.convert import xgboost as extreme
from modelport.errors import UnsupportedModel

SMALL = {"n_estimators": 4, "max_depth": 3, "n_jobs": 1}
LEAVES = {"n_estimators": 4, "num_leaves": 6, "verbose": -1, "n_jobs": 1}
SHALLOW = {
    "iterations": 4,
    "depth": 3,
    "verbose": False,
    "allow_writing_files": False,
    "thread_count": 1,
}
MODELS = {
    extreme: extreme.XgboostModel,
    light: light.LightgbmModel,
    cat: cat.CatboostModel,
}
CLASSIFIERS = {
    "xgboost": (extreme, xgboost.XGBClassifier(**SMALL)),
    "xgboost forest": (extreme, xgboost.XGBRFClassifier(**SMALL)),
    "lightgbm": (light, lightgbm.LGBMClassifier(**LEAVES)),
    "catboost": (cat, catboost.CatBoostClassifier(**SHALLOW)),
}
REGRESSORS = {
    "xgboost": (extreme, xgboost.XGBRegressor(**SMALL)),
    "xgboost poisson": (extreme, xgboost.XGBRegressor(objective="count:poisson", **SMALL)),
    "lightgbm": (light, lightgbm.LGBMRegressor(**LEAVES)),
    "lightgbm gamma": (light, lightgbm.LGBMRegressor(objective="gamma", **LEAVES)),
    "catboost": (cat, catboost.CatBoostRegressor(**SHALLOW)),
    "catboost poisson": (cat, catboost.CatBoostRegressor(loss_function="Poisson", **SHALLOW)),
}
BOOSTERS = {
    "binary:logistic": ["label", "probabilities"],
    "reg:squarederror": ["prediction"],
    "binary": ["label", "probabilities"],
    "regression": ["prediction"],
}
REFUSED = {
    "the booster gbtree, and not dart": xgboost.XGBClassifier(booster="dart", **SMALL),
    "the objective reg:logistic": xgboost.XGBRegressor(objective="reg:logistic", **SMALL),
    "the objective multiclassova": lightgbm.LGBMClassifier(objective="multiclassova", **LEAVES),
    "zero_as_missing": lightgbm.LGBMClassifier(zero_as_missing=True, **LEAVES),
    "linear trees": lightgbm.LGBMRegressor(linear_tree=True, **LEAVES),
    "reg_sqrt": lightgbm.LGBMRegressor(reg_sqrt=True, **LEAVES),
    "boosting rf": lightgbm.LGBMRegressor(
        boosting_type="rf", bagging_freq=1, bagging_fraction=0.5, **LEAVES
    ),
    "non symmetric trees": catboost.CatBoostRegressor(grow_policy="Lossguide", **SHALLOW),
}


def leaves(native, rows):
    """The library's own leaf of every tree, shape [n, trees]."""
    if isinstance(native, extreme.XgboostModel):
        matrix = xgboost.DMatrix(rows, enable_categorical=True)
        return native.booster.predict(matrix, pred_leaf=True).reshape(len(rows), -1)
    if isinstance(native, light.LightgbmModel):
        return native.booster.predict(rows, pred_leaf=True)
    return native.estimator.calc_leaf_indexes(rows)


def assert_same_leaves(native, rows):
    """Our reading of the trees splits the rows as the library does."""
    (grove,) = native.groves()
    matrix = grove.matrix(rows)
    for tree, own in zip(grove.trees, leaves(native, rows).T, strict=True):
        pairs = set(zip(tree.apply(matrix).tolist(), own.tolist(), strict=True))
        assert len(pairs) == len({pair[0] for pair in pairs}) == len({pair[1] for pair in pairs})


@pytest.mark.parametrize("holes", [False, True], ids=["whole", "holes"])
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier(name, holes, iris, assert_certified):
    flavour, estimator = CLASSIFIERS[name]
    rows, labels = iris
    if holes:
        rows = rows.mask(np.random.default_rng(0).random(rows.shape) < 0.2)
    native = MODELS[flavour](estimator.fit(rows, labels))
    model = assert_certified(flavour, native, rows)
    assert [(t.name, t.shape) for t in model.inputs] == [("input", (-1, 4))]
    assert model.outputs[1].shape == (-1, 3)
    assert_same_leaves(native, rows)


@pytest.mark.parametrize("name", REGRESSORS)
def test_a_regressor(name, diabetes, assert_certified):
    flavour, estimator = REGRESSORS[name]
    native = MODELS[flavour](estimator.fit(*diabetes))
    assert_certified(flavour, native, diabetes[0])
    assert_same_leaves(native, diabetes[0])


@pytest.mark.parametrize("objective", BOOSTERS)
def test_a_booster_answers_what_its_objective_means(objective, iris, assert_certified):
    rows, labels = iris[0], (iris[1] == 0).astype(int)
    if ":" in objective:
        matrix = xgboost.DMatrix(rows, labels)
        native = extreme.XgboostModel(xgboost.train({"objective": objective}, matrix, 4))
        flavour = extreme
    else:
        given = {"objective": objective, "verbose": -1}
        native = light.LightgbmModel(lightgbm.train(given, lightgbm.Dataset(rows, labels), 4))
        flavour = light
    model = assert_certified(flavour, native, rows)
    assert [tensor.name for tensor in model.outputs] == BOOSTERS[objective]


@pytest.mark.parametrize(
    ("flavour", "estimator"),
    [(extreme, xgboost.XGBRanker(**SMALL)), (light, lightgbm.LGBMRanker(**LEAVES))],
    ids=["xgboost", "lightgbm"],
)
def test_a_ranker_has_scores(flavour, estimator, iris, assert_certified):
    groups = {"group": [50, 50, 50]}
    native = MODELS[flavour](estimator.fit(*iris, **groups))
    assert_certified(flavour, native, iris[0])


def test_several_targets_of_xgboost(diabetes, assert_certified):
    both = np.column_stack([diabetes[1], -diabetes[1]])
    native = extreme.XgboostModel(xgboost.XGBRegressor(**SMALL).fit(diabetes[0], both))
    assert_certified(extreme, native, diabetes[0])


@pytest.mark.parametrize("name", ["lightgbm", "catboost"])
def test_labels_of_text_stay_text(name, iris, assert_certified):
    flavour, estimator = CLASSIFIERS[name]
    names = np.array(["setosa", "versicolor", "virginica"])[iris[1]]
    model = assert_certified(flavour, MODELS[flavour](estimator.fit(iris[0], names)), iris[0])
    assert model.outputs[0].datatype == "BYTES"


@pytest.mark.parametrize(
    ("flavour", "estimator"),
    [
        (extreme, xgboost.XGBClassifier(enable_categorical=True, **SMALL)),
        (light, lightgbm.LGBMClassifier(min_data_per_group=1, cat_smooth=1, **LEAVES)),
    ],
    ids=["xgboost", "lightgbm"],
)
def test_categories_are_encoded_in_the_graph(flavour, estimator, resolved, optimised):
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(
        {
            "town": pd.Categorical(rng.choice(["Rome", "Oslo", "Lima", "Bern"], 200)),
            "size": rng.normal(size=200),
            "floor": pd.Categorical(rng.choice([3, 7, 11], 200)),
        }
    )
    labels = (rows["town"].isin(["Rome", "Oslo"]) ^ (rows["floor"] == 7)).astype(int)
    native = MODELS[flavour](estimator.fit(rows, labels))
    model = optimised(flavour.convert(native, resolved(rows)))
    assert [(t.name, t.datatype) for t in model.inputs] == [
        ("town", "BYTES"),
        ("size", "FP32"),
        ("floor", "INT64"),
    ]
    assert native.categories()["town"] == ["Bern", "Lima", "Oslo", "Rome"]
    expected, given = native.answer(rows), model.answer(rows)
    np.testing.assert_allclose(given["probabilities"], expected["probabilities"], atol=1e-5)
    assert (given["label"] == expected["label"]).all()
    assert_same_leaves(native, rows)


def test_a_threshold_of_float64_is_not_rounded_up(optimised, resolved):
    """Between float32's neighbours of a threshold there is none that goes the wrong way."""
    edge = 0.1  # whose nearest float32 is larger
    rows = pd.DataFrame({"x": np.array([edge, edge, np.nextafter(edge, 1), 2.0] * 20)})
    labels = np.array([0, 0, 1, 1] * 20)
    settings = {"min_child_samples": 1, "max_bin": 8, "min_data_in_bin": 1, **LEAVES}
    native = light.LightgbmModel(lightgbm.LGBMClassifier(**settings).fit(rows, labels))
    model = optimised(light.convert(native, resolved(rows)))
    floats = rows.astype(np.float32).astype(float)
    np.testing.assert_array_equal(model.answer(floats)["label"], native.answer(floats)["label"])


@pytest.mark.parametrize("reason", REFUSED)
def test_what_is_not_converted_right_is_refused(reason, iris, resolved):
    rows, labels = iris[0].where(iris[0] > 1.5, 0.0), iris[1]
    estimator = REFUSED[reason].fit(rows, labels / 2 if "logistic" in reason else labels)
    flavour = {"xgboost": extreme, "lightgbm": light, "catboost": cat}[
        type(estimator).__module__.split(".")[0]
    ]
    with pytest.raises(UnsupportedModel, match=reason):
        flavour.convert(MODELS[flavour](estimator), resolved(iris[0]))


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_part_of_a_pipeline(name, iris, assert_certified):
    same = FunctionTransformer()
    native = pipelines.SklearnModel(
        make_pipeline(same, CLASSIFIERS[name][1]).fit(*iris), takes_table=True
    )
    assert_certified(pipelines, native, iris[0])


def test_a_part_of_an_ensemble(iris, assert_certified):
    members = [(name.replace(" ", ""), CLASSIFIERS[name][1]) for name in ("xgboost", "lightgbm")]
    native = pipelines.SklearnModel(StackingClassifier(members, cv=2).fit(*iris), takes_table=True)
    assert_certified(pipelines, native, iris[0])


def test_lightgbm_values_on_a_threshold_go_as_in_float64(assert_certified):
    """0.8 is at most 0.8000000000000002, and so is its float32 at most the nearest of that."""
    from sklearn.datasets import load_wine

    rows, labels = load_wine(return_X_y=True, as_frame=True)
    rows, training = rows[["hue", "ash"]], rows.index % 3 != 0
    model = lightgbm.LGBMClassifier(n_estimators=20, verbose=-1, n_jobs=1)
    native = light.LightgbmModel(model.fit(rows[training], labels[training]))
    converted = assert_certified(light, native, rows[~training])
    expected = native.answer(rows)["probabilities"]
    np.testing.assert_allclose(converted.answer(rows)["probabilities"], expected, atol=1e-6)
