"""Which request goes where, through the real Envoy."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from tests.engine.conftest import eventually
from tests.engine.gate import HOST, PATH, Replica, backend, shared

from modelport_engine.gateway.xds import Destination, Route, Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.engine.gate import Gate


@pytest.fixture(scope="module")
def one() -> Iterator[Replica]:
    with Replica("one", speaks_grpc=True) as replica:
        yield replica


@pytest.fixture(scope="module")
def two() -> Iterator[Replica]:
    with Replica("two", speaks_grpc=True) as replica:
        yield replica


@pytest.mark.parametrize(
    "authority",
    ["tumor.default", "tumor.default:8780", "tumor.default.example.com", "TUMOR.default.a:8780"],
)
def test_a_service_is_found_by_its_host_over_rest_and_grpc(
    gate: Gate, one: Replica, authority: str
) -> None:
    gate.apply(shared((backend("one", one), 100)))
    assert gate.ask("/v1/x", {"Host": authority}) == (200, "one")
    with gate.channel(authority) as call:
        assert call(b"x") == b"one"


def _failure(gate: Gate, authority: str) -> tuple[Any, str]:
    with gate.channel(authority) as call, pytest.raises(grpc.RpcError) as caught:
        call(b"x")
    return caught.value.code(), caught.value.details()


def test_grpc_callers_are_told_in_plain_words_what_they_cannot_have(gate: Gate) -> None:
    with Replica("rest") as replica:
        only_rest = backend("rest", replica)
        to_it = Destination(30, ((only_rest.cluster, 100),))
        table = Table(
            (only_rest,),
            (
                Route("default", "rest", to_it),
                Route("default", "cold", Destination(30, ())),
                Route("default", "off", Destination(30, ()), message="service off is stopped"),
            ),
        )
        gate.apply(table)
        code = grpc.StatusCode
        assert _failure(gate, "rest.default.local") == (
            code.UNIMPLEMENTED,
            "service default/rest does not speak gRPC: use REST",
        )
        no_revision = "service default/cold has no ready revision"
        assert _failure(gate, "cold.default.local") == (code.UNAVAILABLE, no_revision)
        assert gate.ask("/serving/default/cold/x") == (503, {"error": no_revision})
        assert _failure(gate, "off.default.local") == (code.UNAVAILABLE, "service off is stopped")
        assert gate.ask("/serving/default/off/x") == (503, {"error": "service off is stopped"})
        unknown = "no such service; the authority is NAME.NAMESPACE.local"
        assert _failure(gate, "nobody.default.local") == (code.UNIMPLEMENTED, unknown)
        assert _failure(gate, f"127.0.0.1:{gate.gateway.port}") == (code.UNIMPLEMENTED, unknown)


def test_a_timeout_is_grpcs_own(gate: Gate) -> None:
    with Replica("slow", delay=3, speaks_grpc=True) as replica:
        gate.apply(shared((backend("slow", replica), 100), timeout=1))
        assert _failure(gate, HOST)[0] in (
            grpc.StatusCode.DEADLINE_EXCEEDED,
            grpc.StatusCode.UNAVAILABLE,
        )


def _answers(gate: Gate, sessions: int) -> list[str]:
    def ask(number: int) -> str:
        return gate.ask(PATH, {"Modelport-Session": f"user-{number}"})[1]

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(ask, range(sessions)))


def test_a_session_stays_with_its_revision_also_when_the_canary_grows(
    gate: Gate, one: Replica, two: Replica
) -> None:
    canary, stable = backend("one", one), backend("two", two)
    gate.apply(shared((canary, 20), (stable, 80)))
    before = _answers(gate, 400)
    assert _answers(gate, 400) == before
    assert 40 < before.count("one") < 130

    gate.apply(shared((canary, 60), (stable, 40)))
    after = _answers(gate, 400)
    assert 180 < after.count("one") < 300
    assert all(now == "one" for was, now in zip(before, after, strict=True) if was == "one")


def test_sessions_are_the_same_over_grpc(gate: Gate, one: Replica, two: Replica) -> None:
    gate.apply(shared((backend("one", one), 50), (backend("two", two), 50)))
    rest = _answers(gate, 30)
    assert len(set(rest)) == 2
    address = f"127.0.0.1:{gate.gateway.port}"
    options = [("grpc.default_authority", HOST)]
    with grpc.insecure_channel(address, options) as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        sessions = [[("modelport-session", f"user-{number}")] for number in range(30)]
        assert [call(b"", metadata=session).decode() for session in sessions] == rest


def test_without_a_session_chance_decides_by_weight(gate: Gate, one: Replica, two: Replica) -> None:
    gate.apply(shared((backend("one", one), 30), (backend("two", two), 70)))
    with ThreadPoolExecutor(8) as pool:
        counts = Counter(answer for _, answer in pool.map(lambda _: gate.ask(), range(400)))
    assert 70 < counts["one"] < 170


def test_callers_can_change_neither_timeouts_nor_retries(gate: Gate) -> None:
    headers = {"x-envoy-retry-on": "5xx", "x-envoy-upstream-rq-timeout-ms": "1"}
    with Replica("broken", status=500, delay=0.05) as replica:
        gate.apply(shared((backend("broken", replica), 100)))
        assert gate.ask(PATH, {**headers, "X-Request-Id": "mine"}) == (500, "broken")
        assert replica.served == 1
        assert replica.headers["x-request-id"] == "mine"


def test_the_metrics_page_is_all_of_the_admin_interface_that_is_reachable(
    gate: Gate, one: Replica
) -> None:
    gate.apply(shared((backend("one", one), 100)))
    gate.ask()
    status, page = gate.ask("/metrics")
    assert status == 200
    assert 'envoy_cluster_upstream_rq_total{envoy_cluster_name="default/one"}' in page

    for path in (
        *("/metrics/", "/metrics/../quitquitquit", "/metrics/%2e%2e/quitquitquit", "//metrics"),
        *("/metrics/..%2fquitquitquit", "/metrics?filter=x", "/metrics%2f..%2fstats", "/metrics;a"),
        *("/stats", "/stats/prometheus", "/quitquitquit", "/config_dump", "/./metrics/../stats"),
    ):
        status, answer = gate.ask(path)
        assert (status, set(answer)) == (404, {"error"}), path
    for method in ("POST", "DELETE", "PUT"):
        assert gate.ask("/metrics", method=method)[0] == 404
    # A service's own metrics are its model server's.
    assert gate.ask("/metrics", {"Host": HOST}) == (200, "one")
    assert gate.gateway.running


def test_a_service_counts_what_it_answered(gate: Gate) -> None:
    def seen() -> Any:
        return gate.run(gate.gateway.statistics())["default/counted"]

    with Replica("one", speaks_grpc=True) as replica:
        counted = backend("counted", replica)
        gate.apply(shared((counted, 100)))
        with gate.channel() as call:
            for _ in range(5):
                assert gate.ask()[0] == 200
                call(b"x")
            with pytest.raises(grpc.RpcError):
                call(b"fail")
        replica.status = 500
        assert gate.ask()[0] == 500
        eventually(lambda: seen().active == 0)
        assert (seen().requests, seen().failed) == (12, 2)
        eventually(lambda: seen().latency and seen().latency[-1][1] == 12)
        bounds, counts = zip(*seen().latency, strict=True)
        assert 200 in bounds
        assert (list(bounds), list(counts)) == (sorted(bounds), sorted(counts))

        replica.status, replica.delay = 200, 0.5
        with ThreadPoolExecutor(3) as pool:
            asked = [pool.submit(gate.ask) for _ in range(3)]
            eventually(lambda: seen().active == 3)
            assert not gate.run(gate.gateway.drained("default/counted", limit=0.0))
            assert gate.run(gate.gateway.drained("default/counted", limit=10.0))
            assert [one.result() for one in asked] == [(200, "one")] * 3


def test_who_asks_a_service_without_any_replica_is_told_so(gate: Gate) -> None:
    gate.apply(shared((backend("none"), 100)))
    assert gate.ask() == (503, {"error": "no replica of it is ready; ask again soon"})


def test_requests_that_wait_for_a_replica_that_left_are_waited_for(gate: Gate) -> None:
    with Replica("goes") as going, Replica("stays") as staying:
        gate.apply(shared((backend("pair", going, concurrency=1), 100)))
        going.delay = 0.3
        with ThreadPoolExecutor(5) as pool:
            asked = [pool.submit(gate.ask) for _ in range(5)]
            eventually(lambda: gate.run(gate.gateway.statistics())["default/pair"].active == 5)
            gate.apply(shared((backend("pair", staying, concurrency=1), 100)))
            assert gate.run(gate.gateway.left([going.port], limit=10.0))
            assert gate.run(gate.gateway.statistics())["default/pair"].active == 0
            assert [one.result() for one in asked] == [(200, "goes")] * 5
            assert going.most == 1


def test_a_replica_that_left_the_table_is_waited_for_over_rest_and_grpc(gate: Gate) -> None:
    with Replica("goes", speaks_grpc=True) as going, Replica("stays", speaks_grpc=True) as staying:
        ports = [going.port, *going.grpc_ports]
        gate.apply(shared((backend("pair", going), 100)))
        going.delay = 1.0
        with ThreadPoolExecutor(4) as pool, gate.channel() as call:
            asked = [pool.submit(gate.ask) for _ in range(2)]
            called = [pool.submit(call, b"x") for _ in range(2)]
            eventually(lambda: going.now == 4)
            gate.apply(shared((backend("pair", staying), 100)))
            assert gate.ask() == (200, "stays")
            assert not gate.run(gate.gateway.left(ports, limit=0.15))
            assert gate.run(gate.gateway.left(ports, limit=10.0))
            assert gate.run(gate.gateway.statistics())["default/pair"].active == 0
            assert [one.result() for one in asked] == [(200, "goes")] * 2
            assert [one.result() for one in called] == [b"goes"] * 2
