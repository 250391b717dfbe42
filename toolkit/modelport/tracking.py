"""MLflow: where models come from and where releases are kept. The only user of mlflow."""

from __future__ import annotations

import difflib
import os
import re
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from modelport.config import settings
from modelport.errors import ModelNotFound, StorageError, TrackingError, UsageError
from modelport.reports import Column, Conversion, Resolution, RuntimeSettings

if TYPE_CHECKING:
    import numpy as np

    from modelport.models import ModelRef

_NOT_FOUND = {"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND", "INVALID_PARAMETER_VALUE"}
_FLAVOURS = ("onnx", "sklearn", "xgboost", "lightgbm", "catboost", "pytorch", "keras")
_PYFUNC = "python_function"
DEFAULT_EXPERIMENT = "modelport"
_PASSWORD = re.compile(r"(://[^/\s:@]*:)[^/\s]+@")  # in a URL amid other words


def environment() -> dict[str, str]:
    """Return the variables that make another process use the same MLflow as this one.

    A notebook may have called `mlflow.set_tracking_uri`, which the environment does not show.
    """
    mlflow = sys.modules.get("mlflow")
    if mlflow is None or not hasattr(mlflow, "get_tracking_uri"):
        return {}
    return {
        "MLFLOW_TRACKING_URI": str(mlflow.get_tracking_uri()),
        "MLFLOW_REGISTRY_URI": str(mlflow.get_registry_uri()),
    }


def redacted(uri: str) -> str:
    """Return the URI without the password that it may carry."""
    parts = urlsplit(uri)
    if not parts.password:
        return uri
    host = parts.hostname or ""
    port = f":{parts.port}" if parts.port else ""
    return urlunsplit(parts._replace(netloc=f"{parts.username}:***@{host}{port}"))


def tracking_uri() -> str:
    """Return the tracking URI in use, without a password."""
    return redacted(str(_mlflow().get_tracking_uri()))


def resolve(ref: ModelRef, folder: Path) -> Resolution:
    """Download a model into `folder` and say exactly which one it is.

    Raises:
        ModelNotFound: No such model, version, alias or run; the message names what there is.
        TrackingError: MLflow does not answer.
    """
    uri, version = download(ref, folder)
    model = _mlflow().models.Model.load(str(folder))
    return Resolution(
        source=ref.uri,
        uri=uri,
        name=ref.name,
        version=version,
        run_id=model.run_id,
        flavour=_flavour(model),
        inputs=_columns(model.signature and model.signature.inputs),
        outputs=_columns(model.signature and model.signature.outputs),
        has_input_example=model.saved_input_example_info is not None,
    )


def download(ref: ModelRef, folder: Path) -> tuple[str, str | None]:
    """Download a model's files into `folder`; return the URI with its version, and the version.

    Raises:
        ModelNotFound: No such model, version, alias or run; the message names what there is.
        TrackingError: MLflow does not answer.
    """
    mlflow = _mlflow()
    with _errors(ref):
        uri, version = _pin(ref)
        with _no_progress_bar():
            found = mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(folder))
        _lift(Path(found), folder)
    return uri, version


def _lift(found: Path, folder: Path) -> None:
    """Move a model that was put into a subfolder, as folders and runs' artifacts are, up."""
    if found.resolve() == folder.resolve():
        return
    for part in found.iterdir():
        part.replace(folder / part.name)


@contextmanager
def _no_progress_bar() -> Iterator[None]:
    """Keep MLflow from drawing bars of its own amid our progress."""
    name = "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"
    before = os.environ.get(name)
    os.environ[name] = "false"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def input_example(folder: Path) -> Any:
    """Return the rows of the model's input example: a DataFrame, or an array [n, ...].

    None where it has neither.
    """
    import pandas as pd

    model = _mlflow().models.Model.load(str(folder))
    try:
        example = model.load_input_example(str(folder))
    except (OSError, ValueError):
        return None
    if isinstance(example, pd.DataFrame):
        return example
    if isinstance(example, dict) and len(example) == 1:  # of a tensor that has a name
        example = next(iter(example.values()))
    if getattr(example, "ndim", 0) == 2:
        return pd.DataFrame(example)
    return example if getattr(example, "ndim", 0) > 2 else None


