"""Every error that a user of Modelport can meet.

    ModelportError
    ├── UsageError              an argument is wrong; nothing was started
    ├── MissingExtra            an optional library is not installed
    ├── TrackingError           MLflow does not answer, or refuses
    │   └── ModelNotFound       no such model, version, alias or run
    ├── DataError               the given rows or target column do not fit
    ├── UnsupportedModel        no converter takes this model
    ├── CertificateFailed       the converted model does not answer the same
    ├── GateFailed              an SLO is not met; nothing was deployed
    ├── TargetError             the place where services live does not answer, or refuses
    │   ├── ServiceNotFound     no such InferenceService
    │   └── DeploymentFailed    the new revision did not become ready; the old one serves on
    ├── PredictionError         the live endpoint refused a request
    ├── StorageError            the disk is full or not writable
    └── Interrupted             the user stopped the release

They know no transport: each edge (magic, CLI) renders them as one line, `what failed: what to do`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelport.reports import ReleaseReport


class ModelportError(Exception):
    """Something a user can act on.

    Args:
        what: What failed, in one sentence without a full stop.
        todo: What to do next, in one sentence without a full stop.

    Attributes:
        release: What was known of a release when this stopped it, if it was one.
        details: The traceback of the failed step, for those who ask.
    """

    release: ReleaseReport | None = None
    details: str = ""

    def __init__(self, what: str, todo: str = "") -> None:
        super().__init__(what, todo)
        self.what = what
        self.todo = todo

    def __str__(self) -> str:
        line = f"{self.what}: {self.todo}" if self.todo else self.what
        return " ".join(line.split())


class UsageError(ModelportError):
    """An argument is wrong; nothing was started."""


class MissingExtra(ModelportError):
    """An optional library is not installed."""

    def __init__(self, library: str, extra: str) -> None:
        super().__init__(f"{library} is not installed", f"run: pip install 'modelport[{extra}]'")


class TrackingError(ModelportError):
    """MLflow does not answer, or refuses."""


class ModelNotFound(TrackingError):
    """No such model, version, alias or run in MLflow."""


class DataError(ModelportError):
    """The given rows or target column do not fit the model."""


class UnsupportedModel(ModelportError):
    """No converter takes this model; it can still be served by its own flavour."""


class CertificateFailed(ModelportError):
    """The converted model does not answer as the native one does."""


class GateFailed(ModelportError):
    """An SLO is not met; nothing was deployed."""


class TargetError(ModelportError):
    """The place where services live does not answer, or refuses."""


class ServiceNotFound(TargetError):
    """No such InferenceService."""


class DeploymentFailed(TargetError):
    """The new revision did not become ready; the old one keeps serving."""


class PredictionError(ModelportError):
    """The live endpoint refused a request."""


class StorageError(ModelportError):
    """The disk is full or not writable."""


class Interrupted(ModelportError):
    """The user stopped the release; the running service is as it was."""
