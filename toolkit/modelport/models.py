"""Names of models, as MLflow writes them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

from modelport.errors import UsageError

_FORMS = "models:/NAME@ALIAS, models:/NAME/VERSION, runs:/RUN_ID/PATH or a model folder"
_DNS_LABEL = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")

# `mlflow://models/NAME/VERSION` is how an InferenceService's storageUri names MLflow's models.
_ALIASES = {"mlflow://models/": "models:/", "mlflow://runs/": "runs:/"}


@dataclass(frozen=True)
class ModelRef:
    """A reference to a model in MLflow, or to a model folder on this machine.

    Attributes:
        uri: The reference as MLflow takes it.
        kind: `models`, `runs` or `folder`.
        name: Registered model's name; None for runs and folders.
        version: Version number, or `latest`; None when an alias is given.
        alias: Alias without the @; None when a version is given.
    """

    uri: str
    kind: Literal["models", "runs", "folder"]
    name: str | None = None
    version: str | None = None
    alias: str | None = None

    @classmethod
    def parse(cls, text: str) -> ModelRef:
        """Parse a reference; `UsageError` when it has none of the known forms."""
        text = text.strip()
        for prefix, own in _ALIASES.items():
            if text.startswith(prefix):
                text = own + text.removeprefix(prefix)
        if text.startswith("models:/"):
            return _registered(text)
        if text.startswith("runs:/"):
            return _of_run(text)
        return _folder(text)

    @property
    def service_name(self) -> str:
        """A name for its service, derived from the model's: a valid DNS label."""
        base = self.name or Path(self.uri).name
        slug = re.sub(r"[^a-z0-9]+", "-", base.lower()).strip("-")
        slug = slug if slug[:1].isalpha() else f"m-{slug}"
        return slug[:63].rstrip("-")


def check_service_name(name: str) -> str:
    """Return the name if Kubernetes takes it for a service; `UsageError` otherwise."""
    return _check_label("service name", name)


def check_namespace(name: str) -> str:
    """Return the name if Kubernetes takes it for a namespace; `UsageError` otherwise."""
    return _check_label("namespace", name)


def _check_label(what: str, name: str) -> str:
    if not _DNS_LABEL.fullmatch(name):
        raise UsageError(
            f"{name!r} is no valid {what}",
            "use lower-case letters, digits and dashes, start with a letter, 63 at most",
        )
    return name


def _registered(text: str) -> ModelRef:
    body = text.removeprefix("models:/").strip("/")
    name, at, alias = body.partition("@")
    if at and name and alias and "/" not in name:
        return ModelRef(f"models:/{name}@{alias}", "models", name=name, alias=alias)
    name, slash, version = body.partition("/")
    if not at and slash and name and (version.isdecimal() or version == "latest"):
        return ModelRef(f"models:/{name}/{version}", "models", name=name, version=version)
    if not at and body and not slash and body.startswith("m-"):
        return ModelRef(f"models:/{body}", "models")  # MLflow 3's id of a logged model
    raise UsageError(f"{text!r} names no model version", f"write {_FORMS}")


def _of_run(text: str) -> ModelRef:
    run_id, slash, path = text.removeprefix("runs:/").strip("/").partition("/")
    if not (run_id and slash and path):
        raise UsageError(f"{text!r} names no model of a run", f"write {_FORMS}")
    return ModelRef(f"runs:/{run_id}/{path}", "runs")


def _folder(text: str) -> ModelRef:
    if "://" in text and not text.startswith("file://"):
        raise UsageError(f"{text!r} is no known kind of model reference", f"write {_FORMS}")
    if not text:
        raise UsageError("no model was named", f"write {_FORMS}")
    path = Path(unquote(urlsplit(text).path) if text.startswith("file://") else text).expanduser()
    if not (path / "MLmodel").is_file():
        raise UsageError(f"{text!r} is no MLflow model folder", f"write {_FORMS}")
    return ModelRef(str(path.absolute()), "folder")
