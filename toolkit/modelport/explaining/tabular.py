"""Tables: the explainer that fits the model, and the next one where it does not add up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from modelport.explaining import attribution, outputs, shapley
from modelport.explaining.outputs import Answering, Meaning
from modelport.explaining.shapley import Values
from modelport.explaining.tables import Codebook

if TYPE_CHECKING:
    import pandas as pd

    from modelport.convert.base import Model, Rows
    from modelport.explaining.timed import Clock

Array = np.ndarray[Any, Any]

_MEAN_ROWS = 1_000  # rows that a mean is taken of, where that costs next to nothing
_PERMUTATIONS = 2
_PERMUTED_ROWS = 50
_FEW_ROWS = 10  # a smaller background is taken before fewer rows than this are explained
_FEW_BACKGROUND = 10
_ADDS_UP = 1e-3  # of the outputs' size: what is left over where an explainer misreads a model


@dataclass(frozen=True)
class Found:
    """SHAP values of some rows by input column, with the outputs that they add up to.

    Attributes:
        method: Which explainer found them.
        meaning: What is explained.
        rows: Numbers of the explained rows.
        values: Their values, one feature an input column.
        outputs: The model's own outputs [n, k].
        background: How many rows stood for 'feature absent'; 0 where none were needed.
    """

    method: str
    meaning: Meaning
    rows: Array
    values: Values
    outputs: Array
    background: int = 0


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
    def sums(self) -> Array | None:
        """What adds the last estimator's columns up to input columns; None where they mix."""
        if len(self._steps) <= 1:
            return np.eye(self.rows.shape[1])
        categories: Callable[[], Mapping[str, Sequence[Any]]] = getattr(
            self.model, "categories", dict
        )
        return attribution.sums(
            lambda rows: _dense(self.given(rows)), self.background, categories()
        )

    @property
    def _estimator(self) -> Any:
        own = getattr(self.model, "estimator", None)
        return getattr(own, "best_estimator_", own)

    @property
    def _steps(self) -> list[tuple[str, Any]]:
        return list(getattr(self._estimator, "steps", []))


def explain(table: Table) -> Found:
    """Explain the rows with the first explainer that takes the model and adds up."""
    for method in (_tree, _linear, _deep):
        with suppress(Exception):  # shap's only way of saying 'not such a model'
            found = method(table)
            if found is not None:
                return found
    return _permutation(table)


def _tree(table: Table) -> Found | None:
    if table.last is None:
        return None
    rows, values = table.clock.explain(
        table.chosen, lambda some: shapley.tree(table.last, table.given(table.rows.iloc[some]))
    )
    return _attributed("tree", table, rows, values)


def _linear(table: Table) -> Found | None:
    if not hasattr(table.last, "coef_"):
        return None
    count = min(_MEAN_ROWS, len(table.rows))
    mean = _dense(table.given(table.rows.sample(count, random_state=0)))
    given = _dense(table.given(table.rows.iloc[table.chosen]))
    values = shapley.linear(table.last, given, mean)
    return _attributed("linear", table, table.chosen, values, background=count)


def _attributed(
    method: str, table: Table, rows: Array, values: Values, background: int = 0
) -> Found | None:
    """Add up what belongs to one input column; None when that, or the output, does not fit."""
    given = table.given(table.rows.iloc[rows])
    if table.sums is None:
        return None
    strange = table.sums.sum(axis=1) == 0  # columns that never changed must not matter either
    if np.abs(values.values[:, strange]).any():
        return None
    summed = Values(np.einsum("nfk,fc->nck", values.values, table.sums), values.base)
    for meaning, own in outputs.raw_outputs(table.last, given, table.known):
        output = _columns(own, len(rows))
        if _adds_up(summed, output):
            return Found(method, meaning, rows, summed, output, background)
    return None


def _deep(table: Table) -> Found | None:
    if not shapley.is_torch(table.last):
        return None
    answering = Answering(table.model, table.asked(table.background))
    absent = table.background.to_numpy()
    rows, values = table.clock.explain(
        table.chosen,
        lambda some: shapley.deep(table.last, table.rows.iloc[some].to_numpy(), absent),
    )
    output = answering(table.asked(table.rows.iloc[rows]))
    found = Found("deep", answering.meaning, rows, values, output, len(absent))
    return found if _adds_up(values, output) else None


def _permutation(table: Table) -> Found:
    """Ask the model alone: that works for all, and takes the time that its answers take."""
    import pandas as pd

    answering = Answering(table.model, table.asked(table.background))
    chosen = table.chosen[:_PERMUTED_ROWS]
    background = table.background.iloc[: _affordable(table, answering, len(chosen))]
    book = Codebook(pd.concat([background, table.rows.iloc[chosen]], ignore_index=True))
    absent = book.encode(background)

    def one(some: Array) -> Values:
        codes = book.encode(table.rows.iloc[some])
        return shapley.permutation(
            lambda mixed: answering(table.asked(book.decode(mixed))), codes, absent, _PERMUTATIONS
        )

    rows, values = table.clock.explain(chosen, one)
    output = answering(table.asked(table.rows.iloc[rows]))
    return Found("permutation", answering.meaning, rows, values, output, len(background))


def _affordable(table: Table, answering: Answering, rows: int) -> int:
    """Return how many background rows leave time to explain a few rows, by a first answer's."""
    before = table.clock.spent
    answering(table.asked(table.background))
    an_answer = (table.clock.spent - before) / len(table.background)
    answers = _PERMUTATIONS * shapley.evaluations_of(table.rows.shape[1]) * min(rows, _FEW_ROWS)
    affordable = (
        int(table.clock.left / (an_answer * answers)) if an_answer else len(table.background)
    )
    return min(len(table.background), max(_FEW_BACKGROUND, affordable))


def _adds_up(values: Values, output: Array) -> bool:
    if values.total.shape != output.shape:
        return False
    size = max(1e-9, float(np.abs(output).max()))
    return bool(np.abs(values.total - output).max() <= _ADDS_UP * size)


def _columns(own: Any, rows: int) -> Array:
    return np.asarray(own, dtype=float).reshape(rows, -1)


def _dense(matrix: Any) -> Array:
    return np.asarray(matrix.toarray() if hasattr(matrix, "toarray") else matrix, dtype=float)
