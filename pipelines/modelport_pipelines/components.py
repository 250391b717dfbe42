"""The steps of a release as Kubeflow components: each body calls one library function."""

# KFP reads these annotations as objects, so they must not be postponed to strings.
from kfp import dsl
from kfp.dsl import Artifact, Input, Model, Output

# A pod needs what `pip install 'modelport[release]'` installs. Locally no image is used.
IMAGE = "ghcr.io/modelport/modelport-python:0.1.0"


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def resolve(model: str, source: Output[Model], report: Output[Artifact]) -> None:
    """Fetch the model from MLflow."""
    from modelport.workbench import step

    step("resolve", model=model, source=source.path, report=report.path)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def convert(
    source: Input[Model],
    resolution: Input[Artifact],
    require_onnx: bool,
    precision: str,
    data: str,
    target: str,
    slo: str,
    onnx: Output[Model],
    report: Output[Artifact],
) -> None:
    """Convert it to ONNX and optimise."""
    from modelport.workbench import step

    step(
        "convert",
        source=source.path,
        resolution=resolution.path,
        require_onnx=require_onnx,
        precision=precision,
        data=data,
        target=target,
        slo=slo,
        onnx=onnx.path,
        report=report.path,
    )


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def certify(
    source: Input[Model],
    resolution: Input[Artifact],
    conversion: Input[Artifact],
    onnx: Input[Model],
    data: str,
    target: str,
    report: Output[Artifact],
) -> None:
    """Certify that the converted model answers the same."""
    from modelport.workbench import step

    step(
        "certify",
        source=source.path,
        resolution=resolution.path,
        conversion=conversion.path,
        onnx=onnx.path,
        data=data,
        target=target,
        report=report.path,
    )


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def evaluate(
    source: Input[Model],
    resolution: Input[Artifact],
    conversion: Input[Artifact],
    onnx: Input[Model],
    data: str,
    target: str,
    report: Output[Artifact],
) -> None:
    """Score both models on labelled rows."""
    from modelport.workbench import step

    step(
        "evaluate",
        source=source.path,
        resolution=resolution.path,
        conversion=conversion.path,
        onnx=onnx.path,
        data=data,
        target=target,
        report=report.path,
    )


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def benchmark(
    source: Input[Model],
    resolution: Input[Artifact],
    conversion: Input[Artifact],
    onnx: Input[Model],
    data: str,
    target: str,
    report: Output[Artifact],
) -> None:
    """Time both models, and choose the runtime's settings."""
    from modelport.workbench import step

    step(
        "benchmark",
        source=source.path,
        resolution=resolution.path,
        conversion=conversion.path,
        onnx=onnx.path,
        data=data,
        target=target,
        report=report.path,
    )


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def explain(
    source: Input[Model],
    resolution: Input[Artifact],
    data: str,
    target: str,
    background: Output[Artifact],
    report: Output[Artifact],
) -> None:
    """Explain its answers with SHAP."""
    from modelport.workbench import step

    step(
        "explain",
        source=source.path,
        resolution=resolution.path,
        data=data,
        target=target,
        background=background.path,
        report=report.path,
    )


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def log(
    release_id: str,
    service: str,
    namespace: str,
    source: Input[Model],
    onnx: Input[Model],
    background: Input[Artifact],
    resolution: Input[Artifact],
    conversion: Input[Artifact],
    certificate: Input[Artifact],
    evaluation: Input[Artifact],
    benchmark: Input[Artifact],
    explanation: Input[Artifact],
    package: Output[Model],
    report: Output[Artifact],
) -> None:
    """Keep everything in MLflow, the converted model as a model version."""
    from modelport.workbench import step

    step(
        "log",
        release_id=release_id,
        service=service,
        namespace=namespace,
        source=source.path,
        onnx=onnx.path,
        background=background.path,
        reports={
            "resolution": resolution.path,
            "conversion": conversion.path,
            "certificate": certificate.path,
            "evaluation": evaluation.path,
            "benchmark": benchmark.path,
            "explanation": explanation.path,
        },
        package=package.path,
        report=report.path,
    )


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def gate(dossier: Input[Artifact], slo: str, report: Output[Artifact]) -> bool:
    """Judge the SLOs before anything is deployed."""
    from modelport.workbench import step

    return bool(step("gate", dossier=dossier.path, slo=slo, report=report.path))


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def deploy(
    dossier: Input[Artifact],
    gates: Input[Artifact],
    package: Input[Model],
    explainer: bool,
    report: Output[Artifact],
) -> None:
    """Apply the InferenceService and wait until it is ready."""
    from modelport.workbench import step

    step(
        "deploy",
        dossier=dossier.path,
        gates=gates.path,
        package=package.path,
        explainer=explainer,
        report=report.path,
    )


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def verify(
    dossier: Input[Artifact],
    gates: Input[Artifact],
    deployment: Input[Artifact],
    source: Input[Model],
    resolution: Input[Artifact],
    onnx: Input[Model],
    data: str,
    target: str,
    slo: str,
    report: Output[Artifact],
) -> None:
    """Replay rows against the live endpoint."""
    from modelport.workbench import step

    step(
        "verify",
        dossier=dossier.path,
        gates=gates.path,
        deployment=deployment.path,
        source=source.path,
        resolution=resolution.path,
        onnx=onnx.path,
        data=data,
        target=target,
        slo=slo,
        report=report.path,
    )
