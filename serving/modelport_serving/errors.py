"""Every error of the runtime; none of them knows a transport.

    ServingError
    ├── InvalidInput        the request does not fit the protocol or the model
    ├── PayloadTooLarge     the request is larger than the server takes
    ├── ModelNotFound       no model of this name is served here
    ├── ModelNotReady       the model is still loading
    ├── Overloaded          more requests wait than the server lets wait
    ├── DeadlineExceeded    the answer would come later than the caller waits
    ├── Unauthenticated     the caller showed no valid token
    ├── NotSupported        a part of the protocol that this server does not have
    ├── PredictionFailed    the model itself failed on a valid request
    ├── UpstreamFailed      the predictor behind a transformer or explainer did not answer
    ├── ModelLoadFailed     the model cannot be served at all
    │   └── ContractError   the folder is not a served model folder
    └── StartFailed         the server cannot listen where it was told to

Each edge (REST, the command line) has one table that maps them to its codes.
"""

from __future__ import annotations

_LONGEST = 1000


class ServingError(Exception):
    """Something a caller or an operator can act on: one line of plain language.

    What a request gave may be part of it, so its length is bounded.
    """

    def __str__(self) -> str:
        return " ".join(super().__str__()[:_LONGEST].split())


class InvalidInput(ServingError):
    """The request does not fit the protocol or the model."""


class PayloadTooLarge(ServingError):
    """The request is larger than the server takes."""


class ModelNotFound(ServingError):
    """No model of this name is served here."""


class ModelNotReady(ServingError):
    """The model is still loading."""


class Overloaded(ServingError):
    """More requests wait than the server lets wait: try again after `retry_after` seconds."""

    retry_after = 1


class DeadlineExceeded(ServingError):
    """The answer would come later than the caller waits."""


class Unauthenticated(ServingError):
    """The caller showed no valid token."""


class NotSupported(ServingError):
    """A part of the protocol that this server does not have."""


class PredictionFailed(ServingError):
    """The model itself failed on a valid request; `__cause__` says how."""


class UpstreamFailed(ServingError):
    """The predictor behind a transformer or explainer did not answer."""


class ModelLoadFailed(ServingError):
    """The model cannot be served at all."""


class ContractError(ModelLoadFailed):
    """The folder is not a served model folder."""


class StartFailed(ServingError):
    """The server cannot listen where it was told to."""
