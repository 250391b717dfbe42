"""PyTorch: modules, through torch.onnx's exporter, with a batch of any size."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from modelport import tracking
from modelport.convert import tensors
from modelport.convert.base import Answers, Graph, NativeModel, Rows, Task, first_line
from modelport.errors import UnsupportedModel
from modelport.extras import require

if TYPE_CHECKING:
    from modelport.convert.trees import Grove
    from modelport.reports import Resolution


class PytorchModel:
    """A module in evaluation mode, on the CPU, that takes a tensor of type `dtype`."""

    task: Task = "unknown"

    def __init__(self, estimator: Any, dtype: Any = np.float32) -> None:
        self.estimator = estimator
        self.dtype = np.dtype(dtype)

    def answer(self, rows: Rows) -> Answers:
        """Answer n rows: `prediction`, or several outputs by their own names or numbers."""
        return tensors.arrays(self.predict(rows), lambda tensor: tensor.numpy())

    def predict(self, rows: Rows) -> Any:
        """Answer as the module does."""
        import torch

        with torch.inference_mode():
            return self.estimator(torch.from_numpy(tensors.array(rows, self.dtype)))

    def groves(self) -> Sequence[Grove]:
        """Return none: a network has no trees."""
        return ()

    def categories(self) -> Mapping[str, Sequence[Any]]:
        """Return none: a network takes numbers."""
        return {}


def load(folder: Path, resolution: Resolution) -> PytorchModel:
    """Load the module, whatever it was saved as."""
    module = tracking.load_model("pytorch", folder, map_location="cpu", weights_only=False)
    return PytorchModel(module, tensors.whole(resolution) or _computes_in(module))


def convert(native: NativeModel, resolution: Resolution) -> Graph:
    """Convert with torch.onnx; the exporter folds and fuses what it can."""
    import torch

    onnxscript = require("onnxscript", extra="torch")
    assert isinstance(native, PytorchModel)  # noqa: S101 - `load` made it
    if isinstance(native.estimator, torch.jit.ScriptModule):
        raise UnsupportedModel("torch.onnx exports no TorchScript: log the module itself")
    # It would warn of libraries that are not installed, which the model may not even use.
    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)
    name, shape = tensors.given(resolution)
    sample = torch.from_numpy(tensors.example(shape, native.dtype))
    try:
        with torch.inference_mode():
            outputs = list(tensors.named(native.estimator(sample)))
        program = torch.onnx.export(
            native.estimator,
            (sample,),
            input_names=[name],
            output_names=outputs,
            dynamic_shapes=(_dynamic(shape),),
            dynamo=True,
            optimize=True,
            verbose=False,
        )
    except Exception as error:  # exporters raise what they like
        reason = first_line(error.__cause__ or error)
        raise UnsupportedModel(f"torch.onnx does not export it ({reason})") from error
    assert program is not None  # noqa: S101 - so it is with dynamo
    proto = program.model_proto
    if not proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param:
        raise UnsupportedModel("the module takes batches of one size alone: export it with any")
    return Graph(
        onnx=proto.SerializeToString(),
        converter=f"torch.onnx {torch.__version__}",
        libraries={"torch": torch.__version__, "onnxscript": onnxscript.__version__},
    )


def _dynamic(shape: Sequence[int]) -> dict[int, Any]:
    """Return the dimensions of any size: that of the rows, and those that the signature leaves."""
    import torch

    return {
        index: torch.export.Dim("batch") if index == 0 else torch.export.Dim.AUTO
        for index, size in enumerate(shape)
        if index == 0 or size < 0
    }


def _computes_in(module: Any) -> str:
    """Return the type of the module's parameters, as numpy names it."""
    floats = (p.dtype for p in module.parameters() if p.is_floating_point())
    return str(next(floats, "float32")).removeprefix("torch.")
