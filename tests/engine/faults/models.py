"""Small models in ONNX whose answers tell which one has answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper

if TYPE_CHECKING:
    from pathlib import Path

_SPEC = '[{"type": "tensor", "name": "%s", "tensor-spec": {"dtype": "float32", "shape": [-1, 1]}}]'
_MLMODEL = f"""\
flavors:
  onnx:
    data: model.onnx
    onnx_version: 1.17.0
    providers: [CPUExecutionProvider]
signature:
  inputs: '{_SPEC % "x"}'
  outputs: '{_SPEC % "y"}'
"""


def times(folder: Path, weight: int, effort: int = 0) -> Path:
    """Write a model that answers weight * x; `effort`: matrices of 256 x 256 to multiply first."""
    constants = {"weight": np.full((1, 1), weight, dtype=np.float32)}
    nodes = [helper.make_node("MatMul", ["x", "weight"], ["y"])]
    if effort:
        # Zeros, but the runtime does not know: they come from the input.
        constants |= {
            "row": np.zeros((1, 256), dtype=np.float32),
            "matrix": np.eye(256, dtype=np.float32),
            "trips": np.array(effort, dtype=np.int64),
            "column": np.zeros((256, 1), dtype=np.float32),
        }
        nodes = [
            helper.make_node("MatMul", ["x", "weight"], ["right"]),
            helper.make_node("MatMul", ["x", "row"], ["begun"]),
            helper.make_node("Loop", ["trips", "", "begun"], ["done"], body=_turn()),
            helper.make_node("MatMul", ["done", "column"], ["nothing"]),
            helper.make_node("Add", ["right", "nothing"], ["y"]),
        ]
    return _save(folder, nodes, constants)


def broken(folder: Path) -> Path:
    """Write a folder that looks like a model's and cannot be loaded."""
    times(folder, 1)
    (folder / "model.onnx").write_bytes(b"no model")
    return folder


def _turn() -> onnx.GraphProto:
    """Give the body of the loop: a row of numbers goes through a matrix."""
    value = helper.make_tensor_value_info
    return helper.make_graph(
        [
            helper.make_node("Identity", ["going"], ["still_going"]),
            helper.make_node("MatMul", ["before", "matrix"], ["after"]),
        ],
        "turn",
        [
            value("number", TensorProto.INT64, []),
            value("going", TensorProto.BOOL, []),
            value("before", TensorProto.FLOAT, [None, 256]),
        ],
        [value("still_going", TensorProto.BOOL, []), value("after", TensorProto.FLOAT, None)],
    )


def _save(folder: Path, nodes: list[onnx.NodeProto], constants: dict[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    graph = helper.make_graph(
        nodes,
        "times",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, folder / "model.onnx")
    (folder / "MLmodel").write_text(_MLMODEL)
    return folder
