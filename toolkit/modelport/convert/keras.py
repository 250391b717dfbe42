"""Keras 3: models on any backend, through their own export to ONNX."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from modelport import tracking
from modelport.convert import graphs, tensors
from modelport.convert.base import Answers, Graph, NativeModel, Rows, Task, first_line
from modelport.errors import UnsupportedModel

if TYPE_CHECKING:
    from modelport.convert.trees import Grove
    from modelport.reports import Resolution

_BACKENDS = ("tensorflow", "torch", "jax")  # Keras' own default first


class KerasModel:
    """A model of Keras 3."""

    task: Task = "unknown"

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    def answer(self, rows: Rows) -> Answers:
        """Answer n rows: `prediction`, or several outputs by their own names or numbers."""
        return tensors.arrays(self.predict(rows), np.asarray)

    def predict(self, rows: Rows) -> Any:
        """Answer as the model's own `predict` does."""
        given = tensors.array(rows, self.estimator.inputs[0].dtype)
        return self.estimator.predict(given, verbose=0)

    def groves(self) -> Sequence[Grove]:
        """Return none: a network has no trees."""
        return ()

    def categories(self) -> Mapping[str, Sequence[Any]]:
        """Return none: a network takes numbers."""
        return {}


def load(folder: Path, resolution: Resolution) -> KerasModel:
    """Load the model on the backend that KERAS_BACKEND names, else on one that is installed."""
    del resolution
    installed = (name for name in _BACKENDS if find_spec(name))
    os.environ.setdefault("KERAS_BACKEND", next(installed, _BACKENDS[0]))
    return KerasModel(tracking.load_model("keras", folder))


def convert(native: NativeModel, resolution: Resolution) -> Graph:
    """Convert with `model.export(format="onnx")`."""
    import keras
    import onnx

    model = native.estimator
    name, shape = tensors.given(resolution)
    if len(model.inputs) != 1:
        raise UnsupportedModel(f"the model takes {len(model.inputs)} tensors, and rows are one")
    try:
        # A model that was never called is not exported.
        result = model(tensors.example(shape, model.inputs[0].dtype))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            model.export(str(path), format="onnx", verbose=False)
            proto = onnx.load(path)
    except Exception as error:  # exporters raise what they like
        raise UnsupportedModel(f"keras does not export it ({first_line(error)})") from error
    graphs.name_inputs(proto.graph, [name])
    graphs.name_outputs(proto.graph, list(tensors.named(result)))
    used = keras.config.backend()
    return Graph(
        onnx=proto.SerializeToString(),
        converter=f"keras {keras.__version__}",
        libraries={"keras": keras.__version__, used: _version(used)},
    )


def _version(backend: str) -> str:
    from importlib.metadata import version

    return version(backend)
