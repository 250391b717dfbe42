"""What every record is: frozen, typed, and written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict

SCHEMA_VERSION: Literal[1] = 1

Subject = Literal["native", "converted", "live"]


class Record(BaseModel):
    """A part of a report: frozen, and strict about unknown fields."""

    # JSON has no infinity, which is what a missing output differs by: it is written as text.
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class Report(Record):
    """A record that travels between steps as a file of its own."""

    schema_version: Literal[1] = SCHEMA_VERSION

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read a report; `pydantic.ValidationError` when it is of another kind or version."""
        return cls.model_validate_json(Path(path).read_bytes())

    def write(self, path: str | Path) -> None:
        """Write the report whole or not at all: to a temporary file, then renamed."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.{os.getpid()}")
        partial.write_text(self.model_dump_json(indent=2))
        partial.replace(target)
