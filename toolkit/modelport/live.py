"""Trying out a live endpoint: whether it answers as the certified model does, and how fast."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from modelport import evaluate, gates, parity
from modelport.benchmarking.drive import Generator
from modelport.benchmarking.rounds import Point, measure
from modelport.config import settings
from modelport.data import Rows
from modelport.endpoints import Answers, Endpoint, batch_size, encode, instances
from modelport.journal import say
from modelport.material import converted
from modelport.reports import Deployment, Dossier, Latency, Verification

if TYPE_CHECKING:
    from modelport.convert.base import Model
    from modelport.material import Material

_LIVE_CONCURRENCY = 8
_LIVE_VALUES = 2_000_000  # numbers that are replayed: of images there are fewer rows
_SHOWN_VALUES = 1_000  # of a request that fits a curl line


def replay(
    known: Dossier, deployed: Deployment, material: Material, onnx: str, slo: str
) -> Verification:
    """Ask the live endpoint for what the certified model answers, then time it."""
    say("replaying rows")
    replayed = _replayed(material)
    rows = replayed.inputs
    named = isinstance(rows, np.ndarray) or material.has_named_columns
    sent = instances(rows if named else rows.to_numpy())
    endpoint = Endpoint(deployed.url, deployed.service, connections=_LIVE_CONCURRENCY)
    try:
        answers = endpoint.answer(sent)
        latencies = _time_live(endpoint.url, encode(sent[:1]))
    finally:
        endpoint.close()
    if known.conversion.converted:
        # In the batches that it was asked in: what int8 answers depends on a row's neighbours.
        expected = evaluate.answers(converted(onnx), rows, batch_size(sent))
        answers = _named_as(expected, answers)
    else:
        expected = _expected(material.native, rows, answers)
    seen = parity.compare(expected, answers)
    metrics: dict[str, float] = {}
    if replayed.labels is not None:
        _, metrics = evaluate.score(replayed.labels, answers, known.evaluation.task)
    return Verification(
        rows=len(rows),
        rows_differing=int(seen.failed.sum()),
        max_abs_difference=float(seen.absolute.max()),
        label_flips=int(seen.flipped.sum()),
        latencies=latencies,
        metrics=metrics,
        verdicts=gates.judge(gates.parse(slo), latencies[0], known.evaluation, metrics, "live"),
        example=sent[0] if rows[:1].size <= _SHOWN_VALUES else None,
    )


def _replayed(material: Material) -> Rows:
    """Return as many rows, with labels where there are some, as are sent in a moment."""
    found = material.rows or Rows(material.sample)
    most = max(1, _LIVE_VALUES // int(found.inputs[:1].size))
    return found.sample(min(settings().limits.live_rows, most))


def _expected(native: Model, rows: Any, answers: Answers) -> Answers:
    """Return what a model served in its own flavour is to answer, by the endpoint's names.

    Its runtime may answer less than we ask the model for (no scores of an outlier detector), and
    names after the signature what it has no name for: what `predict` returns, or several outputs.
    """
    known = native.answer(rows)
    expected = {name: known[name] for name in answers if name in known}
    others = [name for name in answers if name not in known]
    if len(others) == 1:
        return {**expected, others[0]: np.asarray(native.predict(rows))}
    unnamed = (values for name, values in known.items() if name not in expected)
    return {**expected, **dict(zip(others, unnamed, strict=False))}


def _named_as(expected: Answers, answers: Answers) -> Answers:
    """Name a lone live output, which V1 answers without its name, as the expected one is."""
    if len(expected) == len(answers) == 1:
        return dict(zip(expected, answers.values(), strict=True))
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
        return measure(points, limits.benchmark_rounds, most_seconds=limits.benchmark_most_seconds)
