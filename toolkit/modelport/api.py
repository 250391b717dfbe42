"""The verbs: what notebooks, the command line and Python programs call."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from modelport import data as validation
from modelport import gates, launch, manifests, targets, workflows
from modelport.errors import ServiceNotFound, TargetError, UsageError
from modelport.models import ModelRef, check_namespace, check_service_name
from modelport.render import Progress, Stages, choose
from modelport.reports import Precision
from modelport.views import Benchmark, Certificate, Explanation, Plan, Release, Service, Services

if TYPE_CHECKING:
    import pandas as pd

    from modelport.convert.precision import Choice
    from modelport.render import Sink

DEFAULT_NAMESPACE = "default"
PRECISIONS = (*get_args(Precision), "auto")

# Stands in a plan for what only the release itself can know.
_UNKNOWN = "(known once the release has run)"


def deploy(
    model: str,
    *,
    name: str | None = None,
    namespace: str = DEFAULT_NAMESPACE,
    data: Any = None,
    target: str | None = None,
    slo: str | None = None,
    require_onnx: bool = False,
    precision: Choice = "float32",
    explainer: bool = False,
    sink: Sink | None = None,
) -> Release:
    """Carry a model from MLflow to a live, verified InferenceService.

    The model is converted to ONNX, certified to answer the same, scored, timed, explained,
    logged to MLflow, judged by its SLOs, deployed and tried out live. Whatever stops it on the
    way, a service of that name keeps serving what it served before.

    Args:
        model: `models:/NAME@ALIAS`, `models:/NAME/VERSION`, `runs:/RUN_ID/PATH` or a folder.
        name: The service's name; by default the model's.
        namespace: The service's namespace.
        data: Rows to judge the model on: a DataFrame, an array, or a CSV, Parquet or NumPy file.
        target: The column of `data` that holds the labels; without it accuracy is not measured.
        slo: What must hold, such as `p99<50ms, accuracy>=0.9`.
        require_onnx: Stop, rather than serve a model that cannot be converted as it is.
        precision: What the model computes in: float32, float16, int8 or, for the fastest whose
            certificate and gates on accuracy pass, auto.
        explainer: Let the service explain its answers, too; a second process of 300 MB does it.
        sink: Where progress is shown; by default the cell, terminal or pipe we run in.

    Returns:
        The release, which shows itself in a cell.

    Raises:
        ModelportError: What stopped it, and what to do; `error.release` holds the report.
    """
    if target is not None and data is None:
        raise UsageError("a target column was named without data", "pass --data as well")
    arguments = _arguments(
        model,
        name,
        namespace,
        target=target or "",
        slo=slo or "",
        require_onnx=require_onnx,
        precision=precision,
        explainer=explainer,
    )
    folder = launch.new_folder(arguments["release_id"])
    if data is not None:
        arguments["data"] = validation.save(data, folder / "data.parquet", target)
    title = f"{arguments['model']} → {arguments['service']}"
    begun = Progress.begin(title, launch.STEPS)
    with sink or choose() as shown:
        shown.update(begun)
        report = launch.Launch(folder, arguments).follow(
            lambda steps: shown.update(begun.with_steps(steps))
        )
        shown.finish(report)
    return Release(report)


def plan(
    model: str,
    *,
    name: str | None = None,
    namespace: str = DEFAULT_NAMESPACE,
    target: str | None = None,
    slo: str | None = None,
    require_onnx: bool = False,
    precision: Choice = "float32",
    explainer: bool = False,
) -> Plan:
    """Say what `deploy` would do with the same arguments, and change nothing."""
    arguments = _arguments(
        model,
        name,
        namespace,
        target=target or "",
        slo=slo or "",
        require_onnx=require_onnx,
        precision=precision,
        explainer=explainer,
    )
    service, release_id = arguments["service"], arguments["release_id"]
    manifest = manifests.inference_service(
        service,
        namespace,
        manifests.Served(
            targets.local().storage_uri(namespace, service, release_id), explainer=explainer
        ),
        {
            manifests.MODEL: _UNKNOWN,
            manifests.SOURCE: arguments["model"],
            manifests.RELEASE: release_id,
            manifests.RUN: _UNKNOWN,
        },
    )
    return Plan(manifests.to_yaml(manifest), workflows.steps(launch.PIPELINE))


def predict(name: str, rows: Any, *, namespace: str = DEFAULT_NAMESPACE) -> pd.DataFrame:
    """Ask a live service for its answers.

    Args:
        name: The service.
        rows: n rows: a DataFrame, an array or a list.
        namespace: The service's namespace.

    Returns:
        A DataFrame of n rows: a column for each output, numbered where it has several values.

    Raises:
        ServiceNotFound: There is no such service.
        PredictionError: It refused the rows, and why.
    """
    import pandas as pd

    from modelport.endpoints import Endpoint, instances

    endpoint = Endpoint(_url(status(name, namespace=namespace)), name)
    try:
        answers = endpoint.answer(instances(rows))
    finally:
        endpoint.close()
    columns: dict[str, Any] = {}
    for output, values in answers.items():
        flat = values.reshape(len(values), -1)
        numbered = flat.shape[1] > 1
        columns |= {
            (f"{output}_{i}" if numbered else output): flat[:, i] for i in range(flat.shape[1])
        }
    index = rows.index if isinstance(rows, pd.DataFrame) else None
    return pd.DataFrame(columns, index=index)


def explain(
    name: str,
    rows: Any,
    *,
    output: int | None = None,
    namespace: str = DEFAULT_NAMESPACE,
    sink: Sink | None = None,
) -> Explanation:
    """Ask a live service why it answers rows as it does: SHAP values from its explainer.

    Args:
        name: The service; it was deployed with an explainer.
        rows: Up to 100 rows: a DataFrame, an array or a list.
        output: Which class, or which of several outputs, is explained. By default the second of
            two classes, and of more the one that is most probable for the row.
        namespace: The service's namespace.
        sink: Where progress is shown; by default the cell, terminal or pipe we run in.

    Raises:
        ServiceNotFound: There is no such service.
        TargetError: It has no explainer.
        PredictionError: The explainer refused the rows, and why.
    """
    from modelport import served

    found = status(name, namespace=namespace)
    if not manifests.has_explainer(found.object):
        raise TargetError(
            f"service {name} has no explainer", "deploy it again with --explainer (explainer=True)"
        )
    with sink or choose() as shown:
        stages = Stages(shown, f"explanation of {name}", ("explain",))
        stages.begin("explain")
        report = served.explain(_url(found), name, rows, output, stages.say)
        stages.done()
    return Explanation(report)


def benchmark(
    target: str,
    *,
    data: Any = None,
    model: str | None = None,
    protocol: Literal["v1", "v2"] | None = None,
    concurrency: Sequence[int] = (1, 4, 16),
    batch: Sequence[int] = (1, 16),
    seconds: float = 0.5,
    repeats: int = 3,
    namespace: str = DEFAULT_NAMESPACE,
    sink: Sink | None = None,
) -> Benchmark:
    """Measure latency and throughput, of any endpoint or of a model in this process.

    An endpoint is sent requests over connections that are each busy with one at a time, by a
    process of its own. A model is fetched and converted, and answers native and converted in
    this process, with the ONNX Runtime settings that suit it best.

    Args:
        target: A model's URL (`http://HOST/v2/models/NAME`) or a server's, a service's name, or
            a model: `models:/NAME@ALIAS`, `models:/NAME/VERSION`, `runs:/RUN_ID/PATH` or a
            folder, written with a slash.
        data: Rows to ask for: a DataFrame, an array, a list, or a CSV or Parquet file. By
            default the model's input example, or rows made by its metadata.
        model: The model's name at a server's URL.
        protocol: What an endpoint is asked in; by default what its URL says, else V2.
        concurrency: Callers at the same time, one load each.
        batch: Rows of a request; every size is measured at every concurrency.
        seconds: How long each round of one load goes on, after a warm-up.
        repeats: Rounds of each load; their spread shows how much a busy machine scatters them.
        namespace: The service's namespace.
        sink: Where progress is shown; by default the cell, terminal or pipe we run in.

    Raises:
        PredictionError: The endpoint does not answer, or refuses the rows.
        ModelportError: What else stopped it, and what to do.
    """
    from modelport import trial
    from modelport.benchmarking.rounds import Loads

    loads = Loads(tuple(batch), tuple(concurrency), seconds, repeats)
    rows = validation.load(str(data), None).inputs if isinstance(data, str | Path) else data
    subject: trial.Trial
    if target.startswith(("http://", "https://")):
        subject = trial.OfEndpoint.at(target, model, protocol)
    elif not {"/", ":"} & set(target):
        found = status(target, namespace=namespace)
        subject = trial.OfEndpoint.of(found.object, _url(found), protocol)
    else:
        subject = trial.OfModel(ModelRef.parse(target).uri)
    with sink or choose() as shown:
        stages = Stages(shown, f"benchmark of {target}", subject.stages)
        report = subject.run(rows, loads, stages)
        stages.done()
    return Benchmark(report)


def certify(
    model: Any,
    onnx: bytes | str | Path,
    data: Any = None,
    *,
    target: str | None = None,
    sink: Sink | None = None,
) -> Certificate:
    """Certify that an ONNX model answers as the model that it was made of, wherever it was made.

    Both answer the data's rows and rows made to break the conversion: extremes, missing values,
    unknown categories, every leaf of a tree and both sides of its thresholds.

    Args:
        model: A fitted model (scikit-learn, XGBoost, LightGBM, CatBoost, PyTorch, Keras, a
            pyfunc), or one in MLflow: `models:/NAME/VERSION` and the like.
        onnx: The ONNX file, or its bytes.
        data: Rows that the model takes: a DataFrame, an array [n, ...], or a CSV, Parquet or
            NumPy file; by default the input example of a model in MLflow.
        target: A column of `data` that holds labels, and is no input.
        sink: Where progress is shown; by default the cell, terminal or pipe we run in.

    Returns:
        The certificate: whether it `passed`, on what rows, by how much answers differ, and
        which labels flipped. A failed one is returned too, not raised.

    Raises:
        ModelportError: What stopped it, and what to do.
    """
    from modelport import certification

    with sink or choose() as shown:
        stages = Stages(shown, "certificate", certification.STAGES)
        record = certification.certify(model, onnx, data, target, stages)
        stages.done()
    return Certificate(record)


def status(name: str, *, namespace: str = DEFAULT_NAMESPACE) -> Service:
    """Return one service with its status; `ServiceNotFound` if there is none."""
    found = targets.local().get(name, namespace)
    if found is None:
        raise ServiceNotFound(
            f"there is no service {name} in namespace {namespace}", _which(namespace)
        )
    return Service(found)


def services(namespace: str | None = None) -> Services:
    """Return all services with their status, or those of a namespace."""
    return Services(targets.local().list(namespace))


def delete(name: str, *, namespace: str = DEFAULT_NAMESPACE) -> None:
    """Remove a service with its processes, routes and model folders."""
    status(name, namespace=namespace)
    targets.local().delete(name, namespace)


def up() -> str:
    """Start the local engine, with every service it knew; return the gateway's URL."""
    return str(targets.local().up()["gatewayUrl"])


