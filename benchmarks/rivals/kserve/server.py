"""KServe's ModelServer with a predictor class: V1, V2 and gRPC."""

from __future__ import annotations

import logging
from typing import Any

import forest
import numpy as np
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer
from kserve.utils.utils import generate_uuid


class Predictor(Model):
    """The forest behind KServe's interface."""

    def __init__(self) -> None:
        super().__init__(forest.NAME)
        self._forest = forest.Forest()
        self.ready = True

    async def predict(self, payload: Any, *_: Any, **__: Any) -> Any:
        """Answer V1 rows with rows, V2 tensors with tensors."""
        if not isinstance(payload, InferRequest):
            labels, scores = self._forest(np.array(payload["instances"], np.float32))
            pairs = zip(labels.tolist(), scores.tolist(), strict=True)
            return {"predictions": [{"label": one, "probabilities": two} for one, two in pairs]}
        labels, scores = self._forest(payload.inputs[0].as_numpy())
        outputs = [
            _output("label", labels, "INT64"),
            _output("probabilities", scores, "FP32"),
        ]
        return InferResponse(payload.id or generate_uuid(), self.name, outputs)


def _output(name: str, array: Any, datatype: str) -> InferOutput:
    output = InferOutput(name, list(array.shape), datatype)
    output.set_data_from_numpy(array, binary_data=False)
    return output


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)  # without it: three lines for each request
    ModelServer(
        http_port=forest.http_port(),
        grpc_port=forest.grpc_port(),
        enable_latency_logging=False,
    ).start([Predictor()])
