"""One model's passage: trained, logged, converted, certified, judged, served and asked."""

from __future__ import annotations

import os
import re
import shutil
import time
import traceback
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from sklearn.base import OutlierMixin

from benchmarks.sweep import judging, wire
from benchmarks.sweep.catalogue import case_named
from benchmarks.sweep.tables import fresh, table
from modelport import release, tracking
from modelport.errors import CertificateFailed
from modelport.material import Material, converted
from modelport.reports import Certificate, Conversion, Resolution, RuntimeSettings

if TYPE_CHECKING:
    import pandas as pd

    from benchmarks.sweep.cases import Case
    from modelport.convert.base import Model

Outcome = Literal["certified", "not convertible", "refused", "failed"]
_FRESH_ROWS = 20_000
_WIRE_ROWS = 64
_WIRE_TOLERANCE = 1e-5
_WRONG = 0.001
_UNKNOWN = "the converter, or float32"


@dataclass
class Verdict:
    """What became of a model.

    Attributes:
        outcome: `certified` is served in ONNX, `not convertible` and `refused` (by the
            certificate) natively; `failed` is a defect.
        reason: Why it is not served in ONNX, or what failed.
        fault: Where the certificate refused: what it blames.
        blame: Where the certificate refused: what the sweep's own measure blames.
        rows: How many fresh rows native and converted model both answered.
        differing: Share of them that they answer differently, by the sweep's own measure.
        unexplained: Share that neither a tie nor the rounding of inputs explains.
    """

    name: str
    kind: str
    outcome: Outcome = "failed"
    reason: str = ""
    fault: str = ""
    blame: str = ""
    rows: int = 0
    differing: float = 0.0
    unexplained: float = 0.0
    seconds: float = 0.0
    trace: str = ""

    @property
    def wrongly_certified(self) -> bool:
        """Whether the certificate passed what answers differently."""
        return self.outcome == "certified" and self.unexplained > _WRONG


def carry(name: str, root: str) -> Verdict:
    """Carry one model all the way, in a folder of its own under `root`."""
    case = case_named(name)
    verdict, started = Verdict(name, case.kind), time.monotonic()
    folder = Path(root) / slug(name)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        _Passage(case, folder, verdict).run()
    except Exception as error:  # noqa: BLE001 - whatever it is, the model failed, and the sweep goes on
        verdict.outcome, verdict.reason = "failed", f"{type(error).__name__}: {_line(error)}"
        verdict.trace = traceback.format_exc()
    shutil.rmtree(folder, ignore_errors=True)
    verdict.seconds = round(time.monotonic() - started, 2)
    return verdict