def down() -> bool:
    """Stop the local engine and all its processes; False if nothing ran.

    The services are remembered, and come back with `up` or the next deployment.
    """
    return targets.local().down()


def _arguments(
    model: str,
    name: str | None,
    namespace: str,
    **options: str | bool,
) -> dict[str, Any]:
    """Check what was given, before anything is started; return the pipeline's arguments."""
    ref = ModelRef.parse(model)
    gates.parse(str(options["slo"]))
    if options["precision"] not in PRECISIONS:
        raise UsageError(
            f"there is no precision {options['precision']!r}", f"use one of {', '.join(PRECISIONS)}"
        )
    return {
        "release_id": launch.new_release_id(),
        "model": ref.uri,
        "service": check_service_name(name or ref.service_name),
        "namespace": check_namespace(namespace),
        "data": "",
        **options,
    }


def _url(service: Service) -> str:
    url = service.object["status"].get("url")
    if not url:
        name = service.object["metadata"]["name"]
        raise TargetError(f"service {name} is not ready", f"see `modelport status {name}`")
    return str(url)


def _which(namespace: str) -> str:
    place = targets.local()
    if not place.running:
        return "the engine is down: start it with `modelport up`, or deploy a model"
    known = [item["metadata"]["name"] for item in place.list(namespace)]
    return f"there are: {', '.join(known)}" if known else "deploy a model first"
