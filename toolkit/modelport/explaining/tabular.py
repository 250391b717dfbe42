"""Tables: the explainer that fits the model, and the next one where it does not add up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from modelport.explaining import attribution, outputs, shapley
from modelport.explaining.attribution import Misread
from modelport.explaining.outputs import Answering, Meaning
from modelport.explaining.shapley import Values
from modelport.explaining.tables import Codebook

if TYPE_CHECKING:
    import pandas as pd

    from modelport.convert.base import Model, Rows
    from modelport.explaining.timed import Clock

Array = np.ndarray[Any, Any]

_REFERENCE_ROWS = 1_000
_PERMUTATIONS = 2
_SLOWLY = 50  # rows that are explained where each takes many answers
_FEW_ROWS = 10  # a smaller background is taken before fewer rows than this are explained
_FEW_BACKGROUND = 10
_TRIED = 0.1  # of the time may be taken by finding out what an answer takes
_ADDS_UP = 1e-3  # of the outputs' size: what is left over where an explainer misreads a model


@dataclass(frozen=True)
class Part:
    """Some rows' SHAP values by input column, the model's own outputs [n, k] and their meaning."""

    values: Values
    outputs: Array
    meaning: Meaning


@dataclass(frozen=True)
class Way:
    """One explainer, ready for the rows of a table.

    Attributes:
        method: Its name.
        one: Explains some rows; raises when the model is none for it.
        background: How many rows stand for 'feature absent'; 0 where none are needed.
        most: How many rows it explains at the most.
    """

    method: str
    one: Callable[[pd.DataFrame], Part]
    background: int = 0
    most: int | None = None


@dataclass(frozen=True)
class Found:
    """What an explainer found for some rows, given by their numbers."""

    way: Way
    rows: Array
    values: Values
    outputs: Array
    meaning: Meaning


class Table:
    """What is to be explained.

    Args:
        model: Anything with `answer`; what has an `estimator` too is explained by its structure.
        rows: All rows there are, as the model takes them: a table, or a matrix.
        most: How many are explained at the most.
        absent: How many stand for 'feature absent' at the most.
        clock: How long it may take.
    """

    def __init__(self, model: Model, rows: Rows, most: int, absent: int, clock: Clock) -> None:
        import pandas as pd

        self.model, self.clock = model, clock
        self._dtype = rows.dtype if isinstance(rows, np.ndarray) else None
        if isinstance(rows, np.ndarray):
            rows = pd.DataFrame(rows, columns=[f"x{i}" for i in range(rows.shape[1])])
        self.rows: pd.DataFrame = rows
        # At random, so that those for which there is time stand for all.
        self.chosen = np.random.default_rng(0).permutation(len(rows))[:most]
        self.background = rows.sample(min(absent, len(rows)), random_state=0)

    @cached_property
    def last(self) -> Any:
        """The estimator that decides: of a pipeline the last step; None without one."""
        return self._steps[-1][1] if self._steps else self._estimator

    @property
    def known(self) -> list[Any]:
        """The labels of the model's classes."""
        return outputs.classes(self.model)

    def asked(self, rows: pd.DataFrame) -> Rows:
        """Return rows as the model takes them."""
        return rows if self._dtype is None else rows.to_numpy(self._dtype)

    def given(self, rows: pd.DataFrame) -> Any:
        """Return rows as the last estimator gets them."""
        sklearn = type(self._estimator).__module__.startswith("sklearn")
        named = hasattr(self._estimator, "feature_names_in_")
        given: Any = rows.to_numpy() if sklearn and not named else rows
        return self._estimator[:-1].transform(given) if len(self._steps) > 1 else given

    @cached_property
    def sums(self) -> Array:
        """What adds the last estimator's columns up to input columns; Misread where they mix."""
        if len(self._steps) <= 1:
            return np.eye(self.rows.shape[1])
        categories: Callable[[], Mapping[str, Sequence[Any]]] = getattr(
            self.model, "categories", dict
        )
        return attribution.sums(lambda rows: _dense(self.given(rows)), self.reference, categories())

    @cached_property
    def reference(self) -> pd.DataFrame:
        """More rows than the background: for what no model is asked about."""
        return self.rows.sample(min(_REFERENCE_ROWS, len(self.rows)), random_state=0)

    @property
    def _estimator(self) -> Any:
        own = getattr(self.model, "estimator", None)
        return getattr(own, "best_estimator_", own)

    @property
    def _steps(self) -> list[tuple[str, Any]]:
        return list(getattr(self._estimator, "steps", []))


def explain(table: Table) -> Found:
    """Explain the rows with the first explainer that takes the model and adds up."""
    for begin in (_tree, _linear, _deep):
        with suppress(Exception):  # shap's only way of saying 'not such a model'
            return _found(table, begin(table))
    return _found(table, _permutation(table))


