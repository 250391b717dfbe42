"""The libraries that models run in, one module each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelport_serving.contract import ONNX, ServedModel
from modelport_serving.errors import ModelLoadFailed

if TYPE_CHECKING:
    from modelport_serving.runtimes.base import Runtime


def runtime_for(model: ServedModel, *, allow_pickle: bool) -> Runtime:
    """Return the runtime of a model's flavour, not loaded yet.

    Heavy libraries are imported here and not before. `ModelLoadFailed` when the model would run
    code from its folder and nobody allowed that.
    """
    if model.needs_pickle and not allow_pickle:
        raise ModelLoadFailed(
            f"{model.folder} is a {model.flavour} model, and loading it can run any code in it: "
            "convert it to ONNX, or start with --allow-pickle if you trust where it comes from"
        )
    if model.flavour == ONNX:
        from modelport_serving.runtimes.onnx import OnnxRuntime

        return OnnxRuntime(model)
    from modelport_serving.runtimes.pyfunc import PyfuncRuntime

    return PyfuncRuntime(model)
