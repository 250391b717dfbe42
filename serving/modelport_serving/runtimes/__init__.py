"""The libraries that models run in, one module each, found by the MLflow flavour's name."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from modelport_serving.contract import PYTHON_FUNCTION, ServedModel
from modelport_serving.errors import ModelLoadFailed

if TYPE_CHECKING:
    from modelport_serving.runtimes.base import Runtime

ENTRY_POINTS = "modelport.runtimes"
# Ours are listed here and not found by entry point: looking through the installed packages takes
# as long as loading a small model.
_OURS = {
    "onnx": "onnx:OnnxRuntime",
    "sklearn": "sklearn:SklearnRuntime",
    "xgboost": "xgboost:XgboostRuntime",
    "lightgbm": "lightgbm:LightgbmRuntime",
    "pytorch": "pytorch:PytorchRuntime",
    PYTHON_FUNCTION: "pyfunc:PyfuncRuntime",
}


def runtime_for(model: ServedModel, *, allow_pickle: bool, max_threads: int = 1) -> Runtime:
    """Return the runtime of a model's flavour, not loaded yet.

    Heavy libraries are imported here and not before. `ModelLoadFailed` when the model could run
    code from its folder and nobody allowed that.
    """
    if model.needs_pickle and not allow_pickle:
        raise ModelLoadFailed(
            f"{model.folder} is a {model.flavour} model, and loading it can run any code in it: "
            "convert it to ONNX, or, if you trust where it comes from, start with --allow-pickle "
            "(the local engine with MODELPORT_ENGINE_ALLOW_PICKLE=true)"
        )
    return _class_for(model.flavour)(model, max_threads=max_threads)


def _class_for(flavour: str) -> type[Runtime]:
    """Find a flavour's runtime: ours, another package's, or what serves any flavour."""
    if flavour not in _OURS:
        from importlib.metadata import entry_points

        for entry in entry_points(group=ENTRY_POINTS, name=flavour):
            return _imported(entry.load, flavour)
        flavour = PYTHON_FUNCTION
    module, _, name = _OURS[flavour].partition(":")
    return _imported(lambda: getattr(import_module(f"{__name__}.{module}"), name), flavour)


def _imported(load: Callable[[], Any], flavour: str) -> type[Runtime]:
    try:
        runtime: type[Runtime] = load()
    except ImportError as error:
        raise ModelLoadFailed(
            f"a model of the flavour {flavour} needs a library that is not installed: {error}"
        ) from error
    return runtime