def _found(table: Table, way: Way) -> Found:
    """Explain as many rows as there is time for; a model that is misread shows on the first."""
    chosen = table.chosen[: way.most]
    parts = table.clock.each(chosen, lambda some: way.one(table.rows.iloc[some]))
    outputs_of = np.concatenate([part.outputs for part in parts])
    values = Values(
        np.concatenate([part.values.values for part in parts]),
        np.concatenate([part.values.base for part in parts]),
    )
    return Found(way, chosen[: len(outputs_of)], values, outputs_of, parts[0].meaning)


def _tree(table: Table) -> Way:
    return Way("tree", _summed(table, shapley.tree(table.last)))


def _linear(table: Table) -> Way:
    mean = _dense(table.given(table.reference))
    explainer = shapley.linear(table.last, mean)
    return Way("linear", _summed(table, lambda given: explainer(_dense(given))), len(mean))


def _summed(table: Table, explainer: Callable[[Any], Values]) -> Callable[[pd.DataFrame], Part]:
    """Explain the last step's columns, and add up what belongs to one input column."""
    sums = table.sums

    def one(rows: pd.DataFrame) -> Part:
        given = table.given(rows)
        found = explainer(given)
        # A column that never changed belongs to none, so it must not matter.
        if np.abs(found.values[:, sums.sum(axis=1) == 0]).any():
            raise Misread
        summed = Values(np.einsum("nfk,fc->nck", found.values, sums), found.base)
        for meaning, own in outputs.raw_outputs(table.last, given, table.known):
            output = np.asarray(own, dtype=float).reshape(len(rows), -1)
            if _adds_up(summed, output):
                return Part(summed, output, meaning)
        raise Misread

    return one


def _deep(table: Table) -> Way:
    explainer = shapley.deep(table.last, table.background.to_numpy())
    answering = Answering(table.model, table.asked(table.background))

    def one(rows: pd.DataFrame) -> Part:
        values, output = explainer(rows.to_numpy()), answering(table.asked(rows))
        if not _adds_up(values, output):
            raise Misread
        return Part(values, output, answering.meaning)

    return Way("deep", one, len(table.background), _SLOWLY)


def _permutation(table: Table) -> Way:
    """Ask the model alone: that works for all, and takes the time that its answers take."""
    import pandas as pd

    background = table.background.iloc[: _answered_soon(table)]
    answering = Answering(table.model, table.asked(background))
    chosen = table.chosen[:_SLOWLY]
    book = Codebook(pd.concat([background, table.rows.iloc[chosen]], ignore_index=True))

    def mixed(codes: Array) -> Array:
        return answering(table.asked(book.decode(codes)))

    absent = book.encode(background)
    absent = absent[: _affordable(table.clock, partial(mixed, absent), absent.shape, len(chosen))]

    def one(rows: pd.DataFrame) -> Part:
        values = shapley.permutation(mixed, book.encode(rows), absent, _PERMUTATIONS)
        return Part(values, answering(table.asked(rows)), answering.meaning)

    return Way("permutation", one, len(absent), _SLOWLY)


def _answered_soon(table: Table) -> int:
    """Return how many rows the model answers in a small part of the time."""
    row = table.asked(table.background.iloc[:1])
    table.model.answer(row)  # the first answer is often slow
    before = table.clock.spent
    table.model.answer(row)
    return max(1, int(_TRIED * table.clock.left / max(table.clock.spent - before, 1e-9)))


def _affordable(
    clock: Clock, answer: Callable[[], object], absent: tuple[int, ...], rows: int
) -> int:
    """Return how many background rows leave time to explain a few rows, or one at the least.

    Args:
        clock: The time there is.
        answer: Answers all background rows, by which it is told what an answer takes.
        absent: Their number, and that of the features.
        rows: How many are to be explained.
    """
    before, (count, features) = clock.spent, absent
    answer()
    an_answer = max((clock.spent - before) / count, 1e-9)
    answers = _PERMUTATIONS * shapley.evaluations_of(features)
    for_one = int(clock.left / (an_answer * answers))
    for_few = max(_FEW_BACKGROUND, for_one // min(rows, _FEW_ROWS))
    return max(1, min(count, for_few, for_one))


def _adds_up(values: Values, output: Array) -> bool:
    if values.total.shape != output.shape:
        return False
    size = max(1e-9, float(np.abs(output).max()))
    return bool(np.abs(values.total - output).max() <= _ADDS_UP * size)


def _dense(matrix: Any) -> Array:
    return np.asarray(matrix.toarray() if hasattr(matrix, "toarray") else matrix, dtype=float)
