"""Which number of a model's answer is explained, and what it is called."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from modelport.convert.base import LABEL, PREDICTION, PROBABILITIES, SCORES

if TYPE_CHECKING:
    from modelport.convert.base import Model, Rows

Array = np.ndarray[Any, Any]

_TWO = 2
# In the order in which they are worth explaining; the first target's, where there are several.
_EXPLAINED = (PROBABILITIES, SCORES, PREDICTION, f"{PROBABILITIES}_0", LABEL, f"{LABEL}_0")

_UNITS = {PROBABILITIES: "probability", f"{PROBABILITIES}_0": "probability", SCORES: "score"}


@dataclass(frozen=True)
class Meaning:
    """What k outputs are: `unit` alone, or `unit of class` where there are classes."""

    unit: str
    classes: Sequence[Any] = ()

    def name(self, output: int, outputs: int) -> str:
        """Name one of `outputs` outputs; the only score of two classes is the second's."""
        of = output + 1 if outputs == 1 and len(self.classes) == _TWO else output
        if of < len(self.classes) and (outputs > 1 or len(self.classes) == _TWO):
            label = self.classes[of]
            return f"{self.unit} of {label if isinstance(label, str) else f'class {label}'}"
        return f"{self.unit} {output}" if outputs > 1 else self.unit


def classes(model: Model) -> list[Any]:
    """Return the labels of the model's classes in its outputs' order, if they are known."""
    known = getattr(model, "classes", None)
    if known is None:
        known = getattr(getattr(model, "estimator", None), "classes_", None)
    if known is None:
        return []
    first = known[0] if isinstance(known, list) and np.ndim(known[0]) else known
    return list(np.asarray(first).tolist())


def explained_output(answers: Mapping[str, Array]) -> str:
    """Return the name of the output that is explained."""
    return next(name for name in (*_EXPLAINED, *answers) if name in answers)


class Answering:
    """A model as a function from n rows to numbers [n, k], for explainers that only ask it.

    A label becomes one number a class: 1 for the label that is answered, 0 for others.

    Args:
        model: Anything with `answer`.
        rows: A few rows, by whose answers the output is chosen.
    """

    def __init__(self, model: Model, rows: Rows) -> None:
        self._model = model
        answers = model.answer(rows)
        self.output = explained_output(answers)
        known = classes(model)
        array = np.asarray(answers[self.output])
        # A label's classes are those known, or else those seen.
        is_label = self.output in (LABEL, f"{LABEL}_0") or array.dtype.kind in "OUS"
        self._labels = (known or sorted(set(array.ravel().tolist()))) if is_label else None
        if self._labels is not None:
            self.meaning = Meaning("answer", self._labels)
        else:
            self.meaning = Meaning(_UNITS.get(self.output, self.output), known)

    def __call__(self, rows: Rows) -> Array:
        """Answer n rows with numbers [n, k]; more axes of an output are laid side by side."""
        array = np.asarray(self._model.answer(rows)[self.output])
        if self._labels is None:
            return np.asarray(array.reshape(len(array), -1), dtype=float)
        return np.asarray(array.reshape(-1, 1) == np.array(self._labels), dtype=float)


def raw_outputs(estimator: Any, given: Any, known: Sequence[Any]) -> Iterator[tuple[Meaning, Any]]:
    """Yield an estimator's own outputs for n rows with what they mean, the plainest first.

    Boosted trees and linear classifiers have two: probabilities, and the score before them.
    """
    classifies = hasattr(estimator, "predict_proba") or bool(known)
    if hasattr(estimator, "predict_proba"):
        yield Meaning("probability", known), estimator.predict_proba(given)
    elif not classifies:
        with suppress(Exception):  # a bare Booster wants its library's own matrix
            yield Meaning("prediction"), estimator.predict(given)
    score = _score(estimator, given)
    if score is not None:
        binary = hasattr(estimator, "predict_proba") and np.ndim(score) == 1
        yield Meaning("log-odds" if binary else "score", known), score


def _score(estimator: Any, given: Any) -> Any:
    """Return what the library calls decision function, margin or raw score; None without one."""
    if hasattr(estimator, "decision_function"):
        return estimator.decision_function(given)
    library = type(estimator).__module__.partition(".")[0]
    if library == "lightgbm":
        return estimator.predict(given, raw_score=True)
    if library == "catboost":
        return estimator.predict(given, prediction_type="RawFormulaVal")
    if library == "xgboost":
        if hasattr(estimator, "inplace_predict"):
            return estimator.inplace_predict(given, predict_type="margin")
        return estimator.predict(given, output_margin=True)
    return None
