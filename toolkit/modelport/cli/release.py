"""The commands that carry models to services, and ask these: each calls one verb of `api`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from modelport import api
from modelport.cli import common
from modelport.cli.common import Json, Variables, shown, variable
from modelport.errors import UsageError


@click.command()
@click.argument("model", shell_complete=common.models)
@click.option("--name", shell_complete=common.services, help="Name of the service.  [the model's]")
@click.option(
    "--data",
    help="Rows to judge the model on: a CSV, Parquet or NumPy file or, in a notebook, the name of "
    "a DataFrame or an array.",
)
@click.option(
    "--target",
    help="Column of the data that holds the labels; without it accuracy is not measured.",
)
@click.option("--slo", help="What must hold, such as 'p99<50ms, accuracy>=0.9'.")
@common.namespace
@click.option(
    "--require-onnx",
    is_flag=True,
    help="Stop, rather than serve a model that has no converter as it is.",
)
@click.option(
    "--precision",
    type=click.Choice(api.PRECISIONS),
    default="float32",
    show_default=True,
    help="What the model computes in; auto takes the fastest whose certificate and accuracy pass.",
)
@click.option(
    "--explainer",
    is_flag=True,
    help="Let the service explain its answers, too, in a second process (300 MB).",
)
@click.option(
    "--dry-run", is_flag=True, help="Print the InferenceService and the steps; change nothing."
)
@common.as_json
@common.traceback
@click.pass_obj
def deploy(
    variables: Variables,
    /,
    model: str,
    data: str | None,
    dry_run: bool,
    as_json: bool,
    **options: Any,
) -> object:
    """Convert, certify, score, time, explain and deploy a MODEL from MLflow.

    MODEL is models:/NAME@ALIAS, models:/NAME/VERSION, runs:/RUN_ID/PATH or a model folder.
    """
    if dry_run:
        return shown(api.plan(model, **options), as_json=as_json)
    given = None if data is None else variable(variables, data, "a DataFrame or a file")
    released = api.deploy(model, data=given, sink=common.sink(as_json=as_json), **options)
    return shown(released, as_json=as_json)


@click.command()
@common.service
@click.argument("rows")
@common.namespace
@common.as_json
@common.traceback
@click.pass_obj
def predict(variables: Variables, service: str, rows: str, namespace: str, as_json: bool) -> object:
    """Ask a live SERVICE for its answers.

    ROWS are a CSV, Parquet or JSON file, JSON text or, in a notebook, the name of a DataFrame,
    an array or a list.
    """
    answers = api.predict(service, _rows(variables, rows), namespace=namespace)
    return Json(answers.to_dict(orient="records")) if as_json else answers


@click.command()
@common.service
@click.argument("rows")
@click.option(
    "--output",
    type=int,
    help="Which class, or which of several outputs, is explained.  [the second of two classes, "
    "else each row's most probable one]",
)
@common.namespace
@common.as_json
@common.traceback
@click.pass_obj
def explain(
    variables: Variables, /, service: str, rows: str, as_json: bool, **options: Any
) -> object:
    """Ask a live SERVICE why it answers so: what each feature of a row adds to the answer.

    ROWS are a CSV, Parquet or JSON file, JSON text or, in a notebook, the name of a DataFrame,
    an array or a list.
    """
    sink = common.sink(as_json=as_json)
    explained = api.explain(service, _rows(variables, rows), sink=sink, **options)
    return shown(explained, as_json=as_json)


@click.command()
@click.argument("target", shell_complete=common.goals)
@click.option(
    "--data",
    help="Rows to ask for: a CSV, Parquet or JSON file, JSON text or, in a notebook, the name of "
    "a DataFrame, an array or a list.  [the model's example, or made-up rows]",
)
@click.option("--model", help="The model's name, where TARGET is the URL of a server.")
@click.option(
    "--protocol",
    type=click.Choice(["v1", "v2"]),
    help="What an endpoint is asked in.  [what its URL says, else v2]",
)
@click.option(
    "--concurrency", default="1,4,16", show_default=True, help="Callers at the same time."
)
@click.option("--batch", default="1,16", show_default=True, help="Rows of a request.")
@click.option(
    "--seconds", default=0.5, show_default=True, help="How long a round of each load goes on."
)
@click.option("--repeats", default=3, show_default=True, help="Rounds of each load.")
@common.namespace
@common.as_json
@common.traceback
@click.pass_obj
def benchmark(
    variables: Variables,
    /,
    target: str,
    data: str | None,
    concurrency: str,
    batch: str,
    as_json: bool,
    **options: Any,
) -> object:
    """Measure latency and throughput of TARGET.

    TARGET is an endpoint: a model's URL such as http://HOST/v2/models/NAME, or a service's name;
    or a model, measured in process, native and converted: models:/NAME@ALIAS,
    models:/NAME/VERSION, runs:/RUN_ID/PATH or a model folder (with a slash).
    """
    measured = api.benchmark(
        target,
        data=None if data is None else _rows(variables, data),
        concurrency=_counts(concurrency, "--concurrency"),
        batch=_counts(batch, "--batch"),
        sink=common.sink(as_json=as_json),
        **options,
    )
    return shown(measured, as_json=as_json)


@click.command()
@click.argument("model", shell_complete=common.models)
@click.argument("onnx", type=click.Path())
@click.option(
    "--data",
    help="Rows that the model takes: a CSV, Parquet or NumPy file or, in a notebook, the name of "
    "a DataFrame or an array.  [the model's input example]",
)
@click.option("--target", help="Column of the data that is no input.")
@common.as_json
@common.traceback
@click.pass_obj
def certify(
    variables: Variables, model: str, onnx: str, data: str | None, target: str | None, as_json: bool
) -> object:
    """Certify that an ONNX file answers as the MODEL does that it was made of.

    MODEL is models:/NAME@ALIAS, models:/NAME/VERSION, runs:/RUN_ID/PATH, a model folder or, in a
    notebook, the name of a fitted model. Exits with 1 where the certificate fails.
    """
    rows = None if data is None else variable(variables, data, "a DataFrame, an array or a file")
    found = api.certify(
        variables.get(model, model),
        variables.get(onnx, onnx),
        rows,
        target=target,
        sink=common.sink(as_json=as_json),
    )
    return shown(found, as_json=as_json)


@click.command()
@click.argument("service", required=False, shell_complete=common.services)
@click.option("--namespace", "-n", help="Only services of this namespace.")
@common.as_json
@common.traceback
def status(service: str | None, namespace: str | None, as_json: bool) -> object:
    """Show the services, or one SERVICE in detail."""
    if service is None:
        return shown(api.services(namespace), as_json=as_json)
    found = api.status(service, namespace=namespace or api.DEFAULT_NAMESPACE)
    return shown(found, as_json=as_json)


@click.command()
@common.as_json
@common.traceback
def up(as_json: bool) -> object:
    """Start the local engine, with every service that it knew."""
    url = api.up()
    return Json({"gatewayUrl": url}) if as_json else f"the engine runs, its gateway at {url}"


@click.command()
@common.as_json
@common.traceback
def down(as_json: bool) -> object:
    """Stop the local engine and all its processes; `up` brings the services back."""
    ran = api.down()
    said = "the engine is down" if ran else "the engine was not running"
    return Json({"stopped": ran}) if as_json else said


COMMANDS = (deploy, predict, explain, benchmark, certify, status, up, down)


def _counts(text: str, option: str) -> tuple[int, ...]:
    try:
        return tuple(int(number) for number in text.split(","))
    except ValueError as error:
        raise UsageError(f"{option} is {text!r}", "give whole numbers, such as 1,4,16") from error


def _rows(variables: Variables, text: str) -> Any:
    if text.lstrip().startswith(("[", "{")):
        return _parsed(text, "the rows")
    given = variable(variables, text, "a DataFrame, an array, a list or a file")
    if not isinstance(given, str):
        return given
    if given.endswith(".json"):
        if not Path(given).is_file():
            raise UsageError(f"there is no file {given}", "check the path")
        return _parsed(Path(given).read_text(), given)
    from modelport import data

    return data.load(given, None).inputs


def _parsed(text: str, what: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise UsageError(f"{what} is no valid JSON ({error})", "give a list of rows") from error
