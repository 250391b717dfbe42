"""What is refused or passed over, with its line: by the engine's parser and by KServe's rules."""

import json
import subprocess
import sys

import pytest

from modelport import documents, lint
from modelport.errors import UsageError

GOOD = """\
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: tumor
  annotations:
    serving.kserve.io/deploymentMode: Standard
spec:
  predictor:
    model:
      modelFormat: {name: onnx}
      storageUri: mlflow://models/tumor/1
"""


def found(text, *places):
    findings = lint.lint(documents.parse(text, "t.yaml"), places or lint.PLACES)
    return [(one.line, one.severity, one.path) for one in findings]


def messages(text, *places):
    findings = lint.lint(documents.parse(text, "t.yaml"), places or lint.PLACES)
    return "\n".join(map(str, findings))


def with_predictor(*lines):
    return GOOD.replace(
        "  predictor:\n", "  predictor:\n" + "".join(f"    {line}\n" for line in lines)
    )


def test_a_good_one_is_passed_in_silence():
    assert found(GOOD) == []


def test_a_finding_names_file_line_severity_and_field():
    text = with_predictor("minReplicas: many")
    assert messages(text, "local").startswith("t.yaml:9: error: spec.predictor.minReplicas: ")


@pytest.mark.parametrize(
    ("text", "line", "path"),
    [
        (GOOD.replace("name: tumor", "name: Tumor"), 4, "metadata.name"),
        (GOOD.replace(": Standard", ": true"), 5, "metadata.annotations"),
        (GOOD.replace("v1beta1", "v1"), 1, "apiVersion"),
        (GOOD.replace("mlflow://models/tumor/1", "s3://bucket"), 11, "storageUri"),
        (GOOD.replace("mlflow://models/tumor/1", "./model"), 11, "storageUri"),
        (with_predictor("timeout: 10s"), 9, "spec.predictor.timeout"),
        ("kind: Secret\nmetadata: {name: s3}", 1, "kind"),
        ("- just\n- a list", 1, "kind"),
    ],
)
def test_what_the_local_engine_refuses(text, line, path):
    ((at, severity, where),) = [one for one in found(text, "local") if one[1] == "error"]
    assert (at, severity) == (line, "error")
    assert path in where


def test_relative_paths_and_other_kinds_are_told_plainly():
    relative = messages(GOOD.replace("mlflow://models/tumor/1", "../model"), "local")
    assert (
        "'../model' is a relative path, which the engine does not take: write file:///" in relative
    )
    assert "Secret s3: the local engine takes InferenceServices alone" in messages(
        "kind: Secret\nmetadata: {name: s3}"
    )
    assert found("kind: Secret", "kubernetes") == []


def test_what_the_local_engine_does_not_act_on():
    text = with_predictor("nodeSelector: {disk: ssd}")
    assert found(text, "local") == [(9, "warning", "spec.predictor.nodeSelector")]
    assert found(text, "kubernetes") == []


def test_kserve_ignores_canary_traffic_percent_in_standard_mode():
    text = with_predictor("canaryTrafficPercent: 10")
    assert "KServe ignores it in Standard mode (kserve issue 5335): use spec.canary[]" in messages(
        text, "kubernetes"
    )
    mode = "  annotations:\n    serving.kserve.io/deploymentMode: Standard\n"
    unsaid = text.replace(mode, "")
    assert "wherever the cluster's mode is Standard" in messages(unsaid, "kubernetes")
    assert found(text.replace("Standard", "Knative"), "kubernetes") == []


@pytest.mark.parametrize(("old", "new"), [("RawDeployment", "Standard"), ("Serverless", "Knative")])
def test_deprecated_modes(old, new):
    said = messages(GOOD.replace("Standard", old), "kubernetes")
    assert said.startswith("t.yaml:6: warning: metadata.annotations[")
    assert said.endswith(f"{old} is deprecated: write {new}")


CANARY = (
    GOOD
    + """\
  canary:
  - trafficPercent: 5
    predictor:
      name: two
      model: {modelFormat: {name: onnx}, storageUri: mlflow://models/tumor/2}
"""
)


def test_a_canary_needs_a_new_kserve():
    assert found(CANARY, "kubernetes") == [(12, "warning", "spec.canary")]
    assert (12, "error", "spec.canary") in found(
        CANARY.replace("Standard", "Knative"), "kubernetes"
    )


