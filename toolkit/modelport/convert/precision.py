"""The same graph with narrower numbers: what a release may try, and why not where it may not."""

from __future__ import annotations

import logging
import tempfile
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Literal, get_args

from modelport.convert.base import first_line
from modelport.reports import Precision

Choice = Literal[Precision, "auto"]

_WEIGHTED = ("Conv", "Gemm", "MatMul")
# Below this, converting every input and output to int8 and back costs more than it saves.
_FEW_WEIGHTS = 4096
_FLOAT = 1  # onnx.TensorProto.FLOAT


@dataclass(frozen=True)
class Candidate:
    """A graph of that precision, or the reason why there is none."""

    precision: Precision
    onnx: bytes | None = None
    reason: str = ""


def candidates(graph: bytes, choice: Choice) -> list[Candidate]:
    """Return the graph in the precision chosen; for `auto` in every one, float32 first.

    Args:
        graph: The serialized float32 model, optimised.
        choice: One precision, or `auto`.
    """
    wanted: tuple[Precision, ...] = get_args(Precision) if choice == "auto" else (choice,)
    return [_candidate(graph, precision) for precision in wanted]


def _candidate(graph: bytes, precision: Precision) -> Candidate:
    if precision == "float32":
        return Candidate(precision, graph)
    import onnx

    proto = onnx.load_from_string(graph)
    reason = _unsuitable(proto.graph, precision)
    if reason:
        return Candidate(precision, reason=reason)
    try:
        return Candidate(precision, _int8(proto) if precision == "int8" else _float16(proto))
    except Exception as error:  # noqa: BLE001 - converters of any library raise what they like
        return Candidate(
            precision, reason=f"the graph has no {precision} form ({first_line(error)})"
        )


def _unsuitable(graph: Any, precision: Precision) -> str:
    """Say why a precision makes no sense for a graph; empty where it does."""
    weights = _weights(graph)
    if not weights:
        return f"no layer of the graph has weights that {precision} would narrow"
    if precision == "float16" and any(node.domain == "ai.onnx.ml" for node in graph.node):
        return "trees, encoders and other operators of ai.onnx.ml have no float16"
    if precision == "int8" and weights < _FEW_WEIGHTS:
        return f"{weights:,} weights are too few to gain by int8"
    return ""


def _weights(graph: Any) -> int:
    """Count the float32 weights of layers that narrower numbers make faster."""
    sizes = {
        value.name: prod(value.dims) for value in graph.initializer if value.data_type == _FLOAT
    }
    used = {name for node in graph.node if node.op_type in _WEIGHTED for name in node.input}
    return sum(size for name, size in sizes.items() if name in used)


def _int8(proto: Any) -> bytes:
    """Quantise the weights; what flows between layers is quantised while the graph runs."""
    from onnxruntime.quantization import quantize_dynamic

    logging.getLogger().addFilter(_is_no_advice)
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "int8.onnx"
            # What comes out of operators that shape inference does not know is float32.
            known = {"DefaultTensorType": _FLOAT}
            quantize_dynamic(proto, path, op_types_to_quantize=list(_WEIGHTED), extra_options=known)
            return path.read_bytes()
    finally:
        logging.getLogger().removeFilter(_is_no_advice)


def _is_no_advice(record: logging.LogRecord) -> bool:
    return "pre-processing before quantization" not in record.getMessage()


def _float16(proto: Any) -> bytes:
    """Compute in float16; inputs and outputs stay as they are."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    narrow = convert_float_to_float16(proto, keep_io_types=True)
    return bytes(narrow.SerializeToString())
