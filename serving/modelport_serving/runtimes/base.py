"""What a runtime is: a library that loads a model and answers named arrays with named arrays."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from modelport_serving.tensors import Tensors, TensorSpec


class Runtime(ABC):
    """One model in one library. `load` comes first; `predict` may be called from many threads."""

    may_run_inline: ClassVar[bool] = False
    """Whether a quick answer may be computed in the event loop: only where nothing can block."""

    platform: str
    """What OIP model metadata calls the library."""

    inputs: tuple[TensorSpec, ...]
    """What the model takes; known once it is loaded."""

    outputs: tuple[TensorSpec, ...]
    """What the model answers, as far as it says so; known once it is loaded."""

    @abstractmethod
    def load(self) -> None:
        """Load the model; `ModelLoadFailed` says why it cannot be served."""

    @abstractmethod
    def predict(self, inputs: Tensors, outputs: Sequence[str]) -> Tensors:
        """Run the model on all of its inputs; no `outputs` means every output, in order."""

    @abstractmethod
    def unload(self) -> None:
        """Give the model's memory back."""
