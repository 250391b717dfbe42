"""The pipeline of a release: from a model in MLflow to a verified InferenceService."""

from kfp import dsl

from modelport_pipelines import components


@dsl.pipeline(
    name="release",
    description="Carry a model version from MLflow to an InferenceService, certified.",
)
def release(
    release_id: str,
    model: str,
    service: str,
    namespace: str = "default",
    data: str = "",
    target: str = "",
    slo: str = "",
    require_onnx: bool = False,
    precision: str = "float32",
    explainer: bool = False,
) -> None:
    """Resolve, convert, certify, evaluate, benchmark, explain, log, gate, deploy, verify.

    Args:
        release_id: Name of this release; release ids sort by time.
        model: Reference to the model: models:/, runs:/ or a folder.
        service: Name of the InferenceService.
        namespace: Its namespace.
        data: CSV or Parquet file of validation rows; empty for none.
        target: Name of their target column; empty for none.
        slo: Gates, such as `p99<50ms, accuracy>=0.9`; empty for none.
        require_onnx: Stop when the model cannot be converted.
        precision: float32, float16, int8 or, for the fastest that passes, auto.
        explainer: Let the service explain its answers, too.
    """
    resolved = components.resolve(model=model).outputs
    given = {"source": resolved["source"], "resolution": resolved["report"]}
    rows = {"data": data, "target": target}
    asked = {"require_onnx": require_onnx, "precision": precision, "slo": slo}
    converted = components.convert(**given, **rows, **asked).outputs
    both = {**given, "conversion": converted["report"], "onnx": converted["onnx"], **rows}
    certified = components.certify(**both)
    evaluated = components.evaluate(**both).after(certified)
    benchmarked = components.benchmark(**both).after(certified, evaluated)
    explained = components.explain(**given, **rows).after(certified, benchmarked)
    logged = components.log(
        release_id=release_id,
        service=service,
        namespace=namespace,
        source=resolved["source"],
        onnx=converted["onnx"],
        background=explained.outputs["background"],
        resolution=resolved["report"],
        conversion=converted["report"],
        certificate=certified.outputs["report"],
        evaluation=evaluated.outputs["report"],
        benchmark=benchmarked.outputs["report"],
        explanation=explained.outputs["report"],
    ).outputs
    gated = components.gate(dossier=logged["report"], slo=slo)
    known = {"dossier": logged["report"], "gates": gated.outputs["report"]}
    with dsl.If(gated.outputs["Output"] == True, "gates passed"):  # noqa: E712 - KFP compares
        deployed = components.deploy(**known, package=logged["package"], explainer=explainer)
        components.verify(
            **known,
            deployment=deployed.outputs["report"],
            source=resolved["source"],
            resolution=resolved["report"],
            onnx=converted["onnx"],
            slo=slo,
            **rows,
        )
