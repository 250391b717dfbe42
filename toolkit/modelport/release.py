"""The steps of one release, as library calls; `modelport.workbench.step` does one by name.

Each is what one pipeline component does: it reads the files of earlier steps, calls the module
that knows how, and writes its own. Paths come in as strings, as pipelines pass them.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelport import evaluate as evaluation
from modelport import (
    explaining,
    gates,
    keeping,
    live,
    manifests,
    parity,
    precisions,
    rollout,
    targets,
    tracking,
)
from modelport.benchmarking.models import compare
from modelport.benchmarking.rounds import Loads
from modelport.config import settings
from modelport.convert import flavour, session
from modelport.errors import (
    CertificateFailed,
    DataError,
    DeploymentFailed,
    GateFailed,
    ModelportError,
    UnsupportedModel,
)
from modelport.explaining.background import has_background
from modelport.journal import say
from modelport.material import Material, converted
from modelport.models import ModelRef
from modelport.reports import (
    Benchmark,
    Certificate,
    Conversion,
    Deployment,
    Dossier,
    Evaluation,
    Explanation,
    Gates,
    Registration,
    Resolution,
    Subject,
    Verification,
)

if TYPE_CHECKING:
    from modelport.convert.base import Model
    from modelport.convert.precision import Choice
    from modelport.targets.base import Target

_BATCH_SIZES = (1, 16, 256)
_TELLING_ROWS = 5  # of a table: fewer, an input example's, say nothing of the model


def resolve(*, model: str, source: str, report: str) -> None:
    """Fetch the model from MLflow into the folder `source`."""
    say("fetching the model from MLflow")
    tracking.resolve(ModelRef.parse(model), Path(source)).write(report)


def convert(
    *,
    source: str,
    resolution: str,
    require_onnx: bool,
    onnx: str,
    report: str,
    precision: Choice = "float32",
    data: str = "",
    target: str = "",
    slo: str = "",
) -> None:
    """Convert to ONNX and optimise; a model without a converter stays as it is.

    With precision `auto` the rows and gates decide which of several is taken.

    Raises:
        UnsupportedModel: There is no conversion, and `require_onnx` asks for one; or none in
            the precision asked for.
    """
    material = Material(source, resolution, data, target)
    kind = material.resolved.flavour
    say("loading and converting the model")
    try:
        graph = flavour(kind).convert(material.native, material.resolved)
        say("optimising the graph")
        plain = session.optimise(graph.onnx, Path(onnx).parent)
        chosen = precisions.choose(plain, precision, material, slo)
        _save(chosen.onnx, Path(onnx))
        model = converted(onnx)
    except UnsupportedModel as error:
        if precision not in ("float32", "auto"):
            raise
        if require_onnx:
            raise UnsupportedModel(error.what, "deploy without --require-onnx") from error
        Conversion(converted=False, flavour=kind, reason=error.what).write(report)
        return
    Conversion(
        converted=True,
        flavour=kind,
        converter=graph.converter,
        opset=session.opset(model.estimator),
        libraries={**graph.libraries, **session.libraries()},
        inputs=model.inputs,
        outputs=model.outputs,
        size_bytes=len(model.estimator),
        precision=chosen.precision,
        precisions=chosen.table,
    ).write(report)


def certify(
    *, source: str, resolution: str, conversion: str, onnx: str, data: str, target: str, report: str
) -> None:
    """Compare native and converted model row by row.

    Raises:
        CertificateFailed: They differ; the certificate is written all the same.
    """
    done = Conversion.read(conversion)
    if not done.converted:
        reason = f"nothing was converted: {done.reason}"
        Certificate(verdict="not applicable", reason=reason).write(report)
        return
    material = Material(source, resolution, data, target)
    say("asking both models")
    certificate = parity.certify(
        material.native,
        converted(onnx),
        material.probes,
        tolerance=parity.TOLERANCES[done.precision],
        precision=done.precision,
    )
    certificate.write(report)
    if not certificate.passed:
        raise CertificateFailed(
            f"the converted model answers differently: {certificate.reason}, by up to "
            f"{certificate.max_abs_difference:.3g}; nothing was deployed",
            "see the worst rows in the report",
        )


def evaluate(
    *, source: str, resolution: str, conversion: str, onnx: str, data: str, target: str, report: str
) -> None:
    """Score both models on the labelled rows."""
    material = Material(source, resolution, data, target)
    rows = material.rows and material.rows.sample(settings().limits.evaluated_rows)
    if rows is None or rows.labels is None:
        reason = "no labelled data were given: pass --data and --target"
        Evaluation(measured=False, reason=reason).write(report)
        return
    say("scoring the models")
    rows = evaluation.in_time(material.native, rows, settings().limits.evaluate_seconds)
    assert rows.labels is not None  # noqa: S101 - a sample of labelled rows
    models: dict[Subject, Model] = {"native": material.native}
    if Conversion.read(conversion).converted:
        models["converted"] = converted(onnx)
    scores = {
        subject: evaluation.score(
            rows.labels,
            evaluation.answers(model, rows.inputs, evaluation.batch_size(rows.inputs)),
            material.native.task,
        )
        for subject, model in models.items()
    }
    Evaluation(
        measured=True,
        task=scores["native"][0],
        rows=len(rows.inputs),
        metrics={subject: metrics for subject, (_, metrics) in scores.items()},
    ).write(report)


def benchmark(
    *, source: str, resolution: str, conversion: str, onnx: str, data: str, target: str, report: str
) -> None:
    """Time both models in process, and choose the runtime's settings."""
    material, limits = Material(source, resolution, data, target), settings().limits
    graph = Path(onnx).read_bytes() if Conversion.read(conversion).converted else None
    loads = Loads(
        _BATCH_SIZES,
        (1,),
        limits.benchmark_seconds,
        limits.benchmark_rounds,
        limits.benchmark_most_seconds,
    )
    compare(
        material.load_native, graph, material.sample, loads, say, limits.benchmark_call_seconds
    ).write(report)


