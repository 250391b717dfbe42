"""Conversion to ONNX: one module per MLflow flavour, found by the flavour's name.

Another package adds a flavour under the entry-point group `modelport.flavours`: the name is the
MLflow flavour's, the value a module with `load` and `convert` as `convert/base.py` describes them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

from modelport.errors import UsageError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from modelport.convert.base import Flavour

ENTRY_POINTS = "modelport.flavours"
# Ours are listed and not found by entry point: looking through the installed packages takes time.
_OURS = frozenset({"sklearn", "xgboost", "lightgbm", "catboost", "pytorch", "keras", "onnx"})


def flavour(name: str) -> Flavour:
    """Return the module that loads and converts models of an MLflow flavour.

    A flavour that nobody knows is loaded as a pyfunc, which has no converter.

    Raises:
        UsageError: The package that registered the flavour does not import.
    """
    if name in _OURS:
        return cast("Flavour", import_module(f"{__name__}.{name}"))
    from importlib.metadata import entry_points

    for entry in entry_points(group=ENTRY_POINTS, name=name):
        return _loaded(entry)
    return cast("Flavour", import_module(f"{__name__}.pyfunc"))


def _loaded(entry: EntryPoint) -> Flavour:
    try:
        return cast("Flavour", entry.load())
    except (ImportError, AttributeError) as error:
        raise UsageError(
            f"the package that registered the flavour {entry.name!r} does not import ({error})",
            f"mend or uninstall what provides {entry.value}",
        ) from error
