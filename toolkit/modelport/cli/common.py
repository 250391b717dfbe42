"""What commands share: words that are completed, options, and how results are handed on."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from modelport import api, documents
from modelport.errors import ModelportError, UsageError
from modelport.manifests import COMPONENTS

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from modelport.render import Sink

Variables = Mapping[str, Any]

_GROUP = ".serving.kserve.io"
_KINDS = ("isvc", "inferenceservice", "inferenceservices")


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


def complete_namespaces(incomplete: str) -> list[str]:
    """Return the namespaces with services that begin like this."""
    return _complete(
        lambda: [item["metadata"]["namespace"] for item in api.services().items], incomplete
    )


def complete_targets(incomplete: str) -> list[str]:
    """Return the services and the references in MLflow that begin like this."""
    return [*complete_services(incomplete), *complete_models(incomplete)]


class ServiceName(click.ParamType):  # type: ignore[type-arg]  # click 8.1 has no argument
    """A service's name, or kubectl's `isvc/NAME`."""

    name = "service"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name alone."""
        del param, ctx
        kind, slash, name = str(value).partition("/")
        return name if slash and _is_kind(kind) else str(value)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Complete the services' names."""
        from click.shell_completion import CompletionItem

        del ctx, param
        return [CompletionItem(name) for name in complete_services(incomplete)]


def models(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """Complete references in MLflow, for click."""
    return complete_models(incomplete)


def services(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """Complete services' names, for click."""
    return complete_services(incomplete)


def goals(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """Complete services and models, for click."""
    return complete_targets(incomplete)


def revisions(context: click.Context, option: click.Parameter, incomplete: str) -> list[str]:
    """Complete revisions of the service that was named before: numbers, where they are numbers."""
    from modelport import operations

    # Click leaves words over before an option whose value is still to come.
    name = context.params.get("service") or next(iter(context.args), None)
    if not name:
        return []
    namespace = context.params.get("namespace") or api.DEFAULT_NAMESPACE
    numbers = isinstance(option.type, click.types.IntParamType)

    def known() -> list[str]:
        found = operations.history(name, namespace).document
        return [str(one["revision"]) if numbers else one["metadata"]["name"] for one in found]

    return _complete(known, incomplete)


def _namespaces(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    return complete_namespaces(incomplete)


service = click.argument("service", type=ServiceName())
names = click.argument("names", nargs=-1, type=ServiceName())
namespace = click.option(
    "--namespace",
    "-n",
    default=api.DEFAULT_NAMESPACE,
    show_default=True,
    shell_complete=_namespaces,
    help="Namespace of the service.",
)
any_namespace = click.option(
    "--namespace",
    "-n",
    shell_complete=_namespaces,
    help="Namespace of objects that name none; one that names another is refused.",
)
every_namespace = click.option(
    "--all-namespaces", "-A", "everywhere", is_flag=True, help="Of all namespaces."
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
traceback = click.option(
    "--traceback",
    is_flag=True,
    expose_value=False,
    help="On an error, show where it came from.",
)
files = click.option(
    "--filename",
    "-f",
    "files",
    multiple=True,
    type=click.Path(allow_dash=True),
    help="A YAML file, a folder of them, - for standard input or, in a notebook, the name of a "
    "variable; may be given several times.",
)
wait = click.option(
    "--wait/--no-wait", default=True, show_default=True, help="Return only when it is done."
)
timeout = click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds to wait.  [MODELPORT_READY_TIMEOUT, else 120]",
)
component = click.option(
    "--component",
    type=click.Choice(COMPONENTS),
    help="Which component of the service.",
)


def without_kind(words: Sequence[str]) -> list[str]:
    """Drop kubectl's kind before names: `isvc tumor`."""
    return list(words[1:] if words and _is_kind(words[0]) else words)


def read(variables: Variables, named: Sequence[str]) -> list[documents.Document]:
    """Read the documents of files; in a notebook those of variables, too, and - is the cell."""
    if not named:
        raise UsageError("no file was named", "add -f FILE")
    found: list[documents.Document] = []
    for name in named:
        given = variables.get(name)
        if given is None:
            found += documents.read([name])
        elif isinstance(given, str):
            found += documents.parse(given, "the cell" if name == documents.STDIN else name)
        elif isinstance(given, dict | list):
            found += documents.of_object(given, name)
        else:
            raise UsageError(f"{name} is a {type(given).__name__}", "give a dictionary or YAML")
    if not found:
        raise UsageError(f"there is no object in {', '.join(named)}", "write one")
    return found


def shown(view: Any, *, as_json: bool) -> object:
    """Return a view, or what it says as JSON."""
    return Json(view.json(), passed=getattr(view, "passed", True)) if as_json else view


def sink(*, as_json: bool) -> Sink:
    """Return where progress is shown: beside the result, never in it."""
    from modelport.render import choose

    return choose(sys.stderr if as_json else None)


def variable(variables: Variables, text: str, kinds: str) -> Any:
    """Return the notebook's variable of that name, else the text as a path."""
    if text in variables:
        return variables[text]
    if text.isidentifier() and not Path(text).exists():
        raise UsageError(f"there is neither a variable nor a file called {text!r}", f"name {kinds}")
    return text


def _is_kind(word: str) -> bool:
    return word.lower().removesuffix(_GROUP) in _KINDS


def _complete(known: Callable[[], list[str]], incomplete: str) -> list[str]:
    """Complete from what there is; a completion that fails only completes nothing."""
    try:
        return sorted({name for name in known() if name.startswith(incomplete)})
    except ModelportError:
        return []
