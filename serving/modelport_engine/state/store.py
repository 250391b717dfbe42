"""The objects, their revisions and their processes.

Kubernetes' own semantics: `generation` counts changes of the spec, `resourceVersion` changes of
anything, status included.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from modelport_engine.errors import Conflict, NotFound
from modelport_engine.state.records import (
    STABLE,
    Key,
    Part,
    ReplicaRecord,
    Revision,
    Service,
    Track,
    read_replica,
    read_revision,
    read_service,
    timestamp,
)

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping

    from modelport_engine.objects import InferenceService
    from modelport_engine.state.database import Database

REVISION_HISTORY = 10
"""Revisions kept for each service; Kubernetes' own revisionHistoryLimit."""


class Store:
    """Every service, revision and replica.

    Raises:
        StorageFailed: from every method, when the disk is full or the file not writable.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def services(self, namespace: str | None = None) -> list[Service]:
        """All services, or those of one namespace, by name."""
        rows = self._database.read(
            "SELECT * FROM services WHERE ?1 IS NULL OR namespace = ?1 ORDER BY namespace, name",
            (namespace,),
        )
        return [read_service(row) for row in rows]

    def service(self, key: Key) -> Service:
        """One service; `NotFound` when there is none of this name."""
        rows = self._database.read("SELECT * FROM services WHERE namespace = ? AND name = ?", key)
        if not rows:
            raise NotFound(
                f"there is no InferenceService {key.name!r} in namespace {key.namespace!r}",
                "see `modelport get -A` for those there are",
            )
        return read_service(rows[0])

    def revisions(self, key: Key) -> list[Revision]:
        """Give a service's revisions, oldest first."""
        rows = self._database.read(
            "SELECT * FROM revisions WHERE namespace = ? AND service = ? ORDER BY number", key
        )
        return [read_revision(row) for row in rows]

    def apply(self, wanted: InferenceService) -> Service:
        """Create or replace an object; a template that it never had makes a new revision.

        One that it had, and that is still kept, is used again. An identical object changes
        nothing, except that a revision that failed gets another try. Raises `Conflict` when the
        object is being deleted, or its resourceVersion is not current.
        """
        key = Key(wanted.namespace, wanted.name)
        with self._database.transaction() as db:
            try:
                current = self.service(key)
            except NotFound:
                self._insert(db, wanted)
            else:
                _check_current(current, wanted)
                self._update(db, current, wanted)
            self._follow(db, key, wanted)
        return self.service(key)

    def save_status(self, key: Key, status: dict[str, Any]) -> None:
        """Replace a service's status."""
        with self._database.transaction() as db:
            db.execute(
                "UPDATE services SET status = ?, resource_version = ? "
                "WHERE namespace = ? AND name = ?",
                (json.dumps(status), _next_version(db), *key),
            )

    def mark_deleted(self, key: Key) -> Service:
        """Note that a service shall go; its processes are still to be stopped."""
        self.service(key)
        with self._database.transaction() as db:
            db.execute(
                "UPDATE services SET deleted = coalesce(deleted, ?), resource_version = ? "
                "WHERE namespace = ? AND name = ?",
                (timestamp(), _next_version(db), *key),
            )
        return self.service(key)

    def remove(self, key: Key) -> None:
        """Forget a service and its revisions."""
        with self._database.transaction() as db:
            db.execute("DELETE FROM services WHERE namespace = ? AND name = ?", key)

    def mark_up(self, key: Key, revision: str) -> None:
        """Note that a revision has been up: it may have traffic from now on."""
        with self._database.transaction() as db:
            _set_state(db, key, revision, "Ready")

    def roll_out(self, key: Key, track: str, revision: str) -> None:
        """Note that a revision takes its track's traffic now."""
        with self._database.transaction() as db:
            tracks = dict(self.service(key).tracks)
            before = tracks.get(track)
            if before is None or before.rolled_out == revision:
                return  # a canary may have been taken out meanwhile
            tracks[track] = replace(before, rolled_out=revision, previous=before.rolled_out)
            _save_tracks(db, key, tracks)

    def fail(self, revision: Revision, failure: dict[str, Any]) -> None:
        """Note that a revision will not be tried any more, and why (KServe's lastFailureInfo)."""
        with self._database.transaction() as db:
            _set_state(db, revision.key, revision.name, "Failed", failure)

    def scales(self, key: Key) -> dict[Part, int]:
        """Replicas that the autoscaler has decided on, of the parts for which it has."""
        rows = self._database.read(
            "SELECT scales.* FROM scales JOIN revisions "
            "ON revisions.namespace = scales.namespace AND revisions.name = scales.revision "
            "WHERE revisions.namespace = ? AND service = ?",
            key,
        )
        return {Part(row["revision"], row["component"]): row["replicas"] for row in rows}

    def scale(self, key: Key, part: Part, replicas: int) -> None:
        """Keep what the autoscaler has decided on."""
        with self._database.transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO scales VALUES (?, ?, ?, ?)",
                (key.namespace, *part, replicas),
            )

    def replicas(self) -> list[ReplicaRecord]:
        """All recorded processes."""
        return [read_replica(row) for row in self._database.read("SELECT * FROM replicas")]

    def add_replica(self, record: ReplicaRecord) -> None:
        """Record a process just started."""
        values = asdict(record)
        values |= dict(zip(("namespace", "service"), values.pop("key"), strict=True))
        with self._database.transaction() as db:
            db.execute("DELETE FROM replicas WHERE pid = ?", (record.pid,))
            _insert(db, "replicas", values)

    def mark_ready(self, record: ReplicaRecord) -> None:
        """Note that a replica has been ready, so that one taken over is known to serve."""
        with self._database.transaction() as db:
            db.execute("UPDATE replicas SET ready = 1 WHERE pid = ?", (record.pid,))

    def forget_replica(self, record: ReplicaRecord) -> None:
        """Forget a process that has ended."""
        with self._database.transaction() as db:
            db.execute("DELETE FROM replicas WHERE pid = ?", (record.pid,))

    def _insert(self, db: sqlite3.Connection, wanted: InferenceService) -> None:
        values = {
            "namespace": wanted.namespace,
            "name": wanted.name,
            "uid": str(uuid.uuid4()),
            "created": timestamp(),
            "generation": 1,
            "resource_version": _next_version(db),
            "labels": json.dumps(wanted.labels),
            "annotations": json.dumps(wanted.annotations),
            "spec": json.dumps(wanted.spec),
            "status": "{}",
            "unhonoured": json.dumps(wanted.unhonoured),
            "last_revision": 0,
            "tracks": "{}",
        }
        _insert(db, "services", values)

    def _update(self, db: sqlite3.Connection, current: Service, wanted: InferenceService) -> None:
        changed = current.spec != wanted.spec
        meta_changed = (current.labels, current.annotations) != (wanted.labels, wanted.annotations)
        if not changed and not meta_changed:
            return
        db.execute(
            "UPDATE services SET generation = ?, resource_version = ?, labels = ?,"
            " annotations = ?, spec = ?, unhonoured = ? WHERE namespace = ? AND name = ?",
            (
                current.generation + changed,
                _next_version(db),
                json.dumps(wanted.labels),
                json.dumps(wanted.annotations),
                json.dumps(wanted.spec),
                json.dumps(wanted.unhonoured),
                *current.key,
            ),
        )

    def _follow(self, db: sqlite3.Connection, key: Key, wanted: InferenceService) -> None:
        """Point every track at the revision of its template."""
        canaries = {canary.name: canary.template for canary in wanted.components.canaries}
        before = self.service(key).tracks
        tracks = {}
        for name, template in {STABLE: wanted.components.template, **canaries}.items():
            revision = self._revision_of(db, key, template, wanted.spec, before)
            tracks[name] = replace(before.get(name, Track(revision)), latest=revision)
        _save_tracks(db, key, tracks)
        self._retire(db, key, {track.latest for track in tracks.values()})
        self._prune(db, key, _named(tracks))

    def _revision_of(
        self,
        db: sqlite3.Connection,
        key: Key,
        template: dict[str, Any],
        spec: dict[str, Any],
        tracks: Mapping[str, Track],
    ) -> str:
        """Find the revision that has this template, or make one."""
        same = [known for known in self.revisions(key) if known.template == template]
        if not same:
            return self._add_revision(db, key, template, spec)
        revision = same[-1]
        runs = any(revision.name in (track.latest, track.rolled_out) for track in tracks.values())
        if revision.state == "Failed" or not runs:
            _set_state(db, key, revision.name, "Pending")
        return revision.name

    def _add_revision(
        self, db: sqlite3.Connection, key: Key, template: dict[str, Any], spec: dict[str, Any]
    ) -> str:
        number = self.service(key).last_revision + 1
        name = f"{key.name}-predictor-{number:05d}"
        db.execute(
            "UPDATE services SET last_revision = ? WHERE namespace = ? AND name = ?",
            (number, *key),
        )
        values = {
            "namespace": key.namespace,
            "service": key.name,
            "name": name,
            "number": number,
            "template": json.dumps(template),
            "spec": json.dumps(spec),
            "created": timestamp(),
            "state": "Pending",
        }
        _insert(db, "revisions", values)
        return name

    def _retire(self, db: sqlite3.Connection, key: Key, latest: set[str]) -> None:
        for revision in self.revisions(key):
            if revision.state == "Pending" and revision.name not in latest:
                _set_state(db, key, revision.name, "Retired")

    def _prune(self, db: sqlite3.Connection, key: Key, needed: set[str]) -> None:
        for revision in self.revisions(key)[:-REVISION_HISTORY]:
            if revision.name not in needed:
                db.execute(
                    "DELETE FROM revisions WHERE namespace = ? AND name = ?",
                    (key.namespace, revision.name),
                )


