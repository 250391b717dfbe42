"""One version of one model: its state, its runtime, and how requests map onto its inputs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from modelport_serving import cache, contract, plain, warmup
from modelport_serving.errors import (
    InvalidInput,
    ModelLoadFailed,
    ModelNotReady,
    PredictionFailed,
    ServingError,
)
from modelport_serving.mapping import InputMapping, mapping_for
from modelport_serving.runtimes import runtime_for

if TYPE_CHECKING:
    from modelport_serving.runtimes.base import Runtime
    from modelport_serving.tensors import Tensors, TensorSpec


class ModelState(StrEnum):
    """What a model is doing, in the words of Triton's repository index."""

    UNAVAILABLE = "UNAVAILABLE"
    LOADING = "LOADING"
    READY = "READY"
    UNLOADING = "UNLOADING"


class Model:
    """One version of one model; `version` is None where the folder names none.

    `served`, `runtime` and `mapping` are there once it is loaded. `batchable` tells whether the
    rows of several requests may be answered in one call. `load_seconds` and `warmup_seconds` say
    what the start took. `digest` tells the folder's content, if it was to be looked at.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        version: str | None = None,
        *,
        model_format: str | None = None,
        allow_pickle: bool = False,
        max_threads: int = 1,
        warm: bool = True,
        with_digest: bool = False,
    ) -> None:
        self.name = name
        self.version = version
        self.folder = folder
        self.state = ModelState.UNAVAILABLE
        self.reason = ""
        self.load_seconds = 0.0
        self.warmup_seconds = 0.0
        self.batchable = False
        self.digest = ""
        self.served: contract.ServedModel
        self.runtime: Runtime
        self.mapping: InputMapping
        self._model_format = model_format
        self._allow_pickle = allow_pickle
        self._max_threads = max_threads
        self._warm = warm
        self._with_digest = with_digest
        self._output_names: frozenset[str] = frozenset()
        self._in_flight = 0
        self._idle: asyncio.Event | None = None

    @property
    def title(self) -> str:
        """What messages call it: the name, and the version if there is one."""
        return f"{self.name!r}" if self.version is None else f"{self.name!r} version {self.version}"

    @property
    def inputs(self) -> Sequence[TensorSpec]:
        """What it takes; known once it is loaded."""
        return self.runtime.inputs

    def load(self) -> None:
        """Read the folder, load the model and warm it up; it is READY afterwards.

        `ModelLoadFailed` says why it cannot be served, and so does `reason`.
        """
        self.state, self.reason = ModelState.LOADING, ""
        try:
            self._load()
        except Exception as error:
            self.state = ModelState.UNAVAILABLE
            failure = _load_failure(self.folder, error)
            self.reason = str(failure)
            raise failure from error
        self.state = ModelState.READY

    def _load(self) -> None:
        started = time.perf_counter()
        if self._with_digest:
            self.digest = cache.identity(self.folder)
        self.served = (
            contract.read(self.folder)
            if contract.is_mlflow(self.folder)
            else plain.read(self.folder, self._model_format)
        )
        runtime = runtime_for(
            self.served, allow_pickle=self._allow_pickle, max_threads=self._max_threads
        )
        runtime.load()
        self.runtime = runtime
        self.mapping = mapping_for(runtime.inputs, self.served.inputs or runtime.columns)
        self._output_names = frozenset(spec.name for spec in runtime.outputs)
        loaded = time.perf_counter()
        example = warmup.example(self.served.example)
        if self._warm:
            warmup.warm_up(self, example)
        self.batchable = warmup.rows_are_independent(self, example)
        self.load_seconds = loaded - started
        self.warmup_seconds = time.perf_counter() - loaded

    def unload(self) -> None:
        """Stop answering and give the memory back."""
        self.state = ModelState.UNLOADING
        self.runtime.unload()
        self.state = ModelState.UNAVAILABLE

    def begin(self) -> None:
        """Count a request in (event loop only): the model stays loaded until its `end`."""
        self._in_flight += 1

    def end(self) -> None:
        """Count a request out (event loop only)."""
        self._in_flight -= 1
        if not self._in_flight and self._idle is not None:
            self._idle.set()

    async def idle(self) -> None:
        """Wait until no request is in flight."""
        while self._in_flight:
            self._idle = asyncio.Event()
            await self._idle.wait()

    def check_outputs(self, names: Sequence[str]) -> None:
        """Check a request's outputs against what the model says it answers."""
        known = self._output_names
        for name in names:
            if known and name not in known:
                listed = ", ".join(repr(spec.name) for spec in self.runtime.outputs)
                raise InvalidInput(f"unknown output {name!r}, the model has {listed}")

    def predict(self, inputs: Tensors, outputs: Sequence[str] = ()) -> Tensors:
        """Run the model on mapped inputs; no `outputs` means all of them.

        Whatever goes wrong inside the model becomes `PredictionFailed`.
        """
        try:
            return self.runtime.predict(inputs, outputs)
        except ServingError:
            raise
        except Exception as error:
            if self.state is ModelState.UNAVAILABLE:
                raise ModelNotReady(f"model {self.title} was unloaded") from error
            raise PredictionFailed(
                f"model {self.name!r} failed: {type(error).__name__}: {error}"
            ) from error


def _load_failure(folder: Path, error: Exception) -> ModelLoadFailed:
    """Keep what says what to do; name the rest."""
    if isinstance(error, ModelLoadFailed):
        return error
    return ModelLoadFailed(f"{folder} cannot be served: {type(error).__name__}: {error}")
