"""What a served model is, and how the `MLmodel` file of an MLflow model folder describes one.

The `onnx` flavour is served when the folder has it, otherwise the model's own flavour. This
module is pure: it reads `MLmodel`, never the model itself, and imports neither MLflow nor ONNX
Runtime.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from modelport_serving.errors import ContractError

__all__ = [
    "BACKGROUND_COLUMNS",
    "BACKGROUND_FILE",
    "BACKGROUND_OUTPUT",
    "BACKGROUND_ROWS",
    "COLUMNS_KEY",
    "METADATA_KEY",
    "Column",
    "ContractError",
    "Provider",
    "ServedModel",
    "SessionOptions",
    "files",
    "is_mlflow",
    "read",
]

MLMODEL = "MLmodel"
ONNX = "onnx"
SKLEARN = "sklearn"
XGBOOST = "xgboost"
LIGHTGBM = "lightgbm"
PYTORCH = "pytorch"
PYTHON_FUNCTION = "python_function"
# MLflow leaves out python_function for exported PyTorch programs that take several tensors.
_STANDALONE = (ONNX, PYTORCH)
# The classes whose own file format holds numbers and text alone.
_PLAIN_FILES = {
    XGBOOST: [
        "xgboost.core.Booster",
        "xgboost.sklearn.XGBClassifier",
        "xgboost.sklearn.XGBRegressor",
        "xgboost.sklearn.XGBRanker",
        "xgboost.sklearn.XGBRFClassifier",
        "xgboost.sklearn.XGBRFRegressor",
    ],
    LIGHTGBM: ["lightgbm.basic.Booster"],
}
# Where a converted model keeps the columns of the table that it was trained on: the signature
# describes the graph's own tensors, which is what MLflow feeds.
METADATA_KEY = "modelport"
COLUMNS_KEY = "columns"
# What the SHAP explainer reads beside the model: a JSON object with the names of the columns (null
# for a model of one plain tensor), some rows of the training data as lists, and the output that is
# explained: probabilities, prediction or label.
BACKGROUND_FILE = "explainer/background.json"
BACKGROUND_COLUMNS = "columns"
BACKGROUND_ROWS = "rows"
BACKGROUND_OUTPUT = "output"
_GRAPH_OPTIMIZATION_LEVELS = (0, 1, 2, 3, 99)  # onnxruntime.GraphOptimizationLevel


@dataclass(frozen=True)
class Column:
    """One input or output as the MLflow signature names it.

    `type` is MLflow's own word (double, long, string, tensor(float32), ...); `shape` is set for
    tensors only, -1 for a variable dimension.
    """

    name: str | None
    type: str
    required: bool = True
    shape: tuple[int, ...] | None = None


@dataclass(frozen=True)
class SessionOptions:
    """ONNX Runtime session options, as MLflow's onnx flavour stores them.

    Thread counts of 0 leave the choice to ONNX Runtime. `extra_session_config` holds ONNX
    Runtime's own session configuration entries.
    """

    intra_op_num_threads: int = 0
    inter_op_num_threads: int = 0
    execution_mode: Literal["sequential", "parallel"] = "sequential"
    graph_optimization_level: int = 99
    extra_session_config: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Provider:
    """An ONNX Runtime execution provider and its options."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ServedModel:
    """A model that the runtime can serve.

    `folder` is where it lies: a folder, or for some plain models a file. `plain` tells that there
    is no `MLmodel`: it answers as KServe's own servers do.
    `flavour` is `onnx`, else the model's own flavour (sklearn, xgboost, ..., python_function).
    `model_file` is where its data lies (a file or a folder), if `MLmodel` names it; `example` is
    the input example that was logged with it, and `code` the folder of modules that it imports,
    if there are any. `config` is what `MLmodel` says of the flavour itself.
    """

    folder: Path
    flavour: str
    model_file: Path | None
    example: Path | None = None
    code: Path | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[Column, ...] = ()
    outputs: tuple[Column, ...] = ()
    session_options: SessionOptions = SessionOptions()
    providers: tuple[Provider, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    plain: bool = False

    @property
    def needs_pickle(self) -> bool:
        """Whether loading the model may run any code that its author put into it.

        Only ONNX and the own formats of XGBoost and LightGBM are free of it. skops trusts the
        types that the folder itself lists, and `torch.export.load` evaluates expressions of the
        program as Python.
        """
        if self.flavour in _PLAIN_FILES:
            return self.model_class not in _PLAIN_FILES[self.flavour]
        return self.flavour != ONNX

    @property
    def model_class(self) -> str:
        """The class of the model, for the flavours that name it; they all began with a Booster."""
        default = _PLAIN_FILES.get(self.flavour, [""])[0]
        return str(self.config.get("model_class") or default)


def is_mlflow(path: Path) -> bool:
    """Tell whether a path is an MLflow model folder."""
    return (path / MLMODEL).exists()


def files(path: Path) -> list[Path]:
    """Return all files of a model: those below its folder, or the one that it is."""
    if path.is_file():
        return [path]
    return sorted(file for file in path.rglob("*") if file.is_file())


def read(folder: str | Path) -> ServedModel:
    """Read a served model folder; `ContractError` says what is wrong with it."""
    root = Path(folder)
    document = _document(root)
    flavours = _mapping(document.get("flavors"), "flavors")
    flavour = _flavour(flavours, root)
    config = _mapping(flavours[flavour], f"flavors.{flavour}")
    python = _mapping(flavours.get(PYTHON_FUNCTION), f"flavors.{PYTHON_FUNCTION}")
    signature = _mapping(document.get("signature"), "signature")
    metadata = _mapping(document.get("metadata"), "metadata")
    own = _mapping(metadata.get(METADATA_KEY), f"metadata.{METADATA_KEY}")
    return ServedModel(
        folder=root,
        flavour=flavour,
        model_file=_model_file(root, flavour, {**python, **config}),
        example=_example(root, document.get("saved_input_example_info")),
        code=_inside(root, config.get("code") or python.get("code")),
        config=config,
        inputs=_columns(own.get(COLUMNS_KEY) or signature.get("inputs"), "inputs"),
        outputs=_columns(signature.get("outputs"), "outputs"),
        session_options=_session_options(config.get("onnx_session_options")),
        providers=_providers(config.get("providers")) if flavour == ONNX else (),
        metadata=metadata,
    )


def _document(root: Path) -> Mapping[str, Any]:
    try:
        text = (root / MLMODEL).read_text()
    except (FileNotFoundError, NotADirectoryError):
        raise ContractError(
            f"{root} is not an MLflow model folder: it has no file {MLMODEL}"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ContractError(f"{root / MLMODEL} cannot be read: {error}") from error
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ContractError(f"{root / MLMODEL} is not valid YAML: {error}") from error
    if not isinstance(document, dict):
        raise ContractError(f"{root / MLMODEL} does not describe a model: expected a mapping")
    return document


def _mapping(value: object, where: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ContractError(f"{MLMODEL}: {where} must be a mapping, not {type(value).__name__}")
    return value


def _flavour(flavours: Mapping[str, Any], root: Path) -> str:
    if standalone := next((name for name in _STANDALONE if name in flavours), None):
        return standalone
    if PYTHON_FUNCTION not in flavours:
        has = ", ".join(map(str, flavours)) or "none"
        raise ContractError(
            f"{root} cannot be served: its flavours are {has}, "
            f"and neither {ONNX} nor {PYTHON_FUNCTION} is among them"
        )
    own = (str(name) for name in flavours if name != PYTHON_FUNCTION)
    return next(own, PYTHON_FUNCTION)


def _model_file(root: Path, flavour: str, config: Mapping[str, Any]) -> Path | None:
    # Where the others say data, scikit-learn's says model_path, and PyTorch's model_data.
    data = config.get("data") or config.get("model_path") or config.get("model_data")
    if data is None:
        if flavour == ONNX:
            raise ContractError(f"{MLMODEL}: flavors.{ONNX}.data does not name the model file")
        return None
    path = _inside(root, data)
    if path is None or not path.exists():
        raise ContractError(f"{root} has no file {data}, which {MLMODEL} names as the model")
    return path


def _example(root: Path, value: object) -> Path | None:
    """Find the example in the form that MLflow's scoring server takes, else as it was given."""
    info = _mapping(value, "saved_input_example_info")
    name = info.get("serving_input_path") or info.get("artifact_path")
    path = _inside(root, name)
    return path if path and path.is_file() else None


def _inside(root: Path, name: object) -> Path | None:
    """Return a path that `MLmodel` names, if it names one.

    The file may come from anywhere: a path that leaves the folder would open other files.
    """
    if name is None:
        return None
    path = root / str(name)
    if not path.resolve().is_relative_to(root.resolve()):
        raise ContractError(f"{MLMODEL}: the model file {name!r} lies outside the model folder")
    return path


def _columns(text: object, side: str) -> tuple[Column, ...]:
    if text is None:
        return ()
    try:
        specs = json.loads(text) if isinstance(text, str) else text
        return tuple(_column(spec) for spec in specs)  # type: ignore[union-attr]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ContractError(
            f"{MLMODEL}: signature.{side} is not a list of column or tensor specs ({error!r})"
        ) from error


def _column(spec: Mapping[str, Any]) -> Column:
    # pandas numbers columns that have no names, and MLflow keeps the numbers.
    name = None if spec.get("name") is None else str(spec["name"])
    kind = str(spec["type"])
    if kind != "tensor":
        return Column(name=name, type=kind, required=bool(spec.get("required", True)))
    tensor = spec["tensor-spec"]
    return Column(
        name=name,
        type=f"tensor({tensor['dtype']})",
        shape=tuple(int(size) for size in tensor["shape"]),
    )


def _session_options(value: object) -> SessionOptions:
    where = f"flavors.{ONNX}.onnx_session_options"
    options = _mapping(value, where)
    mode = str(options.get("execution_mode") or "sequential").lower()
    if mode not in ("sequential", "parallel"):
        raise ContractError(f"{MLMODEL}: {where}.execution_mode is sequential or parallel")
    level = _count(options, "graph_optimization_level", 99)
    if level not in _GRAPH_OPTIMIZATION_LEVELS:
        known = ", ".join(map(str, _GRAPH_OPTIMIZATION_LEVELS))
        raise ContractError(f"{MLMODEL}: {where}.graph_optimization_level is one of {known}")
    extra = _mapping(options.get("extra_session_config"), f"{where}.extra_session_config")
    return SessionOptions(
        intra_op_num_threads=_count(options, "intra_op_num_threads", 0),
        inter_op_num_threads=_count(options, "inter_op_num_threads", 0),
        execution_mode="parallel" if mode == "parallel" else "sequential",
        graph_optimization_level=level,
        extra_session_config={str(key): str(entry) for key, entry in extra.items()},
    )


def _count(options: Mapping[str, Any], key: str, default: int) -> int:
    value = options.get(key)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ContractError(
            f"{MLMODEL}: flavors.{ONNX}.onnx_session_options.{key} must be a whole number, "
            f"not {value!r}"
        )
    return value


def _providers(value: object) -> tuple[Provider, ...]:
    """Read the providers: a name, a list of names, or a list of [name, options] pairs."""
    entries = [value] if isinstance(value, str) else value or []
    if not isinstance(entries, list):
        raise ContractError(f"{MLMODEL}: flavors.{ONNX}.providers must be a list")
    return tuple(_provider(entry) for entry in entries)


def _provider(entry: object) -> Provider:
    match entry:
        case str(name):
            return Provider(name)
        case [str(name)]:
            return Provider(name)
        case [str(name), dict(options)]:
            return Provider(name, options)
    raise ContractError(f"{MLMODEL}: flavors.{ONNX}.providers has an unknown entry: {entry!r}")
