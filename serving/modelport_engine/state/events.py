"""What happened to services: Kubernetes' events, kept for a while."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelport_engine.state.records import read_event, timestamp

if TYPE_CHECKING:
    from modelport_engine.state.database import Database
    from modelport_engine.state.records import Event, EventType, Key

KEPT = 200
"""Events kept of each service; the oldest go first."""

_KEPT_IN_ALL = 5_000
_MESSAGE_LIMIT = 1_024  # characters; Kubernetes' own


class EventLog:
    """The events of all services, those of deleted ones included.

    Raises:
        StorageFailed: from every method, when the disk is full or the file not writable.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def note(self, key: Key, type_: EventType, reason: str, message: str) -> None:
        """Add an event; one that happened before is counted, as Kubernetes does."""
        now, message = timestamp(), message[:_MESSAGE_LIMIT]
        same = (*key, type_, reason, message)
        with self._database.transaction() as db:
            again = db.execute(
                "SELECT number, count, first FROM events WHERE namespace = ? AND service = ? "
                "AND type = ? AND reason = ? AND message = ?",
                same,
            ).fetchone()
            count, first = (again["count"] + 1, again["first"]) if again else (1, now)
            if again:
                # The newest has the highest number, so that order is that of the last time.
                db.execute("DELETE FROM events WHERE number = ?", (again["number"],))
            db.execute(
                "INSERT INTO events "
                "(namespace, service, type, reason, message, count, first, last) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (*same, count, first, now),
            )
            db.execute(
                "DELETE FROM events WHERE namespace = ?1 AND service = ?2 AND number NOT IN "
                "(SELECT number FROM events WHERE namespace = ?1 AND service = ?2 "
                "ORDER BY number DESC LIMIT ?3)",
                (*key, KEPT),
            )
            db.execute(
                "DELETE FROM events WHERE number <= (SELECT max(number) FROM events) - ?",
                (_KEPT_IN_ALL,),
            )

    def all(self, namespace: str | None = None, name: str | None = None) -> list[Event]:
        """Events by time, oldest first: of all services, of one namespace, or of one service."""
        rows = self._database.read(
            "SELECT * FROM events WHERE (?1 IS NULL OR namespace = ?1) "
            "AND (?2 IS NULL OR service = ?2) ORDER BY number",
            (namespace, name),
        )
        return [read_event(row) for row in rows]