def load_model(flavour: str, folder: Path, **options: Any) -> Any:
    """Load a model folder as its flavour does, or as a pyfunc, with that `load_model`'s options.

    Raises:
        UsageError: The library that the model needs is missing, or does not load it.
    """
    from importlib import import_module

    _mlflow()
    try:
        return import_module(f"mlflow.{flavour}").load_model(str(folder), **options)
    except Exception as error:
        raise UsageError(
            f"the {flavour} model does not load ({_first_line(error)})",
            "install the libraries it was trained with; its requirements.txt names them",
        ) from error


def onnx_file(folder: Path) -> Path:
    """Return the graph's file in a model folder of the onnx flavour."""
    model = _mlflow().models.Model.load(str(folder))
    return folder / str(model.flavors["onnx"]["data"])


@contextmanager
def release_run(release_id: str, service: str, resolution: Resolution) -> Iterator[str]:
    """Begin the MLflow run of a release; yield its id. An error in the block fails the run.

    Otherwise it stays open, until `end_run`.
    """
    run_id = _start_run(release_id, service, resolution)
    try:
        yield run_id
    except BaseException:
        with suppress(TrackingError):
            end_run(run_id, passed=False)
        raise


def _start_run(release_id: str, service: str, resolution: Resolution) -> str:
    with _errors():
        client, experiment = _client(), _experiment_id()
        tags = {
            "mlflow.source.name": "modelport",
            "modelport.release": release_id,
            "modelport.service": service,
            "modelport.model": resolution.uri,
        }
        run = client.create_run(experiment, tags=tags, run_name=f"release {service}")
        return str(run.info.run_id)


def log_onnx(
    run_id: str,
    name: str,
    graph: bytes,
    resolution: Resolution,
    conversion: Conversion,
    runtime: RuntimeSettings,
    example: Any,
    beside: str,
    folder: str,
) -> str:
    """Register the graph as a version of `name` in the standard onnx flavour.

    The folder that MLflow keeps comes back into `folder`: what is served is what is kept.
    Its signature is the graph's; the source model's columns are in its metadata, under
    `modelport.columns`. The files of the folder `beside` are kept and come back with it.

    Returns:
        The new version's number.
    """
    import onnx

    mlflow = _mlflow()
    with _errors():
        info = mlflow.onnx.log_model(
            onnx.load_from_string(graph),
            name="model",
            run_id=run_id,
            registered_model_name=name,
            signature=_signature(conversion),
            input_example=example,
            pip_requirements=[f"onnx=={onnx.__version__}", _pinned("onnxruntime")],
            onnx_session_options=runtime.model_dump(),
            onnx_execution_providers=["CPUExecutionProvider"],
            metadata=_metadata(resolution),
            save_as_external_data=False,
        )
        version = str(info.registered_model_version)
        _client().log_model_artifacts(info.model_id, beside)
        mlflow.artifacts.download_artifacts(artifact_uri=info.model_uri, dst_path=folder)
    return version


def log_folder(run_id: str, folder: str) -> None:
    """Add the files of a folder to a run."""
    with _errors():
        _client().log_artifacts(run_id, folder)


def log_record(
    run_id: str,
    *,
    metrics: dict[str, float] | None = None,
    params: dict[str, str] | None = None,
    files: dict[str, str] | None = None,
) -> None:
    """Add metrics, parameters and text files (by artifact path) to a run."""
    from mlflow.entities import Metric, Param

    now = int(time.time() * 1000)
    with _errors():
        client = _client()
        client.log_batch(
            run_id,
            metrics=[Metric(name, value, now, 0) for name, value in (metrics or {}).items()],
            params=[Param(name, value) for name, value in (params or {}).items()],
        )
        for path, text in (files or {}).items():
            client.log_text(run_id, text, path)


