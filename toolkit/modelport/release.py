"""The steps of one release, as library calls; `modelport.workbench.step` does one by name.

Each is what one pipeline component does: it reads the files of earlier steps, calls the module
that knows how, and writes its own. Paths come in as strings, as pipelines pass them.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelport import benchmark as benchmarks
from modelport import evaluate as evaluation
from modelport import explain as explanation
from modelport import gates, keeping, manifests, rollout, targets, tracking
from modelport.config import settings
from modelport.convert import flavour, parity, session
from modelport.endpoints import Endpoint, encode, instances
from modelport.errors import CertificateFailed, DeploymentFailed, GateFailed, UnsupportedModel
from modelport.journal import say
from modelport.material import Material, converted
from modelport.models import ModelRef
from modelport.reports import (
    Benchmark,
    Candidate,
    Certificate,
    Conversion,
    Deployment,
    Dossier,
    Evaluation,
    Explanation,
    Footprint,
    Gates,
    Latency,
    Registration,
    Resolution,
    RuntimeSettings,
    Subject,
    Verification,
)

if TYPE_CHECKING:
    import pandas as pd

    from modelport.convert.base import Model
    from modelport.targets.base import Target

_BATCH_SIZES = (1, 256)
_LIVE_CONCURRENCY = 8


def resolve(*, model: str, source: str, report: str) -> None:
    """Fetch the model from MLflow into the folder `source`."""
    tracking.resolve(ModelRef.parse(model), Path(source)).write(report)


def convert(*, source: str, resolution: str, require_onnx: bool, onnx: str, report: str) -> None:
    """Convert to ONNX and optimise; a model without a converter stays as it is.

    Raises:
        UnsupportedModel: There is no conversion, and `require_onnx` asks for one.
    """
    material = Material(source, resolution)
    kind = material.resolved.flavour
    try:
        graph = flavour(kind).convert(material.native, material.resolved)
        _save(session.optimise(graph.onnx, Path(onnx).parent), Path(onnx))
        model = converted(onnx)
    except UnsupportedModel as error:
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
    certificate = parity.certify(material.native, converted(onnx), material.probes)
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
    models: dict[Subject, Model] = {"native": material.native}
    if Conversion.read(conversion).converted:
        models["converted"] = converted(onnx)
    scores = {
        subject: evaluation.score(rows.labels, model.answer(rows.inputs), material.native.task)
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
    material = Material(source, resolution, data, target)
    batches = {
        size: material.sample.sample(size, replace=True, random_state=0) for size in _BATCH_SIZES
    }
    measured, footprint = _time_native(material, batches)
    footprints: dict[Subject, Footprint] = {"native": footprint}
    chosen = RuntimeSettings()
    table: tuple[Candidate, ...] = ()
    if Conversion.read(conversion).converted:
        graph = Path(onnx).read_bytes()
        chosen, table = _choose_settings(graph, batches[1])
        more, footprints["converted"] = _time_converted(graph, chosen, batches)
        measured += more
    Benchmark(
        measurements=tuple(measured), footprints=footprints, settings=chosen, candidates=table
    ).write(report)


def explain(*, source: str, resolution: str, data: str, target: str, report: str) -> None:
    """Explain the native model's answers with SHAP."""
    material, limits = Material(source, resolution, data, target), settings().limits
    if material.rows is None:
        reason = "no data were given: pass --data"
        Explanation(explained=False, reason=reason).write(report)
        return
    rows = material.rows.sample(limits.explained_rows).inputs
    explanation.explain(material.native, rows, limits.background_rows).write(report)


def log(
    *,
    release_id: str,
    service: str,
    namespace: str,
    source: str,
    onnx: str,
    reports: dict[str, str],
    package: str,
    report: str,
) -> None:
    """Keep everything in MLflow; put the folder that will be served into `package`.

    Args:
        reports: Paths of resolution, conversion, certificate, evaluation, benchmark and
            explanation, by these names.
    """
    resolution = Resolution.read(reports["resolution"])
    done = Conversion.read(reports["conversion"])
    timed = Benchmark.read(reports["benchmark"])
    run_id = tracking.start_run(release_id, service, resolution)
    if done.converted:
        name = f"{resolution.name or service}-onnx"
        version = tracking.log_onnx(
            run_id,
            name,
            Path(onnx).read_bytes(),
            resolution,
            done,
            timed.settings,
            tracking.input_example(Path(source)),
            Path(package),
        )
        uri = f"models:/{name}/{version}"
    else:
        shutil.copytree(source, package, dirs_exist_ok=True)
        uri = resolution.uri
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


