"""Numbers that trees see through imputers and scalers, taken in float64.

A tree's thresholds lie in the middle between two scaled values. Of decimal numbers such as 26.1
many lie exactly there, and the last digits of float64 decide which way they go. So these columns
enter the graph in float64, are imputed and scaled so, and are rounded to float32 as scikit-learn's
trees do.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from modelport.convert import sklearn_scalers
from modelport.convert.sklearn_nodes import Nodes

_ALIAS = "OwnExactSteps"


class ExactSteps(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Imputers and scalers, one after another, in place of a pipeline of them."""

    def __init__(self, steps: Sequence[Any] = ()) -> None:
        self.steps = steps


def register() -> None:
    """Let skl2onnx convert such steps."""
    from skl2onnx import update_registered_converter

    update_registered_converter(ExactSteps, _ALIAS, _shape, _convert, parser=_parse)


def exact(estimator: Any) -> Any:
    """Return a pipeline, or a copy that begins with such steps."""
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import Pipeline

    if not isinstance(estimator, Pipeline):
        return estimator
    name, first = estimator.steps[0]
    if isinstance(first, ColumnTransformer):
        changed = _columns(first)
        return estimator if changed is first else Pipeline([(name, changed), *estimator.steps[1:]])
    steps = [step for _, step in takewhile(lambda one: _is_exact(one[1]), estimator.steps)]
    rest = estimator.steps[len(steps) :]
    return Pipeline([(name, ExactSteps(steps)), *rest]) if steps else estimator


def takes_all(estimator: Any) -> bool:
    """Tell whether such steps take all columns in one matrix."""
    return isinstance(_first(estimator), ExactSteps)


def columns(estimator: Any) -> set[str]:
    """Return the columns that such steps take one by one."""
    first = _first(estimator)
    return {
        str(first.feature_names_in_[index])
        for name, member, _ in getattr(first, "transformers_", ())
        if isinstance(member, ExactSteps)
        for index in first._transformer_to_input_indices[name]
    }


def _first(estimator: Any) -> Any:
    steps = getattr(estimator, "steps", None)
    return steps[0][1] if steps else None


def _columns(transformer: Any) -> Any:
    """Return the ColumnTransformer, or a copy; what two members take is left as it is."""
    taken = [
        list(transformer._transformer_to_input_indices[n]) for n, *_ in transformer.transformers_
    ]
    members = []
    for place, (name, member, picked) in enumerate(transformer.transformers_):
        steps = _steps(member)
        others = {index for other in taken[:place] + taken[place + 1 :] for index in other}
        alone = others.isdisjoint(taken[place])
        named = hasattr(transformer, "feature_names_in_")
        members.append((name, ExactSteps(steps) if steps and alone and named else member, picked))
    if not any(isinstance(member, ExactSteps) for _, member, _ in members):
        return transformer
    changed = copy.copy(transformer)
    changed.transformers_ = members
    return changed


def _steps(member: Any) -> list[Any]:
    """Return imputers and scalers that are all that a member is made of; else nothing."""
    from sklearn.pipeline import Pipeline

    steps = [step for _, step in member.steps] if isinstance(member, Pipeline) else [member]
    return steps if all(map(_is_exact, steps)) else []


def _is_exact(step: Any) -> bool:
    from sklearn.impute import SimpleImputer

    if sklearn_scalers.operations(step) is not None:
        return True
    return (
        type(step) is SimpleImputer
        and step.indicator_ is None
        and isinstance(step.missing_values, float)
        and not any(isinstance(value, str) for value in step.statistics_)
        and not np.isnan(step.statistics_.astype(float)).any()
    )


def _parse(scope: Any, model: Any, inputs: Any, custom_parsers: Any = None) -> Any:
    """Declare the output as float32; by itself it would be of the inputs' type."""
    from skl2onnx.common.data_types import FloatTensorType

    del custom_parsers
    operator = scope.declare_local_operator(_ALIAS, model)
    operator.inputs = inputs
    operator.outputs.append(scope.declare_local_variable("exact", FloatTensorType()))
    return operator.outputs


def _shape(operator: Any) -> None:
    from skl2onnx.common.data_types import FloatTensorType

    rows = operator.inputs[0].type.shape[0]
    width = sum(value.type.shape[1] for value in operator.inputs)
    operator.outputs[0].type = FloatTensorType([rows, width])


def _convert(scope: Any, operator: Any, container: Any) -> None:
    nodes = Nodes(scope, operator, container)
    at = nodes.matrix()
    for step in nodes.estimator.steps:
        operations = sklearn_scalers.operations(step)
        if operations is None:
            at = nodes.add("Where", nodes.add("IsNaN", at), step.statistics_.astype(float), at)
            continue
        for name, values in operations:
            at = nodes.add(name, at, np.asarray(values, dtype=float))
    nodes.answer(at, 0)
