"""scikit-learn: pipelines and estimators, through skl2onnx.

What the graph takes `sklearn_inputs` says; what skl2onnx needs to be told beforehand
`sklearn_copies`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from modelport import tracking
from modelport.convert import (
    graphs,
    missing,
    sklearn_copies,
    sklearn_exact,
    sklearn_inputs,
    sklearn_stand_ins,
    sklearn_texts,
)
from modelport.convert.base import (
    LABEL,
    PREDICTION,
    PROBABILITIES,
    SCORES,
    Answers,
    Graph,
    NativeModel,
    Rows,
    Task,
    first_line,
)
from modelport.errors import UnsupportedModel, UsageError

if TYPE_CHECKING:
    from modelport.convert.trees import Grove
    from modelport.reports import Resolution

_BOOSTERS = {"xgboost", "lightgbm", "catboost"}
# Our own converters of what skl2onnx lacks or converts wrong.
_OWN = (
    "sklearn_calibrated",
    "sklearn_constants",
    "sklearn_encoders",
    "sklearn_exact",
    "sklearn_forests",
    "sklearn_isotonic",
    "sklearn_kernels",
    "sklearn_likelihoods",
    "sklearn_scalers",
    "sklearn_targets",
    "sklearn_thresholds",
)
# The trees of an isolation forest have no converter for a newer set of operators.
_ML_OPSET = 3


class SklearnModel:
    """A fitted scikit-learn estimator."""

    def __init__(self, estimator: Any, *, takes_table: bool) -> None:
        from sklearn.base import is_classifier, is_outlier_detector, is_regressor

        self.estimator = estimator
        self.task: Task = "unknown"
        self.classes = getattr(estimator, "classes_", None)
        if is_classifier(estimator):
            self.task = "classification"
        elif is_regressor(estimator):
            self.task = "regression"
        self._finds_outliers = is_outlier_detector(estimator)
        self._takes_table = takes_table

    @property
    def classifies_truth(self) -> bool:
        """Whether its labels are True and False."""
        kind = getattr(getattr(self.classes, "dtype", None), "kind", "")
        return self.task == "classification" and bool(kind == "b")

    @property
    def answers(self) -> list[str]:
        """The names of what it answers."""
        if self._finds_outliers:
            return [PREDICTION, SCORES]
        if self.task != "classification":
            return [PREDICTION]
        names = [LABEL, PROBABILITIES] if hasattr(self.estimator, "predict_proba") else [LABEL]
        if not isinstance(self.classes, list):
            return names
        return [f"{name}_{target}" for name in names for target in range(len(self.classes))]

    def answer(self, rows: Rows) -> Answers:
        """Answer n rows under the names of `answers`: labels [n], probabilities [n, classes]."""
        given = self._given(rows)
        found: list[Any] = [np.asarray(self.estimator.predict(given))]
        if self._finds_outliers:
            found.append(self.estimator.decision_function(given))
        elif PROBABILITIES in self.answers:
            found.append(self.estimator.predict_proba(given))
        elif isinstance(self.classes, list):
            found = [*found[0].T]
            if hasattr(self.estimator, "predict_proba"):
                found += _by_target(self.estimator.predict_proba(given))
        return dict(zip(self.answers, found, strict=True))

    def predict(self, rows: Rows) -> Any:
        """Answer as `estimator.predict` does."""
        return self.estimator.predict(self._given(rows))

    def groves(self) -> Sequence[Grove]:
        """Return the decision trees in the estimator and its parts."""
        from modelport.convert import sklearn_trees

        return sklearn_trees.groves(self.estimator, self._given)

    def categories(self) -> Mapping[str, Sequence[Any]]:
        """Return the categories that the estimator's encoders know, by input column."""
        from modelport.convert import sklearn_trees

        columns = [str(name) for name in getattr(self.estimator, "feature_names_in_", ())]
        return sklearn_trees.categories(self.estimator, columns)

    def _given(self, rows: Rows) -> Any:
        if self._takes_table or isinstance(rows, np.ndarray):
            return rows
        return rows.to_numpy()


