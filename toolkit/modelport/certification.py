"""A certificate on its own: of a conversion that was made here or elsewhere."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from modelport import data as validation
from modelport import parity, tracking
from modelport.config import settings
from modelport.convert import flavour
from modelport.convert.fitted import fitted
from modelport.errors import DataError, UsageError
from modelport.models import ModelRef
from modelport.parity.foreign import ForeignGraph

if TYPE_CHECKING:
    from modelport.convert.base import NativeModel
    from modelport.render import Stages
    from modelport.reports import Certificate

STAGES = ("load", "certify")


def certify(model: Any, onnx: Any, data: Any, target: str | None, stages: Stages) -> Certificate:
    """Certify that a graph answers as a model does.

    Args:
        model: A fitted model, or a reference to one in MLflow.
        onnx: An ONNX file, or its bytes.
        data: Rows that the model takes: a DataFrame, an array or a file; None takes the
            input example of a model in MLflow.
        target: A column of the data that is no input.
        stages: Where the progress goes.

    Raises:
        UsageError: The model is of no known library, or there is no such file.
        DataError: There are no rows, or the model refuses them.
        UnsupportedModel: ONNX Runtime does not take the graph.
    """
    stages.begin("load")
    graph = _bytes(onnx)
    rows = None if data is None else _rows(data, target)
    with tempfile.TemporaryDirectory(prefix="modelport-") as name:
        native, example = _native(model, Path(name))
        rows = example if rows is None else rows
        if rows is None or not len(rows):
            raise DataError("there is no row to certify the conversion on", "give data")
        stages.begin("certify")
        stages.say(f"comparing on {len(rows):,} rows, and on rows made to break it")
        _check(native, rows)
        probes = [parity.Probe("data", rows)]
        return parity.certify(native, ForeignGraph(graph, native, rows), probes)


def _bytes(onnx: Any) -> bytes:
    if isinstance(onnx, bytes | bytearray):
        return bytes(onnx)
    if hasattr(onnx, "SerializeToString"):
        return bytes(onnx.SerializeToString())
    path = Path(onnx).expanduser()
    if not path.is_file():
        raise UsageError(f"there is no file {path}", "name an ONNX file")
    return path.read_bytes()


def _rows(data: Any, target: str | None) -> Any:
    """Return the rows, at most as many as a release certifies on."""
    import pandas as pd

    most = settings().limits.certified_rows
    if isinstance(data, str | Path):
        return validation.load(str(data), target).sample(most).inputs
    if isinstance(data, pd.DataFrame):
        validation.check_target([str(column) for column in data.columns], target)
        given = data if target is None else data.drop(columns=[target])
        return validation.Rows(given.reset_index(drop=True)).sample(most).inputs
    array = np.asarray(data)
    if array.ndim < 2:
        raise DataError("the rows are no table", "give a DataFrame or an array [n, ...]")
    table = pd.DataFrame(array) if array.ndim == 2 else array
    return validation.Rows(table).sample(most).inputs


def _native(model: Any, folder: Path) -> tuple[NativeModel, Any]:
    """Return the native model, and the rows of its input example if it has one."""
    if not isinstance(model, str | Path):
        return fitted(model), None
    resolution = tracking.resolve(ModelRef.parse(str(model)), folder)
    native = flavour(resolution.flavour).load(folder, resolution)
    return native, tracking.input_example(folder)


def _check(native: NativeModel, rows: Any) -> None:
    try:
        native.answer(rows[:2] if isinstance(rows, np.ndarray) else rows.iloc[:2])
    except Exception as error:  # a model refuses with whatever its library raises
        raise DataError(
            f"the model refuses the rows ({error})", "give rows as the model was trained on"
        ) from error