@pytest.mark.parametrize(
    ("before", "after", "line", "path"),
    [
        ("trafficPercent: 5", "trafficPercent: 5%", 13, "spec.canary[0].trafficPercent"),
        ("trafficPercent: 5", "trafficPercent: 101", 13, "spec.canary[0].trafficPercent"),
        ("two\n", "two\n      maxReplicas: 3\n", 16, "spec.canary[0].predictor.maxReplicas"),
        ("two\n", "two\n      minReplicas: 2\n", 16, "spec.canary[0].predictor.minReplicas"),
        ("      name: two\n", "", 14, "spec.canary[0].predictor"),
    ],
)
def test_what_kserve_refuses_of_a_canary(before, after, line, path):
    assert (line, "error", path) in found(CANARY.replace(before, after), "kubernetes")


def test_canaries_need_names_of_their_own():
    entry = CANARY[CANARY.index("  - trafficPercent") :]
    assert [one for one in found(CANARY + entry, "kubernetes") if one[1] == "error"] == [
        (15, "error", "spec.canary[0].predictor.name"),
        (19, "error", "spec.canary[1].predictor.name"),
    ]


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("file:///models/tumor", "does not exist in a cluster"),
        ("/models/tumor", "does not exist in a cluster"),
        ("models:/tumor@champion", "write mlflow://models/tumor@champion"),
        ("runs:/1/model", "write mlflow://runs/1/model"),
    ],
)
def test_storage_that_a_cluster_has_not(uri, said):
    text = GOOD.replace("mlflow://models/tumor/1", uri)
    assert said in messages(text, "kubernetes")
    assert found(text, "local") == []


@pytest.mark.parametrize(
    ("lines", "path"),
    [
        (["minReplicas: 3", "maxReplicas: 2"], "spec.predictor.minReplicas"),
        (["canaryTrafficPercent: 20%"], "spec.predictor.canaryTrafficPercent"),
        (["canaryTrafficPercent: '20'"], "spec.predictor.canaryTrafficPercent"),
        (
            ["containers:", "- env: [{name: A, value: 1}]"],
            "spec.predictor.containers[0].env[0].value",
        ),
    ],
)
def test_what_an_api_server_refuses(lines, path):
    errors = [one for one in found(with_predictor(*lines), "kubernetes") if one[1] == "error"]
    assert [one[2] for one in errors] == [path]


def test_metrics_that_an_autoscaler_does_not_know():
    text = with_predictor("scaleMetric: rps")
    assert found(text, "kubernetes") == [(9, "warning", "spec.predictor.scaleMetric")]
    knative = with_predictor("scaleMetric: cpu").replace("Standard", "Knative")
    assert found(knative, "kubernetes") == [(9, "error", "spec.predictor.scaleMetric")]
    assert found(knative.replace("cpu", "rps"), "kubernetes") == []


def test_names_that_make_too_long_a_host():
    text = GOOD.replace("name: tumor", f"name: {'t' * 40}\n  namespace: {'n' * 20}")
    assert "71 characters are more than the 63 of a DNS label" in messages(text, "kubernetes")


@pytest.mark.parametrize("field", ["custom: {}", "traffic: 5"])
def test_fields_that_kserve_has_not(field):
    said = messages(with_predictor(field), "kubernetes")
    assert "KServe has no such field: write" in said


@pytest.mark.parametrize("text", ["spec: []", "metadata: []\nspec: {predictor: []}", "a: b"])
def test_nonsense_is_refused_and_breaks_nothing(text):
    head = "apiVersion: serving.kserve.io/v1beta1\nkind: InferenceService\n"
    for place in lint.PLACES:
        assert any(one[1] == "error" for one in found(head + text, place))


def test_before_an_apply_folders_are_looked_for(tmp_path):
    there = GOOD.replace("mlflow://models/tumor/1", tmp_path.as_uri())
    lint.check(documents.parse(there, "t.yaml"))
    gone = GOOD.replace("mlflow://models/tumor/1", (tmp_path / "gone").as_uri())
    with pytest.raises(UsageError, match=r"t.yaml:11: .*does not exist.*; nothing was changed"):
        lint.check(documents.parse(gone, "t.yaml"))


def modelport(*words, stdin):
    return subprocess.run(
        [sys.executable, "-m", "modelport", "lint", "-f", "-", *words],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_tells_scripts_by_its_exit_code():
    warned = with_predictor("nodeSelector: {disk: ssd}")
    plain, strict = modelport(stdin=warned), modelport("--strict", stdin=warned)
    assert (plain.returncode, strict.returncode) == (0, 1)
    assert plain.stdout.startswith("stdin:9: warning: spec.predictor.nodeSelector: ")
    wrong = modelport("-o", "json", stdin=GOOD.replace("name: tumor", "name: Tumor"))
    assert wrong.returncode == 1
    assert {one["line"] for one in json.loads(wrong.stdout)} == {4}
    assert modelport(stdin=GOOD).stdout == "nothing to remark\n"
