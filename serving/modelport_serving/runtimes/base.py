"""What a runtime is: a library that loads a model and answers named arrays with named arrays."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelport_serving.contract import Column, ServedModel
    from modelport_serving.tensors import Tensors, TensorSpec


class Runtime(ABC):
    """One model in one library. `load` comes first; `predict` may be called from many threads.

    A runtime for another MLflow flavour is registered under the entry-point group
    `modelport.runtimes`, with the flavour as its name.
    """

    may_run_inline: bool = False
    """Whether a quick answer may be computed in the event loop: only where nothing can block."""

    threads: int = 1
    """How many CPU threads one `predict` keeps busy; known once it is loaded."""

    concurrency: int | None = None
    """How many calls of `predict` run at once, None for any number; more of them would wait."""

    platform: str
    """What OIP model metadata calls the library."""

    inputs: tuple[TensorSpec, ...]
    """What the model takes; known once it is loaded. None: it takes whatever it is given."""

    columns: tuple[Column, ...] = ()
    """What the columns of its table are called, where the model says so and no signature does."""

    outputs: tuple[TensorSpec, ...]
    """What the model answers, as far as it says so; known once it is loaded."""

    @abstractmethod
    def __init__(self, model: ServedModel, *, max_threads: int) -> None:
        """Take a model folder, and the most CPU threads that one answer may use."""

    @abstractmethod
    def load(self) -> None:
        """Load the model; `ModelLoadFailed` says why it cannot be served."""

    @abstractmethod
    def predict(self, inputs: Tensors, outputs: Sequence[str]) -> Tensors:
        """Run the model on all of its inputs; no `outputs` means every output, in order."""

    @abstractmethod
    def unload(self) -> None:
        """Give the model's memory back."""


def platform(model: ServedModel) -> str:
    """Return what OIP model metadata calls the library of a flavour's own."""
    return model.flavour if model.plain else f"mlflow_{model.flavour}"