def explain(
    *, source: str, resolution: str, data: str, target: str, background: str, report: str
) -> None:
    """Explain the native model's answers with SHAP.

    The folder `background` gets what the served explainer reads beside the model. Without data
    the input example is explained, if it tells something.
    """
    material, limits = Material(source, resolution, data, target), settings().limits
    rows = material.example if material.rows is None else material.rows.inputs
    Path(background).mkdir(parents=True, exist_ok=True)
    if rows is not None:
        explaining.keep_background(material.native, rows, limits.background_rows, Path(background))
    if rows is None or (material.rows is None and not _tells(rows)):
        reason = "no data were given: pass --data"
        Explanation(explained=False, reason=reason).write(report)
        return
    found = explaining.explain(material.native, rows, limits, say)
    if material.rows is None and found.sampled:
        found = found.model_copy(update={"sampled": f"the input example: {found.sampled}"})
    found.write(report)


def log(
    *,
    release_id: str,
    service: str,
    namespace: str,
    source: str,
    onnx: str,
    background: str,
    reports: dict[str, str],
    package: str,
    report: str,
) -> None:
    """Keep everything in MLflow; put the folder that will be served into `package`.

    Args:
        background: Folder of what is kept beside the model for its served explainer.
        reports: Paths of resolution, conversion, certificate, evaluation, benchmark and
            explanation, by these names.
    """
    resolution = Resolution.read(reports["resolution"])
    done = Conversion.read(reports["conversion"])
    timed = Benchmark.read(reports["benchmark"])
    with tracking.release_run(release_id, service, resolution) as run_id:
        uri = resolution.uri
        if done.converted:
            name = f"{resolution.name or service}-onnx"
            example = tracking.input_example(Path(source))
            graph = Path(onnx).read_bytes()
            say(f"registering a version of {name}")
            version = tracking.log_onnx(
                run_id, name, graph, resolution, done, timed.settings, example, background, package
            )
            uri = f"models:/{name}/{version}"
        else:
            shutil.copytree(source, package, dirs_exist_ok=True)
            shutil.copytree(background, package, dirs_exist_ok=True)
            tracking.log_folder(run_id, background)
        dossier = Dossier(
            release_id=release_id,
            model=resolution.source,
            service=service,
            namespace=namespace,
            started_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            resolution=resolution,
            conversion=done,
            certificate=Certificate.read(reports["certificate"]),
            evaluation=Evaluation.read(reports["evaluation"]),
            benchmark=timed,
            explanation=Explanation.read(reports["explanation"]),
            registration=Registration(
                run_id=run_id,
                run_url=tracking.run_url(run_id),
                view_command=tracking.view_command(),
                model_uri=uri,
            ),
        )
        keeping.keep_figures(dossier)
        dossier.write(report)


def gate(*, dossier: str, slo: str, report: str) -> bool:
    """Judge the SLOs on what was measured; say whether the release goes on."""
    known = Dossier.read(dossier)
    verdicts = gates.judge(
        gates.parse(slo),
        known.benchmark.of(known.subject),
        known.evaluation,
        known.evaluation.metrics.get(known.subject, {}),
        "before",
    )
    judged = Gates(verdicts=verdicts)
    judged.write(report)
    if not judged.passed:
        keeping.keep_verdict(known, judged, error=str(gate_error(judged)))
    return judged.passed


