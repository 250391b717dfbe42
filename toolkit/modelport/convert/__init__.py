"""Conversion to ONNX: one module per MLflow flavour, found by the flavour's name."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from modelport.convert.base import Flavour

# A flavour that is not listed is loaded as a pyfunc, which has no converter.
_MODULES = {"sklearn": "modelport.convert.sklearn", "onnx": "modelport.convert.onnx"}
_FALLBACK = "modelport.convert.pyfunc"


def flavour(name: str) -> Flavour:
    """Return the module that loads and converts models of an MLflow flavour."""
    return cast("Flavour", import_module(_MODULES.get(name, _FALLBACK)))
