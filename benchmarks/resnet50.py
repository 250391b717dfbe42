"""A PyTorch network of ResNet-50's size, from MLflow to optimised ONNX: how long each step takes.

`python -m benchmarks.resnet50` prints the seconds. Its weights are random, and it is as deep and
wide as the original: 25.6 million parameters.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.progress import say

T = TypeVar("T")

IMAGE = (3, 224, 224)
_STAGES = ((3, 64, 1), (4, 128, 2), (6, 256, 2), (3, 512, 2))
"""Blocks, inner channels and stride of each stage."""
_WIDENING = 4
_CLASSES = 1000


class Bottleneck(nn.Module):
    """Three convolutions beside a shortcut."""

    def __init__(self, before: int, inner: int, stride: int) -> None:
        super().__init__()
        after = inner * _WIDENING
        self.deep = nn.Sequential(
            *_convolution(before, inner, 1),
            nn.ReLU(),
            *_convolution(inner, inner, 3, stride),
            nn.ReLU(),
            *_convolution(inner, after, 1),
        )
        same = before == after and stride == 1
        self.shortcut = (
            nn.Identity() if same else nn.Sequential(*_convolution(before, after, 1, stride))
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return [n, 4 inner, height / stride, width / stride]."""
        return torch.relu(self.deep(images) + self.shortcut(images))


class ResNet50(nn.Module):
    """Images [n, 3, 224, 224] to scores [n, classes]."""

    def __init__(self, classes: int = _CLASSES) -> None:
        super().__init__()
        layers = [*_convolution(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
        channels = 64
        for blocks, inner, stride in _STAGES:
            for block in range(blocks):
                layers.append(Bottleneck(channels, inner, stride if block == 0 else 1))
                channels = inner * _WIDENING
        self.layers = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.scores = nn.Linear(channels, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return the scores [n, classes]."""
        scores: Tensor = self.scores(self.layers(images))
        return scores


def made(seed: int = 0) -> ResNet50:
    """Return the network in evaluation mode, with the statistics of one batch of noise."""
    torch.manual_seed(seed)
    network = ResNet50()
    with torch.inference_mode():
        network.train()(torch.randn(4, *IMAGE))
    return network.eval()


def register(folder: Path) -> str:
    """Register the network in an MLflow store of its own; return its URI."""
    import mlflow
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    mlflow.create_experiment("resnet50", artifact_location=(folder / "artifacts").as_uri())
    mlflow.set_experiment("resnet50")
    float32 = np.dtype("float32")
    logged = mlflow.pytorch.log_model(
        made(),
        name="resnet50",
        registered_model_name="resnet50",
        signature=ModelSignature(
            inputs=Schema([TensorSpec(float32, (-1, *IMAGE), "images")]),
            outputs=Schema([TensorSpec(float32, (-1, _CLASSES))]),
        ),
        pip_requirements=["torch"],
        serialization_format="pickle",
    )
    return f"models:/resnet50/{logged.registered_model_version}"


def measure(uri: str, folder: Path) -> dict[str, float]:
    """Return the seconds of each step, imports included where they fall."""
    from modelport import tracking
    from modelport.convert import flavour, session
    from modelport.models import ModelRef

    seconds: dict[str, float] = {}

    def timed(name: str, work: Callable[..., T], *given: Any) -> T:
        began = time.perf_counter()
        result = work(*given)
        seconds[name] = time.perf_counter() - began
        return result

    source = folder / "source"
    resolution = timed("resolve", tracking.resolve, ModelRef.parse(uri), source)
    own = flavour(resolution.flavour)
    native = timed("load", own.load, source, resolution)
    graph = timed("convert", own.convert, native, resolution)
    optimised = timed("optimise", session.optimise, graph.onnx, folder)
    converted = timed("open", session.OnnxModel, optimised)
    images = np.random.default_rng(0).standard_normal((8, *IMAGE)).astype(np.float32)
    expected = timed("answer 8 images natively", native.answer, images)["prediction"]
    given = timed("answer 8 images converted", converted.answer, images)["prediction"]
    say(f"largest difference {abs(expected - given).max():.2g}, {len(optimised) / 1e6:.0f} MB")
    return seconds


def _convolution(before: int, after: int, size: int, stride: int = 1) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(before, after, size, stride, size // 2, bias=False),
        nn.BatchNorm2d(after),
    )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        for name, seconds in measure(register(Path(place)), Path(place)).items():
            say(f"{seconds:7.2f} s  {name}")
