"""Convert a model as a release does, and certify it."""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn import datasets

from modelport import parity
from modelport.convert import session
from modelport.reports import Column, Resolution

KINDS = {"f": "double", "i": "long", "b": "boolean", "O": "string", "T": "string"}


def resolution(rows, optional=()):
    if isinstance(rows, np.ndarray):
        kind, shape = f"tensor({rows.dtype})", (-1, *rows.shape[1:])
        columns = (Column(name=None, type=kind, shape=shape),)
    else:
        columns = tuple(
            Column(name=str(name), type=_kind(rows[name]), required=name not in optional)
            for name in rows
        )
    return Resolution(source="x", uri="x", flavour="x", inputs=columns)


def _kind(column):
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.cat.categories
    return KINDS[column.dtype.kind]


def optimise(graph):
    with tempfile.TemporaryDirectory() as folder:
        return session.OnnxModel(session.optimise(graph.onnx, Path(folder)))


def certify(flavour, native, rows, optional=()):
    model = optimise(flavour.convert(native, resolution(rows, optional)))
    certificate = parity.certify(native, model, [parity.Probe("data", rows)])
    assert certificate.verdict == "passed", certificate
    assert [tensor.name for tensor in model.outputs] == list(native.answer(rows[:2]))
    return model


@pytest.fixture
def resolved():
    """Makes the resolution of a model that was logged with a signature of the given rows."""
    return resolution


@pytest.fixture
def optimised():
    """Loads a graph as a release would save it."""
    return optimise


@pytest.fixture
def assert_certified():
    """Converts a native model, and returns it once it has passed its certificate on the rows."""
    return certify


@pytest.fixture
def iris():
    return datasets.load_iris(return_X_y=True, as_frame=True)


@pytest.fixture
def diabetes():
    return datasets.load_diabetes(return_X_y=True, as_frame=True)


@pytest.fixture
def homes():
    """A table with text, missing text, whole numbers, truth values and missing numbers."""
    rng, count = np.random.default_rng(0), 200
    frame = pd.DataFrame(
        {
            "town": rng.choice(["Rome", "Oslo", "Lima"], count),
            "heating": rng.choice(["gas", "oil", None], count),
            "rooms": rng.integers(1, 9, count),
            "street id": rng.choice([2**40, 2**40 + 1, 2**40 + 2], count),
            "balcony": rng.integers(0, 2, count).astype(bool),
            "area": rng.normal(60, 20, count),
        }
    )
    frame.loc[::7, "area"] = np.nan
    dear = (frame["town"] == "Oslo") ^ (frame["street id"] == 2**40 + 1)
    return frame, (dear & (frame["rooms"] > 3)).astype(int)
