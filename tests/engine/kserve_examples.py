"""What KServe's documentation has: documents, the bucket that they name, and its Python SDK."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper

if TYPE_CHECKING:
    from collections.abc import Mapping

DOCUMENTS = Path(__file__).with_name("documentation")
BUCKET = "gs://kfserving-examples"

SDK = Path(os.environ.get("KSERVE_PYTHON") or Path(__file__).parents[2] / ".venv-kserve/bin/python")
"""The Python of an environment with KServe's SDK, which wants other versions than we do."""

needs_sdk = pytest.mark.skipif(
    not SDK.exists(), reason="KServe's SDK needs an environment of its own: make test makes it"
)


def document(name: str, places: Mapping[str, str], namespace: str = "default") -> dict[str, Any]:
    """Read a document as `kubectl apply -n NAMESPACE -f` does.

    `places` says what stands here for places of the documentation, such as its bucket.
    """
    text = (DOCUMENTS / f"{name}.yaml").read_text()
    for there, here in places.items():
        text = text.replace(there, here)
    read: dict[str, Any] = yaml.safe_load(text)
    return {**read, "metadata": {**read["metadata"], "namespace": namespace}}


def fill(bucket: Path) -> None:
    """Put the models there that KServe's documentation trains, as it saves them."""
    import joblib
    import lightgbm
    import xgboost
    from sklearn.datasets import load_iris
    from sklearn.dummy import DummyClassifier
    from sklearn.svm import SVC

    iris = load_iris()
    rows, labels = iris.data, iris.target
    joblib.dump(
        SVC(gamma="scale").fit(rows, labels), _file(bucket, "sklearn/1.0/model/model.joblib")
    )
    always = DummyClassifier(strategy="constant", constant=2).fit(rows, labels)
    joblib.dump(always, _file(bucket, "sklearn/1.0/model-2/model.joblib"))
    options = {"max_depth": 6, "eta": 0.1, "num_class": 10, "objective": "multi:softmax"}
    booster = xgboost.train(options, xgboost.DMatrix(rows, labels), 10)
    _file(bucket, "xgboost/iris/model.bst").write_bytes(booster.save_raw("ubj"))
    options = {"objective": "multiclass", "num_class": 3, "verbose": -1}
    data = lightgbm.Dataset(rows, labels, feature_name=iris.feature_names)
    forest = lightgbm.train(options, data, 10)
    forest.save_model(_file(bucket, "lightgbm/v2/iris/model.bst"))
    onnx.save(times(2.0), _file(bucket, "onnx/model.onnx"))
    onnx.save(times(3.0), _file(bucket, "onnx-2/model.onnx"))
    _file(bucket, "custom/factor.txt").write_text("3")


def times(weight: float) -> onnx.ModelProto:
    """Write a graph for rows `x` of numbers and `text`: `y` is weight * x, `told` is the text."""
    numbers, texts = (TensorProto.FLOAT, [None, 4]), (TensorProto.STRING, [None])
    graph = helper.make_graph(
        [
            helper.make_node("Mul", ["x", "w"], ["y"]),
            helper.make_node("Identity", ["text"], ["told"]),
        ],
        "times",
        [
            helper.make_tensor_value_info("x", *numbers),
            helper.make_tensor_value_info("text", *texts),
        ],
        [
            helper.make_tensor_value_info("y", *numbers),
            helper.make_tensor_value_info("told", *texts),
        ],
        [onnx.numpy_helper.from_array(np.array([weight], np.float32), "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def _file(bucket: Path, path: str) -> Path:
    file = bucket / "models" / path
    file.parent.mkdir(parents=True, exist_ok=True)
    return file