def _by_target(shares: Any) -> list[Any]:
    """Return the probabilities [n, classes] of every target.

    A chain of classifiers answers those of every target's second class, [n, targets].
    """
    if isinstance(shares, list):
        return shares
    return [np.column_stack([1 - share, share]) for share in shares.T]


def load(folder: Path, resolution: Resolution) -> SklearnModel:
    """Load the estimator; it gets DataFrames if it was fitted on one."""
    estimator = tracking.load_model("sklearn", folder)
    table = hasattr(estimator, "feature_names_in_") or any(
        c.name is not None and c.shape is None for c in resolution.inputs
    )
    if not hasattr(estimator, "predict"):
        raise UsageError(
            f"{type(estimator).__name__} has no `predict`, so there is nothing to serve",
            "log a model that predicts, such as a pipeline that ends with an estimator",
        )
    return SklearnModel(estimator, takes_table=table)


def convert(native: NativeModel, resolution: Resolution) -> Graph:
    """Convert with skl2onnx; labels and probabilities come out as tensors."""
    import onnx
    import skl2onnx
    import sklearn
    from skl2onnx import convert_sklearn

    assert isinstance(native, SklearnModel)  # noqa: S101 - `load` made it
    estimator = sklearn_copies.convertible(sklearn_stand_ins.stand_in(native.estimator))
    groves = native.groves()
    if groves:
        estimator = sklearn_exact.exact(estimator)
    libraries = {"scikit-learn": sklearn.__version__, "skl2onnx": skl2onnx.__version__}
    given, casts = sklearn_inputs.of(estimator, resolution)
    try:
        with _own_converters(estimator) as boosters:
            proto = convert_sklearn(
                estimator,
                initial_types=given,
                options=_options(estimator, native.task),
                target_opset={"": skl2onnx.__max_supported_opset__, "ai.onnx.ml": _ML_OPSET},
            )
    except UnsupportedModel:
        raise
    except Exception as error:  # converters of any library raise what they like
        raise UnsupportedModel(
            f"skl2onnx does not convert {type(estimator).__name__} ({first_line(error)})"
        ) from error
    if isinstance(native.classes, list):
        with_shares = hasattr(estimator, "predict_proba")
        _split_targets(proto.graph, native.classes, with_shares=with_shares)
    graphs.name_inputs(proto.graph, [name for name, _ in given])
    graphs.name_outputs(proto.graph, native.answers)
    graphs.prune(proto.graph)
    missing.route(proto.graph, groves)
    for name, datatype in casts.items():
        graphs.cast_input(proto.graph, name, datatype)
    if native.classifies_truth:
        graphs.cast_output(proto.graph, LABEL, onnx.TensorProto.BOOL)
    return Graph(
        onnx=proto.SerializeToString(),
        converter=f"skl2onnx {skl2onnx.__version__}",
        libraries=libraries | boosters,
    )


@contextmanager
def _own_converters(estimator: Any) -> Iterator[dict[str, str]]:
    """Let skl2onnx convert with ours, in this block alone: users convert in this process too.

    Yields the versions of the boosting libraries that the model is made of.
    """
    from skl2onnx import _parse, _supported_operators
    from skl2onnx.common import _registration

    tables = (
        _supported_operators.sklearn_operator_name_map,
        _parse.sklearn_parsers_map,
        _registration._converter_pool,
        _registration._shape_calculator_pool,
    )
    before = [dict(table) for table in tables]
    try:
        _register_own()
        yield _register_boosters(estimator)
    finally:
        for table, theirs in zip(tables, before, strict=True):
            table.clear()
            table.update(theirs)


def _register_own() -> None:
    """Tell skl2onnx of our own converters; some go on to the one that they replace."""
    for name in _OWN:
        import_module(f"modelport.convert.{name}").register()


