import json
import time

import numpy as np
import pandas as pd
import pytest
from sklearn import compose, datasets, decomposition, ensemble, impute, linear_model, svm
from sklearn import preprocessing as pre
from sklearn.pipeline import make_pipeline

from modelport import explaining
from modelport.config import Limits
from modelport.convert import session, sklearn
from modelport.convert.sklearn import SklearnModel
from modelport.reports import Column, Resolution

LIMITS = Limits(explained_rows=30, background_rows=20, explain_seconds=5)


@pytest.fixture(scope="module")
def cancer():
    features, labels = datasets.load_breast_cancer(return_X_y=True, as_frame=True)
    return features, labels.map({0: "malignant", 1: "benign"})


@pytest.fixture(scope="module")
def mixed(cancer):
    """Numbers with gaps, text with gaps and categories."""
    features, labels = cancer
    random = np.random.default_rng(0)
    towns = random.choice(["Rome", "Oslo", None], len(features))
    sizes = pd.Categorical(np.where(labels == "benign", "small", random.choice(["small", "big"])))
    rows = features.iloc[:, :4].assign(town=towns, size=sizes)
    rows.iloc[::7, 0] = np.nan
    return rows, labels


def fitted(estimator, data):
    features, labels = data
    return SklearnModel(estimator.fit(features, labels), takes_table=True)


def explained(estimator, data, limits=LIMITS):
    found = explaining.explain(fitted(estimator, data), data[0], limits)
    assert found.explained, found.reason
    return found


class Asked:
    """A model of which nothing is known but its answers, as a converted one."""

    def __init__(self, answer):
        self._answer = answer
        self.asked = 0

    def answer(self, rows):
        self.asked += len(rows)
        return {"prediction": np.asarray(self._answer(rows))}


def by_feature(found, row):
    return dict(zip([one.name for one in found.features], row.values, strict=True))


def adds_up(row):
    assert row.base_value + sum(row.values) == pytest.approx(row.output_value, abs=1e-6)
    assert row.residual < 1e-6


@pytest.mark.parametrize(
    ("estimator", "output"),
    [
        (ensemble.RandomForestClassifier(10, random_state=0), "probability of malignant"),
        (ensemble.GradientBoostingClassifier(n_estimators=10), "log-odds of malignant"),
        (ensemble.HistGradientBoostingClassifier(max_iter=10), "log-odds of malignant"),
    ],
    ids=lambda one: type(one).__name__,
)
def test_trees_are_explained_exactly(estimator, output, cancer):
    found = explained(estimator, cancer)
    assert (found.method, found.output, found.rows) == ("tree", output, 30)
    assert found.sampled == "30 of 569 rows"
    assert found.residual < 1e-9
    importances = [feature.importance for feature in found.features]
    assert importances == sorted(importances, reverse=True)
    assert len(importances) == 30


def test_a_forest_has_shaps_own_values(cancer):
    forest = ensemble.RandomForestClassifier(10, random_state=0).fit(*cancer)
    found = explaining.explain(SklearnModel(forest, takes_table=True), cancer[0], LIMITS)
    import shap  # later than by the package, which keeps it from compiling for seconds

    for row in found.examples.values():
        given = cancer[0].iloc[[row.row]]
        values = shap.TreeExplainer(forest).shap_values(given)[0, :, 1]
        assert by_feature(found, row) == pytest.approx(
            dict(zip(given.columns, values, strict=True))
        )
        assert row.output_value == pytest.approx(forest.predict_proba(given)[0, 1])


@pytest.mark.parametrize("library", ["xgboost", "lightgbm", "catboost"])
def test_boosters_add_up_to_their_own_scores(library, cancer):
    module = pytest.importorskip(library)
    estimator = {
        "xgboost": lambda: module.XGBClassifier(n_estimators=5),
        "lightgbm": lambda: module.LGBMClassifier(n_estimators=5, verbose=-1),
        "catboost": lambda: module.CatBoostClassifier(
            iterations=5, verbose=0, allow_writing_files=False
        ),
    }[library]()
    features, labels = cancer
    found = explained(estimator, (features, (labels == "malignant").astype(int)))
    assert (found.method, found.output) == ("tree", "log-odds of class 1")
    row = found.examples["highest output"]
    probability = estimator.predict_proba(features.iloc[[row.row]])[0, 1]
    assert row.output_value == pytest.approx(np.log(probability / (1 - probability)), abs=1e-3)
    assert found.residual < 1e-5


def test_a_linear_models_values_are_coefficients_times_distance_from_the_mean():
    features, target = datasets.load_diabetes(return_X_y=True, as_frame=True)
    model = linear_model.LinearRegression().fit(features, target)
    found = explaining.explain(SklearnModel(model, takes_table=True), features, LIMITS)
    assert (found.method, found.output) == ("linear", "prediction")
    assert found.sampled == "30 of 442 rows, background 442 rows"
    row = found.examples["typical output"]
    expected = model.coef_ * (features.iloc[row.row] - features.mean())
    assert by_feature(found, row) == pytest.approx(expected.to_dict())


