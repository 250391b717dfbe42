"""Real tables that scikit-learn brings along, and fresh rows around and between their rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from sklearn import datasets

UNSEEN = "never seen"
_MISSING = 0.1
_UNSEEN = 0.02


@dataclass(frozen=True)
class Table:
    """Rows and what is to be predicted; every third row is kept for validation.

    Attributes:
        rows: n rows, one column a feature.
        target: n labels or numbers; several columns for several targets.
    """

    rows: pd.DataFrame
    target: pd.Series | pd.DataFrame

    @property
    def training(self) -> Table:
        """The rows to learn from."""
        return self._where(np.arange(len(self.rows)) % 3 != 0)

    @property
    def validation(self) -> Table:
        """The rows to certify with."""
        return self._where(np.arange(len(self.rows)) % 3 == 0)

    def _where(self, kept: np.ndarray[Any, Any]) -> Table:
        return Table(
            self.rows[kept].reset_index(drop=True), self.target[kept].reset_index(drop=True)
        )


@lru_cache
def table(name: str) -> Table:
    """Return a table by name, as `TABLES` lists them."""
    return TABLES[name]()


def fresh(rows: pd.DataFrame, count: int, *, seed: int = 0, unseen: bool = False) -> pd.DataFrame:
    """Draw rows around the given ones (a third) and on lines between two of them.

    Numbers get noise of a twentieth of their deviation and stay in their column's range, whole
    numbers stay whole, and everything else is one of the two rows'; a missing value stays missing.

    Args:
        rows: Real rows.
        count: How many to draw.
        seed: Of the draw.
        unseen: Whether texts may also be one that no real row has.
    """
    rng = np.random.default_rng(seed)
    one, other = rng.integers(0, len(rows), (2, count))
    along = np.where(rng.random(count) < 1 / 3, 0.0, rng.random(count))
    drawn = {}
    for name in rows.columns:
        column = rows[name]
        if column.dtype.kind in "if":
            drawn[name] = _between(column, one, other, along, rng)
            continue
        picked = column.iloc[np.where(rng.random(count) < along, other, one)].reset_index(drop=True)
        if unseen and column.dtype.kind != "b":
            picked = picked.mask(rng.random(count) < _UNSEEN, UNSEEN)
        drawn[name] = picked
    return pd.DataFrame(drawn)


def _between(
    column: pd.Series, one: Any, other: Any, along: Any, rng: np.random.Generator
) -> np.ndarray[Any, Any]:
    values = column.to_numpy(dtype=float)
    noise = rng.normal(scale=0.05 * np.nanstd(values), size=len(along))
    drawn = values[one] + along * (values[other] - values[one]) + noise
    drawn = np.clip(drawn, np.nanmin(values), np.nanmax(values))
    whole = column.dtype.kind == "i"
    return np.asarray(np.rint(drawn).astype(np.int64) if whole else drawn)


def _bundled(load: Callable[..., Any]) -> Table:
    bunch = load(as_frame=True)
    rows = bunch.data.rename(columns=lambda name: str(name).replace("/", " per "))
    return Table(rows, bunch.target)


def _flowers() -> Table:
    """Iris with the species' names as labels."""
    bunch = datasets.load_iris(as_frame=True)
    return Table(bunch.data, _labelled(bunch.target, bunch.target_names))


def _one_column() -> Table:
    whole = _bundled(datasets.load_diabetes)
    return Table(whole.rows[["bmi"]], whole.target)


def _counts() -> Table:
    """Wine with every measurement as a whole number from 0 to 4: which fifth it is in."""
    whole = _bundled(datasets.load_wine)
    return Table(whole.rows.apply(_fifths).astype("int64"), whole.target)


def _fifths(column: pd.Series) -> pd.Series:
    return pd.qcut(column.rank(method="first"), 5, labels=False)


def _two_targets() -> Table:
    """Diabetes: its progression, and the blood sugar (`s6`) as a second target."""
    whole = _bundled(datasets.load_diabetes)
    return Table(
        whole.rows.drop(columns="s6"),
        pd.DataFrame({"progression": whole.target, "sugar": whole.rows["s6"]}),
    )


def _two_labels() -> Table:
    """Wine: its cultivar, and whether it is strong, as a second label."""
    whole = _bundled(datasets.load_wine)
    labels = {"cultivar": whole.target, "strong": _is_high(whole.rows["alcohol"])}
    return Table(whole.rows.drop(columns="alcohol"), pd.DataFrame(labels))


