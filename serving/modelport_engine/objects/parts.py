"""What every part of an object has in common, and errors in plain words."""

from __future__ import annotations

from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)
from pydantic.alias_generators import to_camel

from modelport_engine.errors import InvalidObject


class ObjectPart(BaseModel):
    """A part of the object: KServe's camelCase names; unknown fields are kept, not refused.

    A dump is what processes depend on: fields that say how many there are, or how they are
    asked, are declared with `exclude`.
    """

    model_config = ConfigDict(extra="allow", frozen=True, alias_generator=to_camel, strict=True)

    @model_serializer(mode="wrap")
    def _known(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what we do not act on: a change of it must start no process."""
        unknown = self.model_extra or {}
        return {name: value for name, value in dump(self).items() if name not in unknown}

    @property
    def template(self) -> dict[str, Any]:
        """What a process depends on; it can be validated again."""
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=True)


def plain(error: ValidationError) -> InvalidObject:
    """Say in one line what is wrong with a spec."""
    first = error.errors(include_url=False)[0]
    path = "spec" + "".join(
        f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]
    )
    message = "it is required" if first["type"] == "missing" else first["msg"]
    return InvalidObject(f"{path} is wrong", message[0].lower() + message[1:])