def columnwise(last):
    numbers = make_pipeline(impute.SimpleImputer(add_indicator=True), pre.StandardScaler())
    columns = compose.make_column_transformer(
        (numbers, compose.make_column_selector(dtype_include="number")),
        (pre.OneHotEncoder(handle_unknown="ignore"), ["town", "size"]),
    )
    return make_pipeline(columns, last)


@pytest.mark.parametrize(
    ("last", "method"),
    [
        (ensemble.RandomForestClassifier(10, random_state=0), "tree"),
        (linear_model.LogisticRegression(), "linear"),
        (svm.SVC(), "permutation"),
    ],
    ids=["tree", "linear", "neither"],
)
def test_pipelines_are_explained_by_their_input_columns(last, method, mixed):
    found = explained(columnwise(last), mixed)
    assert found.method == method
    assert {one.name for one in found.features} == set(mixed[0].columns)
    for row in found.examples.values():
        adds_up(row)
    assert found.residual < 1e-6


def test_one_hot_columns_are_summed_back(mixed):
    rows, labels = mixed
    pipeline = columnwise(linear_model.LogisticRegression()).fit(rows, labels)
    found = explaining.explain(SklearnModel(pipeline, takes_table=True), rows, LIMITS)
    columns, last = pipeline[0], pipeline[-1]
    coefficients = last.coef_[0] * (columns.transform(rows) - columns.transform(rows).mean(axis=0))
    of_town = [i for i, n in enumerate(columns.get_feature_names_out()) if "__town_" in n]
    row = found.examples["highest output"]
    town = coefficients[row.row, of_town].sum()
    assert by_feature(found, row)["town"] == pytest.approx(town)


@pytest.mark.parametrize(
    "mixing", [decomposition.PCA(3), pre.Normalizer()], ids=["PCA", "Normalizer"]
)
def test_what_mixes_columns_is_asked_instead(mixing, cancer):
    features, labels = cancer
    few = features.iloc[:, :4], labels
    estimator = make_pipeline(mixing, linear_model.LogisticRegression())
    assert explained(estimator, few).method == "permutation"


def test_a_model_that_only_looks_linear_is_asked_instead():
    features, target = datasets.load_diabetes(return_X_y=True, as_frame=True)
    found = explained(linear_model.PoissonRegressor(), (features, target))
    assert (found.method, found.output) == ("permutation", "prediction")
    assert found.residual < 1e-6


def test_a_converted_model_is_explained_where_the_native_one_is_not_at_hand(cancer):
    features, labels = cancer
    native = fitted(linear_model.LogisticRegression(max_iter=5), (features.iloc[:, :4], labels))
    columns = tuple(Column(name=name, type="double") for name in features.columns[:4])
    resolution = Resolution(source="x", uri="x", flavour="sklearn", inputs=columns)
    converted = session.OnnxModel(sklearn.convert(native, resolution).onnx)
    found = explaining.explain(converted, features.iloc[:, :4], LIMITS)
    assert (found.method, found.output) == ("permutation", "probability 1")
    row = found.examples["lowest output"]
    answer = native.answer(features.iloc[[row.row], :4])["probabilities"][0, 1]
    assert row.output_value == pytest.approx(answer, abs=1e-5)
    adds_up(row)


def test_text_and_missing_values_reach_the_model_as_they_are():
    rows = pd.DataFrame(
        {"town": ["Rome", None, "Oslo"] * 10, "size": [1.5, np.nan, 2.0] * 10, "n": range(30)}
    )

    def answer(given):
        assert list(given.dtypes) == list(rows.dtypes)
        return given.town.eq("Rome") * 10.0 + given["size"].isna() * 3.0

    found = explaining.explain(Asked(answer), rows, LIMITS)
    assert (found.method, found.sampled) == ("permutation", "all 30 rows, background 20 rows")
    assert [one.name for one in found.features] == ["town", "size", "n"]
    assert found.features[2].importance == 0
    row = found.examples["highest output"]
    values = by_feature(found, row)
    assert values["town"] > 5
    assert dict(zip(["town", "size", "n"], row.shown, strict=True))["town"] == "Rome"
    adds_up(row)


def test_a_classifier_with_labels_alone_is_explained_by_its_answer(mixed):
    found = explained(columnwise(svm.SVC()), mixed, Limits(explained_rows=2, background_rows=10))
    assert found.output == "answer of malignant"


def test_a_matrix_stays_one():
    random = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)

    def answer(given):
        assert (type(given), given.dtype) == (np.ndarray, np.float32)
        return given @ [1.0, 0.0, -2.0]

    found = explaining.explain(Asked(answer), random, LIMITS)
    assert [one.name for one in found.features] == ["x2", "x0", "x1"]
    assert explaining.explain(Asked(answer), random[:, :, None], LIMITS).reason == (
        "rows of 3x1 are neither table nor image"
    )