def _two_yes_or_no() -> Table:
    """Wine: whether it is strong, and whether it is dark."""
    whole = _bundled(datasets.load_wine)
    names = ["alcohol", "color_intensity"]
    return Table(whole.rows.drop(columns=names), whole.rows[names].apply(_is_high))


def _is_high(column: pd.Series) -> pd.Series:
    return (column > column.median()).astype("int64")


def _cellar() -> Table:
    """Wine as a merchant describes it: texts, whole numbers, and values that are missing."""
    whole = _bundled(datasets.load_wine)
    rows = whole.rows
    described = pd.DataFrame(
        {
            "alcohol": rows["alcohol"],
            "malic acid": rows["malic_acid"],
            "flavanoids": rows["flavanoids"],
            "magnesium": rows["magnesium"].astype("int64"),
            "colour": _named(rows["color_intensity"], ["pale", "rosé", "ruby", "deep ruby"]),
            "hue": _named(rows["hue"], ["blue", "brick", "purple"]),
            "sweet": rows["proline"] > rows["proline"].median(),
        }
    )
    labels = _labelled(whole.target, ["Barolo", "Grignolino", "Barbera"])
    return Table(_with_gaps(described, ["malic acid", "flavanoids", "hue"]), labels)


def _patients() -> Table:
    """Diabetes with sex and age as texts, and values that are missing."""
    bunch = datasets.load_diabetes(as_frame=True, scaled=False)
    rows = bunch.data
    described = pd.DataFrame(
        {
            "sex": rows["sex"].map({1.0: "female", 2.0: "male"}),
            "age": _named(rows["age"], ["under 30", "30 to 45", "45 to 60", "over 60"]),
            "bmi": rows["bmi"],
            "pressure": rows["bp"],
            "sugar": rows["s6"].astype("int64"),
        }
    )
    return Table(_with_gaps(described, ["age", "bmi"]), bunch.target)


def _sentences() -> Table:
    """Sentences from the descriptions of three data sets; which one each is from."""
    loaders = {
        "flowers": datasets.load_iris,
        "tumours": datasets.load_breast_cancer,
        "wine": datasets.load_wine,
        "digits": datasets.load_digits,
    }
    found = [
        (" ".join(sentence.split()), subject)
        for subject, load in loaders.items()
        for sentence in load().DESCR.replace("\n-", ".").split(".")
        if len(sentence.split()) > 3
    ]
    frame = pd.DataFrame(found, columns=["sentence", "subject"])
    return Table(frame[["sentence"]], frame["subject"])


def _wine_with_gaps() -> Table:
    whole = _bundled(datasets.load_wine)
    return Table(_with_gaps(whole.rows, list(whole.rows.columns)), whole.target)


def _patients_without_gaps() -> Table:
    given = _patients()
    whole = given.rows.notna().all(axis=1)
    return Table(
        given.rows[whole].reset_index(drop=True), given.target[whole].reset_index(drop=True)
    )


def _labelled(target: Any, names: Sequence[str]) -> pd.Series:
    return pd.Series([str(names[number]) for number in target])


def _named(column: pd.Series, names: list[str]) -> pd.Series:
    return pd.qcut(column, len(names), labels=names).astype(object)


def _with_gaps(rows: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    gaps = {name: rows[name].mask(rng.random(len(rows)) < _MISSING) for name in names}
    return rows.assign(**gaps)


TABLES: dict[str, Callable[[], Table]] = {
    "breast cancer": lambda: _bundled(datasets.load_breast_cancer),
    "wine": lambda: _bundled(datasets.load_wine),
    "iris": _flowers,
    "digits": lambda: _bundled(datasets.load_digits),
    "diabetes": lambda: _bundled(datasets.load_diabetes),
    "diabetes, one column": _one_column,
    "diabetes, two targets": _two_targets,
    "wine, two labels": _two_labels,
    "wine, two yes or no": _two_yes_or_no,
    "wine, in fifths": _counts,
    "wine, with gaps": _wine_with_gaps,
    "cellar": _cellar,
    "patients": _patients,
    "patients, no gaps": _patients_without_gaps,
    "sentences": _sentences,
}