def end_run(run_id: str, *, passed: bool) -> None:
    """Close a run as finished or failed."""
    with _errors():
        _client().set_terminated(run_id, "FINISHED" if passed else "FAILED")


def run_url(run_id: str) -> str | None:
    """Return the run's page, or None when the store is no server."""
    uri = tracking_uri()
    if not uri.startswith(("http://", "https://")):
        return None
    with _errors():
        experiment = _client().get_run(run_id).info.experiment_id
    return f"{uri.rstrip('/')}/#/experiments/{experiment}/runs/{run_id}"


def view_command() -> str | None:
    """Return what shows a store that is no server in a browser, or None when it is one."""
    uri = tracking_uri()
    if uri.startswith(("http://", "https://")):
        return None
    return f"mlflow server --backend-store-uri {shlex.quote(uri)}"


def model_uris(limit: int = 200) -> list[str]:
    """Return `models:/name@alias` and `models:/name/version` of what is registered."""
    with _errors():
        registered = _client().search_registered_models(max_results=limit)
    found = []
    for model in registered:
        found += [f"models:/{model.name}@{alias}" for alias in sorted(model.aliases)]
        found += [f"models:/{model.name}/{v.version}" for v in model.latest_versions]
    return found


def _pin(ref: ModelRef) -> tuple[str, str | None]:
    """Return the reference with its alias replaced by the version it points to now."""
    if ref.kind != "models" or ref.name is None:
        return ref.uri, None
    if ref.alias is not None:
        version = str(_client().get_model_version_by_alias(ref.name, ref.alias).version)
    elif ref.version == "latest":
        versions = _client().search_model_versions(f"name={ref.name!r}")
        if not versions:
            raise _not_found(ref)
        version = str(max(int(v.version) for v in versions))
    else:
        version = str(_client().get_model_version(ref.name, ref.version).version)
    return f"models:/{ref.name}/{version}", version


def _mlflow() -> Any:
    """Import mlflow, and make sure once in a process that its server answers."""
    from modelport.extras import require

    mlflow = require("mlflow", extra="release")
    _check_server(str(mlflow.get_tracking_uri()))
    return mlflow


_answered: set[str] = set()


def _check_server(uri: str) -> None:
    """Ask a tracking server for its health: MLflow alone would retry for minutes."""
    if uri in _answered or not uri.startswith(("http://", "https://")):
        return
    import urllib3

    try:
        urllib3.request(
            "GET",
            f"{uri.rstrip('/')}/health",
            timeout=settings().tracking.connect_timeout,
            retries=False,
        )
    except urllib3.exceptions.HTTPError as error:
        raise TrackingError(
            f"MLflow at {redacted(uri)} does not answer",
            "start it, or set MLFLOW_TRACKING_URI to one that runs",
        ) from error
    _answered.add(uri)


def _client() -> Any:
    return _mlflow().MlflowClient()


def _experiment_id() -> str:
    client = _client()
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", DEFAULT_EXPERIMENT)
    found = client.get_experiment_by_name(name)
    return str(found.experiment_id if found else client.create_experiment(name))


