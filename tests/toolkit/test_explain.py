import pandas as pd
import pytest
from sklearn import datasets, ensemble, linear_model, svm

from modelport import explain
from modelport.convert.sklearn import SklearnModel


@pytest.fixture(scope="module")
def cancer():
    return datasets.load_breast_cancer(return_X_y=True, as_frame=True)


def explained(estimator, data):
    features, labels = data
    model = SklearnModel(estimator.fit(features, labels), takes_table=True)
    return explain.explain(model, features.iloc[:30], background_rows=20)


@pytest.mark.parametrize(
    "estimator",
    [
        ensemble.RandomForestClassifier(n_estimators=20, random_state=0),
        ensemble.GradientBoostingClassifier(n_estimators=20, random_state=0),
    ],
    ids=lambda e: type(e).__name__,
)
def test_trees_are_explained_exactly(estimator, cancer):
    found = explained(estimator, cancer)
    assert (found.explained, found.method, found.rows) == (True, "tree", 30)
    assert found.residual < 1e-6
    importances = [feature.importance for feature in found.features]
    assert importances == sorted(importances, reverse=True)
    assert len(importances) == 30


def test_other_models_are_explained_on_a_sample(cancer):
    found = explained(svm.SVC(probability=False), cancer)
    assert (found.explained, found.method) == (True, "permutation"), found
    assert found.rows == 20
    assert found.residual < 1e-6


def test_the_feature_that_decides_comes_first():
    frame = pd.DataFrame({"noise": [3.0, 1.0, 2.0, 4.0] * 10, "signal": range(40)})
    model = SklearnModel(linear_model.LinearRegression().fit(frame, frame.signal), takes_table=True)
    found = explain.explain(model, frame, background_rows=20)
    assert found.features[0].name == "signal"
    assert found.features[0].importance > 100 * found.features[1].importance


def test_text_is_not_explained_and_says_so():
    found = explain.explain(None, pd.DataFrame({"town": ["Rome"]}), background_rows=1)
    assert not found.explained
    assert "text" in found.reason
