"""BentoML with a typed array as input, as its documentation shows."""

from __future__ import annotations

from typing import Annotated, Any

import bentoml
import forest
import numpy as np  # noqa: TC002 - BentoML reads the annotations
from bentoml.validators import DType, Shape


@bentoml.service(workers=1, logging={"access": {"enabled": False}})
class Service:
    """The forest behind BentoML's interface."""

    def __init__(self) -> None:
        self._forest = forest.Forest()

    @bentoml.api
    def predict(
        self, rows: Annotated[np.ndarray, DType("float32"), Shape((-1, 30))]
    ) -> dict[str, Any]:
        """Answer with both outputs."""
        labels, probabilities = self._forest(rows)
        return {"label": labels.tolist(), "probabilities": probabilities.tolist()}
