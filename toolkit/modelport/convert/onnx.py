"""ONNX models pass through: the graph is what will be served."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from modelport import tracking
from modelport.convert import graphs
from modelport.convert.base import Graph, NativeModel, first_line
from modelport.convert.session import OnnxModel
from modelport.errors import UnsupportedModel

if TYPE_CHECKING:
    from modelport.reports import Resolution


def load(folder: Path, resolution: Resolution) -> OnnxModel:
    """Load the graph with ONNX Runtime's defaults, and with its weights inside it.

    Probabilities come out as a tensor where a ZipMap makes lists of dicts of them, which no
    protocol carries.
    """
    import onnx

    del resolution
    proto = onnx.load(tracking.onnx_file(folder))
    graphs.without_zipmap(proto.graph)
    return OnnxModel(proto.SerializeToString())


def convert(native: NativeModel, resolution: Resolution) -> Graph:
    """Return the graph as it was logged, once `onnx.checker` has passed it."""
    import onnx

    del resolution
    graph = native.estimator
    try:
        onnx.checker.check_model(graph)
    except onnx.checker.ValidationError as error:
        raise UnsupportedModel(f"onnx.checker refuses the graph ({first_line(error)})") from error
    return Graph(onnx=graph, converter="none (already ONNX)", libraries={"onnx": onnx.__version__})
