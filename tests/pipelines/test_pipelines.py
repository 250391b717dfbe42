"""The pipeline as a whole, and its components through Kubeflow's own local runner."""

import inspect
import json

import pytest
import yaml
from kfp import compiler, local

from modelport import launch, release, workflows
from modelport.errors import UsageError
from modelport.reports import Gates
from modelport_pipelines import components
from modelport_pipelines.release import release as pipeline


def test_the_pipeline_is_found_by_its_entry_point():
    assert "release" in workflows.names()
    assert workflows.pipeline("release") is pipeline
    with pytest.raises(UsageError, match="there is no pipeline 'gone': installed: release"):
        workflows.pipeline("gone")


def test_its_steps_are_those_that_are_followed():
    found = workflows.steps("release")
    assert tuple(step.name for step in found) == launch.STEPS == tuple(release.STEPS)
    assert all(step.description.endswith(".") for step in found)


def test_it_compiles_for_a_cluster(tmp_path):
    compiler.Compiler().compile(pipeline, str(tmp_path / "release.yaml"))
    spec = yaml.safe_load((tmp_path / "release.yaml").read_text())
    assert spec["pipelineInfo"]["name"] == "release"
    executors = spec["deploymentSpec"]["executors"]
    assert len(executors) == len(launch.STEPS)
    for executor in executors.values():
        assert "pip install" not in json.dumps(executor)


def test_deploy_and_verify_wait_for_the_gates():
    spec = pipeline.pipeline_spec
    (condition,) = [t for name, t in spec.root.dag.tasks.items() if name.startswith("condition")]
    assert "gate" in condition.trigger_policy.condition
    inner = spec.components[condition.component_ref.name].dag.tasks
    assert set(inner) == {"deploy", "verify"}


@pytest.mark.parametrize("name", launch.STEPS)
def test_a_components_body_calls_its_step_with_the_arguments_it_takes(name):
    source = inspect.getsource(getattr(components, name).python_func)
    assert f'"{name}"' in source
    taken = inspect.signature(release.STEPS[name]).parameters
    assert all(f"{argument}=" in source for argument in taken)


def test_a_component_runs_and_its_report_is_an_artifact(tmp_path, monkeypatch):
    """Gate, on a dossier that is written here: the only component that needs no MLflow."""
    monkeypatch.delenv("MODELPORT_JOURNAL", raising=False)
    local.init(
        local.SubprocessRunner(use_venv=False),
        pipeline_root=str(tmp_path / "root"),
        workspace_root=str(tmp_path / "work"),
    )
    from kfp import dsl

    path = tmp_path / "dossier.json"
    path.write_text(json.dumps(DOSSIER))

    @dsl.pipeline
    def judged():
        dossier = dsl.importer(artifact_uri=str(path), artifact_class=dsl.Artifact, reimport=False)
        components.gate(dossier=dossier.output, slo="p99<1s")

    judged()
    (report,) = tmp_path.glob("root/*/gate/report")
    gates = Gates.read(report)
    assert [verdict.gate for verdict in gates.verdicts] == ["p99<1s"]
    assert gates.passed


DOSSIER = {
    "release_id": "r1",
    "model": "models:/m/1",
    "service": "m",
    "namespace": "default",
    "started_at": "2026-01-01T00:00:00Z",
    "resolution": {"source": "models:/m/1", "uri": "models:/m/1", "flavour": "sklearn"},
    "conversion": {"converted": True, "flavour": "sklearn"},
    "certificate": {"verdict": "passed", "reason": "x"},
    "evaluation": {"measured": False, "reason": "no data"},
    "benchmark": {
        "measurements": [
            {
                "subject": "converted",
                "batch_size": 1,
                "concurrency": 1,
                "requests": 10,
                "p50_ms": 1.0,
                "p90_ms": 1.5,
                "p95_ms": 2.0,
                "p99_ms": 3.0,
                "max_ms": 4.0,
                "throughput": 5.0,
            }
        ]
    },
    "explanation": {"explained": False, "reason": "no data"},
    "registration": {"run_id": "1", "run_url": None, "model_uri": "models:/m-onnx/1"},
}