@contextmanager
def _errors(ref: ModelRef | None = None) -> Iterator[None]:
    """Turn MLflow's exceptions into one line each."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if ref is not None and error.error_code in _NOT_FOUND:
            raise _not_found(ref) from error
        if "No space left" in str(error) or "disk is full" in str(error):
            raise StorageError(
                "the disk is full: MLflow could not write", "free space and run again"
            ) from error
        raise TrackingError(f"MLflow refuses: {_first_line(error)}", "check its log") from error
    except OSError as error:
        if ref is not None and isinstance(error, FileNotFoundError):
            raise _not_found(ref) from error
        raise


def _not_found(ref: ModelRef) -> ModelNotFound:
    return ModelNotFound(f"MLflow at {tracking_uri()} has no {ref.uri}", _suggestion(ref))


def _suggestion(ref: ModelRef) -> str:
    if ref.name is None:
        return "check the run id and the path"
    models = {m.name: m for m in _client().search_registered_models(max_results=200)}
    if ref.name not in models:
        close = difflib.get_close_matches(ref.name, models, n=3) or sorted(models)[:5]
        known = ", ".join(close) if close else "none yet"
        return f"registered models: {known}; set MLFLOW_TRACKING_URI if it is elsewhere"
    if ref.alias is None:
        newest = [v.version for v in models[ref.name].latest_versions]
        return f"its newest version is {', '.join(map(str, newest)) or 'none yet'}"
    aliases = ", ".join(sorted(models[ref.name].aliases)) or "none yet"
    return f"its aliases: {aliases}"


def _flavour(model: Any) -> str:
    """Return the most specific flavour: ours in their order, else any that is no pyfunc."""
    others = [name for name in model.flavors if name != _PYFUNC]
    return next((name for name in (*_FLAVOURS, *others) if name in model.flavors), _PYFUNC)


def _columns(schema: Any) -> tuple[Column, ...]:
    if not schema:
        return ()
    return tuple(_column(spec) for spec in schema.inputs)


def _column(spec: Any) -> Column:
    required = bool(getattr(spec, "required", True))
    name = None if spec.name is None else str(spec.name)
    if hasattr(spec, "shape") and spec.shape is not None:
        return Column(name=name, type=f"tensor({spec.type})", required=required, shape=spec.shape)
    kind = spec.type.name if hasattr(spec.type, "name") else str(spec.type)
    return Column(name=name, type=kind, required=required)


def _signature(conversion: Conversion) -> Any:
    """Describe the graph's own tensors, so that MLflow's pyfunc can feed them.

    A lone matrix of float32 is unnamed and float64: then `pyfunc.predict` takes a DataFrame as
    pandas makes it, and MLflow itself narrows it to the graph's float32. (With named columns
    MLflow would flatten every output, and fail on probabilities.)
    """
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    first, *others = conversion.inputs
    if not others and first.datatype == "FP32" and len(first.shape) == 2:
        given = [TensorSpec(_dtype("float64"), first.shape)]
    else:
        given = [TensorSpec(_oip_dtype(i.datatype), i.shape, i.name) for i in conversion.inputs]
    produced = [TensorSpec(_oip_dtype(o.datatype), o.shape, o.name) for o in conversion.outputs]
    return ModelSignature(inputs=Schema(given), outputs=Schema(produced))


def _metadata(resolution: Resolution) -> dict[str, Any]:
    from modelport_serving import contract

    columns = [c.model_dump(exclude={"shape"}) for c in resolution.inputs if c.name]
    return {contract.METADATA_KEY: {"source": resolution.uri, contract.COLUMNS_KEY: columns}}


def _dtype(name: str) -> np.dtype[Any]:
    import numpy as np

    return np.dtype(name)


def _oip_dtype(datatype: str) -> np.dtype[Any]:
    """Translate an Open Inference Protocol datatype to numpy's."""
    special = {"BYTES": "str", "BOOL": "bool"}
    widths = {"FP": "float", "UINT": "uint", "INT": "int"}
    if datatype in special:
        return _dtype(special[datatype])
    prefix = datatype.rstrip("0123456789")
    return _dtype(f"{widths[prefix]}{datatype.removeprefix(prefix)}")


def _pinned(package: str) -> str:
    from importlib.metadata import version

    return f"{package}=={version(package)}"


def _first_line(error: BaseException) -> str:
    line = next(iter(str(error).strip().splitlines()), type(error).__name__)[:300]
    return _PASSWORD.sub(r"\1***@", line)
