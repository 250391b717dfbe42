"""Graphs that were converted elsewhere: their inputs and outputs may have any names.

Inputs are matched with the rows' columns by name, with or without what a converter makes of
spaces, else by order. Outputs are matched with the native answers by name, else by what they
hold: labels with labels, numbers with numbers of the same width.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from modelport.convert import graphs, session
from modelport.convert.base import LABEL, PROBABILITIES
from modelport.errors import DataError, UsageError
from modelport.parity import rows as tables
from modelport.parity.compare import Answers, plain

if TYPE_CHECKING:
    from modelport.convert.base import NativeModel


class ForeignGraph:
    """A graph that answers under the native model's names.

    Args:
        graph: The serialized ONNX model.
        native: The model that it was made of.
        rows: Rows that the native model takes.

    Raises:
        UsageError: The bytes are no ONNX model.
        UnsupportedModel: ONNX Runtime does not take the graph.
        DataError: Its inputs or outputs cannot be told apart.
    """

    def __init__(self, graph: bytes, native: NativeModel, rows: Any) -> None:
        proto = _parsed(graph)
        self._classes = _zipmap_classes(proto.graph)
        graphs.without_zipmap(proto.graph)
        self._model = session.OnnxModel(proto.SerializeToString())
        self._columns = self._matched_columns(rows)
        head = tables.take(rows, slice(0, 2))
        self._order = _class_order(self._classes, getattr(native, "classes", None))
        self._names = _matched_outputs(native.answer(head), self._model.answer(self._fed(head)))

    def answer(self, rows: Any) -> Answers:
        """Answer n rows under the native model's names."""
        given = self._model.answer(self._fed(rows))
        answers = {name: given[own] for name, own in self._names.items()}
        if self._order is not None and PROBABILITIES in answers:
            answers[PROBABILITIES] = answers[PROBABILITIES][:, self._order]
        return answers

    def predict(self, rows: Any) -> Any:
        """Answer with the graph's first output."""
        return self._model.predict(self._fed(rows))

    def _fed(self, rows: Any) -> Any:
        if not self._columns or isinstance(rows, np.ndarray):
            return rows
        return rows.rename(columns=self._columns)

    def _matched_columns(self, rows: Any) -> dict[Any, str]:
        """Return the graph's input for each column; none where it takes a matrix."""
        names = [tensor.name for tensor in self._model.inputs]
        if len(names) == 1 or isinstance(rows, np.ndarray):
            return {}
        plainly = {_plain_name(name): name for name in names}
        found = {
            column: plainly[_plain_name(str(column))]
            for column in rows.columns
            if _plain_name(str(column)) in plainly
        }
        if len(found) == len(names):
            return found
        if len(rows.columns) == len(names):
            return dict(zip(rows.columns, names, strict=True))
        raise DataError(
            f"the graph takes the inputs {', '.join(names)}, which are not the data's columns",
            "name the data's columns as the graph's inputs",
        )


def _parsed(graph: bytes) -> Any:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        proto = onnx.load_from_string(graph)
    except DecodeError as error:
        raise UsageError("the file is no ONNX model", "check the path") from error
    if not proto.graph.output:
        raise UsageError("the file is no ONNX model", "check the path")
    return proto


def _plain_name(name: str) -> str:
    return re.sub(r"\W", "_", name)


def _zipmap_classes(graph: Any) -> list[Any] | None:
    """Return the labels that a ZipMap gives to the probabilities' columns."""
    from onnx import helper

    for node in graph.node:
        if node.op_type == "ZipMap":
            labels = [
                helper.get_attribute_value(given)
                for given in node.attribute
                if given.name.startswith("classlabels")
            ]
            found: list[Any] = max(labels, key=len, default=[])
            return [one.decode() if isinstance(one, bytes) else one for one in found]
    return None


def _class_order(given: list[Any] | None, classes: Any) -> list[int] | None:
    """Return where the native model's classes stand among the given ones."""
    if given is None or classes is None or isinstance(classes, list):
        return None
    wanted = plain(classes).tolist()
    names = [str(label) for label in given]
    if sorted(names) != sorted(map(str, wanted)):
        raise DataError(
            f"the graph's classes {given} are not the model's {wanted}",
            "certify the graph that was made of this model",
        )
    return [names.index(str(label)) for label in wanted]


def _matched_outputs(native: Answers, given: Answers) -> dict[str, str]:
    """Return for each native answer the graph's output that holds it."""
    if native.keys() <= given.keys():
        return {name: name for name in native}
    free = dict(given)
    found: dict[str, str] = {}
    for name, expected in native.items():
        fits = [own for own, values in free.items() if _fits(name, expected, values)]
        if not fits:
            outputs = ", ".join(f"{own} {list(values.shape)}" for own, values in given.items())
            raise DataError(
                f"no output of the graph ({outputs}) can be the model's {name}",
                "keep in the graph what the model answers: labels and probabilities, or values",
            )
        found[name] = fits[0]
        del free[fits[0]]
    return found


def _fits(name: str, expected: Any, given: Any) -> bool:
    left, right = np.asarray(expected), np.asarray(given)
    wide = right.reshape(len(right), -1).shape[1] == left.reshape(len(left), -1).shape[1]
    if name.startswith(LABEL) or plain(left).dtype.kind != "f":
        return wide and plain(right).dtype.kind != "f"
    return wide and right.dtype.kind in "fiub"
