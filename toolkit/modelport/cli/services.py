"""The commands that look after services, with kubectl's words: each calls `operations`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any

import click

from modelport import api, manifests, operations
from modelport.cli import common
from modelport.cli.common import Json, Variables
from modelport.errors import UsageError
from modelport.operations import RESOURCE
from modelport.targets.logs import Wanted

_EVERYTHING = -1  # kubectl's number for all lines of a log


@click.command()
@common.names
@common.namespace
@common.every_namespace
@click.option(
    "--output",
    "-o",
    type=click.Choice(["table", "wide", "yaml", "json", "name"]),
    default="table",
    show_default=True,
    help="What is printed; wide adds traffic, replicas, restarts and memory.",
)
@click.option("--watch", "-w", is_flag=True, help="Go on with every change, until Ctrl-C.")
@common.traceback
def get(names: Sequence[str], namespace: str, everywhere: bool, output: str, watch: bool) -> object:
    """Show the services, or those called NAMES.

    \b
    Examples:
      modelport get                 those of the namespace default
      modelport get isvc tumor -w   one, and its changes as they come
      modelport get -A -o wide      all, with traffic, replicas and memory
      modelport get tumor -o yaml   the object, to be changed and applied
    """
    wanted, space = common.without_kind(names), None if everywhere else namespace
    if wanted and everywhere:
        raise UsageError("a name alone does not say of which namespace", "leave -A out")

    def look() -> operations.Shown:
        return operations.listing(wanted, space, wide=output == "wide")

    if watch and output in ("table", "wide"):
        return operations.watch(look)
    if watch:
        raise UsageError(f"-w prints no {output}", "leave one of them out")
    if output in ("table", "wide"):
        return look().table
    items = operations.find(wanted, space)
    if output == "name":
        return iter([f"{RESOURCE}/{one['metadata']['name']}" for one in items])
    found: Any = {"apiVersion": "v1", "kind": "List", "items": items}
    document = items[0] if len(wanted) == 1 else found
    return Json(document) if output == "json" else manifests.to_yaml(document).rstrip()


@click.command()
@common.names
@common.namespace
@common.as_json
@common.traceback
def describe(names: Sequence[str], namespace: str, as_json: bool) -> object:
    """Tell everything of the service called NAMES.

    Conditions, traffic, revisions, replicas, the last failure, how to call it, and the last events.
    """
    wanted = common.without_kind(names)
    if len(wanted) != 1:
        raise UsageError("one service can be described at a time", "name one")
    return common.shown(operations.describe(wanted[0], namespace), as_json=as_json)


@click.command()
@common.service
@common.namespace
@click.option("--follow", "-f", is_flag=True, help="Go on with new lines, until Ctrl-C.")
@click.option(
    "--tail",
    type=click.IntRange(min=_EVERYTHING),
    default=_EVERYTHING,
    help="Last lines of each replica.  [all that is kept]",
)
@common.component
@click.option(
    "--revision", shell_complete=common.revisions, help="Only this revision: its name or number."
)
@click.option("--replica", help="Only this replica; `modelport describe` names them.")
@click.option(
    "--previous", "-p", is_flag=True, help="Of replicas that run no more: an earlier revision's."
)
@click.option("--all", "every", is_flag=True, help="Of replicas that run, and that run no more.")
@common.traceback
def logs(
    service: str,
    namespace: str,
    tail: int,
    previous: bool,
    every: bool,
    **selection: Any,
) -> Iterator[str]:
    """Show what the replicas of a SERVICE write; of several, each line says whose it is.

    \b
    Examples:
      modelport logs tumor -f --tail 20
      modelport logs tumor --component explainer
      modelport logs tumor --previous --revision 3     why revision 3 failed
    """
    wanted = Wanted(
        gone=previous or every,
        running=every or not previous,
        tail=None if tail == _EVERYTHING else tail,
        **selection,
    )
    return operations.logs(service, namespace, wanted)


@click.command()
@click.argument("service", required=False, type=common.ServiceName())
@common.namespace
@common.every_namespace
@click.option("--watch", "-w", is_flag=True, help="Go on with new events, until Ctrl-C.")
@common.as_json
@common.traceback
def events(
    service: str | None, namespace: str, everywhere: bool, watch: bool, as_json: bool
) -> object:
    """Show what happened, the oldest first: in a namespace, or to one SERVICE."""
    if service and everywhere:
        raise UsageError("a name alone does not say of which namespace", "leave -A out")

    def look() -> operations.Shown:
        return operations.events(service, None if everywhere else namespace)

    return operations.watch(look) if watch else common.shown(look().table, as_json=as_json)


@click.command()
@common.names
@common.files
@common.any_namespace
@click.option("--all", "every", is_flag=True, help="All services of the namespace.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask before all are deleted.")
@click.option("--ignore-not-found", "ignore", is_flag=True, help="Pass over what is not there.")
@common.wait
@common.traceback
@click.pass_obj
def delete(
    variables: Variables,
    /,
    names: Sequence[str],
    files: Sequence[str],
    namespace: str | None,
    every: bool,
    yes: bool,
    ignore: bool,
    wait: bool,
) -> Iterator[str]:
    """Remove the services called NAMES, those of files, or all; models stay in MLflow.

    \b
    Examples:
      modelport delete tumor
      modelport delete -f tumor.yaml --ignore-not-found
      modelport delete --all -n staging
    """
    wanted = common.without_kind(names)
    if sum(map(bool, (wanted, files, every))) != 1:
        raise UsageError("it must be said what is to be deleted", "give names, or -f, or --all")
    space = namespace or api.DEFAULT_NAMESPACE
    keys = [(space, name) for name in wanted]
    if files:
        keys = operations.keys_of(common.read(variables, files), namespace)
    if every:
        found = operations.find([], space)
        keys = [(space, one["metadata"]["name"]) for one in found]
        _confirm(f"Delete {len(keys)} services of namespace {space}?", yes=yes)
    gone = operations.delete_each(keys, ignore_missing=ignore, wait=wait)
    return (f'{RESOURCE} "{name}" deleted' for name in gone)


@click.command()
@common.service
@click.option("--replicas", type=click.IntRange(min=0), help="How many, at least.")
@click.option("--min", "least", type=click.IntRange(min=0), help="The same as --replicas.")
@click.option("--max", "most", type=click.IntRange(min=1), help="How many at most.")
@common.component
@common.namespace
@common.traceback
def scale(
    service: str, replicas: int | None, least: int | None, most: int | None, **options: Any
) -> str:
    """Set how many replicas a component of a SERVICE has.

    \b
    Examples:
      modelport scale tumor --replicas 3
      modelport scale tumor --min 1 --max 4 --component explainer
    """
    chosen = least if replicas is None else replicas
    options["component"] = options["component"] or manifests.COMPONENTS[0]
    operations.scale(service, chosen, most=most, **options)
    return f"{RESOURCE}/{service} scaled"


@click.command()
@common.service
@common.namespace
@common.traceback
def stop(service: str, namespace: str) -> str:
    """End the processes of a SERVICE; it is kept, and `start` brings it back."""
    operations.stop(service, namespace=namespace)
    return f"{RESOURCE}/{service} stopped"


@click.command()
@common.service
@common.namespace
@common.traceback
def start(service: str, namespace: str) -> str:
    """Bring a stopped SERVICE back."""
    operations.start(service, namespace=namespace)
    return f"{RESOURCE}/{service} started"


COMMANDS = (get, describe, logs, events, delete, scale, stop, start)


def _confirm(question: str, *, yes: bool) -> None:
    if not yes and not (sys.stdin and sys.stdin.isatty()):
        raise UsageError("nobody is there to be asked whether to delete all", "add -y")
    if not yes:
        click.confirm(question, abort=True, err=True)
