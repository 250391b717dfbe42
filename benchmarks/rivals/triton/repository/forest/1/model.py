"""The forest as Triton's Python backend loads it, in a process of its own."""

from __future__ import annotations

import os
import sys
from typing import Any

# The backend's interpreter is isolated: it does not read PYTHONPATH itself.
sys.path.extend(os.environ["PYTHONPATH"].split(os.pathsep))

import forest
import numpy as np
import triton_python_backend_utils as backend


class TritonPythonModel:
    """The forest behind Triton's interface."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the model."""
        del args
        self._forest = forest.Forest()

    def execute(self, requests: list[Any]) -> list[Any]:
        """Predict the requests of a batch in one call."""
        rows = [backend.get_input_tensor_by_name(one, "input").as_numpy() for one in requests]
        ends = np.cumsum([len(one) for one in rows])[:-1]
        labels, scores = self._forest(np.concatenate(rows))
        answers = zip(np.split(labels, ends), np.split(scores, ends), strict=True)
        return [_response(*answer) for answer in answers]


def _response(labels: Any, scores: Any) -> Any:
    return backend.InferenceResponse(
        [backend.Tensor("label", labels[:, np.newaxis]), backend.Tensor("probabilities", scores)]
    )
