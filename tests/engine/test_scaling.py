"""The autoscaler against a simulated part: second by second, no clock, no sleep."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelport_engine.scaling import Autoscaler, Decision, Metric, Scale, Windows

from .scaling_part import Part

CPU = Scale(minimum=1, maximum=8, metric="cpu", target=70)
LATENCY = replace(CPU, metric="latency", target=0.2)
CONCURRENCY = replace(CPU, metric="concurrency", target=2)  # 1.6 at a time are what one can bear
RPS = replace(CPU, metric="rps", target=100)


def test_cpu_grows_by_powers_of_two_and_says_why() -> None:
    part = Part(CPU)
    assert part.run(60, 400) == [1, 2, 4, 8]
    assert part.reasons[0] == "cpu 100 % of 70 % over 3 s: 1 to 2"
    # One growth at a time: the replicas took 2 s, and a window of 3 s came after.
    assert all(later - earlier >= 5 for (earlier, _), (later, _) in pairwise(part.changes))


def test_growth_is_decided_within_seconds_of_a_step() -> None:
    part = Part(CPU)
    part.run(120, 10)
    started = part.now
    part.run(10, 400)
    assert part.changes[0][0] - started <= 3


def test_growth_is_bounded_by_the_maximum() -> None:
    assert Part(replace(CPU, maximum=3)).run(60, 400) == [1, 2, 3]
    assert Part(replace(CPU, minimum=3), current=3).run(60, 400) == [3, 4, 8]


@pytest.mark.parametrize("scale", [CPU, LATENCY], ids=lambda scale: scale.metric)
def test_growth_waits_for_replicas_that_never_become_ready(scale: Scale) -> None:
    assert Part(scale, startup=1e9).run(300, 400) == [1, 2]


def test_a_spike_of_a_second_does_not_count() -> None:
    assert Part(CPU).run(600, lambda second: 200 if second % 20 == 10 else 20) == [1]


def test_cores_of_a_replica_count() -> None:
    assert Part(replace(CPU, cores=2.0)).run(60, 90) == [1]
    assert Part(replace(CPU, cores=0.5)).run(60, 60) == [1, 2]


def test_fewer_must_stay_clearly_below_the_target() -> None:
    assert Part(CPU, current=3).run(200, 138) == [3]  # two would be at 69 %
    assert Part(CPU, current=3).run(200, 124) == [3, 2]


def test_the_last_replica_stays() -> None:
    for scale in (CPU, LATENCY, CONCURRENCY, RPS):
        assert Part(replace(scale, minimum=0)).run(300, 0) == [1]


def test_a_ramp_is_followed_up_and_down() -> None:
    part = Part(CPU)
    assert part.run(90, lambda second: second * 5) == [1, 2, 4, 8]
    down = part.run(600, lambda second: max(0.0, 450 - second * 1.5))
    assert down == sorted(down, reverse=True)
    assert down[-1] == 1


def test_fewer_only_after_a_quiet_window() -> None:
    part = Part(CPU)
    part.run(60, 250)
    assert part.current == 4
    stopped = part.now
    assert part.run(300, 0) == [4, 3, 2, 1]  # as its last three averages leave the window
    assert all(at - stopped >= 60 for at, _ in part.changes[2:])
    assert part.reasons[-1] == "cpu 0 % of 70 % over 3 s, 1 would have done for 60 s: 2 to 1"


@pytest.mark.parametrize("scale", [CPU, LATENCY, CONCURRENCY, RPS], ids=lambda one: one.metric)
def test_a_flapping_load_keeps_what_its_peaks_need(scale: Scale) -> None:
    part = Part(scale)
    part.run(300, lambda second: 300 if second % 40 < 20 else 0)
    peak, known = part.current, len(part.changes)
    assert peak > 1
    assert part.run(600, lambda second: 300 if second % 40 < 20 else 0) == [peak]
    assert len(part.changes) == known


def test_latency_doubles_and_does_not_try_again_what_was_too_slow() -> None:
    part = Part(LATENCY)
    assert part.run(900, 150) == [1, 2]
    assert part.reasons == ["P99 0.495 s of 0.2 s over 3 s: 1 to 2"]
    assert part.run(200, 20) == [2, 1]


def test_latency_halves_step_by_step_when_nothing_comes() -> None:
    part = Part(LATENCY)
    part.run(60, 500)
    assert part.current == 8
    assert part.run(400, 0) == [8, 4, 2, 1]


def test_latency_of_few_requests_decides_nothing() -> None:
    part = Part(LATENCY, current=2)
    part.slow, part.quick = 10, 0
    for _ in range(200):
        part.slow += 3  # 9 in a window, each of them slow
        part.step(0)
    assert part.current == 2


def test_a_hiccup_does_not_hold_the_replicas_for_ever() -> None:
    part = Part(LATENCY)
    part.run(10, 20)
    part.slow += 50
    assert part.run(30, 20) == [1, 2]
    assert part.run(300, 78) == [2, 1]  # 39 a second each were quick after all


@pytest.mark.parametrize(
    ("scale", "rps", "replicas"),
    [(RPS, 250, 4), (RPS, 70, 1), (RPS, 71, 2), (replace(CONCURRENCY, target=1), 100, 3)],
)
def test_load_settles_at_knatives_formula(scale: Scale, rps: int, replicas: int) -> None:
    # 100 a second of 20 ms each are two at a time, and 2 / 0.7 are three replicas.
    part = Part(scale, current=2)
    part.run(300, rps)
    assert part.current == replicas


def test_a_burst_makes_knatives_rule_panic() -> None:
    part = Part(RPS)
    part.run(120, 10)
    started = part.now
    part.run(10, 500)
    assert part.changes[0] == (started + 1, 2)
    assert part.reasons[0] == "rps 91.7 of 70 per replica over 6 s: 1 to 2"
    assert part.current == 8


def test_memory_follows_kubernetes_formula() -> None:
    scale = replace(CPU, metric="memory", target=80, memory_bytes=200 * 2**20)
    assert Part(scale, current=4).run(300, 0) == [4, 3, 2]
    assert Part(scale, current=2, megabytes=170).run(300, 0) == [2]  # within the tolerance
    assert Part(scale, current=2, megabytes=180).run(6, 0) == [2, 3]
    assert Part(replace(scale, memory_bytes=None), current=2).run(300, 0) == [2]


def test_bounds_apply_at_once() -> None:
    part = Part(CPU)
    part.scale = replace(CPU, minimum=3)
    assert part.step(0) == Decision(3, "minReplicas is 3: 1 to 3")
    part.scale = replace(CPU, maximum=2)
    assert part.step(0) == Decision(2, "maxReplicas is 2: 3 to 2")


def test_what_was_quiet_under_a_minimum_goes_with_it() -> None:
    part = Part(replace(CPU, minimum=4), current=4)
    part.run(120, 10)
    part.scale = CPU
    assert part.step(10).replicas == 1


@pytest.mark.parametrize("metric", ["latency", "rps", "concurrency"])
def test_a_silent_gateway_changes_nothing(metric: Metric) -> None:
    part = Part(replace(LATENCY, metric=metric), current=4)
    part.answering = False
    assert part.run(300, 400) == [4]


def test_what_nobody_saw_was_not_quiet() -> None:
    part = Part(RPS, current=4)
    part.run(50, 0)
    part.answering = False
    part.run(20, 0)
    part.answering = True
    assert part.run(50, 0) == [4]
    assert part.run(20, 0)[-1] < 4


def test_without_samples_the_number_stays() -> None:
    autoscaler = Autoscaler(Windows(), 4)
    assert {autoscaler.desired(CPU, float(now)) for now in range(300)} == {Decision(4)}
    part = Part(CPU, current=4)
    part.run(30, 0)
    decisions = {part.autoscaler.desired(CPU, part.now + later) for later in range(4, 300)}
    assert decisions == {Decision(4)}


def test_an_engine_that_was_restarted_keeps_the_number_for_a_quiet_window() -> None:
    for scale in (CPU, LATENCY, CONCURRENCY, RPS):
        part = Part(scale, current=4)
        assert part.run(59, 0) == [4]
        assert part.run(200, 0)[-1] == 1


@pytest.mark.parametrize("scale", [CPU, LATENCY, CONCURRENCY, RPS], ids=lambda one: one.metric)
def test_deaths_and_restarts_change_nothing(scale: Scale) -> None:
    part = Part(scale)
    part.run(300, 130)
    settled = part.current
    for _ in range(5):
        part.kill()
        part.restart_gateway()
        assert part.run(40, 130) == [settled]


def test_all_replicas_gone_is_no_reason_for_fewer() -> None:
    part = Part(CPU, current=4)
    part.ready_at = dict.fromkeys(part.ready_at, 1e9)
    assert part.run(300, 0) == [4]


def test_the_start_of_a_replica_is_no_load() -> None:
    part = Part(CPU)
    part.run(10, 0)
    part.cpu[part.next_pid] = 60.0  # what the next one has used when it is first seen
    part.kill()
    assert part.run(30, 0) == [1]


def test_memory_of_the_past_is_bounded() -> None:
    part = Part(CPU)
    part.run(1000, 50)
    assert len(part.autoscaler._history._readings) <= 60
    assert len(part.autoscaler._advised) <= 60


scales = st.one_of(
    st.builds(replace, st.just(CPU), target=st.sampled_from([40, 70, 90])),
    st.builds(replace, st.just(LATENCY)),
    st.builds(replace, st.just(CONCURRENCY), target=st.sampled_from([1, 2])),
    st.builds(replace, st.just(RPS), target=st.sampled_from([10, 50, 100])),
)


@settings(max_examples=40, deadline=None)
@given(scales, st.integers(1, 8), st.floats(0, 700), st.floats(0, 10))
def test_a_constant_load_settles(scale: Scale, current: int, rps: float, startup: float) -> None:
    part = Part(scale, current=current, startup=startup)
    part.run(400, rps)
    known = len(part.changes)
    part.run(400, rps)
    assert len(part.changes) == known
    ups = [
        later > earlier for (_, earlier), (_, later) in pairwise([(0.0, current), *part.changes])
    ]
    assert ups.count(False) <= 3


@settings(max_examples=40, deadline=None)
@given(scales, st.integers(1, 8), st.floats(0, 700), st.floats(0, 0.3))
def test_what_is_added_stays_for_a_quiet_window(
    scale: Scale, current: int, rps: float, noise: float
) -> None:
    part = Part(scale, current=current, noise=noise)
    part.run(400, rps)
    states = [(0.0, current), *part.changes]
    added = [at for (_, before), (at, after) in pairwise(states) if after > before]
    removed = [at for (_, before), (at, after) in pairwise(states) if after < before]
    for up in added:
        assert not any(up < down < up + part.windows.quiet for down in removed)


events = st.sampled_from(["kill", "restart", "silent", "answering", "rest"])
minutes = st.tuples(
    st.floats(0, 1000), events, st.integers(1, 4), st.integers(4, 9), st.integers(1, 30)
)


@settings(max_examples=40, deadline=None)
@given(scales, st.lists(minutes, max_size=12))
def test_bounds_are_kept_whatever_happens(
    scale: Scale, story: list[tuple[float, str, int, int, int]]
) -> None:
    part = Part(scale, windows=Windows(stable=20, panic=2, short=3, quiet=10))
    for rps, event, minimum, maximum, seconds in story:
        part.scale = replace(scale, minimum=minimum, maximum=maximum)
        if event == "kill":
            part.kill()
        elif event == "restart":
            part.restart_gateway()
        elif event != "rest":
            part.answering = event == "answering"
        for _ in range(seconds):
            assert minimum <= part.step(rps).replicas <= maximum
