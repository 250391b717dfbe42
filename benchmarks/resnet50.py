"""A PyTorch network of ResNet-50's size, from MLflow to certified ONNX: how long each step takes.

`python -m benchmarks.resnet50` prints the seconds of each step of a release, up to the certified
version that MLflow keeps. Its weights are random, and it is as deep and wide as the original: 25.6
million parameters.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.progress import say, working
from modelport.reports import Certificate

IMAGE = (3, 224, 224)
_STAGES = ((3, 64, 1), (4, 128, 2), (6, 256, 2), (3, 512, 2))
"""Blocks, inner channels and stride of each stage."""
_WIDENING = 4
_CLASSES = 1000
_IMAGES = 8
_REPORTS = ("resolution", "conversion", "certificate", "evaluation", "benchmark", "explanation")
"""What the steps before the last one write, in their order."""


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
    """Do the steps of a release up to the model version; return their seconds, imports included."""
    from modelport import release

    (folder / "background").mkdir()
    images = folder / "images.npy"
    np.save(images, np.random.default_rng(0).standard_normal((_IMAGES, *IMAGE)).astype(np.float32))
    reports = {name: str(folder / name) for name in _REPORTS}
    source, onnx = str(folder / "source"), str(folder / "model.onnx")
    rows = {"data": str(images), "target": ""}
    given = {"source": source, "resolution": reports["resolution"]}
    both = {**given, "conversion": reports["conversion"], "onnx": onnx, **rows}
    background = str(folder / "background")
    steps: dict[str, tuple[Callable[..., object], dict[str, Any]]] = {
        "resolve": (release.resolve, {"model": uri, "source": source}),
        "convert": (release.convert, {**given, **rows, "require_onnx": True, "onnx": onnx}),
        "certify": (release.certify, both),
        "evaluate": (release.evaluate, both),
        "benchmark": (release.benchmark, both),
        "explain": (release.explain, {**given, **rows, "background": background}),
    }
    seconds: dict[str, float] = {}
    for (name, (step, arguments)), report in zip(steps.items(), _REPORTS, strict=True):
        seconds[name] = _timed(step, **arguments, report=reports[report])
    seconds["log"] = _timed(
        release.log,
        release_id="resnet50",
        service="resnet50",
        namespace="default",
        source=source,
        onnx=onnx,
        background=background,
        reports=reports,
        package=str(folder / "package"),
        report=str(folder / "dossier"),
    )
    return seconds


def _timed(step: Callable[..., object], **arguments: Any) -> float:
    began = time.perf_counter()
    step(**arguments)
    return time.perf_counter() - began


def _convolution(before: int, after: int, size: int, stride: int = 1) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(before, after, size, stride, size // 2, bias=False),
        nn.BatchNorm2d(after),
    )


def main() -> None:
    """Make the network, carry it, and print a line for each step."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with working("making and registering the network"):
            uri = register(folder)
        with working("carrying it"):
            seconds = measure(uri, folder)
        certificate = Certificate.read(folder / "certificate")
        say(f"{certificate.verdict}: {certificate.reason}")
        for step, taken in seconds.items():
            say(f"{taken:7.2f} s  {step}")
        say(f"{sum(seconds.values()):7.2f} s  from MLflow to a certified model version")


if __name__ == "__main__":
    main()
