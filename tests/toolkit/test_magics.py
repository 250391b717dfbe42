"""The magics in a real kernel."""

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from modelport import cli, magics

pytestmark = pytest.mark.usefixtures("store", "home")


def run(*sources, check=True):
    """Run cells in a kernel of their own; return their outputs."""
    cells = [nbformat.v4.new_code_cell(source) for source in ("%load_ext modelport", *sources)]
    notebook = nbformat.v4.new_notebook(cells=cells)
    client = NotebookClient(notebook, timeout=120, kernel_name="python3", allow_errors=not check)
    client.execute()
    return [cell.outputs for cell in notebook.cells[1:]]


def text(outputs):
    found = ""
    for output in outputs:
        found += output.get("text", "") + output.get("data", {}).get("text/plain", "")
    return found


def test_the_whole_job_in_a_notebook(store):
    read = (
        f"import pandas as pd; holdout = pd.read_parquet({str(store.folder / 'holdout.parquet')!r})"
    )
    deployed, predicted, status, detail, measured, deleted = run(
        read + "; rows = holdout.drop(columns='label').head(3)",
        "%kserve_deploy models:/breast-cancer@champion --name cell --data holdout "
        '--target label --slo "p99<1s, accuracy>=0.9"',
        "%kserve_predict cell rows",
        "%kserve_status",
        "%kserve_status cell",
        "%kserve_benchmark cell --concurrency 1,4 --batch 1 --seconds 0.05 --repeats 2",
        "%kserve_delete cell",
    )[1:]
    report = next(o for o in deployed if o.output_type == "execute_result")
    assert "Deployed" in report.data["text/plain"]
    assert "worst perimeter" in report.data["text/html"]
    assert "curl -s http://127.0.0.1" in report.data["text/html"]
    table = predicted[0].data["text/plain"]
    assert all(column in table for column in ("label", "probabilities_0", "probabilities_1"))
    assert "cell" in status[0].data["text/html"]
    assert "PredictorReady" in detail[0].data["text/html"]
    benchmark = next(o for o in measured if o.output_type == "execute_result")
    assert "<svg" in benchmark.data["text/html"]
    assert 'inferenceservice.serving.kserve.io "cell" deleted' in text(deleted)


def test_kubectl_s_commands_in_a_notebook(store):
    uri = f"file://{store.folder}"
    cell = f"""%%kserve_lint --target kubernetes
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: written
spec:
  predictor:
    model:
      modelFormat: {{name: onnx}}
      storageUri: {uri}
"""
    linted, applied, listed, told, scaled, *_ = run(
        cell,
        cell.replace("%%kserve_lint --target kubernetes", "%%kserve_apply --no-wait"),
        "%kserve_get isvc written",
        "%kserve_describe written",
        "%kserve_scale written --replicas 2",
        "%kserve_events written",
        "%kserve_rollout history written",
        "%kserve_stop written",
        "%kserve_start written",
        "%kserve_delete written",
    )
    assert "the cell:10" in linted[0].data["text/html"]
    assert "does not exist in a cluster" in linted[0].data["text/html"]
    assert "inferenceservice.serving.kserve.io/written created" in text(applied)
    assert "LATESTREADYREVISION" in listed[0].data["text/html"]
    assert uri in told[0].data["text/html"]
    assert "written scaled" in text(scaled)


def test_logs_are_followed_until_the_kernel_is_interrupted():
    (outputs,) = run(
        "import threading, _thread\n"
        "threading.Timer(3, _thread.interrupt_main).start()\n"
        "%kserve_get -w"
    )
    assert "NAME" in text(outputs)
    assert not [output for output in outputs if output.output_type == "error"]


def test_an_error_is_one_line_and_stops_the_notebook():
    with pytest.raises(CellExecutionError):
        run("%kserve_deploy models:/breast-cancer@winner --name cell")
    (outputs,) = run("%kserve_deploy models:/breast-cancer@winner --name cell", check=False)
    (error,) = [output for output in outputs if output.output_type == "error"]
    assert error.traceback == [f"modelport: {error.evalue}"]
    assert "its aliases: champion" in error.evalue


def test_a_traceback_is_shown_when_asked_for():
    (outputs,) = run("%kserve_deploy models:/breast-cancer@winner --traceback", check=False)
    (error,) = [output for output in outputs if output.output_type == "error"]
    assert len(error.traceback) > 5
    assert "Traceback" in error.traceback[0]


def test_help_is_the_commands():
    helped, documented = run(
        "%kserve_deploy --help",
        "print(get_ipython().find_line_magic('kserve_deploy').__doc__)",
    )
    for told in (text(helped), text(documented)):
        assert "--slo" in told
        assert "Convert, certify, score, time, explain and deploy" in told
    assert "%kserve_deploy" in text(documented)


def test_words_and_services_are_completed():
    code = (
        "from IPython import get_ipython\n"
        "ip = get_ipython()\n"
        "print(ip.Completer.complete(line_buffer='%kserve_deploy --na', cursor_pos=19)[1])\n"
        "line = '%kserve_deploy models:/breast-cancer@'\n"
        "print(ip.Completer.complete(line_buffer=line, cursor_pos=len(line))[1])\n"
    )
    (outputs,) = run(code)
    told = text(outputs)
    assert "--name" in told
    assert "champion" in told
    assert magics.completions("rollout", ["%kserve_rollout"], "") == list(
        cli.program.commands["rollout"].commands
    )
    assert magics.completions("rollout", ["%kserve_rollout", "undo", "--to"], "--to") == [
        "--to-revision"
    ]
