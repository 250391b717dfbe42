"""What a model answers before anybody asks: its warm-up, and whether its rows are independent.

Both use the input example that MLflow keeps beside the model. Without one, a model of a known
library gets rows made from what its inputs say they are, and one that runs its author's own code
is left alone.
"""

from __future__ import annotations

import itertools
import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from modelport_serving.model import Model
    from modelport_serving.tensors import Array, Tensors, TensorSpec

log = logging.getLogger("modelport_serving")

_RUNS = 10
_SECONDS = 2.0
"""The most that warming up may take once a first answer is there; and so for the probe."""

_EXAMPLE_ROWS = 5
_PROBE_ROWS = 14
_SCALES = (1000.0, 1.0, 30.0)
"""Sizes of made-up features: a model may see no difference between 0 and 1."""

_TOLERANCE = {2: 1e-2, 4: 1e-4, 8: 1e-6}
"""Relative, by bytes of a float: sums of one row in a larger matrix add up in another order."""


def example(file: Path | None) -> list[Any]:
    """Read an input example of MLflow's as V1 instances, of which there may be none.

    Source: `mlflow.models.utils._Example`, and the input formats of MLflow's scoring server.
    """
    if file is None:
        return []
    try:
        # MLflow writes what is missing as NaN, which V1 and JSON call null.
        document = json.loads(file.read_bytes(), parse_constant=lambda _: None)
        return _instances(document)[:_EXAMPLE_ROWS]
    except (OSError, ValueError, TypeError) as error:
        log.warning("the input example %s cannot be read: %s", file, error)
        return []


def warm_up(model: Model, instances: list[Any]) -> None:
    """Answer the example, or a made-up row, a few times. Failing keeps no model from serving.

    An example is what somebody once logged: it may be older than the model, or lack a column that
    requests do have. What requests get is the model's own business, so this only warns.
    """
    try:
        if not instances:
            if row := next(_made_up(model), None):
                _repeat(lambda: model.runtime.predict(row, ()))
            return
        _repeat(lambda: model.runtime.predict(model.mapping.rows(instances), ()))
    except Exception as error:  # noqa: BLE001 - a model may raise anything
        if instances:
            log.warning("model %s fails on its own input example: %s", model.title, error)


def rows_are_independent(model: Model, instances: list[Any]) -> bool:
    """Tell whether rows of several requests may be answered in one call.

    They may when every input and output has a variable first dimension, and rows that are asked
    for together get the answers that they get alone. That shows mixing and cannot rule it out, so
    a model that answers all rows alike, slowly, or differently each time counts as one that mixes.
    """
    runtime = model.runtime
    if not all(spec.shape[:1] == (-1,) for spec in (*runtime.inputs, *runtime.outputs)):
        return False
    try:
        started = time.perf_counter()
        probes = _probes(model, instances, started + _SECONDS / 2)
        took = time.perf_counter() - started
        if len(probes) < 2 or took > _SECONDS or _all_alike(probes):
            return False
        # Another order, and one row twice: sums along the rows are found so too.
        order = [*reversed(probes), probes[0]]
        together = runtime.predict(_concatenated([row for row, _ in order]), ())
        return _same(together, [answer for _, answer in order])
    except Exception:  # noqa: BLE001 - a model may raise anything
        return False


def _instances(document: Any) -> list[Any]:
    """Turn what MLflow's scoring server takes, or a bare example, into rows."""
    match document:
        case {"dataframe_split": split}:
            return _instances(split)
        case {"dataframe_records": rows} | {"instances": rows} | {"inputs": [*_] as rows}:
            return list(rows)
        case {"inputs": inputs}:
            return _instances(inputs)
        case {"columns": [str(), *_] as columns, "data": rows}:
            return [dict(zip(columns, row, strict=True)) for row in rows]
        case {"data": [*rows]}:
            return rows
        case dict(columns) if all(isinstance(values, list) for values in columns.values()):
            return [
                dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)
            ]
    return list(document) if isinstance(document, list) else [document]


def _repeat(answer: Callable[[], object]) -> None:
    """Answer, and again until it is warm or that takes too long."""
    answer()
    end = time.perf_counter() + _SECONDS
    for _ in range(_RUNS - 1):
        if time.perf_counter() > end:
            return
        answer()


