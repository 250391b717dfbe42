"""What the rivals' servers share: the model, and the V2 protocol for those that speak none.

It runs in the rivals' own environments, which have ONNX Runtime and NumPy, and reads what the
benchmark puts into the environment: the ONNX file and the ports.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import onnxruntime as ort

HOST = "127.0.0.1"
NAME = "forest"


def http_port() -> int:
    """Return the port to listen on for HTTP."""
    return int(os.environ["HTTP_PORT"])


def grpc_port() -> int:
    """Return the port to listen on for gRPC."""
    return int(os.environ["GRPC_PORT"])


class Forest:
    """The model, on one thread: rows [N, 30] in, labels [N] and probabilities [N, 2] out."""

    def __init__(self) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self._session = ort.InferenceSession(
            os.environ["GRAPH"], options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, rows: Any) -> tuple[Any, Any]:
        """Predict rows of 32-bit floats."""
        labels, probabilities = self._session.run(None, {"input": rows})
        return labels, probabilities


def rows_of(request: dict[str, Any]) -> Any:
    """Return the only input of a V2 request."""
    (tensor,) = request["inputs"]
    return np.array(tensor["data"], np.float32).reshape(tensor["shape"])


def response(labels: Any, probabilities: Any) -> dict[str, Any]:
    """Return the V2 response; its data are arrays, which orjson writes as they are."""
    return {
        "model_name": NAME,
        "outputs": [
            {"name": "label", "datatype": "INT64", "shape": labels.shape, "data": labels},
            {
                "name": "probabilities",
                "datatype": "FP32",
                "shape": probabilities.shape,
                "data": probabilities.reshape(-1),
            },
        ],
    }
