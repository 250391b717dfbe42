"""The sweep in short: ten models on their way to the wire, and the judge that judges them."""

import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks.sweep import judging, report, tables  # noqa: E402
from benchmarks.sweep.catalogue import catalogue, left_out  # noqa: E402
from benchmarks.sweep.workers import carried  # noqa: E402

TEN = {
    "LogisticRegression, wine": "certified",
    "DecisionTreeClassifier, breast cancer": "certified",
    "LinearRegression, diabetes": "certified",
    "KMeans, wine": "certified",
    "SGDOneClassSVM, breast cancer": "certified",
    "XGBClassifier, wine": "certified",
    "lightgbm.Booster, regression, diabetes": "certified",
    "CatBoostClassifier, breast cancer": "certified",
    "OneHotEncoder (ignore) and LogisticRegression, cellar": "certified",
    "Birch, wine": "not convertible",
}


@pytest.fixture
def own_home(monkeypatch, tmp_path):
    monkeypatch.setenv("MODELPORT_BENCH", str(tmp_path / "bench"))


@pytest.mark.usefixtures("own_home")
def test_ten_models_reach_the_wire(tmp_path):
    verdicts = {verdict.name: verdict for verdict in carried(list(TEN), tmp_path, 2)}
    assert {name: verdict.outcome for name, verdict in verdicts.items()} == TEN, "\n".join(
        f"{verdict.name}: {verdict.reason}\n{verdict.trace}" for verdict in verdicts.values()
    )
    assert not any(verdict.wrongly_certified for verdict in verdicts.values())
    certified = [verdict for verdict in verdicts.values() if verdict.outcome == "certified"]
    assert all(verdict.rows == 20_000 for verdict in certified)


ILL = """
import os, signal, subprocess, sys
from benchmarks.sweep.passage import Verdict, slug

def work(name, root):
    if name == "Ridge, diabetes":
        os.kill(os.getpid(), signal.SIGKILL)
    if name == "Lasso, diabetes":
        left = [sys.executable, "-c", "import signal; signal.pause()", f"{root}/{slug(name)}/model"]
        process = subprocess.Popen(left)
        open(f"{root}/left", "w").write(str(process.pid))
        signal.pause()
    return Verdict(name, "regressors", "certified")
"""


def test_a_model_that_hangs_or_dies_stops_no_other(tmp_path, monkeypatch):
    (tmp_path / "ill.py").write_text(ILL)
    monkeypatch.syspath_prepend(tmp_path)
    work = import_module("ill").work
    names = ["Ridge, diabetes", "Lasso, diabetes", "LinearRegression, diabetes", "KMeans, wine"]
    found = {one.name: one for one in carried(names, tmp_path, 2, work=work, seconds=3)}
    assert set(found) == set(names)
    assert found["Ridge, diabetes"].reason.startswith("its process died")
    assert found["Lasso, diabetes"].reason == "it took longer than 3 s"
    assert [found[name].outcome for name in names] == ["failed", "failed", "certified", "certified"]
    left = int((tmp_path / "left").read_text())
    assert not psutil.pid_exists(left) or psutil.Process(left).status() == psutil.STATUS_ZOMBIE


def test_every_estimator_of_scikit_learn_is_carried_or_left_out():
    from sklearn.utils import all_estimators

    carried_titles = {case.title.removesuffix(" of a tree") for case in catalogue().values()}
    left = {one.name for one in left_out()}
    assert {name for name, _ in all_estimators()} <= carried_titles | left
    assert not carried_titles & left
    assert all(one.reason for one in left_out())


@pytest.mark.parametrize("name", tables.TABLES)
def test_fresh_rows_look_like_the_real_ones(name):
    real = tables.table(name).rows
    drawn = tables.fresh(real, 500, unseen=True)
    assert list(drawn.dtypes) == list(real.dtypes)
    for column in real.columns:
        if real[column].dtype.kind in "if":
            assert drawn[column].min() >= real[column].min()
            assert drawn[column].max() <= real[column].max()
        else:
            known = {*real[column].dropna(), tables.UNSEEN}
            assert set(drawn[column].dropna()) <= known
    assert drawn.isna().any().equals(real.isna().any())


