"""The command line. Every command parses, calls one verb and returns what is to be shown.

The magics run these same commands, with the notebook's variables at hand.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import get_completion_class

from modelport import api
from modelport.errors import Interrupted, ModelportError, UsageError

if TYPE_CHECKING:
    from modelport.render import Sink

_PROGRAM = "modelport"
_COMPLETE = "_MODELPORT_COMPLETE"

Variables = Mapping[str, Any]


@dataclass(frozen=True)
class Json:
    """A result that is to be shown as JSON; `passed` is what the exit status tells."""

    value: Any
    passed: bool = True


def complete_models(incomplete: str) -> list[str]:
    """Return the references in MLflow that begin like this."""
    from modelport import tracking

    return _complete(tracking.model_uris, incomplete)


def complete_services(incomplete: str) -> list[str]:
    """Return the services' names that begin like this."""
    return _complete(
        lambda: [item["metadata"]["name"] for item in api.services().items], incomplete
    )


def _models(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    return complete_models(incomplete)


def _services(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    return complete_services(incomplete)


def complete_targets(incomplete: str) -> list[str]:
    """Return the services and the references in MLflow that begin like this."""
    return [*complete_services(incomplete), *complete_models(incomplete)]


def _targets(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    return complete_targets(incomplete)


_service = click.argument("service", shell_complete=_services)
_namespace = click.option(
    "--namespace",
    "-n",
    default=api.DEFAULT_NAMESPACE,
    show_default=True,
    help="Namespace of the service.",
)
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_traceback = click.option(
    "--traceback",
    is_flag=True,
    expose_value=False,
    help="On an error, show where it came from.",
)


@click.group(name=_PROGRAM, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name=_PROGRAM)
def program() -> None:
    """From the notebook to production: MLflow model to certified ONNX to KServe service."""


@program.command()
@click.argument("model", shell_complete=_models)
@click.option("--name", shell_complete=_services, help="Name of the service.  [the model's]")
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
@_namespace
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
@_json
@_traceback
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
        return _shown(api.plan(model, **options), as_json=as_json)
    given = None if data is None else _variable(variables, data, "a DataFrame or a file")
    released = api.deploy(model, data=given, sink=_sink(as_json=as_json), **options)
    return _shown(released, as_json=as_json)


@program.command()
@_service
@click.argument("rows")
@_namespace
@_json
@_traceback
@click.pass_obj
def predict(variables: Variables, service: str, rows: str, namespace: str, as_json: bool) -> object:
    """Ask a live SERVICE for its answers.

    ROWS are a CSV, Parquet or JSON file, JSON text or, in a notebook, the name of a DataFrame,
    an array or a list.
    """
    answers = api.predict(service, _rows(variables, rows), namespace=namespace)
    return Json(answers.to_dict(orient="records")) if as_json else answers


@program.command()
@_service
@click.argument("rows")
@click.option(
    "--output",
    type=int,
    help="Which class, or which of several outputs, is explained.  [the second of two classes, "
    "else each row's most probable one]",
)
@_namespace
@_json
@_traceback
@click.pass_obj
def explain(
    variables: Variables, /, service: str, rows: str, as_json: bool, **options: Any
) -> object:
    """Ask a live SERVICE why it answers so: what each feature of a row adds to the answer.

    ROWS are a CSV, Parquet or JSON file, JSON text or, in a notebook, the name of a DataFrame,
    an array or a list.
    """
    sink = _sink(as_json=as_json)
    explained = api.explain(service, _rows(variables, rows), sink=sink, **options)
    return _shown(explained, as_json=as_json)


@program.command()
@click.argument("target", shell_complete=_targets)
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
@_namespace
@_json
@_traceback
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
        sink=_sink(as_json=as_json),
        **options,
    )
    return _shown(measured, as_json=as_json)


@program.command()
@click.argument("model", shell_complete=_models)
@click.argument("onnx", type=click.Path())
@click.option(
    "--data",
    help="Rows that the model takes: a CSV, Parquet or NumPy file or, in a notebook, the name of "
    "a DataFrame or an array.  [the model's input example]",
)
@click.option("--target", help="Column of the data that is no input.")
@_json
@_traceback
@click.pass_obj
def certify(
    variables: Variables, model: str, onnx: str, data: str | None, target: str | None, as_json: bool
) -> object:
    """Certify that an ONNX file answers as the MODEL does that it was made of.

    MODEL is models:/NAME@ALIAS, models:/NAME/VERSION, runs:/RUN_ID/PATH, a model folder or, in a
    notebook, the name of a fitted model. Exits with 1 where the certificate fails.
    """
    rows = None if data is None else _variable(variables, data, "a DataFrame, an array or a file")
    found = api.certify(
        variables.get(model, model),
        variables.get(onnx, onnx),
        rows,
        target=target,
        sink=_sink(as_json=as_json),
    )
    return _shown(found, as_json=as_json)


@program.command()
@click.argument("service", required=False, shell_complete=_services)
@click.option("--namespace", "-n", help="Only services of this namespace.")
@_json
@_traceback
def status(service: str | None, namespace: str | None, as_json: bool) -> object:
    """Show the services, or one SERVICE in detail."""
    if service is None:
        return _shown(api.services(namespace), as_json=as_json)
    found = api.status(service, namespace=namespace or api.DEFAULT_NAMESPACE)
    return _shown(found, as_json=as_json)


@program.command()
@_service
@_namespace
@_json
@_traceback
def delete(service: str, namespace: str, as_json: bool) -> object:
    """Remove a SERVICE; its model stays in MLflow."""
    api.delete(service, namespace=namespace)
    said = f"service {service} deleted"
    return Json({"deleted": service, "namespace": namespace}) if as_json else said


@program.command()
@_json
@_traceback
def up(as_json: bool) -> object:
    """Start the local engine, with every service that it knew."""
    url = api.up()
    return Json({"gatewayUrl": url}) if as_json else f"the engine runs, its gateway at {url}"


@program.command()
@_json
@_traceback
def down(as_json: bool) -> object:
    """Stop the local engine and all its processes; `up` brings the services back."""
    ran = api.down()
    said = "the engine is down" if ran else "the engine was not running"
    return Json({"stopped": ran}) if as_json else said


@program.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> object:
    """Print what makes a SHELL complete our words.

    For bash: eval "$(modelport completion bash)"
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise UsageError(f"{shell} is not supported", "use bash, zsh or fish")
    return kind(program, {}, _PROGRAM, _COMPLETE).source()


def run(arguments: Sequence[str], variables: Variables | None = None) -> object:
    """Run a command; return what is to be shown, or None where help was printed.

    Args:
        arguments: Words, without the program's name.
        variables: A notebook's variables, which arguments may name.

    Raises:
        ModelportError: One line for the user; a mistake in the words is a `UsageError`.
    """
    try:
        result = program.main(
            list(arguments) or ["--help"],
            prog_name=_PROGRAM,
            standalone_mode=False,
            obj=variables or {},
        )
    except click.ClickException as error:
        where = getattr(error, "ctx", None)
        usage = where.command_path if where else _PROGRAM
        raise UsageError(error.format_message().rstrip("."), f"see {usage} --help") from error
    except (click.Abort, KeyboardInterrupt) as error:
        raise Interrupted("stopped", "run it again when you like") from error
    return None if isinstance(result, int) else result


def main() -> None:
    """Run the program."""
    arguments = sys.argv[1:]
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, signal.default_int_handler)  # clean up as on Ctrl-C
    if _COMPLETE in os.environ:
        program.main(prog_name=_PROGRAM, complete_var=_COMPLETE)
    try:
        result = run(arguments)
    except ModelportError as error:
        sys.exit(_fail(error, arguments))
    _print(result)
    # A certificate that failed is a result to show, and a failure to scripts.
    sys.exit(0 if getattr(result, "passed", True) else 1)


def _fail(error: ModelportError, arguments: Sequence[str]) -> int:
    from modelport.views import Release

    if error.release is not None and error.release.resolution is not None:
        _print(_shown(Release(error.release), as_json="--json" in arguments))
    if "--traceback" in arguments:
        import traceback

        print(error.details or "".join(traceback.format_exception(error)), file=sys.stderr)  # noqa: T201
    print(f"modelport: {error}", file=sys.stderr)  # noqa: T201
    if isinstance(error, Interrupted):
        return 130
    return 2 if isinstance(error, UsageError) else 1


def _print(result: object) -> None:
    from modelport import render

    if isinstance(result, Json):
        print(json.dumps(result.value, indent=2))  # noqa: T201
    elif hasattr(result, "__rich__"):
        render.show(result.__rich__())
    elif result is not None:
        print(result)  # noqa: T201


def _shown(view: Any, *, as_json: bool) -> object:
    return Json(view.json(), passed=getattr(view, "passed", True)) if as_json else view


def _sink(*, as_json: bool) -> Sink:
    from modelport.render import choose

    return choose(sys.stderr if as_json else None)


def _variable(variables: Variables, text: str, kinds: str) -> Any:
    """Return the notebook's variable of that name, else the text as a path."""
    if text in variables:
        return variables[text]
    if text.isidentifier() and not Path(text).exists():
        raise UsageError(f"there is neither a variable nor a file called {text!r}", f"name {kinds}")
    return text


def _counts(text: str, option: str) -> tuple[int, ...]:
    try:
        return tuple(int(number) for number in text.split(","))
    except ValueError as error:
        raise UsageError(f"{option} is {text!r}", "give whole numbers, such as 1,4,16") from error


def _rows(variables: Variables, text: str) -> Any:
    if text.lstrip().startswith(("[", "{")):
        return _parsed(text, "the rows")
    given = _variable(variables, text, "a DataFrame, an array, a list or a file")
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


def _complete(known: Callable[[], list[str]], incomplete: str) -> list[str]:
    """Complete from what there is; a completion that fails only completes nothing."""
    try:
        return sorted(name for name in known() if name.startswith(incomplete))
    except ModelportError:
        return []
