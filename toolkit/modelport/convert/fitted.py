"""A fitted model in memory, seen as the release sees one that it loaded from MLflow."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from modelport.errors import UsageError

if TYPE_CHECKING:
    from modelport.convert.base import NativeModel

# The package that a model's class comes from -> the flavour's module, and its class there.
# Boosters have scikit-learn's wrappers, which their own module knows best.
_HOMES = {
    "xgboost": ("xgboost", "XgboostModel"),
    "lightgbm": ("lightgbm", "LightgbmModel"),
    "catboost": ("catboost", "CatboostModel"),
    "keras": ("keras", "KerasModel"),
    "torch": ("pytorch", "PytorchModel"),
    "sklearn": ("sklearn", "SklearnModel"),
    "mlflow": ("pyfunc", "PyfuncModel"),
}


def fitted(model: Any) -> NativeModel:
    """Return a fitted model of any supported library as a native model.

    Raises:
        UsageError: It is of no library that has a flavour.
    """
    roots = [kind.__module__.partition(".")[0] for kind in type(model).__mro__]
    known = next((root for root in roots if root in _HOMES), None)
    if known is None:
        raise UsageError(
            f"a {type(model).__name__} is no model of {', '.join(sorted(_HOMES))}",
            "give a fitted model, or the URI of one in MLflow",
        )
    module, name = _HOMES[known]
    wrap = cast(
        "Callable[..., NativeModel]", getattr(import_module(f"{__package__}.{module}"), name)
    )
    if known == "sklearn":
        return wrap(model, takes_table=hasattr(model, "feature_names_in_"))
    return wrap(model)