def rows(count=1000):
    return pd.DataFrame({"x": np.random.default_rng(0).normal(size=count)})


def line(slope):
    return lambda given: {"prediction": slope * given["x"].to_numpy()}


def side(of, high="yes", low="no"):
    return lambda given: {"label": np.where(given["x"].to_numpy() > of, high, low).astype(object)}


def nothing(_):
    return {}


def test_the_judge_finds_wrong_numbers_and_wrong_labels():
    assert judging.compare(line(2.0), line(2.00001), rows(), nothing).differing == 0
    seen = judging.compare(line(2.0), line(2.1), rows(), nothing)
    assert seen.differing > 0.9
    assert seen.unexplained > 0.9
    swapped = judging.compare(side(0.0), side(0.0, "no", "yes"), rows(), nothing)
    assert swapped.differing == swapped.unexplained == 1
    moved = judging.compare(side(0.0), side(0.1), rows(), nothing)
    assert 0.01 < moved.unexplained < 0.1


def test_the_judge_misses_no_output_and_no_shape():
    assert judging.compare(line(1.0), side(0.0), rows(), nothing).differing == 1
    wide = judging.compare(
        line(1.0), lambda given: {"prediction": np.ones((len(given), 2))}, rows(), nothing
    )
    assert wide.differing == 1


def test_rounding_to_float32_explains_what_lies_beside_a_threshold():
    beside = pd.DataFrame({"x": np.full(10, 0.1)})

    def narrow(given):
        return side(np.float32(0.1))(given.astype(np.float32))

    seen = judging.compare(side(0.1 - 1e-12), narrow, beside, nothing)
    assert (seen.differing, seen.unexplained) == (1, 0)


def test_a_tie_explains_the_other_label():
    def scores(given):
        return {"label": (np.full((len(given), 2), 0.5), ["no", "yes"])}

    seen = judging.compare(side(-9.0), side(9.0), rows(), scores)
    assert (seen.differing, seen.unexplained) == (1, 0)


def test_an_outlier_detector_is_undecided_at_nought():
    def scores(given):
        return {"prediction": (np.zeros((len(given), 2)), [-1, 1])}

    def sign(value):
        return lambda given: {"prediction": np.full((len(given), 1), value)}

    seen = judging.compare(sign(-1), sign(1), rows(), scores)
    assert (seen.differing, seen.unexplained) == (1, 0)


def test_a_label_that_is_not_the_likeliest_is_no_tie():
    def scores(given):
        return {"label": (np.full((len(given), 2), [0.7, 0.3]), ["no", "yes"])}

    seen = judging.compare(side(-9.0), side(9.0), rows(), scores)
    assert (seen.differing, seen.unexplained) == (1, 1)


def test_the_report_counts_and_shows_every_model():
    def model(name, outcome, *, wrongly=False):
        words = {"name": name, "kind": "classifiers", "outcome": outcome, "reason": "a | b"}
        shares = {"differing": 0.002, "unexplained": 0.0, "rows": 20_000, "seconds": 1.0}
        return {**words, **shares, "fault": "", "blame": "", "wrongly_certified": wrongly}

    models = [model("A", "certified"), model("B", "certified", wrongly=True), model("C", "failed")]
    left = [{"name": "D", "reason": "has no `predict`"}]
    found = {"libraries": {"scikit-learn": "1"}, "models": models, "left_out": left}
    assert "| classifiers | 3 | 2 | 0 | 0 | 1 | 1 |" in report.section(found)
    page = report.document(found)
    assert "| B | WRONGLY certified | a \\| b |" in page
    assert "| D | has no `predict` |" in page
