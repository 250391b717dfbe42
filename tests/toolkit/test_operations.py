"""kubectl's commands against a real engine, whose replicas are the small stand-in server."""

import json
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import modelport
from modelport import cli, config
from modelport.cli.common import Json
from modelport.errors import (
    DeploymentFailed,
    ServiceNotFound,
    TargetError,
    UsageError,
)
from modelport.render import as_text

from .conftest import free_port, processes_of

STANDIN = Path(__file__).parents[1] / "engine" / "standin.py"
RESOURCE = "inferenceservice.serving.kserve.io"


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    """A home whose engine runs the stand-in; nothing of it may live afterwards."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODELPORT_HOME", str(folder))
        patch.setenv("MODELPORT_GATEWAY_PORT", str(free_port()))
        patch.setenv("MODELPORT_ENGINE_RUNTIME", shlex.join([sys.executable, str(STANDIN)]))
        config.settings.cache_clear()
        modelport.up()
        yield folder
        modelport.down()
        config.settings.cache_clear()
    assert processes_of(folder) == []


@pytest.fixture
def place(engine, tmp_path):
    """A running engine without services, and a folder for models and manifests."""
    del engine
    yield tmp_path
    for one in modelport.services():
        metadata = one.object["metadata"]
        modelport.delete(metadata["name"], namespace=metadata["namespace"])


def model(place, name, **behaviour):
    folder = place / name
    folder.mkdir(exist_ok=True)
    (folder / "behaviour.json").write_text(json.dumps({"answer": name, **behaviour}))
    return folder


def manifest(folder, name="tumor", **predictor):
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name},
        "spec": {
            "predictor": {
                "model": {"modelFormat": {"name": "onnx"}, "storageUri": folder.as_uri()},
                **predictor,
            }
        },
    }


def file(place, *objects, name="services.yaml"):
    path = place / name
    path.write_text(yaml.safe_dump_all(objects))
    return str(path)


def run(*words, variables=None):
    """Run a command; give what it shows, as lines."""
    result = cli.run(list(words), variables)
    if isinstance(result, Json):
        return result.value
    if isinstance(result, Iterator):
        return list(result)
    if hasattr(result, "__rich__"):
        return as_text(result.__rich__(), 1000).splitlines()
    return result.splitlines()


def deploy(place, name="one", **predictor):
    run("apply", "-f", file(place, manifest(model(place, name), **predictor)))


def eventually(condition, limit=15.0):
    deadline = time.monotonic() + limit
    while not (result := condition()):
        assert time.monotonic() < deadline, "the condition never held"
        time.sleep(0.05)
    return result


def traffic(name="tumor"):
    found = run("rollout", "history", name, "--json")
    return {one["revision"]: one["traffic"] for one in found if one["traffic"]}


def test_apply_creates_configures_and_leaves_alone(place):
    both = [manifest(model(place, "one")), manifest(model(place, "two"), "other")]
    path = file(place, *both)
    assert run("apply", "-f", path, "--dry-run") == [
        f"{RESOURCE}/tumor created (dry run)",
        f"{RESOURCE}/other created (dry run)",
    ]
    assert len(modelport.services()) == 0
    created = run("apply", "-f", path)
    assert created[:2] == [f"{RESOURCE}/tumor created", f"{RESOURCE}/other created"]
    assert created[2].startswith(f"{RESOURCE}/tumor is ready: http://127.0.0.1:")
    both[0]["metadata"]["labels"] = {"team": "a"}
    assert run("apply", "-f", file(place, *both), "--no-wait") == [
        f"{RESOURCE}/tumor configured",
        f"{RESOURCE}/other unchanged",
    ]


def test_all_is_checked_before_anything_is_applied(place):
    good, bad = manifest(model(place, "one")), manifest(place / "gone", "other")
    for wrong, said in (
        (bad, "does not exist"),
        ({"kind": "Secret", "metadata": {"name": "s3"}}, "Secret s3: the local engine takes"),
        (manifest(model(place, "two"), "Other"), "metadata.name"),
    ):
        with pytest.raises(UsageError, match=f"{said}.*nothing was changed"):
            run("apply", "-f", file(place, good, wrong))
    assert len(modelport.services()) == 0


def test_a_namespace_is_given_once(place):
    one = manifest(model(place, "one"))
    run("apply", "-f", file(place, one), "-n", "staging")
    assert run("get", "-A", "-o", "json")["items"][0]["metadata"]["namespace"] == "staging"
    assert run("get") == ["No resources found in default namespace."]
    one["metadata"]["namespace"] = "staging"
    run("apply", "-f", file(place, one), "-n", "staging", "--no-wait")
    with pytest.raises(UsageError, match=r"services.yaml:\d+: the object is of namespace staging"):
        run("apply", "-f", file(place, one), "-n", "other")
    with pytest.raises(ServiceNotFound):
        run("delete", "tumor")
    deleted = f'{RESOURCE} "tumor" deleted'
    assert run("delete", "-f", file(place, one)) == [deleted]
    assert run("delete", "-f", file(place, one), "--ignore-not-found") == []


def test_one_that_fails_ends_the_command_and_the_old_one_serves(place):
    deploy(place)
    broken = file(place, manifest(model(place, "broken", fail="the tree is broken")))
    shown = cli.run(["apply", "-f", broken])
    assert next(shown) == f"{RESOURCE}/tumor configured"
    with pytest.raises(DeploymentFailed, match=r"the tree is broken: .* keeps serving"):
        next(shown)
    told = "\n".join(run("describe", "isvc", "tumor"))
    assert "Message:     tumor-predictor-00002-1 ended with exit code 3: the tree is broken" in told
    assert "curl -s http://127.0.0.1" in told
    assert "RevisionFailed" in told
    assert traffic() == {1: 100}
    with pytest.raises(DeploymentFailed, match="the tree is broken"):
        run("rollout", "status", "tumor")
    (line,) = run("rollout", "status", "tumor", "--no-watch")
    assert "ready is False, ModelLoadFailed" in line
    logged = run("logs", "tumor", "--previous", "--revision", "2")
    assert set(logged) == {"the tree is broken"}


def test_get_shows_kubectl_s_columns(place):
    deploy(place)
    header, line = run("get", "isvc", "tumor")
    assert header.split() == [
        *("NAME", "URL", "READY", "PREV", "LATEST"),
        *("PREVROLLEDOUTREVISION", "LATESTREADYREVISION", "AGE"),
    ]
    name, url, ready, latest, revision, _ = line.split()
    assert (name, ready, latest, revision) == ("tumor", "True", "100", "tumor-predictor-00001")
    assert url.startswith("http://127.0.0.1:")
    wide = run("get", "-o", "wide")[1]
    assert "tumor-predictor-00001=100%   1/1" in wide
    assert run("get", "isvc/tumor", "-o", "name") == [f"{RESOURCE}/tumor"]
    assert run("get", "tumor", "-o", "json")["kind"] == "InferenceService"
    assert run("get", "-o", "json")["kind"] == "List"
    stored = yaml.safe_load("\n".join(run("get", "tumor", "-o", "yaml")))
    assert stored["status"]["url"] == url
    with pytest.raises(ServiceNotFound, match="there is no service nobody in namespace default"):
        run("get", "tumor", "nobody")


def test_what_get_prints_can_be_applied(place):
    deploy(place)
    stored = run("get", "-o", "json")
    (line,) = run("apply", "-f", "it", "--no-wait", variables={"it": stored})
    assert line == f"{RESOURCE}/tumor unchanged"


def test_a_canary_is_shared_promoted_and_taken_back(place):
    deploy(place)
    deploy(place, "two", canaryTrafficPercent=10)
    eventually(lambda: traffic() == {1: 90, 2: 10})
    assert run("rollout", "canary", "tumor", "30") == [f"{RESOURCE}/tumor canary at 30%"]
    eventually(lambda: traffic() == {1: 70, 2: 30})
    eventually(lambda: run("get", "tumor")[1].split()[3:5] == ["70", "30"])
    assert run("rollout", "promote", "tumor") == [f"{RESOURCE}/tumor promoted"]
    eventually(lambda: traffic() == {2: 100})
    assert run("rollout", "status", "tumor") == ['inferenceservice "tumor" successfully rolled out']
    assert run("rollout", "undo", "tumor") == [f"{RESOURCE}/tumor rolled back"]
    eventually(lambda: traffic() == {1: 100})
    run("rollout", "undo", "tumor", "--to-revision", "2")
    eventually(lambda: traffic() == {2: 100})
    with pytest.raises(TargetError, match="has no revision 9"):
        run("rollout", "undo", "tumor", "--to-revision", "9")
    shown = "\n".join(run("rollout", "history", "tumor", "--revision", "1"))
    assert yaml.safe_load(shown)["spec"]["predictor"]["model"]["storageUri"].endswith("/one")


def test_an_entry_of_canary_takes_the_stable_place(place):
    document = manifest(model(place, "one"))
    two = manifest(model(place, "two"), name="unused")["spec"]["predictor"]
    document["spec"]["canary"] = [{"trafficPercent": 20, "predictor": {"name": "two", **two}}]
    run("apply", "-f", file(place, document))
    eventually(lambda: sorted(traffic().values()) == [20, 80])
    run("rollout", "promote", "tumor", "--canary", "two")
    eventually(lambda: list(traffic().values()) == [100])
    stored = run("get", "tumor", "-o", "json")
    assert stored["spec"]["predictor"]["name"] == "two"
    assert "canary" not in stored["spec"]
    # What served a fifth serves all: no new process, no new revision.
    assert len(run("rollout", "history", "tumor", "--json")) == 2


def test_scale_stop_and_start(place):
    deploy(place)
    assert run("scale", "isvc/tumor", "--replicas", "2") == [f"{RESOURCE}/tumor scaled"]
    eventually(lambda: "2/2" in run("get", "-o", "wide")[1])
    run("scale", "tumor", "--min", "1", "--max", "1")
    eventually(lambda: "1/1" in run("get", "-o", "wide")[1])
    assert run("stop", "tumor") == [f"{RESOURCE}/tumor stopped"]
    eventually(lambda: "0/0" in run("get", "-o", "wide")[1])
    assert "Stopped" in run("rollout", "status", "tumor")[0]
    assert run("apply", "-f", "it", variables={"it": run("get", "tumor", "-o", "json")}) == [
        f"{RESOURCE}/tumor unchanged",
        f"{RESOURCE}/tumor is stopped",
    ]
    assert run("start", "tumor") == [f"{RESOURCE}/tumor started"]
    run("rollout", "status", "tumor")
    assert "True" in run("get", "tumor")[1]
    with pytest.raises(ServiceNotFound, match="nobody"):
        run("stop", "nobody")
    with pytest.raises(UsageError, match="no explainer: it has: predictor"):
        run("scale", "tumor", "--replicas", "2", "--component", "explainer")


def test_events_are_kubectl_s(place):
    # Events outlive their service, as in Kubernetes: one of this name has none yet.
    run("apply", "-f", file(place, manifest(model(place, "one"), "eventful")))
    header, first, *_ = run("events", "eventful")
    assert header.split("   ")[0] == "LAST SEEN"
    assert first.split()[1:4] == ["Normal", "Created", "inferenceservice/eventful"]
    assert run("events", "-A")[0].startswith("NAMESPACE")
    assert run("events", "--json")["items"][0]["involvedObject"]["kind"] == "InferenceService"
    assert run("events", "-n", "nowhere") == ["No events found in nowhere namespace."]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["apply"], "no file was named: add -f FILE"),
        (["apply", "-f", "it"], "there is no file it"),
        (["get", "tumor", "-A"], "leave -A out"),
        (["get", "-w", "-o", "json"], "-w prints no json"),
        (["describe"], "one service can be described"),
        (["delete"], "it must be said what"),
        (["delete", "a", "--all"], "it must be said what"),
        (["delete", "--all"], "add -y"),
        (["scale", "tumor"], "no number of replicas"),
        (["rollout", "canary", "tumor", "101"], "PERCENT"),
        (["logs", "tumor", "--tail", "-2"], "--tail"),
    ],
)
def test_a_mistake_is_said_before_anything_is_done(place, words, said):
    del place
    with pytest.raises(UsageError, match=said):
        run(*words)


def test_all_of_a_namespace_are_deleted(place):
    both = [manifest(model(place, "one"), name) for name in ("a", "b")]
    run("apply", "-f", file(place, *both), "--no-wait")
    assert sorted(run("delete", "--all", "-y")) == [
        f'{RESOURCE} "a" deleted',
        f'{RESOURCE} "b" deleted',
    ]
    assert len(modelport.services()) == 0


class Watched:
    """A command that goes on for ever, as a user starts it."""

    def __init__(self, *words):
        self.lines = []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "modelport", *words],
            stdout=subprocess.PIPE,
            text=True,
            # A shell that runs the tests in the background lets them ignore Ctrl-C, and so this.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self):
        for line in self._process.stdout:
            self.lines.append(line.rstrip())

    def until(self, *words):
        return eventually(lambda: any(all(w in line for w in words) for line in self.lines), 30)

    def interrupted(self):
        self._process.send_signal(signal.SIGINT)
        try:
            return self._process.wait(20)
        finally:
            self._process.kill()
            self._thread.join()
            self._process.stdout.close()


def test_what_goes_on_for_ever_ends_with_ctrl_c(place):
    deploy(place)
    watched = [
        Watched("get", "-w"),
        Watched("events", "tumor", "-w"),
        Watched("logs", "tumor", "-f", "--all"),
    ]
    watched[0].until("tumor-predictor-00001")
    watched[1].until("RevisionReady", "tumor-predictor-00001")
    with pytest.raises(DeploymentFailed):
        run("apply", "-f", file(place, manifest(model(place, "broken", fail="no such tree"))))
    watched[0].until("tumor", "False")
    watched[1].until("RevisionFailed", "no such tree")
    watched[2].until("no such tree")
    assert [one.interrupted() for one in watched] == [130] * 3


def test_a_reader_that_has_enough_ends_the_command(place):
    deploy(place)
    process = subprocess.Popen(
        [sys.executable, "-m", "modelport", "get", "-w"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout.readline().startswith("NAME")
        process.stdout.close()
        run("scale", "tumor", "--replicas", "2")
        run("stop", "tumor")  # the next line, which nobody reads
        assert process.wait(20) == 141
        assert process.stderr.read() == ""


def test_services_revisions_and_namespaces_are_completed(place):
    deploy(place)
    from click.shell_completion import ShellComplete

    def completed(*words, incomplete=""):
        complete = ShellComplete(cli.program, {}, "modelport", "_MODELPORT_COMPLETE")
        return [item.value for item in complete.get_completions(list(words), incomplete)]

    assert completed("describe", incomplete="tu") == ["tumor"]
    assert completed("rollout", "status") == ["tumor"]
    assert completed("get", "-n") == ["default"]
    assert completed("rollout", "undo", "tumor", "--to-revision") == ["1"]
    assert completed("logs", "tumor", "--revision") == ["tumor-predictor-00001"]


def test_an_engine_that_is_down_does_not_seem_empty(place):
    deploy(place)
    modelport.down()
    path = file(place, manifest(model(place, "one")))
    for words in (["get"], ["events"], ["apply", "-f", path, "--dry-run"], ["logs", "tumor"]):
        with pytest.raises(TargetError, match="start it with `modelport up`"):
            run(*words)
    # What was there is known as soon as it runs again.
    assert run("apply", "-f", path)[0] == f"{RESOURCE}/tumor unchanged"


def test_from_python(place):
    (ready,) = modelport.apply(manifest(model(place, "one")))
    assert ready.object["status"]["url"].startswith("http://127.0.0.1:")
    modelport.apply(file(place, manifest(model(place, "two"))))
    assert modelport.rollback("tumor").object["spec"] == ready.object["spec"]
    scaled = modelport.scale("tumor", 2, most=3)
    assert scaled.object["spec"]["predictor"]["maxReplicas"] == 3
    assert modelport.stop("tumor").object["metadata"]["annotations"]
    assert "annotations" not in modelport.start("tumor").object["metadata"]
