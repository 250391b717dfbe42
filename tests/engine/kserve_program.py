"""KServe's own clients, unmodified: prints what they got, for a process with KServe's SDK.

`python kserve_program.py API GATEWAY URL`: where the engine's API is, the gateway's address, and
the URL of the service `echo`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections import Counter
from typing import Any

import grpc
import httpx
import numpy as np
from kserve import (
    InferenceGRPCClient,
    InferenceRESTClient,
    InferInput,
    InferRequest,
    KServeClient,
    RESTConfig,
)

MODEL = "echo"


def asked(*, binary: bool) -> InferRequest:
    rows = InferInput("x", [1, 4], "FP32")
    rows.set_data_from_numpy(np.array([[1, 2, 3, 4]], np.float32), binary_data=binary)
    text = InferInput("text", [1], "BYTES")
    text.set_data_from_numpy(np.array(["né".encode()], object), binary_data=binary)
    return InferRequest(MODEL, [rows, text], request_id="seven")


def told(response: Any) -> list[Any]:
    """The text, and by what the rows were multiplied."""
    outputs = {output.name: output.as_numpy() for output in response.outputs}
    (text,) = outputs["told"].flat
    text = text.decode() if isinstance(text, bytes) else text
    return [text, *np.unique(outputs["y"] / [1, 2, 3, 4]).tolist()]


async def refusal(call: Any) -> list[Any]:
    try:
        await call
    except httpx.HTTPStatusError as error:
        return [error.response.status_code, error.response.json()["error"]]
    except grpc.RpcError as error:
        return [error.code().name, error.details()]
    return []


def by_grpc(gateway: str, service: str) -> InferenceGRPCClient:
    authority = ("grpc.default_authority", f"{service}.default.local")
    return InferenceGRPCClient(gateway, channel_args=[authority])


async def rest(url: str) -> dict[str, Any]:
    v1 = InferenceRESTClient(RESTConfig(protocol="v1"))
    v2 = InferenceRESTClient(RESTConfig(protocol="v2"))
    rows = {"instances": [{"x": [1, 2, 3, 4], "text": "né"}]}
    predicted = await v1.infer(url, rows, model_name=MODEL)
    other = url.replace(MODEL, "other")
    return {
        "live": await v2.is_server_live(url),
        "ready": await v2.is_server_ready(url),
        "model ready": [await client.is_model_ready(url, MODEL) for client in (v1, v2)],
        "V1": predicted["predictions"][0]["told"],
        "V2": told(await v2.infer(url, asked(binary=False), model_name=MODEL)),
        "V2 binary": told(await v2.infer(url, asked(binary=True), model_name=MODEL)),
        "unknown model": await refusal(v2.infer(url, asked(binary=False), model_name="other")),
        "unknown service": await refusal(v2.infer(other, asked(binary=False), model_name=MODEL)),
    }


async def over_grpc(gateway: str) -> dict[str, Any]:
    async with by_grpc(gateway, MODEL) as client, by_grpc(gateway, "other") as other:
        answers = [await client.infer(asked(binary=True)) for _ in range(60)]
        return {
            "live": await client.is_server_live(),
            "ready": await client.is_server_ready(),
            "model ready": await client.is_model_ready(MODEL),
            "typed": told(await client.infer(asked(binary=False)))[0],
            "split": Counter(str(told(answer)) for answer in answers),
            "unknown model": await refusal(client.is_model_ready("other")),
            "unknown service": await refusal(other.infer(asked(binary=True))),
        }


def status(api: str) -> dict[str, Any]:
    named = {"name": "engine", "cluster": {"server": api}}
    context = {"name": "engine", "context": {"cluster": "engine", "user": "owner"}}
    config = {
        "clusters": [named],
        "contexts": [context],
        "users": [{"name": "owner", "user": {}}],
        "current-context": "engine",
    }
    client = KServeClient(config_dict=config, persist_config=False)
    listed = client.get(namespace="default")["items"]
    return {
        "ready": client.is_isvc_ready(MODEL, "default", expected_generation=2),
        "url": client.get(MODEL, "default")["status"]["url"],
        "listed": sorted(item["metadata"]["name"] for item in listed),
    }


if __name__ == "__main__":
    logging.disable()
    address, gateway, url = sys.argv[1:]
    got = {
        "status": status(address),
        "REST": asyncio.run(rest(url)),
        "gRPC": asyncio.run(over_grpc(gateway)),
    }
    print(json.dumps(got))  # noqa: T201 - its output is the result
