"""What our own converters of scikit-learn's estimators write graphs with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from modelport.errors import UnsupportedModel

DOUBLE, FLOAT, INT64 = 11, 1, 7  # onnx.TensorProto's types

ML = "ai.onnx.ml"
Values = np.ndarray[Any, Any] | Sequence[Any]


class Nodes:
    """The nodes of one estimator, in skl2onnx's container.

    Attributes:
        estimator: The fitted estimator.
    """

    def __init__(self, scope: Any, operator: Any, container: Any) -> None:
        self.estimator = operator.raw_operator
        self._scope, self._operator, self._container = scope, operator, container

    def constant(self, values: Any) -> str:
        """Add numbers of their own type and shape; return their name."""
        from onnx import helper

        array = np.asarray(values)
        name = self._scope.get_unique_variable_name("constant")
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        self._container.add_initializer(name, kind, list(array.shape), array.ravel().tolist())
        return str(name)

    def add(self, kind: str, *given: Any, domain: str = "", **attributes: Any) -> str:
        """Add a node; return the name of what it makes.

        Args:
            kind: The operator's type.
            given: Names of tensors, or numbers that become constants.
            domain: The operator's domain.
            attributes: Its attributes.
        """
        inputs = [one if isinstance(one, str) else self.constant(one) for one in given]
        made = str(self._scope.get_unique_variable_name("made"))
        name = self._scope.get_unique_operator_name(kind)
        self._container.add_node(kind, inputs, made, op_domain=domain, name=name, **attributes)
        return made

    def matrix(self, kind: int = DOUBLE) -> str:
        """Return the inputs as one matrix of a type, float64 by default."""
        casts = [self.add("Cast", one.full_name, to=kind) for one in self._operator.inputs]
        return casts[0] if len(casts) == 1 else self.add("Concat", *casts, axis=1)

    def joined(self) -> str:
        """Return the inputs, which are of one type, as one matrix."""
        names = [one.full_name for one in self._operator.inputs]
        return str(names[0]) if len(names) == 1 else self.add("Concat", *names, axis=1)

    def columns(self) -> list[str]:
        """Return the inputs column by column, each [n, 1]."""
        found: list[str] = []
        for one in self._operator.inputs:
            width = one.type.shape[1]
            if width == 1:
                found.append(one.full_name)
                continue
            found += [
                self.add("Gather", one.full_name, np.array([place]), axis=1)
                for place in range(width)
            ]
        return found

    def rows(self) -> str:
        """Return the number of rows, [1]."""
        shape = self.add("Shape", self._operator.inputs[0].full_name)
        return self.add("Gather", shape, np.array([0]))

    def inner(self, estimator: Any, outputs: int = 1) -> list[str]:
        """Add an estimator that sees the same inputs; return the names of what it answers.

        Of a classifier, which answers two: its labels, and its probabilities.

        Raises:
            UnsupportedModel: skl2onnx does not know it.
        """
        from skl2onnx._supported_operators import sklearn_operator_name_map
        from skl2onnx.common.data_types import FloatTensorType, Int64TensorType

        alias = sklearn_operator_name_map.get(type(estimator))
        if alias is None:
            raise UnsupportedModel(f"skl2onnx does not convert {type(estimator).__name__}")
        operator = self._scope.declare_local_operator(alias, estimator)
        operator.inputs = self._operator.inputs
        types = [Int64TensorType(), FloatTensorType()] if outputs == 2 else [FloatTensorType()]
        for number, kind in enumerate(types):
            variable = self._scope.declare_local_variable(f"inner_{number}", kind)
            operator.outputs.append(variable)
        return [variable.full_name for variable in operator.outputs]

    def asks_scores(self, estimator: Any) -> bool:
        """Let a classifier inside answer its decision function, if skl2onnx can."""
        while hasattr(estimator, "steps"):  # skl2onnx does not pass the wish on
            estimator = estimator.steps[-1][1]
        if not self._container.has_options(estimator, "raw_scores"):
            return False
        for place in (self._container, self._scope):
            place.add_options(id(estimator), {"raw_scores": True})
        return True

    @property
    def scores_asked(self) -> bool:
        """Whether a classifier around this one wants its decision function for probabilities."""
        if not self._container.has_options(self.estimator, "raw_scores"):
            return False
        asked = self._container.get_options(self.estimator, {"raw_scores": False})
        return bool(asked["raw_scores"])

    def label(self, scores: str, classes: Values) -> None:
        """Answer, as the first output, the class of the largest score; scores are [n, classes]."""
        self.pick(self.add("ArgMax", scores, axis=1, keepdims=0), classes)

    def pick(self, places: str, classes: Values) -> None:
        """Answer, as the first output, the classes at these places [n]."""
        known = np.asarray(classes)
        text = known.dtype.kind in "OUT"
        values = np.asarray([str(one) for one in known], object) if text else known.astype(int)
        self.answer(self.add("Gather", self._labels(values), places), 0)

    def _labels(self, values: np.ndarray[Any, Any]) -> str:
        if values.dtype.kind != "O":
            return self.constant(values)
        name = self._scope.get_unique_variable_name("classes")
        encoded = [value.encode() for value in values]
        self._container.add_initializer(name, 8, [len(encoded)], encoded)
        return str(name)

    def answer(self, tensor: str, output: int) -> None:
        """Answer a tensor as one of the outputs, in the output's own type."""
        from skl2onnx.common.data_types import guess_proto_type

        variable = self._operator.outputs[output]
        self._container.add_node(
            "Cast",
            tensor,
            variable.full_name,
            name=self._scope.get_unique_operator_name("Cast"),
            to=guess_proto_type(variable.type),
        )


