"""KServe's contract of a storage container, with a real MLflow store."""

import os
import subprocess
import sys

import pytest

from modelport import storage_initializer
from modelport.errors import ModelNotFound, StorageError, UsageError


def run(*words, **environment):
    return subprocess.run(
        [sys.executable, "-m", "modelport.storage_initializer", *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize(
    "uri",
    [
        "models:/breast-cancer/1",
        "models:/breast-cancer@champion",
        "mlflow://models/breast-cancer/1",
        "mlflow://models/breast-cancer@champion",
    ],
)
def test_a_registered_version_is_fetched_as_it_is(store, tmp_path, uri):
    storage_initializer.fetch(uri, tmp_path / "models")
    loaded = store.mlflow.sklearn.load_model(str(tmp_path / "models"))
    assert loaded.n_estimators == 21


@pytest.mark.parametrize("form", ["runs:/", "mlflow://runs/"])
def test_a_model_of_a_run_is_fetched(store, tmp_path, form):
    with store.mlflow.start_run() as run_:
        (tmp_path / "MLmodel").write_text("flavors: {}\n")
        store.mlflow.log_artifact(str(tmp_path / "MLmodel"), "kept")
    storage_initializer.fetch(f"{form}{run_.info.run_id}/kept", tmp_path / "there")
    assert (tmp_path / "there" / "MLmodel").read_text() == "flavors: {}\n"


@pytest.mark.parametrize(
    ("uri", "kind", "said"),
    [
        ("models:/breast-cancer/99", ModelNotFound, "its newest version is 1"),
        ("models:/breast-cancer@winner", ModelNotFound, "its aliases: champion"),
        ("mlflow://runs/0123/model", ModelNotFound, "check the run id"),
        ("s3://bucket/model", UsageError, "no known kind"),
        ("models:/breast-cancer", UsageError, "names no model version"),
        ("models:/../1", ModelNotFound, "registered models"),
    ],
)
def test_what_is_not_there_is_said(store, tmp_path, uri, kind, said):
    del store
    with pytest.raises(kind, match=said):
        storage_initializer.fetch(uri, tmp_path / "models")


def test_a_folder_is_no_model_of_mlflow(store, tmp_path):
    del store
    (tmp_path / "MLmodel").touch()
    with pytest.raises(UsageError, match="names no model of MLflow"):
        storage_initializer.fetch(str(tmp_path), tmp_path / "models")


def test_a_place_that_cannot_be_written(store, tmp_path):
    del store
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot be written"):
        storage_initializer.fetch("models:/breast-cancer/1", tmp_path / "file" / "models")


def test_the_program_fetches(store, tmp_path):
    del store
    done = run("mlflow://models/breast-cancer@champion", str(tmp_path / "models"))
    assert (done.returncode, done.stdout) == (0, "")
    assert (tmp_path / "models" / "MLmodel").is_file()


def test_a_failure_is_one_line_without_a_secret(tmp_path):
    failed = run(
        "models:/m/1",
        str(tmp_path),
        MLFLOW_TRACKING_URI="http://somebody:do-not-tell@127.0.0.1:9",
    )
    assert failed.returncode == 1
    assert failed.stderr.startswith("modelport: MLflow at http://somebody:***@127.0.0.1:9")
    assert len(failed.stderr.splitlines()) == 1
    assert "do-not-tell" not in failed.stderr
    wrong = run("models:/m/1")
    assert (wrong.returncode, wrong.stderr.startswith("modelport: a URI and a folder")) == (1, True)
