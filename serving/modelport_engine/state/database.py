"""The SQLite file: its settings, its schema, its transactions."""

from __future__ import annotations

import json
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from modelport_engine.errors import StorageFailed
from modelport_engine.paths import storage_failed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

MIGRATIONS = (
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
    # Tracks, gRPC, events and scales. What a revision's spec was is known of its model alone.
    """
    ALTER TABLE replicas ADD COLUMN grpc_port INTEGER;
    ALTER TABLE replicas ADD COLUMN restarts INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE revisions ADD COLUMN spec TEXT NOT NULL DEFAULT '{}';
    UPDATE revisions SET spec =
        json_object('predictor', json_object('model', json_extract(template, '$.model')));
    ALTER TABLE services ADD COLUMN tracks TEXT NOT NULL DEFAULT '{}';
    UPDATE services SET tracks = json_object('', json_object(
        'latest', (SELECT revisions.name FROM revisions
            WHERE revisions.namespace = services.namespace AND service = services.name
            ORDER BY number DESC LIMIT 1),
        'rolled_out', rolled_out,
        'previous', previous
    ));
    ALTER TABLE services DROP COLUMN rolled_out;
    ALTER TABLE services DROP COLUMN previous;
    CREATE TABLE scales (
        namespace TEXT NOT NULL,
        revision TEXT NOT NULL,
        component TEXT NOT NULL,
        replicas INTEGER NOT NULL,
        PRIMARY KEY (namespace, revision, component),
        FOREIGN KEY (namespace, revision) REFERENCES revisions ON DELETE CASCADE
    ) WITHOUT ROWID;
    CREATE TABLE events (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        namespace TEXT NOT NULL,
        service TEXT NOT NULL,
        type TEXT NOT NULL,
        reason TEXT NOT NULL,
        message TEXT NOT NULL,
        count INTEGER NOT NULL,
        first TEXT NOT NULL,
        last TEXT NOT NULL
    );
    CREATE INDEX events_of ON events (namespace, service);
    """,
)
"""Scripts that bring the schema from one version to the next; the first makes version 1."""


class Database:
    """One connection, used from one thread.

    Raises:
        StorageFailed: from every method, when the disk is full or the file not writable.
    """

    def __init__(self, path: Path) -> None:
        self._home = path.parent.parent
        with self._storage():
            self._connection = sqlite3.connect(path, isolation_level=None)
            self._connection.row_factory = sqlite3.Row
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
                self._connection.execute(f"PRAGMA {pragma}")
            self._migrate()

    def close(self) -> None:
        """Close it; the write-ahead log is folded into the file."""
        self._connection.close()

    def pragma(self, name: str) -> Any:
        """Read one of SQLite's own settings, as this connection has it."""
        return self._connection.execute(f"PRAGMA {name}").fetchone()[0]

    def read(self, query: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """Give all rows of a query."""
        with self._storage():
            return self._connection.execute(query, values).fetchall()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Write all or nothing; it is durable when the block ends."""
        with self._storage():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                # SQLite itself has rolled back already after some failures, a full disk for one.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def setting(self, name: str) -> Any:
        """Read a remembered value; None when there is none."""
        rows = self.read("SELECT value FROM settings WHERE key = ?", (name,))
        return json.loads(rows[0]["value"]) if rows else None

    def remember(self, name: str, value: Any) -> None:
        """Keep a value across restarts."""
        with self.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, json.dumps(value))
            )

    def _migrate(self) -> None:
        done = self.pragma("user_version")
        if done > len(MIGRATIONS):
            raise StorageFailed(
                f"the state in {self._home} was written by a newer version of modelport",
                "upgrade modelport, or set MODELPORT_HOME to another folder",
            )
        for number, script in enumerate(MIGRATIONS[done:], start=done + 1):
            self._connection.executescript(
                f"BEGIN IMMEDIATE; {script} PRAGMA user_version={number}; COMMIT"
            )

    @contextmanager
    def _storage(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise storage_failed(self._home, error) from error