def _insert(db: sqlite3.Connection, table: str, values: Mapping[str, Any]) -> None:
    columns, marks = ", ".join(values), ", ".join(f":{column}" for column in values)
    db.execute(f"INSERT INTO {table} ({columns}) VALUES ({marks})", values)  # noqa: S608 - own names


def _set_state(
    db: sqlite3.Connection,
    key: Key,
    revision: str,
    state: str,
    failure: dict[str, Any] | None = None,
) -> None:
    db.execute(
        "UPDATE revisions SET state = ?, failure = ? WHERE namespace = ? AND name = ?",
        (state, json.dumps(failure) if failure else None, key.namespace, revision),
    )


def _save_tracks(db: sqlite3.Connection, key: Key, tracks: Mapping[str, Track]) -> None:
    written = json.dumps({name: asdict(track) for name, track in tracks.items()})
    db.execute("UPDATE services SET tracks = ? WHERE namespace = ? AND name = ?", (written, *key))


def _named(tracks: Mapping[str, Track]) -> set[str]:
    names: Iterable[str | None] = (
        name
        for track in tracks.values()
        for name in (track.latest, track.rolled_out, track.previous)
    )
    return {name for name in names if name}


def _next_version(db: sqlite3.Connection) -> int:
    row = db.execute(
        "INSERT INTO settings VALUES ('resource_version', '1') "
        "ON CONFLICT (key) DO UPDATE SET value = CAST(value AS INTEGER) + 1 RETURNING value"
    ).fetchone()
    return int(row["value"])


def _check_current(current: Service, wanted: InferenceService) -> None:
    if current.deleted:
        raise Conflict(f"{current.key} is being deleted", "apply it again when it is gone")
    version = wanted.resource_version
    if version is not None and version != str(current.resource_version):
        raise Conflict(
            f"{current.key} has changed since resourceVersion {version}",
            "read it again, or leave metadata.resourceVersion out",
        )