Write = Callable[[Nodes], None]


def register_classifier(kind: type, write: Write, *, scores: bool = False) -> None:
    """Let skl2onnx convert a classifier: labels, the first output, and probabilities.

    Args:
        kind: Its class.
        write: Writes its nodes.
        scores: Whether that heeds `Nodes.scores_asked`.
    """
    from skl2onnx.common.shape_calculator import calculate_linear_classifier_output_shapes

    options: dict[str, Any] = {"zipmap": [True, False, "columns"], "nocl": [True, False]}
    if scores:
        options["raw_scores"] = [True, False]
    _register(kind, calculate_linear_classifier_output_shapes, write, options)


def register_regressor(kind: type, write: Write) -> None:
    """Let skl2onnx convert a regressor."""
    from skl2onnx.common.shape_calculator import calculate_linear_regressor_output_shapes

    _register(kind, calculate_linear_regressor_output_shapes, write)


def _register(kind: type, shape: Any, write: Write, options: Any = None) -> None:
    from skl2onnx import update_registered_converter

    def convert(scope: Any, operator: Any, container: Any) -> None:
        write(Nodes(scope, operator, container))

    update_registered_converter(kind, f"Own{kind.__name__}", shape, convert, options=options)


def replace(
    kind: type,
    alias: str,
    write: Write,
    applies: Callable[[Any], bool] = lambda _: True,
    shape: Callable[[Any], None] | None = None,
) -> None:
    """Convert estimators here that this applies to; all others as skl2onnx does.

    Args:
        kind: The estimators' class.
        alias: What skl2onnx calls it.
        write: Writes an estimator's nodes.
        applies: Tells the estimators.
        shape: Sets the types of their outputs, if skl2onnx would not do that right.
    """
    from skl2onnx import update_registered_converter
    from skl2onnx.common._registration import get_converter, get_shape_calculator

    theirs, their_shape = get_converter(alias), get_shape_calculator(alias)

    def convert(scope: Any, operator: Any, container: Any) -> None:
        if applies(operator.raw_operator):
            write(Nodes(scope, operator, container))
        else:
            theirs(scope, operator, container)

    def choose(operator: Any) -> None:
        (shape if shape and applies(operator.raw_operator) else their_shape)(operator)

    update_registered_converter(kind, alias, choose, convert, options=theirs.get_allowed_options())
