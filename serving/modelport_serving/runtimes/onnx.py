"""ONNX models in ONNX Runtime, the only module that imports it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnxruntime as ort

from modelport_serving.contract import Provider
from modelport_serving.errors import ModelLoadFailed
from modelport_serving.runtimes.base import Runtime
from modelport_serving.tensors import Tensors, TensorSpec

if TYPE_CHECKING:
    from modelport_serving.contract import ServedModel, SessionOptions

log = logging.getLogger("modelport_serving")

_CPU = "CPUExecutionProvider"
_DEFAULT = (Provider("CUDAExecutionProvider"), Provider(_CPU))
"""MLflow's own default. TensorRT builds an engine for minutes: only for those that ask for it."""

_SMALL_BYTES = 16 * 1024 * 1024
"""Smaller models run on one thread: their operators take less time than waking another does."""

_SPINNING = "session.intra_op.allow_spinning"
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
    """A model in ONNX, with the session options and providers that its MLmodel file keeps.

    Where it keeps no number of threads, a small model gets one and a larger one `max_threads`,
    which wait for work asleep: by default ONNX Runtime's spin, at several times the CPU time.
    """

    platform = "onnxruntime_onnx"

    def __init__(self, model: ServedModel, *, max_threads: int) -> None:
        self._model = model
        self._max_threads = max_threads
        self._session: Any = None

    def load(self) -> None:
        """Open the session and read the graph's inputs and outputs."""
        file = self._model.model_file or self._model.folder
        wanted = self._model.session_options
        threads = wanted.intra_op_num_threads or _threads_for(file, self._max_threads)
        self.threads = min(threads, self._max_threads)
        session = _open(file, _session_options(wanted, self.threads), self._model.providers)
        self.inputs = tuple(_spec(node) for node in session.get_inputs())
        self.outputs = tuple(_spec(node) for node in session.get_outputs())
        self._names = [spec.name for spec in self.outputs]
        # An accelerator is waited for.
        self.may_run_inline = session.get_providers() == [_CPU]
        self._session = session

    def predict(self, inputs: Tensors, outputs: Sequence[str]) -> Tensors:
        """Run the session; the arrays are not copied."""
        names = outputs or self._names
        return dict(zip(names, self._session.run(names, inputs), strict=True))

    def unload(self) -> None:
        """Close the session."""
        self._session = None


def _threads_for(file: Path, most: int) -> int:
    """Choose by the size of the model; large ones may keep their weights in files beside it."""
    size = sum(part.stat().st_size for part in file.parent.iterdir() if part.is_file())
    return 1 if size < _SMALL_BYTES else most


def _open(file: Path, options: ort.SessionOptions, wanted: Sequence[Provider]) -> Any:
    """Open a session on the providers that are here, less those that fail on this machine."""
    providers = _available(wanted or _DEFAULT)
    while True:
        try:
            session = ort.InferenceSession(
                str(file),
                sess_options=options,
                providers=list(providers.items()),
                enable_fallback=0,
            )
        except Exception as error:
            if list(providers) == [_CPU]:
                raise ModelLoadFailed(f"ONNX Runtime cannot load {file}: {error}") from error
            failing = next(iter(providers))
            del providers[failing]
            log.warning("%s is served without %s: %s", file, failing, error)
            continue
        for name in providers.keys() - set(session.get_providers()):
            log.warning("%s is served without %s, which does not start here", file, name)
        return session


def _session_options(wanted: SessionOptions, threads: int) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.log_severity_level = _FATAL  # lesser errors are raised, and we report them
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = wanted.inter_op_num_threads
    parallel = wanted.execution_mode == "parallel"
    modes = ort.ExecutionMode
    options.execution_mode = modes.ORT_PARALLEL if parallel else modes.ORT_SEQUENTIAL
    level = ort.GraphOptimizationLevel(wanted.graph_optimization_level)
    options.graph_optimization_level = level
    chosen_here = {} if wanted.intra_op_num_threads else {_SPINNING: "0"}
    for key, value in {**chosen_here, **wanted.extra_session_config}.items():
        options.add_session_config_entry(key, value)
    return options


def _available(wanted: Sequence[Provider]) -> dict[str, Mapping[str, Any]]:
    """Keep the providers that this machine has, in the model's order; the CPU comes last."""
    here = set(ort.get_available_providers())
    chosen = {p.name: dict(p.options) for p in wanted if p.name in here}
    options = chosen.pop(_CPU, {})
    return {**chosen, _CPU: options}


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
