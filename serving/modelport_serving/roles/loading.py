"""Users' classes, found by `module:Class`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from modelport_serving.errors import ModelLoadFailed

_CODE = "code"  # where MLflow keeps a model's own modules (code_paths)
_Base = TypeVar("_Base")


def load_class(reference: str, base: type[_Base], model_dir: Path | None = None) -> type[_Base]:
    """Import `module:Class`, a subclass of `base`.

    The module is looked for on `sys.path`, then in the current folder, then in the model's folder
    and its `code`. `ModelLoadFailed` says where it was looked for, or what it raised.
    """
    module_name, colon, name = reference.partition(":")
    if not (module_name and colon and name):
        raise ModelLoadFailed(f"{reference!r} does not name a class: write module:Class")
    found = getattr(_import(module_name, _folders(model_dir)), name, None)
    if not (isinstance(found, type) and issubclass(found, base)):
        kind = f"{base.__module__}.{base.__name__}"
        state = "has no such class" if found is None else f"does not derive it from {kind}"
        raise ModelLoadFailed(f"cannot load {reference!r}: the module {state}")
    return found


def _folders(model_dir: Path | None) -> list[str]:
    folders = [Path.cwd()]
    if model_dir is not None:
        folders += [model_dir.resolve(), (model_dir / _CODE).resolve()]
    return [str(folder) for folder in folders]


def _import(name: str, folders: Sequence[str]) -> ModuleType:
    # Behind everything else, so that a model's folder can replace no installed module.
    sys.path.extend(folder for folder in folders if folder not in sys.path)
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise _import_failure(name, error) from error
        places = ", ".join(folders)
        raise ModelLoadFailed(
            f"no module {name!r} on sys.path or in {places}: add its folder to PYTHONPATH"
        ) from error
    except Exception as error:
        raise _import_failure(name, error) from error


def _import_failure(name: str, error: Exception) -> ModelLoadFailed:
    return ModelLoadFailed(f"importing {name!r} failed: {type(error).__name__}: {error}")
