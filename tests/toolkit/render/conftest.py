"""Release reports and InferenceServices as a release leaves them, for every view's tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from modelport.reports import (
    Benchmark,
    Candidate,
    Certificate,
    Conversion,
    Coverage,
    Deployment,
    DifferingRow,
    Evaluation,
    Explanation,
    Feature,
    Footprint,
    Gates,
    Latency,
    PrecisionCandidate,
    Registration,
    ReleaseReport,
    Resolution,
    RuntimeSettings,
    StepRecord,
    Subject,
    Verdict,
    Verification,
)

if TYPE_CHECKING:
    from modelport.reports.certificate import Cause

MEASURES = (
    *("radius", "texture", "perimeter", "area", "smoothness"),
    *("compactness", "concavity", "concave points", "symmetry", "fractal dimension"),
)
FEATURES = tuple(f"{kind} {name}" for kind in ("mean", "error of", "worst") for name in MEASURES)
URL = "http://127.0.0.1:8080/serving/default/tumor"
SCORES = {"accuracy": 0.956140, "f1": 0.965517, "roc_auc": 0.993713}
STEPS = {
    "resolve": 0.31,
    "convert": 1.84,
    "certify": 0.92,
    "evaluate": 0.42,
    "benchmark": 2.61,
    "explain": 1.13,
    "log": 0.74,
    "gate": 0.01,
    "deploy": 1.02,
    "verify": 0.44,
}


def latency(subject: Subject, p50: float, batch_size: int = 1, concurrency: int = 1) -> Latency:
    return Latency(
        subject=subject,
        batch_size=batch_size,
        concurrency=concurrency,
        requests=500,
        p50_ms=p50,
        p90_ms=p50 * 1.22,
        p95_ms=p50 * 1.31,
        p99_ms=p50 * 1.82,
        max_ms=p50 * 4.5,
        throughput=1000 * concurrency / (p50 * 1.08),
        spread=0.04,
    )


def differing(
    row: int, cause: Cause | None, difference: float, origin: str = "trees"
) -> DifferingRow:
    flipped = cause is not None
    return DifferingRow(
        row=row,
        origin=origin,
        inputs=f"mean radius={13.0 + row / 100:.2f}, mean texture=15.260000228881836",
        native="1, [0.32 0.68]",
        converted="0, [0.68 0.32]" if flipped else "1, [0.32 0.68]",
        difference=difference,
        flipped=flipped,
        cause=cause,
    )


def certificate() -> Certificate:
    return Certificate(
        verdict="passed",
        reason="all 2,014 rows are answered the same",
        rows={"data": 114, "input example": 5, "synthetic": 1024, "extremes": 49, "trees": 822},
        max_abs_difference=1.1920929e-07,
        max_rel_difference=3.4e-07,
        p999_abs_difference=1.1e-07,
        p999_rel_difference=3.1e-07,
        coverage=Coverage(
            trees=21, leaves=402, leaves_visited=402, thresholds=381, thresholds_tried=381
        ),
        batch_sizes=(1, 2, 7, 256),
        tolerance_abs=1e-5,
        tolerance_rel=1e-4,
        tolerance_reason="float32 carries 7 digits",
        worst=tuple(differing(row, None, 1.19e-07, "data") for row in (17, 80, 101)),
    )


@pytest.fixture
def passed() -> Certificate:
    return certificate()


@pytest.fixture
def explained() -> Certificate:
    """Rows differ, and float32 or a tie explains each of them."""
    rounded = tuple(differing(row, "rounding", 0.36) for row in (4, 157, 456))
    tied = differing(3, "tie", 0.0, "synthetic")
    return certificate().model_copy(
        update={
            "reason": "all 2,014 rows agree within the tolerance but for these: 1 got another "
            "label where the native model holds two equally likely; 3 lie closer to a boundary "
            "than float32 can tell",
            "label_flips": 4,
            "flips": (tied, *rounded),
            "explained": {"tie": 1, "rounding": 3},
            "worst": (*rounded, tied),
        }
    )


@pytest.fixture
def failed() -> Certificate:
    """More rows differ than a terminal shows, and nothing explains two of them."""
    unexplained = tuple(differing(row, "unexplained", 0.36) for row in (98, 12))
    rounded = tuple(differing(row, "rounding", 0.36) for row in range(110, 116))
    return certificate().model_copy(
        update={
            "verdict": "failed",
            "reason": "2 of 2,014 rows are answered differently, which no rounding explains",
            "fault": "converter",
            "label_flips": 8,
            "flips": (*unexplained, *rounded),
            "explained": {"unexplained": 2, "rounding": 6},
            "max_abs_difference": 0.36,
            "max_rel_difference": 1.125,
            "p999_abs_difference": 0.36,
            "worst": (*unexplained, *rounded[:3]),
        }
    )


def benchmark() -> Benchmark:
    settings = (RuntimeSettings(), RuntimeSettings(intra_op_num_threads=2))
    return Benchmark(
        measurements=(
            latency("native", 4.8123),
            latency("native", 5.91, batch_size=64),
            latency("converted", 0.0204),
            latency("converted", 0.311, batch_size=64),
        ),
        footprints={
            "native": Footprint(load_seconds=1.42, memory_bytes=61_400_000),
            "converted": Footprint(load_seconds=0.021, memory_bytes=3_900_000),
        },
        not_tried="parallel execution: the graph is a chain, without branches",
        best_batch_size=64,
        settings=settings[0],
        candidates=(
            Candidate(settings=settings[0], p50_ms=0.0204, throughput=45_390.0, chosen=True),
            Candidate(settings=settings[1], p50_ms=0.0291, throughput=31_800.0, chosen=False),
        ),
    )


def explanation() -> Explanation:
    return Explanation(
        explained=True,
        method="TreeExplainer",
        output="probability of class 1",
        rows=114,
        base_value=0.6274,
        residual=2.2e-16,
        features=tuple(
            Feature(name=name, importance=0.0712 * 0.82**place)
            for place, name in enumerate(reversed(FEATURES))
        ),
    )


def verdicts() -> tuple[Verdict, ...]:
    return (
        Verdict(
            gate="p99<50ms",
            metric="p99",
            stage="before",
            measured="0.0371 ms",
            passed=True,
            reason="49.96 ms below the limit",
        ),
        Verdict(
            gate="accuracy>=0.9",
            metric="accuracy",
            stage="before",
            measured="0.9561",
            passed=True,
            reason="0.0561 above the limit",
        ),
    )


def live_verdicts() -> tuple[Verdict, ...]:
    measured = {"p99<50ms": "1.51 ms", "accuracy>=0.9": "0.9561"}
    return tuple(
        verdict.model_copy(update={"stage": "live", "measured": measured[verdict.gate]})
        for verdict in verdicts()
    )


@pytest.fixture
def deployed() -> ReleaseReport:
    return deployed_report()


def deployed_report() -> ReleaseReport:
    return ReleaseReport(
        release_id="20260301-101502-4f2a",
        model="models:/breast-cancer@champion",
        service="tumor",
        namespace="default",
        started_at="2026-03-01T10:15:02+00:00",
        seconds=9.44,
        outcome="deployed",
        steps=tuple(StepRecord(name=n, state="done", seconds=s) for n, s in STEPS.items()),
        resolution=Resolution(
            source="models:/breast-cancer@champion",
            uri="models:/breast-cancer/3",
            name="breast-cancer",
            version="3",
            flavour="sklearn",
        ),
        conversion=Conversion(
            converted=True,
            flavour="sklearn",
            converter="skl2onnx",
            opset=21,
            libraries={"skl2onnx": "1.19.1", "onnx": "1.18.0"},
            size_bytes=421_888,
        ),
        certificate=certificate(),
        evaluation=Evaluation(
            measured=True,
            task="classification",
            rows=114,
            metrics={"native": SCORES, "converted": SCORES},
        ),
        benchmark=benchmark(),
        explanation=explanation(),
        registration=Registration(
            run_id="0b5c9f2e7d1448c0a3a9",
            run_url="http://127.0.0.1:5000/#/experiments/1/runs/0b5c9f2e7d1448c0a3a9",
            model_uri="models:/breast-cancer-onnx/2",
        ),
        gates=Gates(verdicts=verdicts()),
        deployment=Deployment(
            service="tumor",
            namespace="default",
            revision="tumor-predictor-00002",
            url=URL,
            target="local",
            ready_seconds=0.93,
        ),
        verification=Verification(
            rows=114,
            max_abs_difference=1.2e-07,
            label_flips=0,
            latencies=(latency("live", 0.83),),
            metrics=SCORES,
            verdicts=live_verdicts(),
        ),
    )


@pytest.fixture
def stopped() -> ReleaseReport:
    """A gate fails before the deployment; accuracy has no labels to be measured on."""
    missed = Verdict(
        gate="p99<0.01ms",
        metric="p99",
        stage="before",
        measured="0.0371 ms",
        passed=False,
        reason="0.0271 ms over the limit",
    )
    steps = tuple(
        StepRecord(name=name, state="done", seconds=seconds)
        for name, seconds in list(STEPS.items())[:7]
    )
    return deployed_report().model_copy(
        update={
            "outcome": "stopped",
            "error": "gate p99<0.01ms is missed by 0.0271 ms: relax it or use a smaller model",
            "seconds": 7.98,
            "steps": (
                *steps,
                StepRecord(name="gate", state="failed", seconds=0.01, message="p99<0.01ms"),
                StepRecord(name="deploy", state="skipped"),
                StepRecord(name="verify", state="skipped"),
            ),
            "evaluation": Evaluation(
                measured=False, reason="no data was given (--data), so there are no labels"
            ),
            "gates": Gates(verdicts=(missed,)),
            "deployment": None,
            "verification": None,
        }
    )


@pytest.fixture
def own_flavour() -> ReleaseReport:
    """No converter takes the model: it is served by its own flavour."""
    reason = "no converter takes a HistogramTransformer"
    return deployed_report().model_copy(
        update={
            "conversion": Conversion(converted=False, flavour="sklearn", reason=reason),
            "certificate": Certificate(verdict="not applicable", reason="nothing was converted"),
            "evaluation": Evaluation(
                measured=True, task="classification", rows=114, metrics={"native": SCORES}
            ),
            "benchmark": Benchmark(measurements=(latency("native", 4.8123),)),
            "explanation": Explanation(explained=False, reason="the model gives no numeric output"),
        }
    )


@pytest.fixture
def narrowed() -> ReleaseReport:
    """A precision was chosen: int8, as float16 failed its certificate."""
    tried = (
        PrecisionCandidate(
            precision="float32",
            passed=True,
            reason="all 2,014 rows are answered the same",
            p50_ms=0.91,
            size_bytes=4_200_000,
        ),
        PrecisionCandidate(
            precision="float16",
            passed=False,
            reason="31 of 2,014 rows are answered differently, which no rounding explains",
            p50_ms=1.07,
            size_bytes=2_100_000,
        ),
        PrecisionCandidate(
            precision="int8",
            passed=True,
            reason="all 2,014 rows agree within the tolerance",
            p50_ms=0.34,
            size_bytes=1_100_000,
            chosen=True,
        ),
    )
    report = deployed_report()
    assert report.conversion is not None
    update = {"precision": "int8", "precisions": tried}
    conversion = report.conversion.model_copy(update=update)
    return report.model_copy(
        update={
            "conversion": conversion,
            "certificate": certificate().model_copy(update={"precision": "int8"}),
        }
    )


@pytest.fixture
def service() -> dict[str, Any]:
    return service_item()


def service_item(name: str = "tumor") -> dict[str, Any]:
    """An InferenceService as KServe's API gives it."""
    annotations = {
        "modelport.dev/model": "models:/breast-cancer-onnx/2",
        "modelport.dev/release": "20260301-101502-4f2a",
    }
    predictor = {
        "latestReadyRevision": f"{name}-predictor-00002",
        "latestCreatedRevision": f"{name}-predictor-00002",
        "traffic": [{"revisionName": f"{name}-predictor-00002", "percent": 100}],
        "url": f"http://127.0.0.1:8080/serving/default/{name}",
    }
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            "name": name,
            "namespace": "default",
            "creationTimestamp": "2026-03-01T10:15:02Z",
            "annotations": annotations,
        },
        "spec": {"predictor": {"model": {"modelFormat": {"name": "onnx"}}}},
        "status": {
            "url": f"http://127.0.0.1:8080/serving/default/{name}",
            "conditions": [
                {"type": "PredictorReady", "status": "True"},
                {"type": "IngressReady", "status": "True"},
                {"type": "Ready", "status": "True"},
            ],
            "components": {"predictor": predictor},
            "modelStatus": {
                "transitionStatus": "UpToDate",
                "states": {"activeModelState": "Loaded", "targetModelState": "Loaded"},
            },
        },
    }


@pytest.fixture
def broken_service() -> dict[str, Any]:
    """An InferenceService whose first revision cannot load its model."""
    name = "churn"
    item = service_item(name)
    failure = {
        "reason": "ModelLoadFailed",
        "message": "model.onnx is not an ONNX file",
        "modelRevisionName": f"{name}-predictor-00001",
    }
    item["status"] = {
        "conditions": [
            {"type": "PredictorReady", "status": "False", "reason": "RevisionFailed"},
            {"type": "Ready", "status": "False", "reason": "RevisionFailed"},
        ],
        "components": {"predictor": {"latestCreatedRevision": f"{name}-predictor-00001"}},
        "modelStatus": {
            "transitionStatus": "BlockedByFailedLoad",
            "states": {"targetModelState": "FailedToLoad"},
            "lastFailureInfo": failure,
        },
    }
    return item
