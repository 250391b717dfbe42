"""A live service that explains its answers: the engine, its two runtimes, and what asks them."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import modelport
from modelport import cli, manifests, release, targets
from modelport.errors import DataError, PredictionError, TargetError, UsageError
from modelport.render import as_text
from modelport.reports import Resolution
from modelport_serving import contract

pytestmark = pytest.mark.usefixtures("service")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A logistic regression of three classes with a text column, as a served model folder."""
    import mlflow
    import pandas as pd
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    random = np.random.default_rng(0)
    rows = pd.DataFrame(
        {
            "size": random.normal(size=90),
            "weight": random.normal(size=90),
            "colour": random.choice(["red", "blue", "green"], 90),
        }
    )
    labels = np.digitize(rows["size"] + (rows["colour"] == "red"), [0, 1])
    encoded = make_column_transformer(
        (OneHotEncoder(sparse_output=False), ["colour"]), remainder="passthrough"
    )
    fitted = make_pipeline(encoded, LogisticRegression()).fit(rows, labels)
    types = [
        ("size", FloatTensorType([None, 1])),
        ("weight", FloatTensorType([None, 1])),
        ("colour", StringTensorType([None, 1])),
    ]
    folder = tmp_path_factory.mktemp("explained") / "fruit"
    graph = to_onnx(fitted, initial_types=types, options={"zipmap": False})
    signature = mlflow.models.infer_signature(rows, labels)
    mlflow.onnx.save_model(graph, folder, signature=signature, pip_requirements=[])
    background = {
        contract.BACKGROUND_COLUMNS: list(rows.columns),
        contract.BACKGROUND_ROWS: rows.iloc[:30].to_numpy().tolist(),
        contract.BACKGROUND_OUTPUT: "probabilities",
    }
    (folder / "explainer").mkdir()
    (folder / contract.BACKGROUND_FILE).write_text(json.dumps(background))
    return folder, fitted, rows


@pytest.fixture(scope="module")
def service(home, model):  # noqa: ARG001 - the engine's runtimes are those that ship
    """The model as a service with an explainer."""
    return apply("fruit", model[0], explainer=True)


def apply(name, folder, *, explainer):
    place = targets.local()
    place.prepare()
    uri = place.stage(folder, "default", name, "r1")
    served = manifests.Served(uri, explainer=explainer)
    manifest = manifests.inference_service(name, "default", served, {})
    return place.wait_ready(place.apply(manifest), lambda _: None)


def test_the_values_add_up_to_what_is_predicted(model):
    _, fitted, rows = model
    explained = modelport.explain("fruit", rows.iloc[40:46])
    report = explained.report
    probabilities = fitted.predict_proba(rows.iloc[40:46])
    assert report.features == ("size", "weight", "colour")
    assert report.method == "exact"
    for row, output, expected in zip(report.rows, report.outputs, probabilities, strict=True):
        assert output == f"probabilities[{expected.argmax()}]"
        assert row.output_value == pytest.approx(expected.max(), abs=1e-5)
        assert row.base_value + sum(row.values) == pytest.approx(row.output_value, abs=1e-6)
        assert row.residual < 1e-6
    assert explained.frame().shape == (6, 3)
    assert report.rows[0].shown[2] == rows["colour"].iloc[40]

    first = modelport.explain("fruit", rows.iloc[40:41], output=0).report
    assert first.outputs == ("probabilities[0]",)
    assert first.rows[0].output_value == pytest.approx(probabilities[0, 0], abs=1e-5)


def test_it_shows_itself_in_a_cell_and_a_terminal(model):
    rows = model[2]
    explained = modelport.explain("fruit", rows.iloc[:12])
    bundle = explained._repr_mimebundle_()
    assert bundle["text/html"].count("<details") == 9
    assert f'colour<span class="mp-soft"> = {rows["colour"].iloc[0]}' in bundle["text/html"]
    assert "2 more rows" in bundle["text/html"]
    text = as_text(explained.__rich__())
    assert "base value" in text
    assert "additivity residual" in text


def test_the_command_prints_json(model, tmp_path):
    path = tmp_path / "rows.csv"
    model[2].iloc[:2].to_csv(path, index=False)
    words = ["explain", "fruit", str(path), "--json"]
    ended = subprocess.run(
        [sys.executable, "-m", "modelport", *words], capture_output=True, text=True, check=True
    )
    printed = json.loads(ended.stdout)
    assert len(printed["rows"]) == 2
    assert printed["service"] == "fruit"
    shown = cli.run(["explain", "fruit", "rows"], {"rows": model[2].iloc[:1]})
    assert len(shown.report.rows) == 1


def test_an_explainer_that_is_killed_comes_back(model):
    import psutil

    def explainers():
        return [
            process.pid
            for process in psutil.process_iter(["cmdline"])
            if "--model_name=fruit" in (words := process.info["cmdline"] or [])
            and "--explainer=shap" in words
        ]

    (before,) = explainers()
    os.kill(before, signal.SIGKILL)
    end = time.monotonic() + 30
    while True:
        try:
            assert len(modelport.predict("fruit", model[2].iloc[:1])) == 1
            modelport.explain("fruit", model[2].iloc[:1])
            break
        except PredictionError:
            assert time.monotonic() < end, "the explainer did not come back"
            time.sleep(0.1)
    assert explainers() != [before]


def test_what_cannot_be_explained_is_one_line(model):
    rows = model[2]
    with pytest.raises(UsageError, match="at most 100"):
        modelport.explain("fruit", rows.iloc[np.zeros(101, int)])
    with pytest.raises(PredictionError, match="'output' is 0 to 2, not 3"):
        modelport.explain("fruit", rows.iloc[:1], output=3)
    with pytest.raises(PredictionError, match="missing columns: 'colour'"):
        modelport.explain("fruit", rows.iloc[:1, :2])
    apply("plain", model[0], explainer=False)
    with pytest.raises(TargetError, match="service plain has no explainer: deploy it again with"):
        modelport.explain("plain", rows.iloc[:1])


def test_a_plan_says_whether_there_is_an_explainer():
    planned = modelport.plan("models:/fruit/1", explainer=True)
    assert "--explainer=shap" in planned.manifest
    assert "explainer" not in modelport.plan("models:/fruit/1").manifest


def test_an_explainer_is_not_deployed_without_rows_to_compare_with(model, tmp_path):
    known = Resolution(source="x", uri="x", flavour="sklearn")
    release._check_explainable(known, model[0])
    with pytest.raises(DataError, match=r"no rows of a table .* pass --data, or deploy without"):
        release._check_explainable(known, tmp_path)