def test_the_report_is_bounded_and_chooses_its_examples():
    rows = pd.DataFrame(np.random.default_rng(0).normal(size=(400, 40)))
    model = fitted(linear_model.LinearRegression(), (rows, rows[3] * 2 + rows[7]))
    found = explaining.explain(model, rows, Limits(explained_rows=400))
    assert [one.feature for one in found.beeswarm][:2] == ["3", "7"]
    assert len(found.beeswarm) == 20
    assert all(len(one.values) == len(one.shades) == 200 for one in found.beeswarm)
    assert {0.0, 1.0} <= set(found.beeswarm[0].shades)
    outputs = {name: row.output_value for name, row in found.examples.items()}
    assert list(outputs) == ["typical output", "highest output", "lowest output"]
    assert outputs["lowest output"] < outputs["typical output"] < outputs["highest output"]
    assert outputs["highest output"] == pytest.approx((rows[3] * 2 + rows[7]).max())


def test_a_slow_model_is_explained_for_some_rows_and_says_so():
    rows = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 4)), columns=list("abcd"))
    told = []

    def answer(given):
        time.sleep(len(given) * 2e-4)
        return given.a * 2

    limits = Limits(explained_rows=60, background_rows=50, explain_seconds=2.0)
    model = Asked(answer)
    found = explaining.explain(model, rows, limits, told.append)
    assert 1 <= found.rows < 50
    assert found.sampled.startswith(f"{found.rows} of 60 rows, background ")
    assert told[-1] == f"{found.rows} of 50 explained"
    assert model.asked < 2 * 2.0 / 2e-4


def test_a_model_that_fails_is_no_error():
    def answer(_):
        raise ValueError("no such column")

    found = explaining.explain(Asked(answer), pd.DataFrame({"a": [1.0]}), LIMITS)
    assert (found.explained, found.reason) == (False, "shap gave up: no such column")


def bright(images, axis):
    """How bright the middle of channel 0 is: nothing else matters."""
    first = np.take(images, 0, axis=axis)
    scores = first[:, 12:20, 12:20].mean(axis=(1, 2))
    return np.stack([1 - scores, scores], axis=1)


@pytest.mark.parametrize(("shape", "axis"), [((6, 3, 32, 32), 1), ((6, 32, 32, 1), 3)])
def test_images_are_explained_by_superpixels(shape, axis):
    images = np.random.default_rng(0).uniform(0.0, 0.1, shape).astype(np.float32)
    np.moveaxis(images, axis, 1)[:, 0, 12:20, 12:20] = 0.9
    found = explaining.explain(Asked(lambda given: bright(given, axis)), images, LIMITS)
    assert found.explained, found.reason
    assert found.sampled == "4 of 6 images, 64 superpixels each"
    assert found.residual < 1e-6
    image = found.images[0]
    values = np.array(image.values)
    assert image.output == "prediction 1"
    assert image.output_value == pytest.approx(0.9)
    assert values[3:5, 3:5].sum() == pytest.approx(values.sum())
    assert (values[3:5, 3:5] > 0.1).all()


def test_a_torch_network_is_explained_by_its_layers():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))

    def answer(given):
        with torch.no_grad():
            return network(torch.from_numpy(np.asarray(given, np.float32))).numpy()

    model = Asked(answer)
    model.estimator = network
    rows = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
    found = explaining.explain(model, rows, LIMITS)
    assert (found.method, found.output) == ("deep", "prediction")
    assert found.residual < 1e-5
    assert not network[0]._forward_hooks


def test_the_background_is_kept_as_the_contract_says(mixed, tmp_path):
    from modelport_serving import contract

    rows, _ = mixed
    model = fitted(columnwise(ensemble.RandomForestClassifier(2)), mixed)
    explaining.keep_background(model, rows, 50, tmp_path)
    kept = json.loads((tmp_path / contract.BACKGROUND_FILE).read_text())
    assert kept["columns"] == list(rows.columns)
    assert kept["output"] == "probabilities"
    assert len(kept["rows"]) == 50
    numbers, texts = zip(*[(row[0], row[4]) for row in kept["rows"]], strict=True)
    assert None in numbers
    assert {"Rome", "Oslo", None} == set(texts)


def test_a_wide_tables_background_is_smaller_and_images_have_none(tmp_path):
    wide = np.zeros((60, 1_000), np.float32)
    explaining.keep_background(Asked(lambda given: given[:, 0]), wide, 50, tmp_path / "wide")
    (path,) = (tmp_path / "wide").rglob("*.json")
    kept = json.loads(path.read_text())
    assert (kept["columns"], len(kept["rows"]), kept["output"]) == (None, 20, "prediction")
    images = np.zeros((2, 3, 8, 8))
    explaining.keep_background(Asked(lambda given: given), images, 50, tmp_path / "images")
    assert not (tmp_path / "images").exists()
