"""PyTorch models: exported programs (.pt2), TorchScript, and pickled modules. No MLflow.

Loading any of them may run code from its folder, an exported program too: PyTorch evaluates its
symbolic shapes as Python expressions. `runtime_for` asks before it comes here.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from modelport_serving.errors import ModelLoadFailed
from modelport_serving.runtimes.base import Runtime, platform
from modelport_serving.runtimes.estimators import add_code
from modelport_serving.runtimes.signatures import specs, tensor, unnamed
from modelport_serving.tensors import Array, Tensors, TensorSpec

if TYPE_CHECKING:
    from modelport_serving.contract import ServedModel

_EXPORTED = "model.pt2"
_SAVED = "model.pth"
_TABLE = "input"


class PytorchRuntime(Runtime):
    """A module that takes tensors in the signature's order, on the GPU if there is one."""

    def __init__(self, model: ServedModel, *, max_threads: int) -> None:
        self.platform = platform(model)
        self.threads = max_threads
        self._model = model
        self._module: Any = None
        self._device = "cpu"
        self._float: np.dtype[Any] | None = None

    def load(self) -> None:
        """Load the module, whatever it was saved as."""
        add_code(self._model)
        torch.set_num_threads(self.threads)
        try:
            self._module = self._open(self._model.model_file or self._model.folder)
        except Exception as error:
            raise ModelLoadFailed(
                f"PyTorch cannot load {self._model.folder}: {type(error).__name__}: {error}"
            ) from error
        self.inputs = _inputs(self._model)
        self.outputs = specs(self._model.outputs, "output")
        self._float = _float_of(self._module)

    def predict(self, inputs: Tensors, outputs: Sequence[str]) -> Tensors:
        """Run the module without gradients."""
        with torch.inference_mode():
            given = [self._tensor(array) for array in inputs.values()]
            answers = self._named(self._module(*given))
        return {name: answers[name] for name in outputs} if outputs else answers

    def unload(self) -> None:
        """Forget the module."""
        self._module = None

    def _open(self, data: Path) -> Any:
        file = data / _EXPORTED if data.is_dir() else data
        if file.suffix == ".pt2" and file.exists():
            return torch.export.load(file).module()
        file = data / _SAVED if data.is_dir() else data
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        load = torch.jit.load if _is_script(file) else _load_pickle
        return load(file).to(self._device).eval()

    def _tensor(self, array: Array) -> Any:
        # Rows without a signature, and tables, are 64-bit floats; hardly any module is.
        if array.dtype == np.float64 and self._float is not None:
            array = array.astype(self._float)
        return torch.from_numpy(np.require(array, requirements=["C", "W"])).to(self._device)

    def _named(self, result: Any) -> Tensors:
        if isinstance(result, Mapping):
            return {str(name): _array(value) for name, value in result.items()}
        values = result if isinstance(result, tuple | list) else [result]
        names = [spec.name for spec in self.outputs]
        if len(names) != len(values):
            names = [unnamed("output", number) for number in range(len(values))]
        return {name: _array(value) for name, value in zip(names, values, strict=True)}


def _inputs(model: ServedModel) -> tuple[TensorSpec, ...]:
    """Return the signature's tensors; a table of numbers is one tensor [N, columns]."""
    columns = model.inputs
    if columns and columns[0].shape is None:
        return (TensorSpec(_TABLE, "FP32", (-1, len(columns)), nullable=True),)
    return specs(columns, "input")


def _is_script(file: Path) -> bool:
    with zipfile.ZipFile(file) as archive:
        return any("/code/" in name for name in archive.namelist())


def _load_pickle(file: Path) -> Any:
    return torch.load(file, map_location="cpu", weights_only=False)


def _float_of(module: Any) -> np.dtype[Any] | None:
    """Return the type of a module's parameters, where numpy has it."""
    parameter = next(module.parameters(), None)
    kinds = {torch.float32: np.float32, torch.float16: np.float16}
    kind = kinds.get(parameter.dtype) if parameter is not None else None
    return None if kind is None else np.dtype(kind)


def _array(value: Any) -> Array:
    return tensor(value.cpu().numpy())
