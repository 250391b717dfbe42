"""Models that MLflow keeps: fetched by the engine, and kept by the revision that fetched them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import psutil
import pytest
from tests.engine.conftest import new_home
from tests.engine.kserve_examples import times

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.engine.conftest import Home

NAME = "doubling"


class Tracked(NamedTuple):
    """An engine that sees MLflow, and the run that logged the first version of the model."""

    home: Home
    run: str
    mlflow: Any


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tracked]:
    folder = tmp_path_factory.mktemp("tracked")
    with new_home(folder) as home, pytest.MonkeyPatch.context() as patch:
        patch.delenv("MODELPORT_ENGINE_RUNTIME")
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
        import mlflow

        kept = mlflow.create_experiment("engine", (folder / "artifacts").as_uri())
        first, _ = (logged(mlflow, kept, factor) for factor in (2, 3))
        mlflow.MlflowClient().set_registered_model_alias(NAME, "champion", "1")
        home.start()
        yield Tracked(home, first, mlflow)


def logged(mlflow: Any, experiment: str, factor: int) -> str:
    """Log and register a model that multiplies by `factor`; give its run."""
    with mlflow.start_run(experiment_id=experiment) as run:
        mlflow.onnx.log_model(
            times(factor), name="model", registered_model_name=NAME, pip_requirements=["onnx"]
        )
    return str(run.info.run_id)


def document(home: Home, name: str, uri: str, **model: Any) -> dict[str, Any]:
    document = home.service(home.folder, name)
    document["spec"]["predictor"]["model"] |= {"storageUri": uri, **model}
    return document


def factor(home: Home, name: str) -> float:
    url = home.client.get(name)["status"]["url"]
    rows = json.dumps({"instances": [{"x": [1, 1, 1, 1], "text": "a"}]}).encode()
    status, answer = home.request(url, f"/v1/models/{name}:predict", rows)
    assert status == 200, answer
    return float(answer["predictions"][0]["y"][0])


def pulled(home: Home, name: str) -> list[str]:
    events = home.client.events(name)["items"]
    return [event["message"] for event in events if event["reason"] == "Pulled"]


def test_a_revision_keeps_what_its_alias_and_its_run_named(tracked: Tracked) -> None:
    home = tracked.home
    alias = f"models:/{NAME}@champion"
    home.client.apply(document(home, "alias", alias))
    home.client.apply(document(home, "run", f"runs:/{tracked.run}/model"))
    home.client.wait_ready("alias", timeout=90)
    home.client.wait_ready("run", timeout=90)
    assert factor(home, "alias") == factor(home, "run") == 2

    tracked.mlflow.MlflowClient().set_registered_model_alias(NAME, "champion", "2")
    (replica,) = home.client.replicas("alias")["items"]
    psutil.Process(replica["pid"]).kill()
    home.eventually(lambda: home.client.replicas("alias")["items"][0]["restarts"] == 1)
    home.client.wait_ready("alias", timeout=60)
    assert factor(home, "alias") == 2
    assert pulled(home, "alias") == [f"fetched {alias} for alias-predictor-00001"]

    # What a process depends on changes: a new revision, and the alias is looked up anew.
    changed = document(home, "alias", alias, env=[{"name": "RELEASE", "value": "2"}])
    generation = home.client.apply(changed)["metadata"]["generation"]
    home.client.wait_ready("alias", generation=generation, timeout=90)
    assert factor(home, "alias") == 3

    generation = home.client.rollback("alias")["metadata"]["generation"]
    home.client.wait_ready("alias", generation=generation, timeout=60)
    assert factor(home, "alias") == 2
    assert len(pulled(home, "alias")) == 2
