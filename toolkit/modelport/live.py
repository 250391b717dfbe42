"""Trying out a live endpoint: whether it answers as the certified model does, and how fast."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from modelport import evaluate, gates, parity
from modelport.benchmarking.drive import Generator
from modelport.benchmarking.rounds import Point, measure
from modelport.config import settings
from modelport.convert import flavour
from modelport.endpoints import Answers, Endpoint, encode, instances
from modelport.journal import say
from modelport.material import converted
from modelport.reports import Deployment, Dossier, Latency, Verification

if TYPE_CHECKING:
    from modelport.convert.base import Model
    from modelport.material import Material

_LIVE_CONCURRENCY = 8


def replay(
    known: Dossier, deployed: Deployment, material: Material, onnx: str, slo: str
) -> Verification:
    """Ask the live endpoint for what the certified model answers, then time it."""
    say("replaying rows")
    labelled = material.rows and material.rows.sample(settings().limits.live_rows)
    rows = labelled.inputs if labelled else material.sample
    expected = _served(known, material, onnx).answer(rows)
    sent = instances(rows if material.has_named_columns else rows.to_numpy())
    endpoint = Endpoint(deployed.url, deployed.service, connections=_LIVE_CONCURRENCY)
    try:
        answers = _named_as(expected, endpoint.answer(sent))
        latencies = _time_live(endpoint.url, encode(sent[:1]))
    finally:
        endpoint.close()
    seen = parity.compare(expected, answers)
    metrics: dict[str, float] = {}
    if labelled is not None and labelled.labels is not None:
        _, metrics = evaluate.score(labelled.labels, answers, known.evaluation.task)
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


def _served(known: Dossier, material: Material, onnx: str) -> Model:
    """Return what the endpoint runs: the graph, or the model in its own flavour."""
    if known.conversion.converted:
        return converted(onnx)
    return flavour(known.resolution.flavour).load(Path(material.source), material.resolved)


def _named_as(expected: Answers, answers: Answers) -> Answers:
    """Name a lone live output, which V1 answers without its name, as the expected one is.

    Where there are more, the first one is what was expected: a model's label, then the rest.
    """
    if len(expected) == 1 and not expected.keys() & answers.keys():
        return dict(zip(expected, answers.values(), strict=False))
    return answers


def _time_live(url: str, body: bytes) -> tuple[Latency, ...]:
    say("timing the live endpoint")
    limits = settings().limits
    with Generator() as generator:
        job = partial(generator.run, url, [body], seconds=limits.benchmark_seconds)
        points = [
            Point("live", 1, callers, partial(job, connections=callers))
            for callers in (1, _LIVE_CONCURRENCY)
        ]
        return measure(points, limits.benchmark_rounds)
