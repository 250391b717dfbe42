"""What the engine knows, kept in SQLite: a write that returned is durable.

Kubernetes' own semantics: `generation` counts changes of the spec, `resourceVersion` changes of
anything, status included.
"""

from __future__ import annotations

import json
import sqlite3
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from modelport_engine.errors import Conflict, NotFound, StorageFailed
from modelport_engine.paths import storage_failed
from modelport_engine.records import (
    Key,
    ReplicaRecord,
    Revision,
    Service,
    read_replica,
    read_revision,
    read_service,
    timestamp,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from modelport_engine.objects import InferenceService

REVISION_HISTORY = 10
"""Revisions kept for each service; Kubernetes' own revisionHistoryLimit."""

_MIGRATIONS = (
    """
    CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE services (
        namespace TEXT NOT NULL,
        name TEXT NOT NULL,
        uid TEXT NOT NULL,
        created TEXT NOT NULL,
        deleted TEXT,
        generation INTEGER NOT NULL,
        resource_version INTEGER NOT NULL,
        labels TEXT NOT NULL,
        annotations TEXT NOT NULL,
        spec TEXT NOT NULL,
        status TEXT NOT NULL,
        unhonoured TEXT NOT NULL,
        last_revision INTEGER NOT NULL,
        rolled_out TEXT,
        previous TEXT,
        PRIMARY KEY (namespace, name)
    ) WITHOUT ROWID;
    CREATE TABLE revisions (
        namespace TEXT NOT NULL,
        service TEXT NOT NULL,
        name TEXT NOT NULL,
        number INTEGER NOT NULL,
        template TEXT NOT NULL,
        created TEXT NOT NULL,
        state TEXT NOT NULL,
        failure TEXT,
        PRIMARY KEY (namespace, name),
        FOREIGN KEY (namespace, service) REFERENCES services ON DELETE CASCADE
    ) WITHOUT ROWID;
    CREATE TABLE replicas (
        namespace TEXT NOT NULL,
        service TEXT NOT NULL,
        revision TEXT NOT NULL,
        slot INTEGER NOT NULL,
        pid INTEGER NOT NULL PRIMARY KEY,
        started REAL NOT NULL,
        port INTEGER NOT NULL,
        ready INTEGER NOT NULL
    );
    """,
    "ALTER TABLE replicas ADD COLUMN component TEXT NOT NULL DEFAULT 'predictor';",
)


class Store:
    """The engine's database; one connection, used from one thread.

    Raises:
        StorageFailed: from every method, when the disk is full or the file not writable.
    """

    def __init__(self, path: Path) -> None:
        self._home = path.parent.parent
        with self._storage():
            self._db = sqlite3.connect(path, isolation_level=None)
            self._db.row_factory = sqlite3.Row
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
                self._db.execute(f"PRAGMA {pragma}")
            self._migrate()

    def close(self) -> None:
        """Close the database; the write-ahead log is folded into it."""
        self._db.close()

    def pragma(self, name: str) -> Any:
        """Read one of SQLite's own settings, as this connection has it."""
        return self._db.execute(f"PRAGMA {name}").fetchone()[0]

    def setting(self, name: str) -> Any:
        """Read a remembered value; None when there is none."""
        row = self._db.execute("SELECT value FROM settings WHERE key = ?", (name,)).fetchone()
        return json.loads(row["value"]) if row else None

    def remember(self, name: str, value: Any) -> None:
        """Keep a value across restarts."""
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, json.dumps(value)))

    def services(self, namespace: str | None = None) -> list[Service]:
        """All services, or those of one namespace, by name."""
        rows = self._db.execute(
            "SELECT * FROM services WHERE ?1 IS NULL OR namespace = ?1 ORDER BY namespace, name",
            (namespace,),
        )
        return [read_service(row) for row in rows]

    def service(self, key: Key) -> Service:
        """One service; `NotFound` when there is none of this name."""
        row = self._db.execute(
            "SELECT * FROM services WHERE namespace = ? AND name = ?", key
        ).fetchone()
        if row is None:
            raise NotFound(
                f"there is no InferenceService {key.name!r} in namespace {key.namespace!r}",
                "see `modelport status` for those there are",
            )
        return read_service(row)

    def revisions(self, key: Key) -> list[Revision]:
        """Give a service's revisions, oldest first."""
        rows = self._db.execute(
            "SELECT * FROM revisions WHERE namespace = ? AND service = ? ORDER BY number", key
        )
        return [read_revision(row) for row in rows]

    def apply(self, wanted: InferenceService) -> Service:
        """Create or replace an object; a changed template makes a new revision.

        An identical object changes nothing, except that a revision that failed gets another try.
        Raises `Conflict` when the object is being deleted, or its resourceVersion is not current.
        """
        key = Key(wanted.namespace, wanted.name)
        with self._transaction() as db:
            try:
                current = self.service(key)
            except NotFound:
                self._insert(db, wanted)
            else:
                _check_current(current, wanted)
                self._update(db, current, wanted)
            self._ensure_revision(db, key, wanted.components.template)
        return self.service(key)

    def save_status(self, key: Key, status: dict[str, Any]) -> None:
        """Replace a service's status."""
        with self._transaction() as db:
            db.execute(
                "UPDATE services SET status = ?, resource_version = ? "
                "WHERE namespace = ? AND name = ?",
                (json.dumps(status), _next_version(db), *key),
            )

    def mark_deleted(self, key: Key) -> Service:
        """Note that a service shall go; its processes are still to be stopped."""
        self.service(key)
        with self._transaction() as db:
            db.execute(
                "UPDATE services SET deleted = coalesce(deleted, ?), resource_version = ? "
                "WHERE namespace = ? AND name = ?",
                (timestamp(), _next_version(db), *key),
            )
        return self.service(key)

    def remove(self, key: Key) -> None:
        """Forget a service and its revisions."""
        with self._transaction() as db:
            db.execute("DELETE FROM services WHERE namespace = ? AND name = ?", key)

    def roll_out(self, key: Key, revision: str) -> None:
        """Note that a revision takes the traffic now."""
        with self._transaction() as db:
            db.execute(
                "UPDATE services SET previous = rolled_out, rolled_out = ? "
                "WHERE namespace = ? AND name = ? AND rolled_out IS NOT ?",
                (revision, *key, revision),
            )
            db.execute(
                "UPDATE revisions SET state = 'Ready', failure = NULL "
                "WHERE namespace = ? AND name = ?",
                (key.namespace, revision),
            )

    def fail(self, revision: Revision, failure: dict[str, Any]) -> None:
        """Note that a revision will not be tried any more, and why (KServe's lastFailureInfo)."""
        with self._transaction() as db:
            db.execute(
                "UPDATE revisions SET state = 'Failed', failure = ? "
                "WHERE namespace = ? AND name = ?",
                (json.dumps(failure), revision.key.namespace, revision.name),
            )

    def replicas(self) -> list[ReplicaRecord]:
        """All recorded processes."""
        return [read_replica(row) for row in self._db.execute("SELECT * FROM replicas")]

    def add_replica(self, record: ReplicaRecord) -> None:
        """Record a process just started."""
        with self._transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO replicas VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *record.key,
                    record.revision,
                    record.slot,
                    record.pid,
                    record.started,
                    record.port,
                    record.ready,
                    record.component,
                ),
            )

    def mark_ready(self, record: ReplicaRecord) -> None:
        """Note that a replica has been ready, so that one taken over is known to serve."""
        with self._transaction() as db:
            db.execute("UPDATE replicas SET ready = 1 WHERE pid = ?", (record.pid,))

    def forget_replica(self, record: ReplicaRecord) -> None:
        """Forget a process that has ended."""
        with self._transaction() as db:
            db.execute("DELETE FROM replicas WHERE pid = ?", (record.pid,))

    def _insert(self, db: sqlite3.Connection, wanted: InferenceService) -> None:
        row = {
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
        }
        columns = ", ".join(row)
        values = ", ".join(f":{column}" for column in row)
        db.execute(f"INSERT INTO services ({columns}) VALUES ({values})", row)  # noqa: S608 - own names

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

    def _ensure_revision(self, db: sqlite3.Connection, key: Key, template: dict[str, Any]) -> None:
        revisions = self.revisions(key)
        if not revisions or revisions[-1].template != template:
            self._add_revision(db, key, template)
            self._prune(db, key)
        elif revisions[-1].state == "Failed":
            db.execute(
                "UPDATE revisions SET state = 'Pending', failure = NULL "
                "WHERE namespace = ? AND name = ?",
                (key.namespace, revisions[-1].name),
            )

    def _add_revision(self, db: sqlite3.Connection, key: Key, template: dict[str, Any]) -> None:
        number = self.service(key).last_revision + 1
        db.execute(
            "UPDATE services SET last_revision = ? WHERE namespace = ? AND name = ?",
            (number, *key),
        )
        db.execute(
            "UPDATE revisions SET state = 'Retired' "
            "WHERE namespace = ? AND service = ? AND state = 'Pending'",
            key,
        )
        db.execute(
            "INSERT INTO revisions VALUES (?, ?, ?, ?, ?, ?, 'Pending', NULL)",
            (*key, f"{key.name}-predictor-{number:05d}", number, json.dumps(template), timestamp()),
        )

    def _prune(self, db: sqlite3.Connection, key: Key) -> None:
        serving = self.service(key).rolled_out
        for revision in self.revisions(key)[:-REVISION_HISTORY]:
            if revision.name != serving:
                db.execute(
                    "DELETE FROM revisions WHERE namespace = ? AND name = ?",
                    (key.namespace, revision.name),
                )

    def _migrate(self) -> None:
        done = self.pragma("user_version")
        if done > len(_MIGRATIONS):
            raise StorageFailed(
                f"the state in {self._home} was written by a newer version of modelport",
                "upgrade modelport, or set MODELPORT_HOME to another folder",
            )
        for number, script in enumerate(_MIGRATIONS[done:], start=done + 1):
            self._db.executescript(
                f"BEGIN IMMEDIATE; {script} PRAGMA user_version={number}; COMMIT"
            )

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._storage():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                # SQLite itself has rolled back already after some failures, a full disk for one.
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _storage(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise storage_failed(self._home, error) from error


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
