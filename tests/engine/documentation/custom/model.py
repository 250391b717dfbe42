"""What the custom predictor's image holds: KServe's SDK, and a model of its own."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import kserve
from kserve.utils.utils import get_predict_response

parser = argparse.ArgumentParser(parents=[kserve.model_server.parser])
parser.add_argument("--model_dir", type=Path)
arguments, _ = parser.parse_known_args()


class CustomModel(kserve.Model):
    """Multiplies by the number in its folder."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.load()

    def load(self) -> bool:
        self.factor = float((arguments.model_dir / "factor.txt").read_text())
        self.ready = True
        return self.ready

    def predict(self, payload: Any, _: dict[str, str] | None = None) -> Any:
        if isinstance(payload, kserve.InferRequest):
            rows = payload.inputs[0].as_numpy() * self.factor
            return get_predict_response(payload, rows, self.name)
        return {"predictions": [value * self.factor for value in payload["instances"]]}


if __name__ == "__main__":
    kserve.ModelServer().start([CustomModel(arguments.model_name)])
