"""What the database holds, as typed values."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    import sqlite3

RevisionState = Literal["Pending", "Ready", "Failed", "Retired"]
"""Pending: being brought up. Ready: has taken traffic. Failed: we gave up.
Retired: replaced before it was ready."""


PREDICTOR = "predictor"
EXPLAINER = "explainer"
FRONTS = (EXPLAINER,)
"""Components that ask the predictor; each is a key of a revision's template."""


class Key(NamedTuple):
    """Which service."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class Part(NamedTuple):
    """One component of a revision: what replicas are of."""

    revision: str
    component: str = PREDICTOR

    def __str__(self) -> str:
        """Name it as KServe would: its own component stands in the revision's name."""
        service, _, number = self.revision.rpartition(f"-{PREDICTOR}-")
        return f"{service}-{self.component}-{number}" if service else self.revision


@dataclass(frozen=True)
class Service:
    """A stored object. `rolled_out` names the revision that takes the traffic."""

    namespace: str
    name: str
    uid: str
    created: str
    deleted: str | None
    generation: int
    resource_version: int
    labels: dict[str, str]
    annotations: dict[str, str]
    spec: dict[str, Any]
    status: dict[str, Any]
    unhonoured: tuple[str, ...]
    last_revision: int
    rolled_out: str | None
    previous: str | None

    @property
    def key(self) -> Key:
        """Which service this is."""
        return Key(self.namespace, self.name)


@dataclass(frozen=True)
class Revision:
    """One version of what a service's replicas run. `failure` is KServe's lastFailureInfo."""

    key: Key
    name: str
    number: int
    template: dict[str, Any]
    created: str
    state: RevisionState
    failure: dict[str, Any] | None

    @property
    def components(self) -> tuple[str, ...]:
        """The components that it consists of."""
        return (PREDICTOR, *(front for front in FRONTS if front in self.template))

    @property
    def parts(self) -> tuple[Part, ...]:
        """What its replicas are of."""
        return tuple(Part(self.name, component) for component in self.components)


@dataclass(frozen=True)
class ReplicaRecord:
    """A process that runs one replica; `started` is its creation time, seconds since 1970."""

    key: Key
    revision: str
    slot: int
    pid: int
    started: float
    port: int
    ready: bool
    component: str = PREDICTOR

    @property
    def part(self) -> Part:
        """What it is a replica of."""
        return Part(self.revision, self.component)


def replica_name(part: Part, slot: int) -> str:
    """Name a replica as Kubernetes would a pod."""
    return f"{part}-{slot}"


def timestamp() -> str:
    """Give the time as Kubernetes writes it: UTC, whole seconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read_service(row: sqlite3.Row) -> Service:
    """Read a row of `services`."""
    values = dict(row)
    for column in ("labels", "annotations", "spec", "status"):
        values[column] = json.loads(values[column])
    values["unhonoured"] = tuple(json.loads(values["unhonoured"]))
    return Service(**values)


def read_revision(row: sqlite3.Row) -> Revision:
    """Read a row of `revisions`."""
    return Revision(
        key=Key(row["namespace"], row["service"]),
        name=row["name"],
        number=row["number"],
        template=json.loads(row["template"]),
        created=row["created"],
        state=row["state"],
        failure=json.loads(row["failure"]) if row["failure"] else None,
    )


def read_replica(row: sqlite3.Row) -> ReplicaRecord:
    """Read a row of `replicas`."""
    return ReplicaRecord(
        key=Key(row["namespace"], row["service"]),
        revision=row["revision"],
        slot=row["slot"],
        pid=row["pid"],
        started=row["started"],
        port=row["port"],
        ready=bool(row["ready"]),
        component=row["component"],
    )