def slug(name: str) -> str:
    """Return the name as part of paths and of MLflow's names."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


class _Passage:
    """The steps of one model, on files in `folder`."""

    def __init__(self, case: Case, folder: Path, verdict: Verdict) -> None:
        self._case = case
        self._verdict = verdict
        self._folder = folder
        self._rows = table(case.data).rows
        self._model = case.train()

    def run(self) -> None:
        uri = self._log()
        paths = {name: str(self._folder / name) for name in ("source", "resolution", "conversion")}
        release.resolve(model=uri, source=paths["source"], report=paths["resolution"])
        material = Material(paths["source"], paths["resolution"])
        self._check_native(material.native)
        onnx = str(self._folder / "model.onnx")
        release.convert(
            source=paths["source"],
            resolution=paths["resolution"],
            require_onnx=False,
            onnx=onnx,
            report=paths["conversion"],
        )
        conversion = Conversion.read(paths["conversion"])
        if not conversion.converted:
            self._verdict.outcome, self._verdict.reason = "not convertible", conversion.reason or ""
        else:
            self._certify(paths, onnx)
            self._judge(material.native, converted(onnx))
        if self._verdict.outcome == "certified":
            self._serve(self._package(material.resolved, conversion, onnx), converted(onnx))
        else:
            self._serve(Path(paths["source"]), material.native)

    def _log(self) -> str:
        """Log the model with its library's flavour; return its version's URI."""
        import mlflow

        module = getattr(mlflow, self._case.flavour)
        rows = table(self._case.data).validation.rows
        signature = mlflow.models.infer_signature(rows, self._case.predict(self._model, rows))
        name = slug(self._case.name)
        # skops, the default, refuses the types of most estimators.
        pickled = {"serialization_format": "cloudpickle"} if self._case.flavour == "sklearn" else {}
        if self._case.flavour == "lightgbm" and hasattr(self._model, "booster_"):
            pickled = {"serialization_format": "cloudpickle"}
        with mlflow.start_run():
            info = module.log_model(
                self._model,
                name="model",
                registered_model_name=name,
                signature=signature,
                pip_requirements=[],
                **pickled,
            )
        return f"models:/{name}/{info.registered_model_version}"

    def _check_native(self, native: Model) -> None:
        """See that what is certified against is what the library itself answers."""
        rows = fresh(self._rows, _WIRE_ROWS, seed=2, unseen=self._case.unseen)
        own = {"": np.asarray(self._case.predict(self._model, rows))}
        loaded = {"": np.asarray(native.predict(rows))}
        if judging.differing(own, loaded, judging.scales(own), _WIRE_TOLERANCE).any():
            raise AssertionError("the loaded model answers other than the one that was trained")

    def _certify(self, paths: dict[str, str], onnx: str) -> None:
        data = self._folder / "validation.parquet"
        table(self._case.data).validation.rows.to_parquet(data)
        report = str(self._folder / "certificate")
        try:
            release.certify(**paths, onnx=onnx, data=str(data), target="", report=report)
            self._verdict.outcome = "certified"
        except CertificateFailed:
            certificate = Certificate.read(report)
            self._verdict.outcome, self._verdict.reason = "refused", certificate.reason
            self._verdict.fault = certificate.fault or ""

    def _judge(self, native: Model, graph: Model) -> None:
        rows = fresh(self._rows, _FRESH_ROWS, unseen=self._case.unseen)
        try:
            seen = judging.compare(native.answer, graph.answer, rows, self._scores)
        except Exception:
            if self._verdict.outcome != "refused":
                raise
            self._verdict.blame = "the converter: its graph fails"
            return
        self._verdict.rows = seen.rows
        self._verdict.differing, self._verdict.unexplained = seen.differing, seen.unexplained
        if self._verdict.outcome == "refused":
            self._verdict.blame = self._blame(seen, native, graph, rows)

    def _blame(
        self, seen: judging.Difference, native: Model, graph: Model, rows: pd.DataFrame
    ) -> str:
        if seen.differing == 0:
            return "no fresh row differs by 1e-3"
        if seen.unexplained <= _WRONG:
            return "rounding of inputs to float32"
        if len(whole := rows.select_dtypes("integer").columns):
            # These no rounding changes: what lies on a threshold, arithmetic may push across.
            wide = rows.astype(dict.fromkeys(whole, float))
            pushed = judging.compare(native.answer, graph.answer, wide, self._scores)
            return "float32 arithmetic" if pushed.unexplained <= _WRONG else _UNKNOWN
        double = _in_double(self._model, rows)
        if double is None:
            return _UNKNOWN
        agreed = judging.compare(native.answer, lambda _: double, rows, lambda _: {})
        return "float32 arithmetic" if agreed.differing <= _WRONG else "the converter"

    def _scores(self, rows: pd.DataFrame) -> dict[str, judging.Scores]:
        """Return what the model holds of every class, by the output that names the likeliest."""
        finds_outliers = isinstance(self._model, OutlierMixin)
        classes = [-1, 1] if finds_outliers else getattr(self._model, "classes_", None)
        ask = getattr(self._model, "predict_proba", None)
        ask = ask or getattr(self._model, "decision_function", None)
        if classes is None or ask is None:
            return {}
        held = ask(rows)
        if isinstance(held, list):
            targets = enumerate(zip(held, classes, strict=True))
            return {f"label_{number}": one for number, one in targets}
        if isinstance(classes, list) and not finds_outliers:
            return {}
        held = np.column_stack([-held, held]) if held.ndim == 1 else held
        if held.shape[1] != len(classes):  # scores of pairs
            return {}
        return {"prediction" if finds_outliers else "label": (held, classes)}

    def _package(self, resolution: Resolution, conversion: Conversion, onnx: str) -> Path:
        """Register the graph as the release does; return the folder that MLflow keeps."""
        import mlflow

        package, beside = self._folder / "package", self._folder / "beside"
        beside.mkdir()
        with mlflow.start_run() as run:
            tracking.log_onnx(
                run_id=run.info.run_id,
                name=f"{resolution.name}-onnx",
                graph=Path(onnx).read_bytes(),
                resolution=resolution,
                conversion=conversion,
                runtime=RuntimeSettings(),
                example=None,
                beside=str(beside),
                folder=str(package),
            )
        return package

    def _serve(self, folder: Path, model: Model) -> None:
        rows = fresh(self._rows, _WIRE_ROWS, seed=1, unseen=self._case.unseen)
        expected: judging.Answers = model.answer(rows)
        natively = self._verdict.outcome != "certified"
        with wire.served(folder, f"sweep-{os.getpid()}", natively=natively) as url:
            for protocol, ask in (("V1", wire.ask_v1), ("V2", wire.ask_v2)):
                answers = ask(url, rows)
                if natively:
                    expected = self._answered_natively(model, rows, next(iter(answers)), answers)
                elif len(expected) == 1:  # V1 does not name a lone output
                    answers = dict(zip(expected, answers.values(), strict=True))
                _check(protocol, expected, answers)

    def _answered_natively(
        self, model: Model, rows: pd.DataFrame, first: str, names: Collection[str]
    ) -> judging.Answers:
        """Return what a runtime must answer natively: first of all what `predict` does."""
        own = np.asarray(self._case.predict(self._model, rows))
        others = {name: values for name, values in model.answer(rows).items() if name in names}
        return {**others, first: own}


def _check(protocol: str, expected: judging.Answers, answers: judging.Answers) -> None:
    scale = judging.scales(expected)
    wrong = judging.differing(expected, answers, scale, _WIRE_TOLERANCE)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise AssertionError(
            f"over {protocol} {wrong.sum()} of {len(wrong)} rows are answered otherwise: "
            f"{_row(expected, row)} in process, {_row(answers, row)} over the wire"
        )


def _row(answers: judging.Answers, row: int) -> dict[str, Any]:
    return {name: np.asarray(values)[row].tolist() for name, values in answers.items()}


def _in_double(model: Any, rows: pd.DataFrame) -> judging.Answers | None:
    """Answer rows with skl2onnx's graph in float64, if it makes one of this model."""
    import onnxruntime
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import DoubleTensorType

    try:
        graph = to_onnx(
            model,
            initial_types=[("input", DoubleTensorType([None, rows.shape[1]]))],
            options={"zipmap": False} if hasattr(model, "predict_proba") else None,
        )
        session = onnxruntime.InferenceSession(graph.SerializeToString())
        outputs = session.run(None, {"input": rows.to_numpy(dtype=float)})
    except Exception:  # noqa: BLE001 - converters and ONNX Runtime raise what they like
        return None
    names = ("label", "probabilities") if hasattr(model, "classes_") else ("prediction",)
    return dict(zip(names, outputs, strict=False))


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
