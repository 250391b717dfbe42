"""The engine with the runtime that ships: a real ONNX model behind the gateway."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from modelport_engine.errors import RevisionFailed

if TYPE_CHECKING:
    from pathlib import Path

    from tests.engine.conftest import Home

SPEC = '[{"type": "tensor", "name": "%s", "tensor-spec": {"dtype": "float32", "shape": [-1, %d]}}]'
MLMODEL = f"""\
flavors:
  onnx:
    data: model.onnx
    onnx_version: 1.17.0
    providers: [CPUExecutionProvider]
signature:
  inputs: '{SPEC % ("x", 2)}'
  outputs: '{SPEC % ("y", 1)}'
"""


def linear_model(folder: Path, weight: float) -> Path:
    """Write y = weight * (x0 + x1) as a served model folder."""
    folder.mkdir()
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])],
        [onnx.numpy_helper.from_array(np.full((2, 1), weight, dtype=np.float32), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, folder / "model.onnx")
    (folder / "MLmodel").write_text(MLMODEL)
    return folder


def test_an_onnx_model_is_served_replaced_and_kept(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MODELPORT_ENGINE_RUNTIME")
    home.start()
    url = home.deploy(home.service(linear_model(home.folder / "one", 2.0)))["status"]["url"]
    assert home.request(url)[0] == 200
    inputs = b'{"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}'
    status, answer = home.request(url, "/v2/models/tumor/infer", inputs)
    assert (status, answer["outputs"][0]["data"]) == (200, [6.0])

    with home.load(url, path="/v1/models/tumor:predict", body=b'{"instances": [[1, 2]]}') as load:
        home.deploy(home.service(linear_model(home.folder / "two", 3.0)))
        home.eventually(lambda: load.answers[-20:] == [[9.0]] * 20)
        broken = linear_model(home.folder / "three", 1.0)
        (broken / "model.onnx").write_bytes(b"not a model")
        with pytest.raises(
            RevisionFailed, match=r"model\.onnx.*tumor-predictor-00002 keeps serving"
        ):
            home.deploy(home.service(broken))
    assert load.failures == []
    assert load.answers[-1] == [9.0]


def test_an_explainer_asks_its_predictor_through_the_gateway(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MODELPORT_ENGINE_RUNTIME")
    home.start()
    folder = linear_model(home.folder / "one", 2.0)
    (folder / "explainer").mkdir()
    background = {"columns": None, "rows": [[0.0, 0.0], [2.0, 4.0]], "output": "y"}
    (folder / "explainer" / "background.json").write_text(json.dumps(background))
    document = home.service(folder)
    container = {
        "name": "kserve-container",
        "image": "modelport-explainer",
        "args": ["--explainer=shap", "--model_dir=/mnt/models", "--predictor_protocol=v2"],
        "env": [{"name": "STORAGE_URI", "value": f"file://{folder}"}],
    }
    document["spec"]["explainer"] = {"containers": [container]}
    url = home.deploy(document)["status"]["url"]

    status, answer = home.request(url, "/v1/models/tumor:explain", b'{"instances": [[3, 5]]}')
    assert status == 200, answer
    (one,) = answer["explanations"]
    # y = 2 (x0 + x1), against background means of 1 and 2.
    assert (one["base_value"], one["output_value"]) == (6.0, 16.0)
    assert one["values"] == pytest.approx({"0": 4.0, "1": 6.0})
    assert one["residual"] == pytest.approx(0, abs=1e-6)

    inputs = b'{"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [3, 5]}]}'
    status, answer = home.request(url, "/v2/models/tumor/explain", inputs)
    outputs = {item["name"]: item["data"] for item in answer["outputs"]}
    assert status == 200, answer
    assert outputs["values"] == pytest.approx([4.0, 6.0])
    assert home.request(url, "/v2/models/tumor/infer", inputs)[1]["outputs"][0]["data"] == [16.0]
