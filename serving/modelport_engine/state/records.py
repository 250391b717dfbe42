"""What the database holds, as typed values."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping

RevisionState = Literal["Pending", "Ready", "Failed", "Retired"]
"""Pending: being brought up. Ready: it has been up, and may have traffic. Failed: we gave up.
Retired: replaced before it was ready."""

EventType = Literal["Normal", "Warning"]

PREDICTOR = "predictor"
TRANSFORMER = "transformer"
EXPLAINER = "explainer"
FRONTS = (TRANSFORMER, EXPLAINER)
"""Components that ask the predictor; each is a key of a revision's template."""

STABLE = ""
"""Name of the track of `spec.predictor`; the others are named as their canaries."""


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
class Track:
    """A line of revisions: the stable one, or that of a canary.

    `latest` is the one of the present spec, `rolled_out` the one that has the track's traffic,
    `previous` the one that had it before.
    """

    latest: str
    rolled_out: str | None = None
    previous: str | None = None


@dataclass(frozen=True)
class Service:
    """A stored object, with its tracks by name."""

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
    tracks: Mapping[str, Track]

    @property
    def key(self) -> Key:
        """Which service this is."""
        return Key(self.namespace, self.name)

    @property
    def stable(self) -> Track:
        """The track of `spec.predictor`."""
        return self.tracks[STABLE]


@dataclass(frozen=True)
class Revision:
    """One version of what a service's replicas run.

    `spec` is the service's when it was made, `failure` KServe's lastFailureInfo.
    """

    key: Key
    name: str
    number: int
    template: dict[str, Any]
    spec: dict[str, Any]
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

    @property
    def entry(self) -> Part:
        """The part that requests to predict enter at."""
        return Part(self.name, TRANSFORMER if TRANSFORMER in self.template else PREDICTOR)

    @property
    def explainer(self) -> Part:
        """The part that requests to explain enter at."""
        return Part(self.name, EXPLAINER) if EXPLAINER in self.template else self.entry


@dataclass(frozen=True)
class ReplicaRecord:
    """A process that runs one replica; `started` is its creation time, seconds since 1970.

    `grpc_port` is None for one that speaks no gRPC; `ready`: it has been ready; `restarts`
    counts the processes of its slot that ended by themselves.
    """

    key: Key
    revision: str
    slot: int
    pid: int
    started: float
    port: int
    ready: bool
    component: str = PREDICTOR
    grpc_port: int | None = None
    restarts: int = 0

    @property
    def part(self) -> Part:
        """What it is a replica of."""
        return Part(self.revision, self.component)

    @property
    def ports(self) -> tuple[int, ...]:
        """Where it answers: REST, and gRPC if it speaks it."""
        return (self.port, self.grpc_port) if self.grpc_port else (self.port,)


@dataclass(frozen=True)
class Event:
    """Something that happened to a service, `count` times from `first` to `last`."""

    key: Key
    type: EventType
    reason: str
    message: str
    count: int
    first: str
    last: str
    number: int


def replica_name(part: Part, slot: int) -> str:
    """Name a replica as Kubernetes would a pod."""
    return f"{part}-{slot}"


def timestamp(seconds: float | None = None) -> str:
    """Give a time (seconds since 1970; now) as Kubernetes writes it: UTC, whole seconds."""
    moment = datetime.now(UTC) if seconds is None else datetime.fromtimestamp(seconds, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def read_service(row: sqlite3.Row) -> Service:
    """Read a row of `services`."""
    values = dict(row)
    for column in ("labels", "annotations", "spec", "status"):
        values[column] = json.loads(values[column])
    values["unhonoured"] = tuple(json.loads(values["unhonoured"]))
    tracks = json.loads(values["tracks"])
    values["tracks"] = {name: Track(**track) for name, track in tracks.items()}
    return Service(**values)


def read_revision(row: sqlite3.Row) -> Revision:
    """Read a row of `revisions`."""
    return Revision(
        key=Key(row["namespace"], row["service"]),
        name=row["name"],
        number=row["number"],
        template=json.loads(row["template"]),
        spec=json.loads(row["spec"]),
        created=row["created"],
        state=row["state"],
        failure=json.loads(row["failure"]) if row["failure"] else None,
    )


def read_replica(row: sqlite3.Row) -> ReplicaRecord:
    """Read a row of `replicas`."""
    values = dict(row)
    key = Key(values.pop("namespace"), values.pop("service"))
    return ReplicaRecord(key=key, **{**values, "ready": bool(values["ready"])})


def read_event(row: sqlite3.Row) -> Event:
    """Read a row of `events`."""
    values = dict(row)
    return Event(key=Key(values.pop("namespace"), values.pop("service")), **values)
