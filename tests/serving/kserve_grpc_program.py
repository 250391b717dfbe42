"""KServe's gRPC client, unmodified: `python kserve_grpc_program.py ADDRESS` prints what it got."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from typing import Any

import grpc
import numpy as np
from kserve import InferenceGRPCClient, InferInput, InferRequest, InferResponse

_LARGE = 100 * 1024 * 1024


def asked(model: str, array: Any, datatype: str, *, raw: bool, version: str = "") -> InferRequest:
    tensor = InferInput("x", list(array.shape), datatype)
    tensor.set_data_from_numpy(array, binary_data=raw)
    return InferRequest(model, [tensor], request_id="seven", model_version=version or None)


def values(response: InferResponse) -> Any:
    array = response.outputs[0].as_numpy()
    if array.dtype.kind in "OS":
        texts = [item.decode() if isinstance(item, bytes) else item for item in array.flat]
        return np.array(texts, object).reshape(array.shape).tolist()
    return array.tolist()


async def refusal(call: Any) -> str:
    try:
        await call
    except grpc.RpcError as error:
        return str(error.code().name)
    return "none"


async def main(address: str) -> dict[str, Any]:
    options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    client = InferenceGRPCClient(address, channel_args=options)
    floats = np.array([[1.5, 2.5]], np.float32)
    texts = np.array([["né".encode(), b""]], object)
    large = np.arange(_LARGE // 4, dtype=np.float32).reshape(1, -1)

    async def infer(*arguments: Any, **options: Any) -> InferResponse:
        return await client.infer(asked(*arguments, **options))

    typed = await infer("fp32", floats, "FP32", raw=False, version="1")
    empty = await infer("fp32", np.empty((0, 3), np.float32), "FP32", raw=True, version="1")
    echoed = await infer("fp32", large, "FP32", raw=True, version="1")
    return {
        "live": await client.is_server_live(),
        "ready": await client.is_server_ready(),
        "model ready": await client.is_model_ready("fp32"),
        "unknown model": await refusal(client.is_model_ready("other")),
        "typed FP32": values(typed),
        "raw FP32": values(await infer("fp32", floats, "FP32", raw=True, version="1")),
        "raw FP16": values(await infer("fp16", floats.astype(np.float16), "FP16", raw=True)),
        "typed BYTES": values(await infer("bytes", texts, "BYTES", raw=False)),
        "raw BYTES": values(await infer("bytes", texts, "BYTES", raw=True)),
        "empty": empty.outputs[0].shape,
        "version": typed.model_version,
        "id": typed.id,
        "wrong shape": await refusal(infer("fp32", floats[0], "FP32", raw=True)),
        "100 MB": bool(np.array_equal(echoed.outputs[0].as_numpy(), large)),
    }


if __name__ == "__main__":
    logging.disable()
    json.dump(asyncio.run(main(sys.argv[1])), sys.stdout)
