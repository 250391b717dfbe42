"""What kubectl does with services: apply, look, scale, stop, roll out and back."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from modelport import api, changes, documents, lint, manifests, targets
from modelport.api import DEFAULT_NAMESPACE
from modelport.errors import Interrupted, ServiceNotFound, TargetError, UsageError
from modelport.render import Stages, choose, kubectl
from modelport.render.grid import Grid, lines, widths
from modelport.render.services import read
from modelport.views import Description, Findings, Service, Services, Table

if TYPE_CHECKING:
    from modelport.documents import Document
    from modelport.manifests import Manifest
    from modelport.render import Sink
    from modelport.targets.local import LocalTarget
    from modelport.targets.logs import Wanted

RESOURCE = "inferenceservice.serving.kserve.io"
Outcome = Literal["created", "configured", "unchanged"]

_POLL = 0.5
# Seconds between two looks at what is watched.


@dataclass(frozen=True)
class Applied:
    """An object that was applied, or would be, and what that changed."""

    object: Manifest
    outcome: Outcome

    @property
    def name(self) -> str:
        """The service's name."""
        return str(self.object["metadata"]["name"])


@dataclass(frozen=True)
class Shown:
    """A table that is watched: `states` has, for each row, what it is of and how that is."""

    table: Table
    states: Sequence[tuple[Hashable, Hashable]]


def apply(
    manifest: str | Path | Mapping[str, Any] | Sequence[Mapping[str, Any]],
    *,
    namespace: str | None = None,
    wait: bool = True,
    timeout: float | None = None,
    sink: Sink | None = None,
) -> Services:
    """Create or change services as InferenceServices say; each replaces what was applied before.

    Args:
        manifest: An InferenceService, several, or a YAML file or a folder of such files.
        namespace: Where they live; by default where they say, else `default`.
        wait: Return only when all are ready.
        timeout: Seconds to wait for each; by default `MODELPORT_READY_TIMEOUT`.
        sink: Where progress is shown; by default the cell, terminal or pipe we run in.

    Raises:
        UsageError: One of them would be refused; nothing was changed.
        DeploymentFailed: One did not become ready; what served before serves on.
    """
    if isinstance(manifest, str | Path):
        found = documents.read([str(manifest)])
    else:
        found = documents.of_object(manifest, "the object")
    done = [one.object for one in apply_each(found, namespace)]
    return Services(list(wait_ready(done, timeout, sink)) if wait else done)


def apply_each(
    found: Sequence[Document], namespace: str | None = None, *, dry_run: bool = False
) -> Iterator[Applied]:
    """Check all documents, then apply one after the other; a dry run only says what would be."""
    lint.check(found)
    place = _place() if dry_run else targets.local()
    place.prepare()
    for document in [_placed(one, namespace) for one in found]:
        wanted = document.value
        before = place.get(wanted["metadata"]["name"], wanted["metadata"]["namespace"])
        yield Applied(wanted if dry_run else place.apply(wanted), _outcome(before, wanted))


def wait_ready(
    objects: Sequence[Manifest], timeout: float | None = None, sink: Sink | None = None
) -> Iterator[Manifest]:
    """Wait until each of the applied objects is ready; give it then. A stopped one never is."""
    place = targets.local()
    names = [f"{one['metadata']['namespace']}/{one['metadata']['name']}" for one in objects]
    with sink or choose(sys.stderr) as shown:
        stages = Stages(shown, "until ready", names)
        for name, one in zip(names, objects, strict=True):
            stages.begin(name)
            if changes.is_stopped(one):
                yield one
                continue
            try:
                yield place.wait_ready(one, stages.say, timeout)
            except KeyboardInterrupt as error:
                todo = f"it comes up all the same; see `modelport get` for {name}"
                raise Interrupted("stopped waiting", todo) from error
        stages.done()


def progress(found: Manifest) -> str:
    """Say in a few words how a service is."""
    said = read(found)
    return f"ready is {said.ready}{said.why and f', {said.why}'}"


