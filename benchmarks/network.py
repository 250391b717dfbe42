"""A big model: how much of ONNX Runtime's own throughput is left behind V2 binary."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks import models, protocols
from benchmarks.load import measure
from benchmarks.machine import SERVER_CORE, pinned
from benchmarks.progress import say
from benchmarks.protocols import Headers, Request, WrongAnswer
from benchmarks.runtime import modelport

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

_TOLERANCE = 1e-3


def run(
    seconds: int = 10, repeats: int = 3, connections: tuple[int, ...] = (1, 4)
) -> dict[str, Any]:
    """Measure the runtime and the bare loop in turn on the same core, one thread each."""
    model = models.resnet()
    session = _session(model)
    image = np.random.default_rng(0).random((1, *models.IMAGE), np.float32)
    request = _request(session, image)
    bare: list[float] = []
    served: dict[int, list[float]] = {at: [] for at in connections}
    with modelport(model, request) as (_, port):
        for number in range(repeats):
            bare.append(_loop(session, image, seconds))
            for at in connections:
                served[at].append(measure(port, request, at, seconds).per_second)
            say(
                f"  Round {number + 1} of {repeats}: bare {bare[-1]:.2f}/s, served " + _last(served)
            )
    alone = statistics.median(bare)
    medians = {at: statistics.median(speeds) for at, speeds in served.items()}
    return {
        "bare_per_second": alone,
        "served_per_second": medians,
        "ratio": {at: speed / alone for at, speed in medians.items()},
    }


def describe(result: dict[str, Any]) -> str:
    """Return the Markdown of a result."""
    ratios = ", ".join(f"{one:.2f} at {at}" for at, one in result["ratio"].items())
    return (
        "A network of ResNet-50's size (25.5 million parameters), V2 binary: of the "
        f"{result['bare_per_second']:.1f} inferences/s of ONNX Runtime's bare loop in process, "
        f"this share is served by connections: {ratios}."
    )


def _last(served: dict[int, list[float]]) -> str:
    return ", ".join(f"{speeds[-1]:.2f}/s at {at}" for at, speeds in served.items())


def _session(model: Path) -> InferenceSession:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return ort.InferenceSession(model / "model.onnx", options, providers=["CPUExecutionProvider"])


def _request(session: InferenceSession, image: Any) -> Request:
    expected = session.run(None, {"image": image})[0].ravel()
    body, headers = protocols.binary_body("image", image)

    def check(given: Headers, answer: bytes) -> None:
        scores = protocols.v2_tensors(given, answer)["scores"]
        if not np.allclose(scores, expected, atol=_TOLERANCE):
            raise WrongAnswer("the scores are not those of ONNX Runtime alone")

    return Request("V2 binary", f"/v2/models/{protocols.NAME}/infer", body, check, headers)


def _loop(session: InferenceSession, image: Any, seconds: int) -> float:
    """Return the inferences per second of the least that there can be around the model."""
    inferences = 0
    with pinned(SERVER_CORE):
        session.run(None, {"image": image})
        started = time.perf_counter()
        while (passed := time.perf_counter() - started) < seconds:
            session.run(None, {"image": image})
            inferences += 1
    return inferences / passed
