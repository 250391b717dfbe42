"""What MLflow keeps of a release: its figures as metrics, its reports and plots as files."""

from __future__ import annotations

from modelport import render, tracking
from modelport.reports import Benchmark, Deployment, Dossier, Gates, ReleaseReport, Verification


def keep_figures(dossier: Dossier) -> None:
    """Log what was chosen and measured before the deployment."""
    tracking.log_record(
        dossier.registration.run_id,
        metrics=_metrics(dossier),
        params=_params(dossier),
        files={
            "reports/certificate.json": dossier.certificate.model_dump_json(indent=2),
            "plots/shap.html": render.explanation_page(dossier.explanation, dossier.service),
        },
    )


def keep_verdict(
    dossier: Dossier,
    gates: Gates,
    deployment: Deployment | None = None,
    verification: Verification | None = None,
    error: str | None = None,
) -> None:
    """Log the whole report, and close the run: finished if the service carries the model."""
    passed = error is None and verification is not None
    report = ReleaseReport(
        **dict(dossier),
        seconds=0.0,
        outcome="deployed" if passed else "stopped",
        error=error,
        gates=gates,
        deployment=deployment,
        verification=verification,
    )
    run_id = dossier.registration.run_id
    tracking.log_record(
        run_id,
        metrics=_live_metrics(verification) if verification else {},
        files={
            "report.json": report.model_dump_json(indent=2),
            "report.html": render.release_page(report, verification and verification.example),
        },
    )
    tracking.end_run(run_id, passed=passed)


def _params(dossier: Dossier) -> dict[str, str]:
    conversion, settings = dossier.conversion, dossier.benchmark.settings
    return {
        "model": dossier.resolution.uri,
        "flavour": conversion.flavour,
        "served_as": "onnx" if conversion.converted else conversion.flavour,
        "converter": conversion.converter or "none",
        "opset": str(conversion.opset),
        **{f"runtime.{name}": str(value) for name, value in settings.model_dump().items()},
    }


def _metrics(dossier: Dossier) -> dict[str, float]:
    certificate = dossier.certificate
    found = {
        "certificate.rows": float(certificate.rows_compared),
        "certificate.max_abs_difference": certificate.max_abs_difference,
        "certificate.label_flips": float(certificate.label_flips),
        **_latencies(dossier.benchmark),
    }
    for subject, metrics in dossier.evaluation.metrics.items():
        found |= {f"{subject}.{name}": value for name, value in metrics.items()}
    return found


def _latencies(benchmark: Benchmark) -> dict[str, float]:
    return {
        f"{m.subject}.batch_{m.batch_size}.{name}": getattr(m, name)
        for m in benchmark.measurements
        for name in ("p50_ms", "p95_ms", "p99_ms", "throughput")
    }


def _live_metrics(verification: Verification) -> dict[str, float]:
    found = {f"live.{name}": value for name, value in verification.metrics.items()}
    for latency in verification.latencies:
        suffix = f"concurrency_{latency.concurrency}"
        found |= {
            f"live.{suffix}.{name}": getattr(latency, name)
            for name in ("p50_ms", "p95_ms", "p99_ms", "throughput")
        }
    return found
