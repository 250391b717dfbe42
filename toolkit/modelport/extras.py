"""Optional libraries: imported where they are used, with a plain word when they are missing."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from modelport.errors import MissingExtra


def require(module: str, *, extra: str) -> Any:
    """Import a module that the extra brings; `MissingExtra` says how to install it."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name and module.split(".")[0] == error.name.split(".")[0]:
            raise MissingExtra(error.name, extra) from error
        raise
