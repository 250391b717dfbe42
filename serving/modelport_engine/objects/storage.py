"""What a storageUri names: a folder of this machine, or a model that MLflow keeps."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from modelport_engine.errors import InvalidObject

MOUNT = "/mnt/models"
"""Where KServe puts what a component's storage URI names."""

_FETCHED = ("models:/", "runs:/", "mlflow://models/", "mlflow://runs/")
_FORMS = "file:///path/to/folder, models:/NAME/VERSION or runs:/RUN_ID/PATH"


def is_fetched(uri: str) -> bool:
    """Tell whether MLflow has what the URI names, so that it must be fetched first."""
    return uri.startswith(_FETCHED)


def check_storage_uri(uri: str, field: str) -> None:
    """Raise `InvalidObject` unless the engine can reach what such a URI names."""
    if not is_fetched(uri):
        storage_path(uri, field)
        return
    named = next(uri.removeprefix(form) for form in _FETCHED if uri.startswith(form))
    parts = named.strip("/").split("/")
    if not named.isprintable() or not all(parts) or {".", ".."} & set(parts):
        raise InvalidObject(f"{field} {uri!r} names no model of MLflow", f"write {_FORMS}")


def storage_path(uri: str, field: str = "spec.predictor.model.storageUri") -> Path:
    """Give the folder that a storageUri names: `file:///abs` or `/abs`; else `InvalidObject`."""
    try:
        parts = urlsplit(uri)
    except ValueError:
        raise InvalidObject(f"{field} {uri!r} is no URI", f"write {_FORMS}") from None
    if parts.scheme not in ("file", ""):
        raise InvalidObject(
            f"{field} {uri!r} is not reachable here", "download it and write file:///path/to/folder"
        )
    text = unquote(parts.path) if parts.scheme else uri
    if parts.netloc not in ("", "localhost") or not text.startswith("/") or "\0" in text:
        raise InvalidObject(f"{field} {uri!r} is not a folder of this machine", f"write {_FORMS}")
    return Path(text)


def check_folder(uri: str) -> None:
    """Raise `InvalidObject` if the storageUri names a folder here that does not exist now."""
    if is_fetched(uri):
        return
    path = storage_path(uri)
    if not path.is_dir():
        what = "is a file" if path.exists() else "does not exist"
        raise InvalidObject(
            f"the storage URI {str(path)!r} {what}",
            "name the folder that holds the model",
        )
