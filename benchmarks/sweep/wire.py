"""The runtime as a process, asked over the wire."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import urllib3

from benchmarks.contenders import serving
from benchmarks.protocols import NAME
from benchmarks.servers import HOST, Ports, Server, ServerFailed, running
from modelport.endpoints import Endpoint, instances

if TYPE_CHECKING:
    import pandas as pd

_READY_SECONDS = 60.0
_POLL_SECONDS = 0.02
_DATATYPES = {"f": "FP64", "i": "INT64", "b": "BOOL"}

Answers = dict[str, np.ndarray[Any, Any]]


@contextmanager
def served(folder: Path, log: str, *, natively: bool) -> Iterator[str]:
    """Serve a model folder for the length of the block; yield the server's URL.

    Raises:
        ServerFailed: It ended, or is not ready in a minute.
    """
    ports = Ports.free()
    arguments = ["--allow-pickle"] if natively else []
    command = serving(folder, ports, "--enable_grpc=false", "--shutdown_seconds=0.1", *arguments)
    with running(log, command, {}, core=None) as server:
        url = f"http://{HOST}:{ports.http}"
        _wait(server, url)
        yield url


def ask_v1(url: str, rows: pd.DataFrame) -> Answers:
    """Answer rows over V1, sent as the toolkit sends them: by column name."""
    endpoint = Endpoint(url, NAME)
    try:
        return endpoint.answer(instances(rows))
    finally:
        endpoint.close()


def ask_v2(url: str, rows: pd.DataFrame) -> Answers:
    """Answer rows over V2 in JSON: one tensor where the model takes one, else one a column."""
    model = f"{url}/v2/models/{NAME}"
    takes = _reply("GET", model)["inputs"]
    if len(takes) == 1 and len(takes[0]["shape"]) == 2 and rows.shape[1] > 1:
        given = [_tensor(takes[0]["name"], rows.to_numpy())]
    else:
        given = [_tensor(name, rows[name].to_numpy()) for name in rows.columns]
    outputs = _reply("POST", f"{model}/infer", {"inputs": given})["outputs"]
    return {one["name"]: np.array(one["data"]).reshape(one["shape"]) for one in outputs}


def _wait(server: Server, url: str) -> None:
    end = time.monotonic() + _READY_SECONDS
    while time.monotonic() < end:
        if server.process.poll() is not None:
            raise ServerFailed(f"the runtime ended: {server.said()}")
        try:
            if urllib3.request("GET", f"{url}/v2/health/ready", retries=False).status == 200:
                return
        except urllib3.exceptions.HTTPError:
            pass
        time.sleep(_POLL_SECONDS)
    raise ServerFailed(f"the runtime is not ready after {_READY_SECONDS:.0f} s: {server.said()}")


def _tensor(name: str, values: np.ndarray[Any, Any]) -> dict[str, Any]:
    datatype = _DATATYPES.get(values.dtype.kind, "BYTES")
    data = [_plain(value) for value in values.reshape(-1).tolist()]
    return {"name": name, "shape": values.shape, "datatype": datatype, "data": data}


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def _reply(method: str, url: str, content: Any = None) -> dict[str, Any]:
    body = None if content is None else json.dumps(content)
    response = urllib3.request(method, url, body=body, retries=False, timeout=60.0)
    if response.status != 200:
        raise ServerFailed(f"{method} {url}: {response.status} {response.data[:300].decode()}")
    reply: dict[str, Any] = response.json()
    return reply
