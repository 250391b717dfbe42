"""Every error of the local engine.

    EngineError
    ├── EngineUnavailable       no engine answers on this home, or it is stopping
    ├── EngineStartFailed       the engine could not start
    │   ├── HomeInUse           another engine already works on this home
    │   └── PortInUse           another process listens on the gateway's port
    ├── StorageFailed           the home is full or not writable
    ├── SpawnFailed             the system refused to start a process
    ├── FetchFailed             a model could not be brought to this machine
    ├── GatewayFailed           Envoy did not start, or did not take its configuration
    ├── InvalidObject           the InferenceService cannot be accepted as written
    ├── NotFound                no such InferenceService
    ├── Conflict                the object was changed or is being deleted meanwhile
    ├── RevisionFailed          the new revision never became ready; the old one serves on
    └── WaitTimedOut            what was waited for has not happened in time

They know no transport: the API maps `reason` to an HTTP status, the command to an exit code.
"""

from __future__ import annotations

from typing import ClassVar


class EngineError(Exception):
    """Something a user can act on.

    Args:
        what: What failed, in one sentence without a full stop.
        todo: What to do next, in one sentence without a full stop.
    """

    reason: ClassVar[str] = "InternalError"

    def __init__(self, what: str, todo: str = "") -> None:
        super().__init__(what, todo)
        self.what = what
        self.todo = todo

    def __str__(self) -> str:
        line = f"{self.what}: {self.todo}" if self.todo else self.what
        return " ".join(line.split())

    @property
    def document(self) -> dict[str, str]:
        """The error as it travels between processes."""
        return {"reason": self.reason, "what": self.what, "todo": self.todo}

    @staticmethod
    def of(document: dict[str, str]) -> EngineError:
        """Give the error that another process has met."""
        kind = BY_REASON.get(document["reason"], EngineError)
        return kind(document["what"], document["todo"])


class EngineUnavailable(EngineError):
    """No engine answers on this home, or it is stopping."""

    reason = "ServiceUnavailable"


class EngineStartFailed(EngineError):
    """The engine could not start."""

    reason = "StartFailed"


class HomeInUse(EngineStartFailed):
    """Another engine already works on this home."""

    reason = "HomeInUse"


class PortInUse(EngineStartFailed):
    """Another process listens on the gateway's port."""

    reason = "PortInUse"


class StorageFailed(EngineError):
    """The home is full or not writable."""

    reason = "InsufficientStorage"


class SpawnFailed(EngineError):
    """The system refused to start a process."""

    reason = "SpawnFailed"


class FetchFailed(EngineError):
    """A model could not be brought to this machine."""

    reason = "FetchFailed"


class GatewayFailed(EngineError):
    """Envoy did not start, or did not take its configuration."""

    reason = "GatewayFailed"


class InvalidObject(EngineError):
    """The InferenceService cannot be accepted as written."""

    reason = "Invalid"


class NotFound(EngineError):
    """No such InferenceService."""

    reason = "NotFound"


class Conflict(EngineError):
    """The object was changed or is being deleted meanwhile."""

    reason = "Conflict"


class RevisionFailed(EngineError):
    """The new revision never became ready; the old one, if there is one, keeps serving."""

    reason = "RevisionFailed"


class WaitTimedOut(EngineError):
    """What was waited for has not happened in time."""

    reason = "Timeout"


BY_REASON: dict[str, type[EngineError]] = {
    kind.reason: kind
    for kind in (
        EngineError,
        EngineUnavailable,
        EngineStartFailed,
        HomeInUse,
        PortInUse,
        StorageFailed,
        SpawnFailed,
        FetchFailed,
        GatewayFailed,
        InvalidObject,
        NotFound,
        Conflict,
        RevisionFailed,
        WaitTimedOut,
    )
}
"""What travels between engine and client is the reason; this finds its class again."""