def deploy(*, dossier: str, gates: str, package: str, report: str) -> None:
    """Apply the InferenceService and wait until it is ready.

    Raises:
        DeploymentFailed: It never was; the service is as it was before.
    """
    known, place = Dossier.read(dossier), targets.local()
    previous = place.get(known.service, known.namespace)
    begin = time.monotonic()
    try:
        staged = place.stage(Path(package), known.namespace, known.service, known.release_id)
        ready = place.wait_ready(place.apply(service_manifest(known, staged)), say)
    except BaseException as error:
        _give_up(known, Gates.read(gates), place, previous, error)
        raise
    Deployment(
        service=known.service,
        namespace=known.namespace,
        revision=ready["status"]["components"]["predictor"]["latestReadyRevision"],
        url=ready["status"]["url"],
        target=place.name,
        ready_seconds=time.monotonic() - begin,
        previous=previous and manifests.applied(previous),
    ).write(report)


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
        seen = _replay(known, deployed, material, onnx, slo)
        seen.write(report)
        _check(seen)
    except BaseException as error:
        _give_up(known, judged, place, deployed.previous, error)
        raise
    keeping.keep_verdict(known, judged, deployed, seen)


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


def service_manifest(dossier: Dossier, storage_uri: str) -> manifests.Manifest:
    """Write the InferenceService of a release."""
    onnx = dossier.conversion.converted
    served = manifests.Served(
        storage_uri=storage_uri,
        model_format="onnx" if onnx else "mlflow",
        allow_pickle=not onnx,
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


def _save(graph: bytes, path: Path) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(graph)
    partial.replace(path)


def _time_native(
    material: Material, batches: dict[int, pd.DataFrame]
) -> tuple[list[Latency], Footprint]:
    say("timing the native model")
    seconds = settings().limits.benchmark_seconds
    native, footprint = benchmarks.loaded(material.load_native)
    measured = [
        benchmarks.measure("native", partial(native.predict, batch), seconds, batch_size=size)
        for size, batch in batches.items()
    ]
    return measured, footprint


def _time_converted(
    graph: bytes, chosen: RuntimeSettings, batches: dict[int, pd.DataFrame]
) -> tuple[list[Latency], Footprint]:
    say("timing the converted model")
    seconds = settings().limits.benchmark_seconds
    model, footprint = benchmarks.loaded(partial(session.OnnxModel, graph, chosen))
    measured = [
        benchmarks.measure("converted", partial(model.run, feed), seconds, batch_size=size)
        for size, feed in ((size, model.feed(batch)) for size, batch in batches.items())
    ]
    return measured, footprint


def _choose_settings(
    graph: bytes, one: pd.DataFrame
) -> tuple[RuntimeSettings, tuple[Candidate, ...]]:
    say("choosing the runtime's settings")

    def prepare(candidate: RuntimeSettings) -> benchmarks.Call:
        model = session.OnnxModel(graph, candidate)
        feed = model.feed(one)
        return partial(model.run, feed)

    seconds = settings().limits.benchmark_seconds / 2
    return benchmarks.choose_settings(prepare, os.cpu_count() or 1, seconds)


def _replay(
    known: Dossier, deployed: Deployment, material: Material, onnx: str, slo: str
) -> Verification:
    """Ask the live endpoint for what the certified model answers, then time it."""
    say("replaying rows")
    labelled = material.rows and material.rows.sample(settings().limits.live_rows)
    rows = labelled.inputs if labelled else material.sample
    model: Model = converted(onnx) if known.conversion.converted else material.native
    expected = model.answer(rows)
    sent = instances(rows)
    endpoint = Endpoint(deployed.url, deployed.service, connections=_LIVE_CONCURRENCY)
    try:
        answers = endpoint.answer(sent)
        latencies = _time_live(endpoint, encode(sent[:1]))
    finally:
        endpoint.close()
    seen = parity.compare(expected, answers)
    metrics: dict[str, float] = {}
    if labelled is not None and labelled.labels is not None:
        _, metrics = evaluation.score(labelled.labels, answers, known.evaluation.task)
    return Verification(
        rows=len(rows),
        rows_differing=int(seen.failed.sum()),
        max_abs_difference=float(seen.absolute.max()),
        label_flips=int(seen.flipped.sum()),
        latencies=latencies,
        metrics=metrics,
        verdicts=gates.judge(gates.parse(slo), latencies[0], known.evaluation, metrics, "live"),
        example=sent[0],
    )


def _time_live(endpoint: Endpoint, body: bytes) -> tuple[Latency, ...]:
    say("timing the live endpoint")
    seconds = settings().limits.benchmark_seconds
    return tuple(
        benchmarks.measure("live", partial(endpoint.post, body), seconds, concurrency=callers)
        for callers in (1, _LIVE_CONCURRENCY)
    )


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


def _give_up(
    known: Dossier,
    judged: Gates,
    place: Target,
    previous: dict[str, Any] | None,
    error: BaseException,
) -> None:
    """Put the service back, and tell MLflow why."""
    rollout.restore(place, known.service, known.namespace, known.release_id, previous)
    keeping.keep_verdict(known, judged, error=str(error) or type(error).__name__)
