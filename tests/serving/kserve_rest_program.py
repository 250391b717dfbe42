"""KServe's REST client, unmodified: `python kserve_rest_program.py URL` prints what it got."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import httpx
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig

MODEL = "flower"
COLOURS = ["red", "blue"]
SIZES = [1.0, 4.0]


def asked(*, binary: bool) -> InferRequest:
    colour = InferInput("colour", [2], "BYTES")
    colour.set_data_from_numpy(np.array(COLOURS, object), binary_data=binary)
    size = InferInput("size", [2], "FP32")
    size.set_data_from_numpy(np.array(SIZES, np.float32), binary_data=binary)
    return InferRequest(MODEL, [colour, size], request_id="seven")


def labels(response: Any) -> list[str]:
    (label,) = (output for output in response.outputs if output.name == "label")
    return [str(text) for text in label.as_numpy().tolist()]


async def refusal(call: Any) -> list[Any]:
    try:
        await call
    except httpx.HTTPStatusError as error:
        return [error.response.status_code, error.response.json()["error"]]
    return []


async def main(url: str) -> dict[str, Any]:
    v1 = InferenceRESTClient(RESTConfig(protocol="v1"))
    v2 = InferenceRESTClient(RESTConfig(protocol="v2"))
    rows = [list(row) for row in zip(COLOURS, SIZES, strict=True)]
    predicted = await v1.infer(url, {"instances": rows}, model_name=MODEL)
    plain = await v2.infer(url, asked(binary=False), model_name=MODEL)
    binary = await v2.infer(url, asked(binary=True), model_name=MODEL)
    return {
        "live": await v2.is_server_live(url),
        "ready": await v2.is_server_ready(url),
        "model ready, V1": await v1.is_model_ready(url, MODEL),
        "model ready, V2": await v2.is_model_ready(url, MODEL),
        "V1": [row["label"] for row in predicted["predictions"]],
        "V2": labels(plain),
        "V2 binary": labels(binary),
        "id": binary.id,
        "unknown model": await refusal(v2.infer(url, asked(binary=False), model_name="other")),
        "wrong rows": await refusal(v1.infer(url, {"instances": [["red"]]}, model_name=MODEL)),
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(sys.argv[1]))))  # noqa: T201 - its output is the result
