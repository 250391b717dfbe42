"""A real MLflow store with registered models, and a home with an engine of its own."""

import os
import socket
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from modelport import config

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    """An MLflow store in SQLite: `breast-cancer` (sklearn, champion) and `echo` (pyfunc)."""
    folder = tmp_path_factory.mktemp("mlflow")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
        patch.chdir(folder)
        import mlflow

        mlflow.set_experiment("tests")
        holdout = register_forest(mlflow, folder)
        register_echo(mlflow)
        yield SimpleNamespace(folder=folder, holdout=holdout, mlflow=mlflow)


def register_forest(mlflow, folder: Path):
    from mlflow.models import infer_signature
    from sklearn.datasets import load_breast_cancer
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import train_test_split

    features, labels = load_breast_cancer(return_X_y=True, as_frame=True)
    train, test, train_labels, test_labels = train_test_split(features, labels, random_state=0)
    # An odd number of trees has no ties, on which float32 might choose the other label.
    forest = RandomForestClassifier(n_estimators=21, random_state=0).fit(train, train_labels)
    logged = mlflow.sklearn.log_model(
        forest,
        name="forest",
        registered_model_name="breast-cancer",
        signature=infer_signature(train, forest.predict(train)),
        input_example=train.head(3),
        pip_requirements=["scikit-learn", "skops"],
        skops_trusted_types=["sklearn.tree._tree.Tree"],
    )
    mlflow.MlflowClient().set_registered_model_alias(
        "breast-cancer", "champion", logged.registered_model_version
    )
    holdout = test.assign(label=test_labels)
    holdout.to_parquet(folder / "holdout.parquet")
    return holdout


def register_echo(mlflow):
    """A model that no converter takes."""
    import pandas as pd
    from mlflow.models import infer_signature

    class Echo(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):  # noqa: ARG002 - MLflow's signature
            return model_input["a"] * 2

    rows = pd.DataFrame({"a": [1.0, 2.0]})
    mlflow.pyfunc.log_model(
        name="echo",
        python_model=Echo(),
        registered_model_name="echo",
        signature=infer_signature(rows, rows["a"]),
        input_example=rows,
        pip_requirements=["pandas"],
    )


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    """A home whose engine is stopped at the end, after which none of its processes may live."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODELPORT_HOME", str(folder))
        patch.setenv("MODELPORT_GATEWAY_PORT", str(free_port()))
        config.settings.cache_clear()
        yield folder
        from modelport import api

        api.down()
        config.settings.cache_clear()
    assert processes_of(folder) == []


def processes_of(home: Path):
    """Processes that run for a home: its engine, Envoy and the runtimes."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        words = process.info["cmdline"] or []
        if any(str(home) in word for word in words) and process.info["status"] != "zombie":
            found.append(" ".join(words))
    return found