def keys_of(found: Sequence[Document], namespace: str | None) -> list[tuple[str, str]]:
    """Return (namespace, name) of each object that documents hold."""
    placed = [_placed(one, namespace).value["metadata"] for one in found]
    return [(one["namespace"], one["name"]) for one in placed]


def find(names: Sequence[str], namespace: str | None) -> list[Manifest]:
    """Return the services of these names, or all of the namespace; None stands for every one."""
    if not names:
        return _place().list(namespace)
    return [api.status(name, namespace=namespace or DEFAULT_NAMESPACE).object for name in names]


def listing(names: Sequence[str], namespace: str | None, *, wide: bool = False) -> Shown:
    """Return services under kubectl's columns."""
    items, replicas, place = find(names, namespace), None, targets.local()
    if wide:
        keys = [(one["metadata"]["namespace"], one["metadata"]["name"]) for one in items]
        replicas = {(space, name): place.replicas(name, space) for space, name in keys}
    grid = kubectl.listing(items, replicas, namespaces=namespace is None)
    table = Table(
        "InferenceServices",
        grid,
        {"apiVersion": "v1", "kind": "List", "items": items},
        f"No resources found in {namespace} namespace." if namespace else "No resources found.",
    )
    age = grid.header.index("AGE")
    states = [
        (one["metadata"]["uid"], row[:age] + row[age + 1 :])
        for one, row in zip(items, grid.rows, strict=True)
    ]
    return Shown(table, states)


def events(name: str | None, namespace: str | None) -> Shown:
    """Return what happened to a service, in a namespace or, with neither, to all services."""
    found = _place().events(name, namespace)
    grid = kubectl.events(found, namespaces=namespace is None)
    table = Table(
        "Events",
        grid,
        {"apiVersion": "v1", "kind": "List", "items": found},
        f"No events found in {namespace} namespace." if namespace else "No events found.",
    )
    states = [
        ((one["metadata"]["name"], one["message"]), (one["count"], one["lastTimestamp"]))
        for one in found
    ]
    return Shown(table, states)


def watch(look: Callable[[], Shown]) -> Iterator[str]:
    """Give a table's lines, and then those of rows that have come or changed, for ever."""
    first = look()
    wide = widths(first.table.grid)
    yield from lines([first.table.grid.header, *first.table.grid.rows], wide)
    known = dict(first.states)
    while True:
        time.sleep(_POLL)
        now = look()
        news = [
            row
            for row, (what, state) in zip(now.table.grid.rows, now.states, strict=True)
            if known.get(what) != state
        ]
        yield from lines(news, wide)
        known = dict(now.states)


def describe(name: str, namespace: str = DEFAULT_NAMESPACE) -> Description:
    """Return everything that is known of a service."""
    item, place = api.status(name, namespace=namespace).object, targets.local()
    revisions, replicas = place.revisions(name, namespace), place.replicas(name, namespace)
    happened = place.events(name, namespace)
    return Description(
        f"InferenceService {name}",
        kubectl.description(item, revisions, replicas, happened),
        {"object": item, "revisions": revisions, "replicas": replicas, "events": happened},
    )


def logs(name: str, namespace: str, wanted: Wanted) -> Iterator[str]:
    """Give the output of a service's replicas; of several, each line says whose it is."""
    for line in targets.local().logs(name, namespace, wanted):
        yield line.text if line.alone else f"[{line.replica}] {line.text}"


def delete_each(
    keys: Iterable[tuple[str, str]], *, ignore_missing: bool = False, wait: bool = True
) -> Iterator[str]:
    """Remove services, given by (namespace, name); give the name of each that was there."""
    for namespace, name in keys:
        try:
            targets.local().delete(name, namespace, wait=wait)
        except ServiceNotFound:
            if not ignore_missing:
                raise
        else:
            yield name


def scale(
    name: str,
    replicas: int | None = None,
    *,
    most: int | None = None,
    component: str = manifests.COMPONENTS[0],
    namespace: str = DEFAULT_NAMESPACE,
) -> Service:
    """Set how many replicas a component has: at least `replicas`, and at most `most`."""
    if replicas is None and most is None:
        raise UsageError("no number of replicas was given", "give --replicas, --min or --max")
    return _change(
        name, namespace, lambda now: changes.scaled(now, component, least=replicas, most=most)
    )


