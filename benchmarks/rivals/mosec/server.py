"""mosec, one request at a time or with dynamic batching; V2 JSON through orjson."""

from __future__ import annotations

import os
from typing import Any

import forest
import numpy as np
import orjson
from mosec import Server, Worker

BATCH = int(os.environ.get("MOSEC_BATCH", "1"))
WAIT_MS = 1


class Predictor(Worker):
    """The forest behind mosec's interface."""

    def __init__(self) -> None:
        super().__init__()
        self._forest = forest.Forest()

    def deserialize(self, data: bytes) -> Any:
        """Decode the request's rows."""
        return forest.rows_of(orjson.loads(data))

    def serialize(self, data: Any) -> bytes:
        """Encode labels and probabilities."""
        return orjson.dumps(forest.response(*data), option=orjson.OPT_SERIALIZE_NUMPY)

    def forward(self, data: Any) -> Any:
        """Predict one request, or the requests of a batch in one call."""
        if BATCH == 1:
            return self._forest(data)
        ends = np.cumsum([len(rows) for rows in data])[:-1]
        labels, scores = self._forest(np.concatenate(data))
        return list(zip(np.split(labels, ends), np.split(scores, ends), strict=True))


if __name__ == "__main__":
    server = Server()
    server.append_worker(Predictor, num=1, max_batch_size=BATCH, max_wait_time=WAIT_MS)
    server.run()
