"""Which precision a converted model computes in: the one asked for, or the fastest that holds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from modelport import evaluate, gates, parity
from modelport.benchmarking import calls
from modelport.config import settings
from modelport.convert import precision, session
from modelport.errors import UnsupportedModel
from modelport.journal import say
from modelport.reports import Precision, PrecisionCandidate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelport.convert.precision import Candidate, Choice
    from modelport.material import Material

_CLEARLY_FASTER = 0.9  # of float32's median: less is noise, and not worth a wider tolerance


@dataclass(frozen=True)
class Chosen:
    """A graph with its precision, and the table that it was chosen from."""

    onnx: bytes
    precision: Precision
    table: tuple[PrecisionCandidate, ...] = ()


def choose(graph: bytes, choice: Choice, material: Material, slo: str) -> Chosen:
    """Return the graph in the precision asked for; for `auto`, in the fastest that passes.

    A candidate passes with its certificate, and with the gates on accuracy where there are
    labelled rows.

    Args:
        graph: The serialized float32 model, optimised.
        choice: A precision, or `auto`.
        material: The native model, and rows to try on.
        slo: The release's gates.

    Raises:
        UnsupportedModel: The graph has no form in the precision asked for.
    """
    if choice == "float32":
        return Chosen(graph, "float32")
    found = precision.candidates(graph, choice)
    if choice != "auto":
        only = found[0]
        if only.onnx is None:
            raise UnsupportedModel(only.reason, "use --precision float32 or auto")
        return Chosen(only.onnx, only.precision)
    return _fastest(found, material, slo)


def _fastest(found: Sequence[Candidate], material: Material, slo: str) -> Chosen:
    tried = [_tried(candidate, material, slo) for candidate in found]
    plain = tried[0].p50_ms or float("inf")
    best = 0
    for place, one in enumerate(tried):
        bound = _CLEARLY_FASTER * plain if best == 0 else tried[best].p50_ms or 0.0
        if one.passed and one.p50_ms is not None and one.p50_ms < bound:
            best = place
    table = tuple(
        one.model_copy(update={"chosen": place == best}) for place, one in enumerate(tried)
    )
    return Chosen(found[best].onnx or b"", found[best].precision, table)


def _tried(candidate: Candidate, material: Material, slo: str) -> PrecisionCandidate:
    """Certify, score and time a candidate."""
    kind = candidate.precision
    if candidate.onnx is None:
        return PrecisionCandidate(precision=kind, passed=False, reason=candidate.reason)
    say(f"trying {kind}")
    model = session.OnnxModel(candidate.onnx)
    one_row = model.feed(material.sample[:1])
    timed = calls.run(partial(model.run, one_row), settings().limits.benchmark_seconds)
    certificate = parity.certify(
        material.native,
        model,
        material.probes,
        tolerance=parity.TOLERANCES[kind],
        precision=kind,
    )
    missed = _missed_gates(model, material, slo) if certificate.passed else ""
    return PrecisionCandidate(
        precision=kind,
        passed=certificate.passed and not missed,
        reason=missed or certificate.reason,
        p50_ms=1000 * float(np.median(timed.times)),
        size_bytes=len(candidate.onnx),
    )


def _missed_gates(model: session.OnnxModel, material: Material, slo: str) -> str:
    """Say which gate on accuracy the model misses; empty for none."""
    asked = [gate for gate in gates.parse(slo) if gate.metric in gates.QUALITIES]
    rows = material.rows and material.rows.sample(settings().limits.evaluated_rows)
    if not asked or rows is None or rows.labels is None:
        return ""
    _, metrics = evaluate.score(rows.labels, model.answer(rows.inputs), material.native.task)
    verdicts = [gate.judge(metrics.get(gate.metric), "before", "no such metric") for gate in asked]
    return "; ".join(f"{v.gate} missed: {v.reason}" for v in verdicts if not v.passed)
