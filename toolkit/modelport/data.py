"""Rows that a release is judged on: read from files, checked against the signature."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from modelport.errors import DataError, StorageError, UsageError

if TYPE_CHECKING:
    import pandas as pd

    from modelport.reports import Column

_ARRAYS = {".npy", ".npz"}
_INPUTS = "inputs"
_NUMERIC = {"integer", "long", "float", "double", "boolean"}


@dataclass(frozen=True)
class Rows:
    """Validation data: model inputs, one row each, and their labels where a target is known.

    Inputs are a DataFrame, or an array [n, ...] for a model of one tensor.
    """

    inputs: Any
    labels: pd.Series | None = None

    def sample(self, count: int, seed: int = 0) -> Rows:
        """Return at most `count` rows, drawn without replacement, in their old order."""
        if len(self.inputs) <= count:
            return self
        if isinstance(self.inputs, np.ndarray):
            return self._sample_array(count, seed)
        picked = self.inputs.sample(count, random_state=seed).index.sort_values()
        labels = None if self.labels is None else self.labels.loc[picked]
        return Rows(self.inputs.loc[picked], labels)

    def _sample_array(self, count: int, seed: int) -> Rows:
        drawn = np.random.default_rng(seed).choice(len(self.inputs), count, replace=False)
        picked = np.sort(drawn)
        labels = None if self.labels is None else self.labels.iloc[picked]
        return Rows(self.inputs[picked], labels)


def save(data: Any, path: Path, target: str | None) -> str:
    """Give the data a file of its own, for the steps to read; return that file's path.

    A file stays where it is; a DataFrame or a matrix is written to `path` as Parquet, an array
    of more dimensions beside it as NumPy's own file.

    Raises:
        UsageError: The file does not exist or is of no known kind.
        DataError: The target column is missing, or the DataFrame cannot be written.
    """
    if isinstance(data, str | Path):
        source = Path(data).expanduser().absolute()
        _check_file(source)
        check_target(_columns(source), target)
        return str(source)
    if isinstance(data, np.ndarray):
        return _save_array(data, path, target)
    if not hasattr(data, "columns"):
        raise UsageError(
            f"data of type {type(data).__name__} have no column names",
            "give a DataFrame, an array, or a CSV, Parquet or NumPy file",
        )
    check_target([str(column) for column in data.columns], target)
    _write(data, path)
    return str(path)


def check_target(columns: Sequence[str], target: str | None) -> None:
    """Raise `DataError` when the target column is not among the columns."""
    if target is not None and target not in columns:
        raise DataError(
            f"the data have no column {target!r}", f"set --target to one of {_listed(columns)}"
        )


def load(path: str, target: str | None) -> Rows:
    """Read a CSV, Parquet or NumPy file; the index counts rows from 0.

    A `.npy` file holds the inputs; a `.npz` file holds them as `inputs`, beside the target.

    Raises:
        UsageError: The file does not exist or is of no such kind.
        DataError: The file does not read, holds no row, or lacks the target column.
    """
    if Path(path).suffix.lower() in _ARRAYS:
        return _load_array(Path(path), target)
    frame = _read(Path(path))
    if frame.empty:
        raise DataError(f"{path} holds no rows", "give data with at least one row")
    check_target([str(column) for column in frame.columns], target)
    if target is None:
        return Rows(frame)
    return Rows(frame.drop(columns=[target]), frame[target])


def fit(rows: Rows, columns: Sequence[Column]) -> Rows:
    """Return the rows with the signature's columns, in its order.

    Raises:
        DataError: A required column is missing, or text stands where numbers belong.
    """
    names = [column.name for column in columns if column.name is not None]
    if not names or columns[0].shape is not None or isinstance(rows.inputs, np.ndarray):
        return rows
    missing = [c.name for c in columns if c.required and c.name not in rows.inputs.columns]
    if missing:
        raise DataError(
            f"the data lack {_listed(missing)}, which the model's signature requires",
            f"give rows with the columns {_listed(names)}",
        )
    frame = rows.inputs[[name for name in names if name in rows.inputs.columns]]
    _check_types(frame, columns)
    return Rows(frame, rows.labels)


def _check_types(frame: pd.DataFrame, columns: Sequence[Column]) -> None:
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    for column in columns:
        if column.type not in _NUMERIC or column.name not in frame.columns:
            continue
        dtype = frame[column.name].dtype
        if not (is_numeric_dtype(dtype) or is_bool_dtype(dtype)):
            raise DataError(
                f"column {column.name!r} holds {dtype} where the signature says {column.type}",
                "convert the column, or log the model with the right signature",
            )


def _check_file(path: Path) -> None:
    if path.suffix.lower() not in {".csv", ".parquet", ".pq", *_ARRAYS}:
        raise UsageError(
            f"{path.name} is neither CSV, Parquet nor NumPy",
            "name a DataFrame, an array, or a .csv, .parquet, .npy or .npz file",
        )
    if not path.is_file():
        raise UsageError(f"there is no file {path}", "check the path")


def _save_array(array: np.ndarray[Any, Any], path: Path, target: str | None) -> str:
    import pandas as pd

    if array.ndim <= 2:
        return save(pd.DataFrame(array), path, target)
    check_target([], target)
    written = path.with_suffix(".npy")
    np.save(written, array, allow_pickle=False)
    return str(written)


def _load_array(path: Path, target: str | None) -> Rows:
    import pandas as pd

    arrays = _arrays(path)
    inputs = arrays.pop(_INPUTS, None)
    if inputs is None or not inputs.ndim or not len(inputs):
        raise DataError(f"{path} holds no rows", f"give an array {_INPUTS!r} with at least one row")
    check_target(list(arrays), target)
    labels = None if target is None else pd.Series(arrays[target], name=target)
    return Rows(pd.DataFrame(inputs) if inputs.ndim <= 2 else inputs, labels)


def _arrays(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    _check_file(path)
    try:
        found = np.load(path, allow_pickle=False)
        return {_INPUTS: found} if isinstance(found, np.ndarray) else dict(found)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path} does not read ({error})", "check the file") from error


def _columns(path: Path) -> list[str]:
    if path.suffix.lower() in _ARRAYS:
        return [name for name in _arrays(path) if name != _INPUTS]
    if path.suffix.lower() == ".csv":
        return [str(column) for column in _read(path, first=1).columns]
    import pyarrow.parquet

    try:
        return [str(name) for name in pyarrow.parquet.read_schema(path).names]
    except (OSError, ValueError) as error:
        raise DataError(f"{path} does not read as Parquet ({error})", "check the file") from error


def _read(path: Path, first: int | None = None) -> pd.DataFrame:
    import pandas as pd

    _check_file(path)
    try:
        if path.suffix.lower() == ".csv":
            return pd.read_csv(path, nrows=first)
        return pd.read_parquet(path).reset_index(drop=True)
    except (ValueError, OSError) as error:
        raise DataError(f"{path} does not read ({error})", "check the file") from error


def _write(frame: pd.DataFrame, path: Path) -> None:
    import pyarrow as pa

    flat = frame.reset_index(drop=True)
    flat.columns = flat.columns.astype(str)
    try:
        flat.to_parquet(path)
    except OSError as error:
        raise StorageError(
            f"{path} cannot be written ({error.strerror})",
            "free space there, or set MODELPORT_HOME to another disk",
        ) from error
    except (pa.ArrowException, ValueError, TypeError) as error:
        raise DataError(
            f"the DataFrame cannot be written as Parquet ({error})",
            "give every column one plain type",
        ) from error


def _listed(names: Sequence[str | None], most: int = 8) -> str:
    shown = ", ".join(repr(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
