"""The commands of `modelport rollout`: revisions and their traffic."""

from __future__ import annotations

from collections.abc import Iterator

import click

from modelport import api, changes, manifests, operations
from modelport.cli import common
from modelport.errors import UsageError
from modelport.operations import RESOURCE


@click.group("rollout")
def group() -> None:
    """Look after revisions and their traffic: history, canary, promotion, and back.

    \b
    Examples:
      modelport rollout canary tumor 10      a tenth of the traffic to the latest revision
      modelport rollout promote tumor        all of it
      modelport rollout undo tumor           back to the revision before
    """


@group.command()
@common.service
@common.namespace
@click.option(
    "--watch/--no-watch", "-w", default=True, show_default=True, help="Wait until it is ready."
)
@common.timeout
@common.traceback
def status(service: str, namespace: str, watch: bool, timeout: float | None) -> Iterator[str]:
    """Tell how the latest revision of a SERVICE comes up; exits with 1 if it failed."""
    found = api.status(service, namespace=namespace).object
    if not watch or changes.is_stopped(found):
        yield f'inferenceservice "{service}": {operations.progress(found)}'
        return
    for _ in operations.wait_ready([found], timeout):
        yield f'inferenceservice "{service}" successfully rolled out'


@group.command()
@common.service
@common.namespace
@click.option(
    "--revision", type=int, shell_complete=common.revisions, help="Print this revision's spec."
)
@common.as_json
@common.traceback
def history(service: str, namespace: str, revision: int | None, as_json: bool) -> object:
    """Show the kept revisions of a SERVICE, the oldest first."""
    found = operations.history(service, namespace)
    if revision is None:
        return common.shown(found, as_json=as_json)
    for one in found.document:
        if one["revision"] == revision:
            spec = {"spec": one["spec"]}
            return common.Json(spec) if as_json else manifests.to_yaml(spec).rstrip()
    raise UsageError(f"{service} has no revision {revision}", "see `modelport rollout history`")


@group.command()
@common.service
@common.namespace
@click.option(
    "--to-revision",
    type=int,
    shell_complete=common.revisions,
    help="The revision's number.  [the one before]",
)
@common.traceback
def undo(service: str, namespace: str, to_revision: int | None) -> str:
    """Give a SERVICE the spec of an earlier revision."""
    operations.rollback(service, to_revision, namespace=namespace)
    return f"{RESOURCE}/{service} rolled back"


@group.command()
@common.service
@click.argument("percent", type=click.IntRange(0, 100))
@common.namespace
@common.traceback
def canary(service: str, percent: int, namespace: str) -> str:
    """Give the latest revision of a SERVICE that PERCENT of its traffic.

    The revision before it keeps the rest; with 0 the latest one answers at its own address alone.
    """
    operations.canary(service, percent, namespace=namespace)
    return f"{RESOURCE}/{service} canary at {percent}%"


@group.command()
@common.service
@common.namespace
@click.option("--canary", help="The entry of spec.canary[] that takes the stable one's place.")
@common.traceback
def promote(service: str, namespace: str, canary: str | None) -> str:
    """Give the latest revision of a SERVICE, or one of its canaries, all of the traffic."""
    operations.promote(service, canary, namespace=namespace)
    return f"{RESOURCE}/{service} promoted"


COMMANDS = (group,)
