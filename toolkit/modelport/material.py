"""What a release works on: the model, its conversion, and rows to try both on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelport import data, parity, tracking
from modelport.config import settings
from modelport.convert import flavour, session
from modelport.reports import Resolution

if TYPE_CHECKING:
    from modelport.convert.base import NativeModel
    from modelport.convert.session import OnnxModel
    from modelport.data import Rows


@dataclass(frozen=True)
class Material:
    """The files of a release, read once in a process however many steps ask for them.

    Attributes:
        source: The model folder from MLflow.
        resolution: The report that says which model it is.
        data: Path of the validation data; empty when there are none.
        target: Name of their target column; empty when there is none.
    """

    source: str
    resolution: str
    data: str = ""
    target: str = ""

    @cached_property
    def resolved(self) -> Resolution:
        """Which model this is."""
        return Resolution.read(self.resolution)

    @property
    def native(self) -> NativeModel:
        """The model in the library that trained it."""
        return _native(self.source, self.resolution)

    @property
    def has_named_columns(self) -> bool:
        """Whether the signature is a table's: rows may then be sent by column name."""
        return any(c.name is not None and c.shape is None for c in self.resolved.inputs)

    def load_native(self) -> NativeModel:
        """Load the native model anew: what loading costs is measured so."""
        return flavour(self.resolved.flavour).load(Path(self.source), self.resolved)

    @property
    def rows(self) -> Rows | None:
        """The validation data, checked against the signature; None when there are none."""
        if not self.data:
            return None
        return data.fit(_load(self.data, self.target or None), self.resolved.inputs)

    @property
    def example(self) -> Any:
        """The rows of the model's input example: a DataFrame, an array, or None."""
        return tracking.input_example(Path(self.source))

    @property
    def sample(self) -> Any:
        """The best rows there are: the data, else the input example, else invented ones."""
        if self.rows is not None:
            return self.rows.inputs
        if self.example is not None:
            return self.example
        return parity.invented(self.resolved.inputs, settings().limits.synthetic_rows)

    @property
    def probes(self) -> list[parity.Probe]:
        """Real rows to certify on, by origin; invented ones where there are none."""
        found = []
        if self.rows is not None:
            kept = self.rows.sample(settings().limits.certified_rows)
            found.append(parity.Probe("data", kept.inputs))
        if self.example is not None:
            found.append(parity.Probe("input example", self.example))
        return found or [parity.Probe("invented", self.sample)]


@lru_cache(maxsize=2)
def converted(onnx: str) -> OnnxModel:
    """Load the converted model from its file."""
    return session.OnnxModel(Path(onnx).read_bytes())


@lru_cache(maxsize=1)
def _load(path: str, target: str | None) -> Rows:
    return data.load(path, target)


@lru_cache(maxsize=1)
def _native(source: str, resolution: str) -> NativeModel:
    return Material(source, resolution).load_native()
