"""ONNX Runtime, as the steps of a release use it: the toolkit's only user of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from modelport.convert.base import LABEL, Answers, Rows, Task
from modelport.errors import DataError, UnsupportedModel
from modelport.reports import RuntimeSettings, Tensor

if TYPE_CHECKING:
    import pandas as pd

    from modelport.convert.trees import Grove

# ONNX Runtime's type names -> (Open Inference Protocol datatype, numpy dtype)
_TYPES: dict[str, tuple[str, Any]] = {
    "tensor(float)": ("FP32", np.float32),
    "tensor(double)": ("FP64", np.float64),
    "tensor(float16)": ("FP16", np.float16),
    "tensor(int8)": ("INT8", np.int8),
    "tensor(int16)": ("INT16", np.int16),
    "tensor(int32)": ("INT32", np.int32),
    "tensor(int64)": ("INT64", np.int64),
    "tensor(uint8)": ("UINT8", np.uint8),
    "tensor(uint16)": ("UINT16", np.uint16),
    "tensor(uint32)": ("UINT32", np.uint32),
    "tensor(uint64)": ("UINT64", np.uint64),
    "tensor(bool)": ("BOOL", np.bool_),
    "tensor(string)": ("BYTES", np.object_),
}


class OnnxModel:
    """An ONNX graph in an ONNX Runtime session on the CPU.

    Args:
        graph: The serialized model.
        settings: Session options; one thread by default.

    Raises:
        UnsupportedModel: ONNX Runtime does not take the graph.
    """

    def __init__(self, graph: bytes, settings: RuntimeSettings | None = None) -> None:
        import onnxruntime as ort

        self.estimator = graph
        try:
            self._session = ort.InferenceSession(
                graph, _options(settings or RuntimeSettings()), providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime raises classes of its own, unexported
            raise UnsupportedModel(f"ONNX Runtime does not load the graph ({error})") from error
        self._dtypes = {i.name: _type(i.type)[1] for i in self._session.get_inputs()}

    @cached_property
    def inputs(self) -> tuple[Tensor, ...]:
        """The graph's inputs."""
        return tuple(_tensor(value) for value in self._session.get_inputs())

    @cached_property
    def outputs(self) -> tuple[Tensor, ...]:
        """The graph's outputs."""
        return tuple(_tensor(value) for value in self._session.get_outputs())

    @property
    def task(self) -> Task:
        """A graph with a label classifies; what another one does is not written in it."""
        return "classification" if any(o.name == LABEL for o in self.outputs) else "unknown"

    def feed(self, rows: Rows) -> dict[str, np.ndarray[Any, Any]]:
        """Turn rows into the graph's inputs: one tensor [n, ...], or a column [n, 1] each.

        Raises:
            DataError: A column of whole numbers holds missing values.
        """
        if len(self._dtypes) == 1:
            name, dtype = next(iter(self._dtypes.items()))
            return {name: _array(rows, dtype)}
        if isinstance(rows, np.ndarray):
            raise DataError(
                f"the graph takes {len(self._dtypes)} columns by name, and an array has none",
                f"give a DataFrame with the columns {', '.join(self._dtypes)}",
            )
        return {
            name: _array(rows[name], dtype).reshape(-1, 1) for name, dtype in self._dtypes.items()
        }

    def run(self, feed: dict[str, np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        """Run the graph: outputs in the graph's order."""
        answers: list[np.ndarray[Any, Any]] = self._session.run(None, feed)
        return answers

    def answer(self, rows: Rows) -> Answers:
        """Answer n rows: every output by name."""
        outputs = self.run(self.feed(rows))
        return {tensor.name: np.asarray(v) for tensor, v in zip(self.outputs, outputs, strict=True)}

    def predict(self, rows: Rows) -> Any:
        """Answer with the first output, the label or the prediction."""
        return self.run(self.feed(rows))[0]

    def groves(self) -> Sequence[Grove]:
        """Return none: a graph is compared with the model that it was made of."""
        return ()

    def categories(self) -> Mapping[str, Sequence[Any]]:
        """Return none, as of trees."""
        return {}


def _array(rows: Rows | pd.Series, dtype: Any) -> np.ndarray[Any, Any]:
    """Turn rows into numbers or text; what is missing becomes NaN or None where there is one."""
    kind = np.dtype(dtype).kind
    if isinstance(rows, np.ndarray):
        values = rows
    elif kind == "f":
        values = rows.to_numpy(dtype=dtype, na_value=np.nan)
    else:
        values = rows.to_numpy(dtype=object)
    if kind == "O":
        return _text(values)
    if kind != "f" and values.dtype.kind in "Of" and _missing(values).any():
        raise DataError(
            "a column of whole numbers or booleans holds missing values",
            "drop those rows, or log the model with a signature in which they may be missing",
        )
    return np.asarray(values, dtype=dtype)


def _text(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    values = values.astype(object)
    values[_missing(values)] = None
    return values


def _missing(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    import pandas as pd

    return np.asarray(pd.isna(values))


def optimise(graph: bytes, work: Path) -> bytes:
    """Return the graph after ONNX Runtime's basic optimisations.

    The basic level folds constants and drops redundant nodes, and keeps to standard ONNX
    operators, so the saved model stays portable. `work` is a folder for the result.
    """
    import onnxruntime as ort

    options = _options(RuntimeSettings())
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(work / "optimised.onnx")
    try:
        ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises classes of its own, unexported
        raise UnsupportedModel(f"ONNX Runtime does not load the graph ({error})") from error
    return (work / "optimised.onnx").read_bytes()


def opset(graph: bytes) -> int:
    """Return the version of the main ONNX operator set that a graph uses."""
    import onnx

    proto = onnx.load_from_string(graph)
    return max((o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")), default=0)


def libraries() -> dict[str, str]:
    """Return the versions of what reads and optimises graphs."""
    import onnx
    import onnxruntime

    return {"onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__}


def _options(settings: RuntimeSettings) -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = settings.intra_op_num_threads
    options.inter_op_num_threads = settings.inter_op_num_threads
    if settings.execution_mode == "parallel":
        options.execution_mode = ort.ExecutionMode.ORT_PARALLEL
    return options


def _type(name: str) -> tuple[str, Any]:
    if name not in _TYPES:
        raise UnsupportedModel(f"the graph has a value of type {name}, which cannot be served")
    return _TYPES[name]


def _tensor(value: Any) -> Tensor:
    shape = tuple(size if isinstance(size, int) else -1 for size in value.shape)
    return Tensor(name=value.name, datatype=_type(value.type)[0], shape=shape)
