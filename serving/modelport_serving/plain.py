"""Models without an `MLmodel` file: one model file, alone or in a folder, as KServe takes it.

Source: `model.py` of KServe's sklearnserver, xgbserver and lgbserver. These look for any file with
one of their format's endings, of which there may be one only. A folder whose format nobody names
is known by its file's name, which must then be `model` with one of the endings.
"""

from __future__ import annotations

from pathlib import Path

from modelport_serving.contract import (
    LIGHTGBM,
    MLMODEL,
    ONNX,
    PYTORCH,
    SKLEARN,
    XGBOOST,
    ServedModel,
    is_mlflow,
)
from modelport_serving.errors import ContractError

__all__ = ["is_model", "read"]

_FILES = {
    ONNX: ("*.onnx",),
    SKLEARN: ("*.joblib", "*.pkl", "*.pickle"),
    XGBOOST: ("*.bst", "*.json", "*.ubj"),
    LIGHTGBM: ("*.bst", "model.txt"),  # not any text: requirements.txt is none
    PYTORCH: ("*.pt", "*.pth", "*.pt2"),
}
"""The names of model files, by KServe's names of model formats, which are MLflow's flavours."""

_STEM = "model"


def is_model(path: Path, model_format: str | None = None) -> bool:
    """Tell whether a path is a model: an MLflow model folder, or a plain model of the format."""
    return is_mlflow(path) or bool(_model_files(path, model_format))


def read(path: Path, model_format: str | None = None) -> ServedModel:
    """Describe a plain model; `ContractError` says what is missing, or what there is too much of.

    Args:
        path: The model file, or the folder that it is in.
        model_format: KServe's name of the format, for a file whose name does not tell it.
    """
    if model_format not in (None, *_FILES):
        raise ContractError(
            f"{path} has no file {MLMODEL}, and without one the model formats "
            f"{', '.join(_FILES)} are served, not {model_format!r}"
        )
    files = _model_files(path, model_format)
    if not files:
        raise ContractError(
            f"{path} is not a model: it has no file {MLMODEL} and no {_expected(model_format)}"
        )
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        raise ContractError(
            f"{path} has more than one model file, and only one is allowed: {names}"
        )
    [file] = files
    if not file.resolve().is_relative_to(path.resolve()):
        raise ContractError(f"{file} is a link out of {path}: put the model itself there")
    formats = _formats(file, model_format)
    if len(formats) > 1:
        raise ContractError(
            f"the name of {file} does not tell its format: start with "
            f"--model_format {' or '.join(formats)}"
        )
    return ServedModel(folder=path, flavour=formats[0], model_file=file, plain=True)


def _model_files(path: Path, model_format: str | None) -> list[Path]:
    if path.is_file():
        files = [path]
    elif path.is_dir():
        files = sorted(file for file in path.iterdir() if file.is_file())
        files = [file for file in files if model_format or file.stem == _STEM]
    else:
        files = []
    return [file for file in files if _formats(file, model_format)]


def _formats(file: Path, model_format: str | None) -> list[str]:
    """Return the formats that a file may have by its name: `model_format`, where it is given."""
    return [
        name
        for name, patterns in _FILES.items()
        if model_format in (None, name) and any(map(file.match, patterns))
    ]


def _expected(model_format: str | None) -> str:
    if model_format is not None:
        return " or ".join(_FILES[model_format])
    patterns = dict.fromkeys(pattern for patterns in _FILES.values() for pattern in patterns)
    return ", ".join(pattern.replace("*", _STEM) for pattern in patterns)
