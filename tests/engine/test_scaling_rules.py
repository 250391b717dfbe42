"""The arithmetic below the autoscaler: differences, quantiles, Knative's formula."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelport_engine.scaling import Sample
from modelport_engine.scaling.knative import Knative, Load
from modelport_engine.scaling.samples import History, quantile

from .scaling_part import Counted

BOUNDS = (0.5, 1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0)


def history(*samples: Sample, horizon: float = 60.0) -> History:
    known = History(horizon)
    for sample in samples:
        known.add(sample)
    return known


def sample(time: float, traffic: Counted | None = None, **cpu: float) -> Sample:
    used = {int(pid.removeprefix("p")): seconds for pid, seconds in cpu.items()}
    return Sample(time, len(used), used, 100 * len(used), traffic)


def test_cores_are_those_of_processes_seen_twice() -> None:
    known = history(sample(0, p1=5.0), sample(2, p1=6.0, p2=50.0), sample(4, p2=53.0))
    assert known.window(10, now=4).cores == (1 + 3) / 4
    assert known.window(2, now=4).cores == 3 / 2


def test_a_process_that_got_the_id_of_another_counts_from_then_on() -> None:
    known = history(sample(0, p1=50.0), sample(1, p1=0.5), sample(2, p1=1.5))
    assert known.window(10, now=2).cores == 1 / 2


def test_requests_are_counted_on_when_the_gateway_starts_anew() -> None:
    counts = (
        Counted(100, 1, ((10, 90), (20, 100))),
        Counted(160, 3, ((10, 150), (20, 160))),
        Counted(30, 5, ((10, 0), (20, 30))),
    )
    known = history(*(sample(time, traffic) for time, traffic in enumerate(counts)))
    window = known.window(10, now=2)
    assert window.rps == (60 + 30) / 2
    assert window.concurrency == (3 + 5) / 2
    assert window.latency() == (pytest.approx(0.0197, abs=1e-4), 90)


def test_a_silent_gateway_leaves_a_gap_and_no_zero() -> None:
    counts = (Counted(100), None, Counted(500), Counted(520))
    known = history(*(sample(time, traffic) for time, traffic in enumerate(counts)))
    assert known.window(10, now=3).rps == 20
    assert known.window(10, now=2.5).is_served is False
    silent = history(sample(0), sample(1)).window(10, now=1)
    assert (silent.rps, silent.concurrency, silent.latency()) == (None, None, (0.0, 0))


def test_a_window_is_covered_when_most_of_it_was_seen() -> None:
    known = history(*(sample(float(time), p1=time) for time in range(10)))
    assert known.window(3, now=9).is_covered
    assert not known.window(30, now=9).is_covered
    assert not known.window(3, now=30).is_covered


def test_samples_out_of_order_are_left_out() -> None:
    known = history(sample(1, p1=1.0), sample(1, p1=9.0), sample(0, p1=9.0), sample(2, p1=2.0))
    assert known.window(10, now=2).cores == 1


@given(st.lists(st.floats(0.01, 990), min_size=1, max_size=500), st.floats(0.01, 1))
def test_a_quantile_lies_in_the_bucket_of_the_exact_one(values: list[float], share: float) -> None:
    counts = [(bound, sum(value <= bound for value in values)) for bound in BOUNDS]
    exact = float(np.quantile(values, share, method="inverted_cdf"))
    upper = next(bound for bound in BOUNDS if exact <= bound)
    lower = max((bound for bound in BOUNDS if bound < exact), default=0.0)
    assert lower <= quantile(share, tuple(counts)) <= upper


def test_a_quantile_at_the_edges() -> None:
    assert quantile(0.99, ()) == 0
    assert quantile(0.99, ((10, 0), (math.inf, 0))) == 0
    assert quantile(0.5, ((10, 100),)) == 5  # evenly spread from 0 to 10
    assert quantile(0.99, ((10, 0), (20, 5), (math.inf, 10))) == 20  # as far as is known


@pytest.mark.parametrize(
    ("load", "ready", "replicas"),
    [
        (Load(stable=70, panic=70, target=10), 10, 10),
        (Load(stable=71, panic=71, target=10), 10, 11),
        (Load(stable=7, panic=7, target=10), 10, 5),  # at most halved at once
        (Load(stable=0, panic=0, target=10), 1, 0),
        (Load(stable=10, panic=140, target=10), 10, 20),  # twice as many: panic
        (Load(stable=70, panic=132, target=10), 10, 10),  # almost
        (Load(stable=5e6, panic=0, target=1), 2, 2000),  # at most a thousandfold
    ],
)
def test_knatives_formula(load: Load, ready: int, replicas: int) -> None:
    assert Knative().desired(load, ready, stable_window=60, now=0) == replicas


def test_a_panic_ends_after_a_stable_window_and_never_takes_back() -> None:
    knative = Knative()
    burst, calm = Load(stable=7, panic=56, target=10), Load(stable=7, panic=7, target=10)
    assert knative.desired(burst, 1, 60, now=0) == 8
    assert knative.desired(calm, 8, 60, now=1) == 8
    assert knative.desired(calm, 8, 60, now=60) == 8
    assert knative.panics
    assert knative.desired(calm, 8, 60, now=61) == 4
    assert not knative.panics


def test_a_burst_that_goes_on_keeps_the_panic_up() -> None:
    knative = Knative()
    burst, calm = Load(stable=7, panic=112, target=10), Load(stable=7, panic=7, target=10)
    knative.desired(burst, 1, 60, now=10)
    knative.desired(burst, 8, 60, now=50)
    assert knative.desired(calm, 8, 60, now=100) == 16
    assert knative.desired(calm, 8, 60, now=111) == 4
