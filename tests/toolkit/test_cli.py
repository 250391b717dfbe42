import json
import os
import subprocess
import sys

import click
import pytest
import yaml

from modelport import cli, launch
from modelport.cli import common, release
from modelport.errors import UsageError


def modelport(*arguments, check=True):
    return subprocess.run(
        [sys.executable, "-m", "modelport", *arguments],
        capture_output=True,
        text=True,
        check=check,
    )


def test_every_command_and_option_is_documented():
    commands = cli.program.commands
    assert set(commands) == {
        *("deploy", "predict", "explain", "benchmark", "certify", "status"),
        *("apply", "lint", "get", "describe", "logs", "events"),
        *("delete", "scale", "stop", "start", "rollout"),
        *("up", "down", "completion"),
    }
    rollout = commands["rollout"].commands
    assert set(rollout) == {"status", "history", "undo", "canary", "promote"}
    for command in (*commands.values(), *rollout.values()):
        assert command.help
        options = [p for p in command.params if isinstance(p, click.Option)]
        assert all(option.help for option in options), command.name
        arguments = [p.name for p in command.params if isinstance(p, click.Argument)]
        assert all(name.upper() in command.help for name in arguments), command.name


def test_every_shell_gets_its_completion():
    for shell in ("bash", "zsh", "fish"):
        assert "_MODELPORT_COMPLETE" in modelport("completion", shell).stdout
    environment = {
        **os.environ,
        "_MODELPORT_COMPLETE": "bash_complete",
        "COMP_WORDS": "modelport deploy --req",
        "COMP_CWORD": "2",
    }
    completed = subprocess.run(
        [sys.executable, "-m", "modelport"], env=environment, capture_output=True, text=True
    )
    assert "--require-onnx" in completed.stdout


def test_help_names_the_commands():
    told = modelport("--help").stdout
    assert modelport().stdout == told
    assert "deploy" in told
    assert "--slo" in modelport("deploy", "--help").stdout


@pytest.mark.usefixtures("store", "home")
def test_a_dry_run_prints_yaml_and_changes_nothing(home):
    before = sorted(home.rglob("*"))
    told = modelport(
        "deploy", "models:/breast-cancer@champion", "--name", "dry", "--dry-run"
    ).stdout
    manifest = yaml.safe_load(told)
    assert manifest["kind"] == "InferenceService"
    assert manifest["metadata"]["name"] == "dry"
    steps = [line.split()[1] for line in told.splitlines() if line.startswith("#   ")]
    assert steps == list(launch.STEPS)
    assert sorted(home.rglob("*")) == before


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["deploy"], "modelport: Missing argument 'MODEL': see modelport deploy --help"),
        (["deploy", "models:/x"], "modelport: 'models:/x' names no model version"),
        (["deploy", "models:/x/1", "--slo", "p99<3"], "modelport: SLO 'p99<3' has the wrong unit"),
        (["deploy", "models:/x/1", "--data", "gone.csv"], "modelport: there is no file"),
        (["deploy", "models:/x/1", "--data", "rows"], "modelport: there is neither a variable"),
        (
            ["deploy", "models:/x/1", "--target", "y"],
            "modelport: a target column was named without",
        ),
        (["deploy", "models:/x/1", "--name", "X"], "modelport: 'X' is no valid service name"),
        (["certify", "models:/x/1"], "modelport: Missing argument 'ONNX'"),
        (["certify", "models:/x/1", "gone.onnx"], "modelport: there is no file gone.onnx"),
        (["deploy", "models:/x/1", "--precision", "int4"], "modelport: Invalid value for"),
        (["fly"], "modelport: No such command 'fly'"),
        (["status", "--jsn"], "modelport: No such option"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(words, told, home):
    del home
    failed = modelport(*words, check=False)
    assert failed.returncode == 2
    assert failed.stderr.startswith(told)
    assert len(failed.stderr.splitlines()) == 1


def test_status_is_a_list_of_kserve_objects(home):
    del home
    listed = json.loads(modelport("status", "--json").stdout)
    assert (listed["apiVersion"], listed["kind"]) == ("v1", "List")
    assert all(item["kind"] == "InferenceService" for item in listed["items"])


def test_an_unknown_service_is_one_line(home):
    del home
    failed = modelport("status", "nobody", check=False)
    assert failed.returncode == 1
    assert failed.stderr.startswith("modelport: there is no service nobody in namespace default")


def test_rows_may_be_json_text_or_a_variable():
    assert release._rows({}, "[[1, 2]]") == [[1, 2]]
    assert release._rows({"rows": [[1.0]]}, "rows") == [[1.0]]
    with pytest.raises(UsageError, match="no valid JSON"):
        release._rows({}, "[1,")


@pytest.mark.usefixtures("store", "home")
def test_completion_knows_mlflows_models():
    assert "models:/breast-cancer@champion" in common.complete_models("models:/breast")
    assert common.complete_models("models:/zebra") == []
