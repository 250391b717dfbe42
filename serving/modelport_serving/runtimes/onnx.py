"""ONNX models in ONNX Runtime, the only module that imports it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import onnxruntime as ort

from modelport_serving.errors import ModelLoadFailed
from modelport_serving.runtimes.base import Runtime
from modelport_serving.tensors import Tensors, TensorSpec

if TYPE_CHECKING:
    from modelport_serving.contract import Provider, ServedModel, SessionOptions

_CPU = "CPUExecutionProvider"
_FATAL = 4
_DATATYPES = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": "BYTES",
}


class OnnxRuntime(Runtime):
    """A model in ONNX, with the session options and providers that its MLmodel file keeps."""

    may_run_inline = True

    platform = "onnxruntime_onnx"

    def __init__(self, model: ServedModel) -> None:
        self._model = model
        self._session: Any = None

    def load(self) -> None:
        """Open the session and read the graph's inputs and outputs."""
        file = self._model.model_file
        try:
            session = ort.InferenceSession(
                str(file),
                sess_options=_session_options(self._model.session_options),
                providers=_available(self._model.providers),
            )
        except Exception as error:
            raise ModelLoadFailed(f"ONNX Runtime cannot load {file}: {error}") from error
        self.inputs = tuple(_spec(node) for node in session.get_inputs())
        self.outputs = tuple(_spec(node) for node in session.get_outputs())
        self._names = [spec.name for spec in self.outputs]
        self._session = session

    def predict(self, inputs: Tensors, outputs: Sequence[str]) -> Tensors:
        """Run the session; the arrays are not copied."""
        names = outputs or self._names
        return dict(zip(names, self._session.run(names, inputs), strict=True))

    def unload(self) -> None:
        """Close the session."""
        self._session = None


def _session_options(wanted: SessionOptions) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.log_severity_level = _FATAL  # lesser errors are raised, and we report them
    options.intra_op_num_threads = wanted.intra_op_num_threads
    options.inter_op_num_threads = wanted.inter_op_num_threads
    parallel = wanted.execution_mode == "parallel"
    modes = ort.ExecutionMode
    options.execution_mode = modes.ORT_PARALLEL if parallel else modes.ORT_SEQUENTIAL
    level = ort.GraphOptimizationLevel(wanted.graph_optimization_level)
    options.graph_optimization_level = level
    for key, value in wanted.extra_session_config.items():
        options.add_session_config_entry(key, value)
    return options


def _available(wanted: Sequence[Provider]) -> list[tuple[str, dict[str, Any]]]:
    """Keep the providers that this machine has, in the model's order; the CPU comes last."""
    here = set(ort.get_available_providers())
    chosen = {p.name: dict(p.options) for p in wanted if p.name in here}
    return list({**chosen, _CPU: chosen.get(_CPU, {})}.items())


def _spec(node: Any) -> TensorSpec:
    datatype = _DATATYPES.get(node.type)
    if datatype is None:
        raise ModelLoadFailed(
            f"{node.name!r} is a {node.type}, which the Open Inference Protocol cannot carry: "
            "export the model with plain tensors (skl2onnx: zipmap=False)"
        )
    # A dimension without a number has a symbolic name, or none.
    shape = tuple(size if isinstance(size, int) else -1 for size in node.shape)
    return TensorSpec(node.name, datatype, shape, nullable=datatype.startswith("FP"))
