"""The commands that take InferenceServices from files: apply and lint."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from modelport import changes, lint, operations
from modelport.cli import common
from modelport.operations import RESOURCE

if TYPE_CHECKING:
    from modelport.cli.common import Variables
    from modelport.documents import Document


@click.command()
@common.files
@common.any_namespace
@common.wait
@common.timeout
@click.option(
    "--dry-run", is_flag=True, help="Only say what would be created or configured; change nothing."
)
@common.traceback
@click.pass_obj
def apply(
    variables: Variables,
    /,
    files: Sequence[str],
    namespace: str | None,
    wait: bool,
    timeout: float | None,
    dry_run: bool,
) -> Iterator[str]:
    """Create or change services as the InferenceServices of files say.

    All are checked before the first one is applied. Each replaces what was applied before: what
    a file does not say, `scale` or `stop` may have set, is as if it had never been set.

    \b
    Examples:
      modelport apply -f tumor.yaml
      kubectl get isvc tumor -o yaml | modelport apply -f - -n staging
      modelport apply -f services/ --no-wait
    """
    found = common.read(variables, files)
    return _apply(found, namespace, wait=wait and not dry_run, timeout=timeout, dry_run=dry_run)


def _apply(
    found: Sequence[Document],
    namespace: str | None,
    *,
    wait: bool,
    timeout: float | None,
    dry_run: bool,
) -> Iterator[str]:
    objects = []
    for one in operations.apply_each(found, namespace, dry_run=dry_run):
        yield f"{RESOURCE}/{one.name} {one.outcome}{' (dry run)' if dry_run else ''}"
        objects.append(one.object)
    for ready in operations.wait_ready(objects, timeout) if wait else ():
        name = ready["metadata"]["name"]
        state = "stopped" if changes.is_stopped(ready) else f"ready: {ready['status']['url']}"
        yield f"{RESOURCE}/{name} is {state}"


@click.command("lint")
@common.files
@click.option(
    "--target",
    type=click.Choice(lint.PLACES),
    help="Whose rules alone hold.  [both]",
)
@click.option("--strict", is_flag=True, help="Exit with 1 on warnings as well.")
@click.option(
    "--output",
    "-o",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="What is printed.",
)
@common.traceback
@click.pass_obj
def check(
    variables: Variables,
    /,
    files: Sequence[str],
    target: str | None,
    strict: bool,
    output: str,
) -> object:
    """Say what the local engine, or KServe in a cluster, would refuse or pass over in files.

    Neither is asked. Exits with 1 where there is an error.

    \b
    Examples:
      modelport lint -f tumor.yaml
      modelport lint -f services/ --target kubernetes --strict
    """
    places = lint.PLACES if target is None else (target,)
    findings = operations.checked(common.read(variables, files), places, strict=strict)
    return common.shown(findings, as_json=output == "json")


COMMANDS = (apply, check)
