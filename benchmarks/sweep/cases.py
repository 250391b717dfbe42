"""What one model of the sweep is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from benchmarks.sweep.tables import table

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal[
    "classifiers",
    "regressors",
    "clusterers",
    "outlier detectors",
    "boosted trees",
    "pipelines with strings",
]
KINDS: tuple[Kind, ...] = get_args(Kind)


def _fit(model: Any, rows: pd.DataFrame, target: Any) -> Any:
    return model.fit(rows, target)


def _predict(model: Any, rows: pd.DataFrame) -> Any:
    return model.predict(rows)


@dataclass(frozen=True)
class Case:
    """A model that is to be trained, logged, converted, certified and served.

    Attributes:
        title: What is trained.
        kind: The row of the README that counts it.
        data: Name of the table that it is trained on.
        build: Makes the estimator.
        flavour: MLflow's name of its library.
        fit: Trains it on rows and target; returns the fitted model.
        predict: What a user of the library calls on rows.
        unseen: Whether it takes texts that it was not trained on.
    """

    title: str
    kind: Kind
    data: str
    build: Callable[[], Any]
    flavour: str = "sklearn"
    fit: Callable[[Any, pd.DataFrame, Any], Any] = _fit
    predict: Callable[[Any, pd.DataFrame], Any] = _predict
    unseen: bool = False

    @property
    def name(self) -> str:
        """What it is called in every table: no two cases share it."""
        return f"{self.title}, {self.data}"

    def train(self) -> Any:
        """Return the fitted model."""
        given = table(self.data).training
        np.random.seed(0)  # for estimators without a random_state of their own
        return self.fit(self.build(), given.rows, given.target)


@dataclass(frozen=True)
class LeftOut:
    """An estimator of scikit-learn that cannot be served, with the reason."""

    name: str
    reason: str
