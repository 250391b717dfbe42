"""The models that are served: a random forest, and a network of ResNet-50's size."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.places import folder
from benchmarks.progress import working

FEATURES = 30
IMAGE = (3, 224, 224)
_STAGES = ((3, 64, 256), (4, 128, 512), (6, 256, 1024), (3, 512, 2048))
"""ResNet-50: blocks, inner channels and outer channels of each stage."""
_CLASSES = 1000
_SESSION = {"intra_op_num_threads": 1, "inter_op_num_threads": 1, "execution_mode": "sequential"}
"""The server has one core."""


@dataclass(frozen=True)
class Forest:
    """A classifier with the outputs `label` [N] and `probabilities` [N, 2], and one row's answer.

    `onnx` and `sklearn` are MLflow model folders; `row` has 30 numbers.
    """

    onnx: Path
    sklearn: Path
    row: list[float]
    label: int
    probabilities: list[float]

    @property
    def graph(self) -> Path:
        """The ONNX file."""
        return self.onnx / "model.onnx"


def forest() -> Forest:
    """Return scikit-learn's random forest on its breast cancer data, made once."""
    root = _made_once("forest", _make_forest)
    sample = json.loads((root / "sample.json").read_text())
    return Forest(root / "onnx", root / "sklearn", **sample)


def resnet() -> Path:
    """Return the MLflow folder of a network built like ResNet-50, with random weights.

    25.5 million parameters; input `image` [N, 3, 224, 224], output `scores` [N, 1000], FP32.
    """
    return _made_once("resnet", _make_resnet)


def _made_once(name: str, make: Callable[[Path], None]) -> Path:
    root = folder("models") / name
    if not root.exists():
        staged = root.with_name(f"{name}.partial")
        shutil.rmtree(staged, ignore_errors=True)
        with working(f"Making the model: {name}"):
            make(staged)
        staged.rename(root)
    return root


def _make_forest(root: Path) -> None:
    import mlflow
    from mlflow.models import infer_signature
    from skl2onnx import to_onnx
    from sklearn.datasets import load_breast_cancer
    from sklearn.ensemble import RandomForestClassifier

    rows, labels = load_breast_cancer(return_X_y=True)
    rows = rows.astype(np.float32)
    model = RandomForestClassifier(random_state=0).fit(rows, labels)
    graph = to_onnx(model, rows[:1], options={"zipmap": False})
    _rename_tensors(graph, ("input", "label", "probabilities"))
    tensors = {"label": labels, "probabilities": model.predict_proba(rows).astype(np.float32)}
    mlflow.onnx.save_model(
        graph,
        root / "onnx",
        signature=infer_signature({"input": rows}, tensors),
        pip_requirements=[],
        onnx_session_options=_SESSION,
    )
    mlflow.sklearn.save_model(
        model,
        root / "sklearn",
        serialization_format="cloudpickle",
        signature=infer_signature(rows, labels),
        pip_requirements=[],
    )
    row, label = rows[0], labels[0]
    probabilities = model.predict_proba(row[np.newaxis])[0]
    sample = {
        "row": [float(str(value)) for value in row],  # 17.99, not 17.989999771118164
        "label": int(label),
        "probabilities": probabilities.tolist(),
    }
    (root / "sample.json").write_text(json.dumps(sample))


def _rename_tensors(graph: Any, names: tuple[str, ...]) -> None:
    """Name the graph's inputs and outputs, in order, whatever the converter called them."""
    values = [*graph.graph.input, *graph.graph.output]
    renamed = {value.name: name for value, name in zip(values, names, strict=True)}
    for value in values:
        value.name = renamed[value.name]
    for node in graph.graph.node:
        for tensors in (node.input, node.output):
            tensors[:] = [renamed.get(tensor, tensor) for tensor in tensors]


def _make_resnet(root: Path) -> None:
    import mlflow

    mlflow.onnx.save_model(
        _Network().build(), root, pip_requirements=[], onnx_session_options=_SESSION
    )


class _Network:
    """Builds ResNet-50's graph; batch normalisation is folded into the convolutions, as usual."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._weights: list[Any] = []
        self._random = np.random.default_rng(0)
        self._names: Iterator[int] = count()

    def build(self) -> Any:
        """Return the ONNX model."""
        from onnx import TensorProto, checker, helper

        tensor = self._relu(self._convolution("image", 3, 64, 7, stride=2))
        tensor = self._node("MaxPool", [tensor], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
        channels = 64
        for stage, (blocks, inner, outer) in enumerate(_STAGES):
            for block in range(blocks):
                stride = 2 if stage and not block else 1
                tensor = self._bottleneck(tensor, channels, inner, outer, stride)
                channels = outer
        tensor = self._node("Flatten", [self._node("GlobalAveragePool", [tensor])])
        tensor = self._node(
            "Gemm", [tensor, self._weight(channels, _CLASSES), self._weight(_CLASSES)]
        )
        self._nodes.append(helper.make_node("Identity", [tensor], ["scores"]))
        graph = helper.make_graph(
            self._nodes,
            "resnet",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", *IMAGE])],
            [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", _CLASSES])],
            self._weights,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        checker.check_model(model)
        return model

    def _bottleneck(self, tensor: str, before: int, inner: int, outer: int, stride: int) -> str:
        deep = self._relu(self._convolution(tensor, before, inner, 1))
        deep = self._relu(self._convolution(deep, inner, inner, 3, stride))
        deep = self._convolution(deep, inner, outer, 1)
        if before != outer:
            tensor = self._convolution(tensor, before, outer, 1, stride)
        return self._relu(self._node("Add", [deep, tensor]))

    def _convolution(self, tensor: str, before: int, after: int, size: int, stride: int = 1) -> str:
        inputs = [tensor, self._weight(after, before, size, size), self._weight(after)]
        padding = [size // 2] * 4
        return self._node("Conv", inputs, strides=[stride, stride], pads=padding)

    def _relu(self, tensor: str) -> str:
        return self._node("Relu", [tensor])

    def _node(self, operator: str, inputs: list[str], **attributes: Any) -> str:
        from onnx import helper

        output = f"tensor{next(self._names)}"
        self._nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def _weight(self, *shape: int) -> str:
        from onnx import numpy_helper

        name = f"weight{next(self._names)}"
        scale = np.sqrt(1.0 / np.prod(shape[1:])) if len(shape) > 1 else 0.01
        values = (self._random.standard_normal(shape) * scale).astype(np.float32)
        self._weights.append(numpy_helper.from_array(values, name))
        return name
