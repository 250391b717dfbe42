"""The command line. Every command parses, calls one verb and returns what is to be shown.

The magics run these same commands, with the notebook's variables at hand.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import click
import typer

from modelport import api
from modelport.errors import Interrupted, ModelportError, UsageError

if TYPE_CHECKING:
    from modelport.render import Sink

app = typer.Typer(
    name="modelport",
    help="From the notebook to production: MLflow model to certified ONNX to KServe service.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@dataclass(frozen=True)
class Json:
    """A result that is to be shown as JSON."""

    value: Any


def complete_models(incomplete: str) -> list[str]:
    """Return the references in MLflow that begin like this."""
    from modelport import tracking

    return _complete(tracking.model_uris, incomplete)


def complete_services(incomplete: str) -> list[str]:
    """Return the services' names that begin like this."""
    return _complete(
        lambda: [item["metadata"]["name"] for item in api.services().items], incomplete
    )


Model = Annotated[
    str,
    typer.Argument(
        help="models:/NAME@ALIAS, models:/NAME/VERSION, runs:/RUN_ID/PATH or a model folder.",
        autocompletion=complete_models,
        metavar="MODEL",
    ),
]
Service = Annotated[
    str, typer.Argument(help="Name of the service.", autocompletion=complete_services)
]
Namespace = Annotated[str, typer.Option("--namespace", "-n", help="Namespace of the service.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Traceback = Annotated[
    bool, typer.Option("--traceback", help="On an error, show where it came from.")
]


@app.command()
def deploy(
    ctx: typer.Context,
    model: Model,
    name: Annotated[
        str | None,
        typer.Option(
            help="Name of the service; by default the model's.", autocompletion=complete_services
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="Rows to judge the model on: a CSV or Parquet file or, in a notebook, "
            "the name of a DataFrame."
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            help="Column of the data that holds the labels; without it accuracy is not measured."
        ),
    ] = None,
    slo: Annotated[
        str | None, typer.Option(help="What must hold, such as 'p99<50ms, accuracy>=0.9'.")
    ] = None,
    namespace: Namespace = api.DEFAULT_NAMESPACE,
    require_onnx: Annotated[
        bool, typer.Option(help="Stop, rather than serve a model that has no converter as it is.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option(help="Print the InferenceService and the steps; change nothing.")
    ] = False,
    as_json: AsJson = False,
    traceback: Traceback = False,
) -> object:
    """Convert, certify, score, time, explain and deploy a model from MLflow."""
    del traceback
    options: dict[str, Any] = {
        "name": name,
        "namespace": namespace,
        "target": target,
        "slo": slo,
        "require_onnx": require_onnx,
    }
    if dry_run:
        return _shown(api.plan(model, **options), as_json=as_json)
    given = None if data is None else _variable(ctx, data, "a DataFrame or a file")
    released = api.deploy(model, data=given, sink=_sink(as_json=as_json), **options)
    return _shown(released, as_json=as_json)


@app.command()
def predict(
    ctx: typer.Context,
    service: Service,
    rows: Annotated[
        str,
        typer.Argument(
            help="Rows: a CSV, Parquet or JSON file, JSON text or, in a notebook, the "
            "name of a DataFrame, an array or a list."
        ),
    ],
    namespace: Namespace = api.DEFAULT_NAMESPACE,
    as_json: AsJson = False,
    traceback: Traceback = False,
) -> object:
    """Ask a live service for its answers."""
    del traceback
    answers = api.predict(service, _rows(ctx, rows), namespace=namespace)
    return Json(answers.to_dict(orient="records")) if as_json else answers


@app.command()
def status(
    service: Annotated[
        str | None,
        typer.Argument(help="Name of a service; without it all.", autocompletion=complete_services),
    ] = None,
    namespace: Annotated[
        str | None, typer.Option("--namespace", "-n", help="Only services of this namespace.")
    ] = None,
    as_json: AsJson = False,
    traceback: Traceback = False,
) -> object:
    """Show the services, or one in detail."""
    del traceback
    if service is None:
        return _shown(api.services(namespace), as_json=as_json)
    found = api.status(service, namespace=namespace or api.DEFAULT_NAMESPACE)
    return _shown(found, as_json=as_json)


@app.command()
def delete(
    service: Service, namespace: Namespace = api.DEFAULT_NAMESPACE, traceback: Traceback = False
) -> object:
    """Remove a service; its model stays in MLflow."""
    del traceback
    api.delete(service, namespace=namespace)
    return f"service {service} deleted"


@app.command()
def up(traceback: Traceback = False) -> object:
    """Start the local engine, with every service that it knew."""
    del traceback
    return f"the engine runs, its gateway at {api.up()}"


@app.command()
def down(traceback: Traceback = False) -> object:
    """Stop the local engine and all its processes; `up` brings the services back."""
    del traceback
    return "the engine is down" if api.down() else "the engine was not running"


def run(arguments: Sequence[str], variables: Mapping[str, Any] | None = None) -> object:
    """Run a command; return what is to be shown, or None where help was printed.

    Args:
        arguments: Words, without the program's name.
        variables: A notebook's variables, which arguments may name.

    Raises:
        ModelportError: One line for the user; a mistake in the words is a `UsageError`.
    """
    command = typer.main.get_command(app)
    try:
        result = command.main(
            list(arguments), prog_name="modelport", standalone_mode=False, obj=variables or {}
        )
    except click.ClickException as error:
        where = getattr(error, "ctx", None)
        usage = where.command_path if where else "modelport"
        raise UsageError(error.format_message().rstrip("."), f"see {usage} --help") from error
    except (click.Abort, KeyboardInterrupt) as error:
        raise Interrupted("stopped", "run it again when you like") from error
    return None if isinstance(result, int) else result


def main() -> None:
    """Run the program."""
    arguments = sys.argv[1:]
    try:
        _print(run(arguments))
    except ModelportError as error:
        sys.exit(_fail(error, arguments))


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
        render.show(result)
    elif result is not None:
        print(result)  # noqa: T201


def _shown(view: Any, *, as_json: bool) -> object:
    return Json(view.json()) if as_json else view


def _sink(*, as_json: bool) -> Sink:
    from modelport.render import choose

    return choose(sys.stderr if as_json else None)


def _variable(ctx: typer.Context, text: str, kinds: str) -> Any:
    """Return the notebook's variable of that name, else the text as a path."""
    if text in ctx.obj:
        return ctx.obj[text]
    if text.isidentifier() and not Path(text).exists():
        raise UsageError(f"there is neither a variable nor a file called {text!r}", f"name {kinds}")
    return text


def _rows(ctx: typer.Context, text: str) -> Any:
    if text.lstrip().startswith(("[", "{")):
        return _parsed(text, "the rows")
    given = _variable(ctx, text, "a DataFrame, an array, a list or a file")
    if not isinstance(given, str):
        return given
    if given.endswith(".json"):
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
