"""What the transformer's image holds: KServe's SDK, and a model that reads images."""

from __future__ import annotations

import argparse
import base64
from typing import Any

import kserve

parser = argparse.ArgumentParser(parents=[kserve.model_server.parser])
arguments, _ = parser.parse_known_args()


class ImageTransformer(kserve.Model):
    """Turns images, four bytes each, into rows of numbers; KServe's SDK asks the predictor."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.ready = True

    def preprocess(self, payload: dict[str, Any], _: dict[str, str] | None = None) -> Any:
        images = [base64.b64decode(one["image"]["b64"]) for one in payload["instances"]]
        return {"instances": [{"x": list(image), "text": "an image"} for image in images]}

    def postprocess(self, answer: dict[str, Any], _: dict[str, str] | None = None) -> Any:
        return {"predictions": [max(row["y"]) for row in answer["predictions"]]}


if __name__ == "__main__":
    kserve.ModelServer(enable_grpc=False).start([ImageTransformer(arguments.model_name)])