def stop(name: str, *, namespace: str = DEFAULT_NAMESPACE) -> Service:
    """End the processes of a service; it is kept, and `start` brings it back."""
    return _change(name, namespace, changes.stopped)


def start(name: str, *, namespace: str = DEFAULT_NAMESPACE) -> Service:
    """Bring a stopped service back."""
    return _change(name, namespace, changes.started)


def canary(name: str, percent: int, *, namespace: str = DEFAULT_NAMESPACE) -> Service:
    """Give the latest revision a share of the traffic, and the one before it the rest."""
    return _change(name, namespace, lambda now: changes.with_canary(now, percent))


def promote(name: str, canary: str | None = None, *, namespace: str = DEFAULT_NAMESPACE) -> Service:
    """Give the latest revision, or an entry of `spec.canary[]`, all of the traffic."""
    return _change(name, namespace, lambda now: changes.promoted(now, canary))


def rollback(
    name: str, revision: int | None = None, *, namespace: str = DEFAULT_NAMESPACE
) -> Service:
    """Give a service the spec of an earlier revision, by default of the one before.

    Args:
        name: The service.
        revision: The revision's number; `modelport rollout history` shows those that are kept.
        namespace: The service's namespace.

    Raises:
        ServiceNotFound: There is no such service.
        TargetError: There is no such revision.
    """
    return Service(targets.local().rollback(name, namespace, revision))


def history(name: str, namespace: str = DEFAULT_NAMESPACE) -> Table:
    """Return the kept revisions of a service, oldest first."""
    found = targets.local().revisions(name, namespace)
    return Table(f"Revisions of {name}", kubectl.history(found), found)


def checked(
    found: Sequence[Document], places: Sequence[str] = lint.PLACES, *, strict: bool = False
) -> Findings:
    """Return what the local engine or a cluster would refuse or pass over in documents."""
    findings = lint.lint(found, places)
    errors = [one for one in findings if one.severity == "error"]
    rows = ((f"{one.source}:{one.line}", one.severity, one.path, one.message) for one in findings)
    return Findings(
        title="Findings",
        grid=Grid(("WHERE", "SEVERITY", "FIELD", "MESSAGE"), tuple(rows)),
        document=[one.json() for one in findings],
        nothing="nothing to remark",
        said=[str(one) for one in findings],
        passed=not (findings if strict else errors),
    )


def _place() -> LocalTarget:
    """Return the local target; one that is down would seem to have no services."""
    place = targets.local()
    if not place.running:
        raise TargetError("the engine is down", "start it with `modelport up`")
    return place


def _change(name: str, namespace: str, change: Callable[[Manifest], Manifest]) -> Service:
    return Service(targets.local().change(name, namespace, change))


def _placed(document: Document, namespace: str | None) -> Document:
    """Put an object into the namespace that it names, or that the user did."""
    metadata = document.value.get("metadata") if isinstance(document.value, dict) else None
    if not isinstance(metadata, dict) or not metadata.get("name"):
        where = f"{document.source}:{document.line('metadata')}"
        raise UsageError(f"{where}: the object has no name", "write metadata: {name: ...}")
    own = metadata.get("namespace")
    if own and namespace and own != namespace:
        raise UsageError(
            f"{document.source}:{document.line('metadata.namespace')}: the object is of namespace "
            f"{own}, not {namespace}",
            f"leave -n out, or pass -n {own}",
        )
    placed = {**metadata, "namespace": own or namespace or DEFAULT_NAMESPACE}
    return replace(document, value={**document.value, "metadata": placed})


def _outcome(before: Manifest | None, wanted: Manifest) -> Outcome:
    if before is None:
        return "created"
    return "unchanged" if _own(before) == _own(wanted) else "configured"


def _own(manifest: Manifest) -> list[Any]:
    """Return what a user writes of an object."""
    metadata = manifest["metadata"]
    return [
        manifest["spec"],
        *(metadata.get(field) or {} for field in ("labels", "annotations")),
    ]