def _register_boosters(estimator: Any) -> dict[str, str]:
    """Tell skl2onnx how to convert the boosting libraries that the model is made of."""
    from skl2onnx import update_registered_converter
    from skl2onnx.common import shape_calculator

    owners = {type(part).__module__.split(".")[0] for part in sklearn_copies.parts(estimator)}
    used: dict[str, str] = {}
    for library in owners & _BOOSTERS:
        module = import_module(f"modelport.convert.{library}")
        used |= module.libraries()
        for kind in module.estimators():
            alias = f"Modelport{kind.__name__}"
            if kind.__name__.endswith("Classifier"):
                update_registered_converter(
                    kind,
                    alias,
                    shape_calculator.calculate_linear_classifier_output_shapes,
                    _inserter(module.graph),
                    parser=_classifier_parser(alias),
                    options={"zipmap": [False, True], "nocl": [False, True]},
                )
            else:
                update_registered_converter(
                    kind,
                    alias,
                    shape_calculator.calculate_linear_regressor_output_shapes,
                    _inserter(module.graph),
                )
    return used


def _classifier_parser(alias: str) -> Any:
    """Return what declares a classifier's outputs; CatBoost's is none to scikit-learn's eyes."""

    def parse(scope: Any, model: Any, inputs: Any, custom_parsers: Any = None) -> Any:
        from skl2onnx.common.data_types import FloatTensorType, Int64TensorType

        del custom_parsers
        operator = scope.declare_local_operator(alias, model)
        operator.inputs = inputs
        operator.outputs.append(scope.declare_local_variable(LABEL, Int64TensorType()))
        operator.outputs.append(scope.declare_local_variable(PROBABILITIES, FloatTensorType()))
        return operator.outputs

    return parse


def _inserter(convert_whole: Any) -> Any:
    """Return a converter that puts a model's own graph into the pipeline's."""

    def insert(scope: Any, operator: Any, container: Any) -> None:
        given = operator.inputs[0]
        proto = convert_whole(operator.raw_operator, given.type.shape[1])
        ends = {proto.graph.input[0].name: given.full_name}
        for value, output in zip(proto.graph.output, operator.outputs, strict=True):
            ends[value.name] = output.full_name
        inner = {name: scope.get_unique_variable_name(name) for name in graphs.tensors(proto.graph)}
        graphs.rename(proto.graph, {**inner, **ends})
        for node in proto.graph.node:
            node.name = scope.get_unique_operator_name(node.op_type)
        container.nodes.extend(proto.graph.node)
        container.initializers.extend(proto.graph.initializer)
        for used in proto.opset_import:
            container.node_domain_version_pair_sets.add((used.domain, used.version))

    return insert


def _options(estimator: Any, task: Task) -> dict[int, dict[str, Any]] | None:
    """Ask for probabilities as a tensor: skl2onnx would make a list of dicts of them.

    LinearSVC's converter refuses that option, and needs to be named all the same: a pipeline
    would give it the option by itself.
    """
    from sklearn.svm import LinearSVC

    told = sklearn_texts.options(estimator)
    if task != "classification":
        return told or None
    chain = [estimator]
    while hasattr(chain[-1], "steps"):
        chain.append(chain[-1].steps[-1][1])
    plain = isinstance(chain[-1], LinearSVC)
    return told | {id(part): {} if plain else {"zipmap": False} for part in chain}


def _split_targets(graph: Any, classes: Sequence[Any], *, with_shares: bool) -> None:
    """Give every target its own outputs.

    skl2onnx makes labels [n, targets], and probabilities as a sequence of tensors, or in one
    tensor [targets, n, most classes] with columns to spare.
    """
    from onnx import TensorProto, helper

    labels, shares = graph.output[:2]
    sequence = shares.type.HasField("sequence_type")
    targets = [graphs.constant(graph, f"target_{n}", n) for n in range(len(classes))]
    outputs = []
    for number, target in enumerate(targets):
        name = graphs.add(graph, "Gather", [labels.name, target], f"{LABEL}_{number}", axis=1)
        kind = labels.type.tensor_type.elem_type
        outputs.append(helper.make_tensor_value_info(name, kind, [None]))
    for number, target in enumerate(targets if with_shares else ()):
        name, own = f"{PROBABILITIES}_{number}", len(classes[number])
        if sequence:
            graphs.add(graph, "SequenceAt", [shares.name, target], name)
        else:
            wide = graphs.add(graph, "Gather", [shares.name, target], f"wide_{number}", axis=0)
            kept = graphs.constant(graph, f"classes_{number}", range(own))
            graphs.add(graph, "Gather", [wide, kept], name, axis=1)
        outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, own]))
    del graph.output[:]
    graph.output.extend(outputs)
