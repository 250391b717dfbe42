"""Replicas that fail, go or are busy, behind the real Envoy."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from tests.engine.conftest import eventually
from tests.engine.gate import PATH, Replica, backend, shared

from modelport_engine.gateway.xds import Backend
from modelport_engine.replicas.ports import replica_port

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.engine.gate import Gate

CLUSTER = "default/tumor"


def _ports() -> tuple[int, int]:
    """Give two ports where nobody listens."""
    first = replica_port(set())
    return first, replica_port({first})


def _retries(gate: Gate) -> int:
    counts = gate.run(gate.gateway._admin.values("upstream_rq_retry$"))
    return sum(
        counts.get(f"cluster.{CLUSTER}{kind}.upstream_rq_retry", 0) for kind in ("", "/grpc")
    )


def test_requests_wait_for_the_successor_of_the_only_replica(gate: Gate) -> None:
    dead, dead_grpc = _ports()
    gate.apply(shared((Backend(CLUSTER, (dead,), (dead_grpc,)), 100)))
    large = b"x" * 4_000_000
    with ThreadPoolExecutor(200) as pool, gate.channel() as call:
        rest = [pool.submit(gate.ask, PATH, body=b"{}") for _ in range(95)]
        rest += [pool.submit(gate.ask, PATH, body=large) for _ in range(5)]
        calls = [pool.submit(call, b"{}") for _ in range(100)]
        eventually(lambda: _retries(gate) > 800)
        assert not any(one.done() for one in (*rest, *calls))

        with Replica("next", speaks_grpc=True) as replica:
            gate.apply(shared((Backend(CLUSTER, (replica.port,), replica.grpc_ports), 100)))
            assert [one.result() for one in rest] == [(200, "next")] * 100
            assert [one.result() for one in calls] == [b"next"] * 100
            assert replica.served == 200


def test_a_body_that_is_too_large_to_be_kept_is_still_sent(gate: Gate) -> None:
    with Replica("one") as replica:
        gate.apply(shared((backend("large", replica), 100)))
        assert gate.ask(PATH, body=bytes(20_000_000)) == (200, "one")


def test_waiting_for_a_replica_has_an_end(gate: Gate) -> None:
    dead, dead_grpc = _ports()
    gate.apply(shared((Backend("default/gone", (dead,), (dead_grpc,)), 100)))
    with ThreadPoolExecutor() as pool, gate.channel() as call:
        called: Future[Any] = pool.submit(call, b"x")
        status, answer = gate.ask()
        assert (status, set(answer)) == (503, {"error"})
        assert called.exception().code() is grpc.StatusCode.UNAVAILABLE
    seen = gate.run(gate.gateway.statistics())["default/gone"]
    assert (seen.requests, seen.failed, seen.active) == (2, 2, 0)


def test_a_request_that_a_replica_has_seen_is_not_made_again(gate: Gate) -> None:
    with Replica("dies") as dying, Replica("lives") as living:
        dying.delay = 60
        gate.apply(shared((backend("dying", dying), 100)))
        with ThreadPoolExecutor() as pool:
            asked = pool.submit(gate.ask)
            eventually(lambda: dying.served)
            gate.apply(shared((backend("dying", dying, living), 100)))
            dying.cut()
            assert asked.result()[0] == 503
        assert (dying.served, living.served) == (1, 0)


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_broken_replica_is_left_out(gate: Gate, status: int) -> None:
    with Replica("well") as well, Replica("broken", status=status) as broken:
        gate.apply(shared((backend(f"broken-{status}", well, broken), 100)))
        eventually(lambda: gate.ask() and broken.served == 5)
        assert [gate.ask() for _ in range(30)] == [(200, "well")] * 30


def test_a_replica_that_refuses_connections_costs_nothing(gate: Gate) -> None:
    with Replica("well") as well:
        half_dead = Backend("default/half", (well.port, replica_port(set())))
        gate.apply(shared((half_dead, 100)))
        assert [gate.ask() for _ in range(30)] == [(200, "well")] * 30
        ejected = gate.run(gate.gateway._admin.values("half.outlier_detection.ejections_active"))
        assert list(ejected.values()) == [1]


def test_a_models_own_errors_and_the_only_replica_are_never_left_out(gate: Gate) -> None:
    with Replica("well") as well, Replica("fails", status=500) as fails:
        gate.apply(shared((backend("own", well, fails), 100)))
        answers = Counter(gate.ask()[1] for _ in range(60))
        assert answers["fails"] > 10
    with Replica("only", status=503) as only:
        gate.apply(shared((backend("only", only), 100)))
        assert [gate.ask() for _ in range(20)] == [(503, "only")] * 20


def _burst(ask: Callable[[], Any], count: int, meanwhile: Callable[[], None]) -> list[Any]:
    with ThreadPoolExecutor(count) as pool:
        asked = [pool.submit(ask) for _ in range(count)]
        meanwhile()
        return [one.result() for one in asked]


def test_no_replica_gets_more_requests_at_a_time_than_it_is_to_have(gate: Gate) -> None:
    with Replica("one", delay=0.03, speaks_grpc=True) as one, gate.channel() as call:
        gate.apply(shared((backend("alone", one, concurrency=1), 100)))
        rest = _burst(gate.ask, 30, lambda: None)
        assert (rest, one.most) == ([(200, "one")] * 30, 1)
        calls = _burst(lambda: call(b"x"), 30, lambda: None)
        assert (calls, one.most) == ([b"one"] * 30, 1)


def test_what_waits_for_a_replica_that_goes_is_answered(gate: Gate) -> None:
    with Replica("stays", delay=0.03) as stays, Replica("goes", delay=0.03) as goes:
        gate.apply(shared((backend("pair", stays, goes, concurrency=1), 100)))

        def shrink() -> None:
            eventually(lambda: goes.served)
            gate.apply(shared((backend("pair", stays, concurrency=1), 100)))

        answers = _burst(gate.ask, 40, shrink)
        assert {status for status, _ in answers} == {200}
        assert (stays.most, goes.most) == (1, 1)


def test_a_changed_limit_loses_no_request(gate: Gate) -> None:
    with Replica("one") as one:
        done = threading.Event()
        statuses: list[int] = []

        def keep_asking() -> None:
            while not done.is_set():
                statuses.append(gate.ask()[0])

        gate.apply(shared((backend("changing", one), 100)))
        caller = threading.Thread(target=keep_asking)
        caller.start()
        for limit in (1, 4, 0):
            gate.apply(shared((backend("changing", one, concurrency=limit), 100)))
        done.set()
        caller.join()
        assert set(statuses) == {200}