def deploy(*, dossier: str, gates: str, package: str, explainer: bool, report: str) -> None:
    """Apply the InferenceService and wait until it is ready.

    Raises:
        DataError: An explainer is asked for, and there are no rows for it to compare with.
        DeploymentFailed: It never was; the service is as it was before.
    """
    known, place = Dossier.read(dossier), targets.local()
    place.prepare()  # only a target that runs knows what it serves now
    previous = place.get(known.service, known.namespace)
    begin = time.monotonic()
    try:
        if explainer:
            _check_explainable(known.resolution, Path(package))
        staged = place.stage(Path(package), known.namespace, known.service, known.release_id)
        manifest = service_manifest(known, staged, explainer=explainer)
        ready = place.wait_ready(place.apply(manifest), say)
        Deployment(
            service=known.service,
            namespace=known.namespace,
            revision=ready["status"]["components"]["predictor"]["latestReadyRevision"],
            url=ready["status"]["url"],
            target=place.name,
            ready_seconds=time.monotonic() - begin,
            previous=previous and manifests.applied(previous),
        ).write(report)
    except BaseException as error:
        _give_up(known, Gates.read(gates), place, previous, error)
        raise


def verify(
    *,
    dossier: str,
    gates: str,
    deployment: str,
    source: str,
    resolution: str,
    onnx: str,
    data: str,
    target: str,
    slo: str,
    report: str,
) -> None:
    """Replay rows against the live endpoint, and judge the SLOs on it.

    Raises:
        DeploymentFailed: It answers other than the certified model; it was rolled back.
        GateFailed: A live SLO is not met; it was rolled back.
    """
    known, judged = Dossier.read(dossier), Gates.read(gates)
    deployed, place = Deployment.read(deployment), targets.local()
    material = Material(source, resolution, data, target)
    try:
        seen = live.replay(known, deployed, material, onnx, slo)
        seen.write(report)
        _check(seen)
        keeping.keep_verdict(known, judged, deployed, seen)
    except BaseException as error:
        _give_up(known, judged, place, deployed.previous, error)
        raise


STEPS: dict[str, Callable[..., bool | None]] = {
    function.__name__: function
    for function in (
        resolve,
        convert,
        certify,
        evaluate,
        benchmark,
        explain,
        log,
        gate,
        deploy,
        verify,
    )
}


def service_manifest(dossier: Dossier, storage_uri: str, *, explainer: bool) -> manifests.Manifest:
    """Write the InferenceService of a release."""
    onnx = dossier.conversion.converted
    served = manifests.Served(
        storage_uri=storage_uri,
        model_format="onnx" if onnx else "mlflow",
        allow_pickle=not onnx,
        explainer=explainer,
    )
    annotations = {
        manifests.MODEL: dossier.registration.model_uri,
        manifests.SOURCE: dossier.resolution.uri,
        manifests.RELEASE: dossier.release_id,
        manifests.RUN: dossier.registration.run_id,
    }
    return manifests.inference_service(dossier.service, dossier.namespace, served, annotations)


def gate_error(judged: Gates) -> GateFailed:
    """Say which gates failed, and by how much."""
    failed = [
        f"{v.gate} failed ({f'{v.measured}, ' if v.measured else ''}{v.reason})"
        for v in judged.verdicts
        if not v.passed
    ]
    return GateFailed(
        f"{'; '.join(failed)}; nothing was deployed", "change the model or the SLO and run again"
    )


def _tells(rows: Any) -> bool:
    """Tell whether an input example is worth explaining: one image is, a row or two are not."""
    return bool(rows.ndim > len(("rows", "columns")) or len(rows) >= _TELLING_ROWS)


def _save(graph: bytes, path: Path) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(graph)
    partial.replace(path)


def _check(seen: Verification) -> None:
    if seen.rows_differing:
        raise DeploymentFailed(
            f"the live endpoint answers {seen.rows_differing} of {seen.rows} rows differently, by "
            f"up to {seen.max_abs_difference:.3g}; it was rolled back",
            "see the release's report",
        )
    if not seen.passed:
        told = gate_error(Gates(verdicts=seen.verdicts))
        raise GateFailed(
            told.what.replace("nothing was deployed", "the live endpoint was rolled back"),
            told.todo,
        )


def _check_explainable(resolution: Resolution, package: Path) -> None:
    shape = resolution.inputs[0].shape if resolution.inputs else None
    if shape is not None and len(shape) > len(("rows", "columns")):
        raise DataError(
            f"the served explainer explains tables, and the model takes tensors {list(shape)}",
            "deploy without --explainer",
        )
    if not has_background(package):
        raise DataError(
            "the model has no rows of a table that an explainer could compare others with",
            "pass --data, or deploy without --explainer",
        )


def _give_up(
    known: Dossier,
    judged: Gates,
    place: Target,
    previous: dict[str, Any] | None,
    error: BaseException,
) -> None:
    """Put the service back, and tell MLflow why."""
    rollout.restore(place, known.service, known.namespace, known.release_id, previous)
    with suppress(ModelportError):  # the error that brought us here is the one to tell
        keeping.keep_verdict(known, judged, error=str(error) or type(error).__name__)
