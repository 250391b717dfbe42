"""From the notebook to production in one cell.

`modelport.deploy("models:/churn@champion")` takes a model out of MLflow, converts it to ONNX,
certifies that it answers the same, times and explains it, and deploys it as a KServe
InferenceService. In a notebook: `%load_ext modelport`, then `%kserve_deploy`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from modelport.api import (
        benchmark,
        certify,
        delete,
        deploy,
        down,
        explain,
        plan,
        predict,
        services,
        status,
        up,
    )
    from modelport.errors import (
        CertificateFailed,
        DataError,
        DeploymentFailed,
        GateFailed,
        Interrupted,
        MissingExtra,
        ModelNotFound,
        ModelportError,
        PredictionError,
        ServiceNotFound,
        StorageError,
        TargetError,
        TrackingError,
        UnsupportedModel,
        UsageError,
    )
    from modelport.operations import apply, rollback, scale, start, stop
    from modelport.views import (
        Benchmark,
        Certificate,
        Explanation,
        Plan,
        Release,
        Service,
        Services,
    )

__all__ = [
    "Benchmark",
    "Certificate",
    "CertificateFailed",
    "DataError",
    "DeploymentFailed",
    "Explanation",
    "GateFailed",
    "Interrupted",
    "MissingExtra",
    "ModelNotFound",
    "ModelportError",
    "Plan",
    "PredictionError",
    "Release",
    "Service",
    "ServiceNotFound",
    "Services",
    "StorageError",
    "TargetError",
    "TrackingError",
    "UnsupportedModel",
    "UsageError",
    "apply",
    "benchmark",
    "certify",
    "delete",
    "deploy",
    "down",
    "explain",
    "plan",
    "predict",
    "rollback",
    "scale",
    "services",
    "start",
    "status",
    "stop",
    "up",
]

_OPERATIONS = {"apply", "rollback", "scale", "start", "stop"}
_VIEWS = {"Benchmark", "Certificate", "Explanation", "Plan", "Release", "Service", "Services"}


def __getattr__(name: str) -> Any:
    """Import what is asked for, when it is: `import modelport` alone costs next to nothing."""
    if name == "__version__":
        return import_module("importlib.metadata").version("modelport")
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in _OPERATIONS:
        home = "modelport.operations"
    elif name.islower():
        home = "modelport.api"
    else:
        home = "modelport.views" if name in _VIEWS else "modelport.errors"
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


def load_ipython_extension(ipython: InteractiveShell) -> None:
    """Register the magics: what `%load_ext modelport` calls."""
    import_module("modelport.magics").load(ipython)