def _probes(model: Model, instances: list[Any], end: float) -> list[tuple[Tensors, Tensors]]:
    """Return different single rows of the same shapes, each with its answer."""
    found: list[tuple[Tensors, Tensors]] = []
    for row in _rows(model, instances):
        if found and (
            _shapes(row) != _shapes(found[0][0]) or any(_equal(row, r) for r, _ in found)
        ):
            continue
        try:
            found.append((row, model.runtime.predict(row, ())))
        except Exception:  # noqa: BLE001, S112 - made-up rows need not make sense to a model
            continue
        if len(found) == _PROBE_ROWS or time.perf_counter() > end:
            break
    return found


def _rows(model: Model, instances: list[Any]) -> Iterator[Tensors]:
    """Yield single rows: those of the example and some like them, or made-up ones."""
    if not instances:
        yield from _made_up(model)
        return
    rows = [model.mapping.rows([instance]) for instance in instances]
    yield from rows
    generator = np.random.default_rng(0)
    for row in itertools.islice(itertools.cycle(rows), _PROBE_ROWS):
        yield {name: _perturbed(array, generator) for name, array in row.items()}


def _perturbed(array: Array, generator: np.random.Generator) -> Array:
    """Vary numbers, whole ones downwards, so that an index stays one; leave texts alone."""
    kind = array.dtype.kind
    if kind == "f":
        varied = array * generator.uniform(0.5, 2.0, array.shape) + generator.normal(
            size=array.shape
        )
        return varied.astype(array.dtype)
    if kind in "iu":
        return (array * generator.uniform(0.0, 1.0, array.shape)).astype(array.dtype)
    if kind == "b":
        return generator.uniform(size=array.shape) < 0.5
    return array


def _made_up(model: Model) -> Iterator[Tensors]:
    """Yield rows that fit a model's inputs: zeros, ones, then numbers at random."""
    if not model.runtime.may_run_inline:
        return
    specs, columns = model.runtime.inputs, len(model.served.inputs)
    shapes = {spec.name: _row_shape(spec, columns) for spec in specs}
    generator = np.random.default_rng(0)
    yield {spec.name: _typed(np.zeros(shapes[spec.name]), spec) for spec in specs}
    yield {spec.name: _typed(np.ones(shapes[spec.name]), spec) for spec in specs}
    for scale in itertools.islice(itertools.cycle(_SCALES), _PROBE_ROWS):
        yield {
            spec.name: _typed(scale * generator.normal(size=shapes[spec.name]), spec)
            for spec in specs
        }


def _row_shape(spec: TensorSpec, columns: int) -> tuple[int, ...]:
    """Return the shape of one row; a table of unknown width has the signature's columns."""
    unknown = columns if len(spec.shape) == 2 and columns else 1
    return (1, *(unknown if size == -1 else size for size in spec.shape[1:]))


def _typed(numbers: Array, spec: TensorSpec) -> Array:
    """Make numbers what an input takes; whole ones stay small, since they may be an index."""
    kind = spec.dtype.kind
    if kind == "O":
        return np.where(numbers == 0, "", "a").astype(np.object_)
    if kind in "iub":
        return (np.abs(numbers) % 2).astype(spec.dtype)
    return numbers.astype(spec.dtype)


def _all_alike(probes: Sequence[tuple[Tensors, Tensors]]) -> bool:
    first = probes[0][1]
    return all(_equal(answer, first) for _, answer in probes[1:])


def _same(together: Tensors, alone: Sequence[Tensors]) -> bool:
    """Tell whether each row of an answer is what the row got alone, but for rounding."""
    return all(
        array.shape[:1] == (len(alone),)
        and all(_close(row, answer[name][0]) for row, answer in zip(array, alone, strict=True))
        for name, array in together.items()
    )


def _close(first: Any, second: Any) -> bool:
    a, b = np.asarray(first), np.asarray(second)
    if a.dtype.kind != "f":
        return np.array_equal(a, b)
    relative = _TOLERANCE[a.dtype.itemsize]
    return a.shape == b.shape and np.allclose(a, b, relative, relative / 10, equal_nan=True)


def _equal(first: Tensors, second: Tensors) -> bool:
    return all(_identical(first[name], second[name]) for name in first)


def _identical(first: Array, second: Array) -> bool:
    return np.array_equal(first, second, equal_nan=first.dtype.kind == "f")


def _shapes(tensors: Tensors) -> list[tuple[int, ...]]:
    return [array.shape for array in tensors.values()]


def _concatenated(rows: Sequence[Tensors]) -> Tensors:
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
