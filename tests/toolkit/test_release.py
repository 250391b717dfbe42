"""The whole way on real parts: MLflow, Kubeflow's local runner, the engine, Envoy, the runtime."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress

import pandas as pd
import psutil
import pytest
import urllib3

import modelport
from modelport import launch, manifests
from modelport.render import Progress
from modelport.render.sinks import PlainProgress
from modelport.reports import StepRecord

CHAMPION = "models:/breast-cancer@champion"
SLO = "p99<1s, accuracy>=0.9"

pytestmark = pytest.mark.usefixtures("store", "home")


class Record:
    """A sink that keeps every state it was shown."""

    def __init__(self):
        self.seen = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def update(self, progress):
        self.seen.append({step.name: step.state for step in progress.steps})

    def finish(self, outcome=None):
        pass


class Interrupt(Record):
    """Presses Ctrl-C once while a step runs."""

    def __init__(self, step):
        super().__init__()
        self.step = step

    def update(self, progress):
        super().update(progress)
        if self.step and self.seen[-1][self.step] == "running":
            self.step = None
            signal.raise_signal(signal.SIGINT)


@pytest.fixture(scope="module")
def released(store, home):  # noqa: ARG001 - the release needs both
    sink = Record()
    release = modelport.deploy(
        CHAMPION, name="tumor", data=store.holdout, target="label", slo=SLO, sink=sink
    )
    return release, sink.seen


def test_every_step_is_done_and_seen_live(released):
    release, seen = released
    assert release.report.outcome == "deployed"
    assert {step.name: step.state for step in release.report.steps} == dict.fromkeys(
        launch.STEPS, "done"
    )
    assert seen[0] == dict.fromkeys(launch.STEPS, "waiting")
    # A step of a few milliseconds may be over before it is looked at.
    long_ones = ("resolve", "convert", "benchmark", "verify")
    assert all(any(states[step] == "running" for states in seen) for step in long_ones)


def test_the_report_is_measured(released):
    report = released[0].report
    assert report.resolution.uri == "models:/breast-cancer/1"
    assert report.certificate.verdict == "passed"
    assert report.certificate.rows["data"] == 143
    assert report.certificate.coverage.leaves_visited == report.certificate.coverage.leaves > 0
    metrics = report.evaluation.metrics
    assert metrics["native"]["accuracy"] == metrics["converted"]["accuracy"] > 0.9
    assert report.verification.metrics["accuracy"] == metrics["native"]["accuracy"]
    assert report.verification.rows_differing == 0
    assert {m.subject for m in report.benchmark.measurements} == {"native", "converted"}
    assert report.explanation.method == "tree"
    assert len(report.gates.verdicts) == 2
    assert {verdict.stage for verdict in report.verification.verdicts} == {"live"}


def test_the_endpoint_answers_as_the_notebook_does(released, store):
    release, _ = released
    rows = store.holdout.drop(columns="label")
    answers = modelport.predict("tumor", rows)
    native = store.mlflow.sklearn.load_model(release.report.resolution.uri)
    assert list(answers["label"]) == list(native.predict(rows))
    assert answers["probabilities_1"].to_numpy() == pytest.approx(
        native.predict_proba(rows)[:, 1], abs=1e-5
    )
    assert list(answers.index) == list(rows.index)


@pytest.mark.parametrize("protocol", ["v1", "v2"])
def test_the_endpoint_is_measured_by_name_and_by_url(released, protocol):
    release, _ = released
    quick = {"concurrency": [1, 4], "batch": [1, 8], "seconds": 0.05, "repeats": 2}
    by_name = modelport.benchmark("tumor", protocol=protocol, **quick).report
    by_url = modelport.benchmark(f"{release.url}/{protocol}/models/tumor", **quick).report
    for found in (by_name, by_url):
        assert found.protocol == protocol
        assert found.target.startswith(f"{release.url}/{protocol}/models/tumor")
        loads = [(one.batch_size, one.concurrency) for one in found.measurements]
        assert loads == [(1, 1), (1, 4), (8, 1), (8, 4)]
        assert all(one.failures == 0 and one.first_error == "" for one in found.measurements)
        assert found.footprints["live"].memory_bytes > 10 << 20


def test_rows_may_be_an_array_or_a_list(released, store):
    del released
    rows = store.holdout.drop(columns="label").head(2)
    by_name = modelport.predict("tumor", rows)
    assert list(modelport.predict("tumor", rows.to_numpy())["label"]) == list(by_name["label"])
    assert len(modelport.predict("tumor", rows.iloc[0].tolist())) == 1


def test_rows_that_do_not_fit_are_refused_in_one_line(released, store):
    del released
    rows = store.holdout.drop(columns=["label", "mean radius"])
    with pytest.raises(modelport.PredictionError, match="mean radius") as refused:
        modelport.predict("tumor", rows)
    assert "\n" not in str(refused.value)


def test_mlflow_keeps_the_model_as_anyone_can_read_it(released, store):
    report = released[0].report
    rows = store.holdout.drop(columns="label")
    loaded = store.mlflow.pyfunc.load_model(report.registration.model_uri)
    answers = loaded.predict(rows)
    assert set(answers) == {"label", "probabilities"}
    assert (answers["label"] == modelport.predict("tumor", rows)["label"]).all()
    assert loaded.metadata.flavors["onnx"]["onnx_session_options"]["intra_op_num_threads"] >= 1


def test_mlflow_keeps_figures_and_reports(released, store):
    report = released[0].report
    client = store.mlflow.MlflowClient()
    run = client.get_run(report.registration.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["live.accuracy"] == report.verification.metrics["accuracy"]
    assert run.data.metrics["converted.batch_1.p99_ms"] > 0
    assert run.data.params["served_as"] == "onnx"
    kept = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert {"report.json", "report.html", "reports", "plots"} <= kept


def test_the_service_is_a_kserve_object(released):
    release, _ = released
    service = modelport.status("tumor").object
    assert service["apiVersion"] == "serving.kserve.io/v1beta1"
    assert service["status"]["url"] == release.url
    model = release.report.registration.model_uri
    assert manifests.annotation(service, manifests.MODEL) == model
    assert urllib3.request("GET", service["status"]["url"]).status == 200


def test_a_second_release_makes_a_new_revision_and_drops_no_request(released, store):
    release, _ = released
    rows = store.holdout.drop(columns="label").head(1)
    body = json.dumps({"instances": rows.to_dict(orient="records")})
    url = f"{release.url}/v1/models/tumor:predict"
    failed, sent, over = [], [], threading.Event()

    def load():
        pool = urllib3.PoolManager(retries=False)
        while not over.is_set():
            response = pool.request("POST", url, body=body)
            sent.append(response.status)
            if response.status != 200:
                failed.append(response.data)

    caller = threading.Thread(target=load)
    caller.start()
    try:
        again = modelport.deploy(CHAMPION, name="tumor", data=store.holdout, target="label")
    finally:
        over.set()
        caller.join()
    assert again.report.deployment.revision != release.report.deployment.revision
    assert again.url == release.url
    assert failed == []
    assert len(sent) > 100


def test_a_gate_that_fails_deploys_nothing(released, store):
    del released
    before = modelport.status("tumor").object
    with pytest.raises(
        modelport.GateFailed,
        match=r"accuracy>=0.999 failed \(0.9\d+, 0.0\d+ below the bound\); nothing was deployed",
    ) as stopped:
        modelport.deploy(
            CHAMPION, name="tumor", data=store.holdout, target="label", slo="accuracy>=0.999"
        )
    report = stopped.value.release
    assert report.outcome == "stopped"
    assert {s.name: s.state for s in report.steps if s.state != "done"} == {
        "deploy": "skipped",
        "verify": "skipped",
    }
    run = store.mlflow.MlflowClient().get_run(report.registration.run_id)
    assert run.info.status == "FAILED"
    after = modelport.status("tumor").object
    assert after["metadata"]["generation"] == before["metadata"]["generation"]


def test_without_data_accuracy_is_not_invented(released):
    del released
    with pytest.raises(modelport.GateFailed, match="not measured: no labelled data") as stopped:
        modelport.deploy(CHAMPION, name="tumor", slo="accuracy>=0.5")
    report = stopped.value.release
    assert not report.evaluation.measured
    assert report.certificate.rows["input example"] == 3
    assert "data" not in report.certificate.rows
    assert not report.explanation.explained


def test_a_model_without_converter_is_served_as_it_is(store):
    del store
    release = modelport.deploy("models:/echo/1", data=pd.DataFrame({"a": [1.0, 2.0, 3.0]}))
    report = release.report
    assert not report.conversion.converted
    assert "no ONNX form" in report.conversion.reason
    assert report.certificate.verdict == "not applicable"
    assert list(modelport.predict("echo", pd.DataFrame({"a": [2.5]}))["prediction"]) == [5.0]
    service = modelport.status("echo").object
    assert service["spec"]["predictor"]["model"]["args"] == ["--allow-pickle"]
    modelport.delete("echo")
    with pytest.raises(modelport.ServiceNotFound, match="no service echo"):
        modelport.status("echo")


def log(store, estimator, name, **options):
    logged = store.mlflow.sklearn.log_model(
        estimator,
        name=name,
        registered_model_name=name,
        pip_requirements=["scikit-learn"],
        serialization_format="cloudpickle",
        **options,
    )
    return f"models:/{name}/{logged.registered_model_version}"


def deployed(model, rows, **options):
    """Deploy, ask, delete: what the service answered on the rows, and the report."""
    release = modelport.deploy(model, name="kind", **options)
    try:
        return modelport.predict("kind", rows), release.report
    finally:
        modelport.delete("kind")


def test_a_classifier_without_probabilities_is_deployed(store):
    from mlflow.models import infer_signature
    from sklearn.svm import LinearSVC

    rows, labels = store.holdout.drop(columns="label"), store.holdout["label"]
    model = LinearSVC(random_state=0).fit(rows, labels)
    uri = log(store, model, "svc", signature=infer_signature(rows, labels))
    answers, report = deployed(uri, rows, data=store.holdout, target="label")
    assert report.conversion.converted
    assert list(answers["prediction"]) == list(model.predict(rows))
    assert report.verification.metrics == report.evaluation.metrics["native"]


def test_a_sklearn_classifier_without_converter_is_served_by_its_own_flavour(store):
    from mlflow.models import infer_signature
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer
    from sklearn.tree import DecisionTreeClassifier

    rows, labels = store.holdout.drop(columns="label"), store.holdout["label"]
    model = make_pipeline(FunctionTransformer(abs), DecisionTreeClassifier(random_state=0))
    uri = log(store, model.fit(rows, labels), "abs", signature=infer_signature(rows, labels))
    answers, report = deployed(uri, rows, data=store.holdout, target="label")
    assert "skl2onnx does not convert" in report.conversion.reason
    assert list(answers["label"]) == list(model.predict(rows))
    assert report.verification.rows_differing == 0
    assert report.verification.metrics["accuracy"] == 1.0


def test_a_model_of_arrays_is_deployed(store):
    from mlflow.models import infer_signature
    from sklearn.linear_model import LinearRegression

    rows = store.holdout.drop(columns="label").to_numpy()[:, :4]
    model = LinearRegression().fit(rows, rows.sum(axis=1))
    uri = log(store, model, "sum", signature=infer_signature(rows, rows.sum(axis=1)))
    answers, report = deployed(uri, rows)
    assert report.certificate.rows["invented"] == 512
    assert answers["prediction"].to_numpy() == pytest.approx(rows.sum(axis=1), rel=1e-5)


def test_an_onnx_model_passes_through(released, store):
    rows = store.holdout.drop(columns="label")
    converted = released[0].report.registration.model_uri
    answers, report = deployed(converted, rows.to_numpy(), data=store.holdout, target="label")
    assert (report.resolution.flavour, report.conversion.flavour) == ("onnx", "onnx")
    assert list(answers["label"]) == list(modelport.predict("tumor", rows)["label"])


def test_onnx_may_be_required(store):
    del store
    with pytest.raises(modelport.UnsupportedModel, match="no ONNX form"):
        modelport.deploy("models:/echo/1", require_onnx=True)
    with pytest.raises(modelport.ServiceNotFound):
        modelport.status("echo")


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("models:/breast-cancer@winner", "its aliases: champion"),
        ("models:/breast-cancer/77", "its newest version is 1"),
        ("models:/brest-cancer@champion", "registered models: breast-cancer"),
    ],
)
def test_an_unknown_model_names_what_there_is(model, words):
    with pytest.raises(modelport.ModelNotFound, match=words):
        modelport.deploy(model, name="tumor")


def test_a_missing_target_stops_before_anything_starts(store, home):
    before = set(home.glob("releases/*"))
    with pytest.raises(modelport.DataError, match="no column 'verdict'"):
        modelport.deploy(CHAMPION, data=store.holdout, target="verdict")
    started = set(home.glob("releases/*")) - before
    assert not any((folder / "request.json").exists() for folder in started)


def test_data_that_do_not_fit_the_signature_are_refused(store):
    with pytest.raises(modelport.DataError, match="lack 'mean radius'"):
        modelport.deploy(CHAMPION, name="tumor", data=store.holdout.drop(columns="mean radius"))


def test_an_mlflow_that_is_down_is_named_without_its_password(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:1")
    code = (
        "import modelport\n"
        f"try: modelport.deploy({CHAMPION!r}, name='tumor')\n"
        "except modelport.TrackingError as error: print(error)\n"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    last = told.stdout.splitlines()[-1]
    assert last.startswith("MLflow at http://me:***@127.0.0.1:1 does not answer: start it")
    assert "secret" not in told.stdout + told.stderr


@pytest.fixture
def interruptible():
    """Let Ctrl-C interrupt: a shell that runs the tests in the background had it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupted_release_leaves_the_service_as_it_was(released, store):
    del released
    before = modelport.status("tumor").object

    with pytest.raises(modelport.Interrupted, match="the service is as it was") as stopped:
        modelport.deploy(
            CHAMPION, name="tumor", data=store.holdout, target="label", sink=Interrupt("verify")
        )
    assert stopped.value.release.outcome == "interrupted"
    release_id = stopped.value.release.release_id
    assert modelport.predict("tumor", store.holdout.drop(columns="label").head(1)).shape[0] == 1
    after = modelport.status("tumor").object
    assert after["spec"] == before["spec"]
    assert processes_of(release_id) == [], "the release's processes live on"


