"""The one path of every prediction, whatever the protocol: named arrays in, named arrays out."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from modelport_serving import contract
from modelport_serving.errors import (
    InvalidInput,
    ModelNotFound,
    ModelNotReady,
    PredictionFailed,
    ServingError,
)
from modelport_serving.mapping import InputMapping, mapping_for
from modelport_serving.runtimes import runtime_for

if TYPE_CHECKING:
    from modelport_serving.runtimes.base import Runtime
    from modelport_serving.tensors import Tensors

_INLINE_SECONDS = 0.001
"""Predictions shorter than this run in the event loop: a thread would cost more."""


class Model:
    """A served model: its name, its runtime and how requests map onto its inputs."""

    def __init__(self, name: str, folder: Path, *, allow_pickle: bool = False) -> None:
        self.name = name
        self.ready = False
        self.runtime: Runtime
        self.mapping: InputMapping
        self._folder = folder
        self._allow_pickle = allow_pickle
        self._seconds_per_element = math.inf

    def load(self) -> None:
        """Read the folder and load the model; `ModelLoadFailed` says why it cannot be served."""
        served = contract.read(self._folder)
        runtime = runtime_for(served, allow_pickle=self._allow_pickle)
        runtime.load()
        self.runtime = runtime
        self.mapping = mapping_for(runtime.inputs, served.inputs)
        self._output_names = [spec.name for spec in runtime.outputs]
        self.ready = True

    def unload(self) -> None:
        """Stop answering and give the memory back."""
        self.ready = False
        self.runtime.unload()

    def is_quick(self, inputs: Tensors) -> bool:
        """Whether these inputs will probably take too little time to be worth a thread."""
        if not self.runtime.may_run_inline:
            return False
        return self._seconds_per_element * _elements(inputs) < _INLINE_SECONDS

    def check_outputs(self, names: Sequence[str]) -> None:
        """Check a request's outputs against what the model says it answers."""
        for name in names:
            if self._output_names and name not in self._output_names:
                known = ", ".join(map(repr, self._output_names))
                raise InvalidInput(f"unknown output {name!r}, the model has {known}")

    def predict(self, inputs: Tensors, outputs: Sequence[str] = ()) -> Tensors:
        """Run the model; whatever goes wrong inside it becomes `PredictionFailed`."""
        started = time.perf_counter()
        try:
            answers = self.runtime.predict(inputs, outputs)
        except ServingError:
            raise
        except Exception as error:
            raise PredictionFailed(
                f"model {self.name!r} failed: {type(error).__name__}: {error}"
            ) from error
        took = (time.perf_counter() - started) / _elements(inputs)
        before = self._seconds_per_element
        # A slow answer counts at once, or the next would hold up every caller; trust comes back
        # slowly. A failure says nothing of how long an answer takes.
        self._seconds_per_element = took if before == math.inf else max(took, 0.8 * before)
        return answers


class DataPlane:
    """The models of this server, and the threads that slow ones run in."""

    def __init__(self, models: Sequence[Model], max_threads: int) -> None:
        self.models = {model.name: model for model in models}
        self._threads = ThreadPoolExecutor(max_threads, thread_name_prefix="predict")

    @property
    def ready(self) -> bool:
        """Whether every model is loaded."""
        return all(model.ready for model in self.models.values())

    def model(self, name: str) -> Model:
        """Return a model that can answer; `ModelNotFound` or `ModelNotReady` otherwise."""
        model = self.models.get(name)
        if model is None:
            raise ModelNotFound(f"no model {name!r} here: GET /v2/models lists those that are")
        if not model.ready:
            raise ModelNotReady(f"model {name!r} is not loaded yet: try again shortly")
        return model

    async def load(self) -> None:
        """Load the models in a thread, so that the server answers meanwhile."""
        loop = asyncio.get_running_loop()
        for model in self.models.values():
            await loop.run_in_executor(self._threads, model.load)

    async def infer(self, model: Model, inputs: Tensors, outputs: Sequence[str] = ()) -> Tensors:
        """Answer mapped inputs with the named outputs, or with all of them."""
        if outputs:
            model.check_outputs(outputs)
        if model.is_quick(inputs):
            return model.predict(inputs, outputs)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, model.predict, inputs, outputs)

    def close(self) -> None:
        """Unload the models; predictions that still run are not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for model in self.models.values():
            if model.ready:
                model.unload()


def _elements(inputs: Tensors) -> int:
    """Return the size of a request: the elements of its first input stand for all."""
    for array in inputs.values():
        return array.size or 1
    return 1
