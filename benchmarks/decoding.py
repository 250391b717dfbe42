"""One large tensor as V2 JSON: the runtime's decoder against the standard library and NumPy."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.machine import SERVER_CORE, pinned
from benchmarks.models import IMAGE
from benchmarks.progress import say

_SHAPE = [1, *IMAGE]


def run(repeats: int = 20) -> dict[str, Any]:
    """Time both on the same bytes, in turn; their arrays must be equal."""
    from modelport_serving.rest import v2

    image = np.random.default_rng(0).random(_SHAPE, np.float32)
    tensor = {"name": "image", "shape": _SHAPE, "datatype": "FP32", "data": image.ravel().tolist()}
    body = json.dumps({"inputs": [tensor]}).encode()

    def ours() -> Any:
        return v2.decode(body, None, ()).inputs["image"]

    def usual() -> Any:
        data = json.loads(body)["inputs"][0]["data"]
        return np.array(data, np.float32).reshape(_SHAPE)

    if not np.array_equal(ours(), image) or not np.array_equal(usual(), image):
        raise ValueError("a decoder does not return the tensor that was encoded")
    times: dict[str, list[float]] = {"ours": [], "usual": []}
    with pinned(SERVER_CORE):
        for _ in range(repeats):
            times["ours"].append(_milliseconds(ours))
            times["usual"].append(_milliseconds(usual))
    medians = {name: statistics.median(values) for name, values in times.items()}
    ratio = medians["usual"] / medians["ours"]
    say(f"  {medians['ours']:.2f} ms against {medians['usual']:.2f} ms: {ratio:.1f}x")
    return {"bytes": len(body), "ms": medians, "ratio": ratio}


def describe(result: dict[str, Any]) -> str:
    """Return the Markdown of a result."""
    ms = result["ms"]
    return (
        f"A 1x3x224x224 FP32 tensor as V2 JSON ({result['bytes'] / 1e6:.1f} MB) is decoded in "
        f"{ms['ours']:.1f} ms; `json.loads` and `np.array` take {ms['usual']:.1f} ms, "
        f"{result['ratio']:.1f} times as long."
    )


def _milliseconds(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return (time.perf_counter() - started) * 1e3