def processes_of(release_id):
    """Processes that write to the journal of a release."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if release_id in process.environ().get("MODELPORT_JOURNAL", ""):
                found.append(process.cmdline())
    return found


@pytest.mark.usefixtures("interruptible")
def test_interrupted_after_a_down_the_old_service_is_still_there(released, store):
    """The engine is down when the release starts, and comes up with what it knew."""
    del released
    before = modelport.status("tumor").object["spec"]
    modelport.down()
    with pytest.raises(modelport.Interrupted):
        modelport.deploy(
            CHAMPION, name="tumor", data=store.holdout, target="label", sink=Interrupt("verify")
        )
    assert modelport.status("tumor").object["spec"] == before


def test_a_step_whose_process_dies_leaves_the_service_as_it_was(released, store):
    del released
    before = modelport.status("tumor").object["spec"]

    class Kill(Record):
        """Kills the workbenches while the new revision is verified."""

        def update(self, progress):
            super().update(progress)
            if self.seen[-1]["verify"] == "running":
                for process in psutil.Process().children():
                    with suppress(psutil.Error):
                        if "modelport.workbench" in process.cmdline():
                            process.kill()

    with pytest.raises(modelport.ModelportError, match="process that does step verify died"):
        modelport.deploy(CHAMPION, name="tumor", data=store.holdout, target="label", sink=Kill())
    assert modelport.status("tumor").object["spec"] == before


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small disk")
def test_a_disk_that_is_really_full_says_so(tmp_path):
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", tmp_path], capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a small disk here: {mounted.stderr.decode().strip()}")
    try:
        environment = {**os.environ, "MODELPORT_HOME": str(tmp_path)}
        del environment["MODELPORT_GATEWAY_PORT"]
        command = [sys.executable, "-m", "modelport"]
        told = subprocess.run(
            [*command, "deploy", CHAMPION, "--name", "small"],
            env=environment,
            capture_output=True,
            text=True,
        )
        subprocess.run([*command, "down"], env=environment, check=True, capture_output=True)
        assert told.returncode == 1
        assert re.match(r"modelport: .*disk.* full.*free space", told.stderr.splitlines()[-1])
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_plain_progress_has_a_line_for_every_change(capsys):
    sink = PlainProgress(sys.stdout)
    begun = Progress.begin("churn → churn", ("resolve", "convert"))
    with sink:
        sink.update(begun)
        for state in ("running", "done"):
            first = StepRecord(name="resolve", state=state, seconds=1.0)
            sink.update(begun.with_steps((first, *begun.steps[1:])))
    assert [line.split(",")[0] for line in capsys.readouterr().out.splitlines()] == [
        "churn → churn",
        "resolve: running",
        "resolve: done",
    ]


def test_releases_sort_by_time():
    first = launch.new_release_id()
    deadline = time.monotonic() + 5
    while (second := launch.new_release_id())[:15] == first[:15]:
        assert time.monotonic() < deadline
    assert first < second
