from __future__ import annotations

import logging
import runpy
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from modelport_serving import payloads
from modelport_serving.errors import StartFailed
from modelport_serving.metrics import Metrics
from modelport_serving.payloads import PayloadLogger, Source

sink = runpy.run_path(str(Path(__file__).with_name("sinks.py")))["sink"]

SOURCE = Source("tumor-predictor-7d9f", "tumor", "clinic", "predictor", "default")
JSON = "application/json"

WaitUntil = Callable[[Callable[[], bool], str], None]


class Drops:
    """Counts what is given up."""

    def __init__(self) -> None:
        self.count = 0
        self._lock = threading.Lock()

    def __call__(self) -> None:
        with self._lock:
            self.count += 1


@pytest.fixture
def receiver() -> Iterator[Any]:
    with sink() as server:
        yield server


@pytest.fixture
def drops() -> Drops:
    return Drops()


def test_sends_what_kserves_agent_sends(receiver: Any, drops: Drops) -> None:
    before = datetime.now(UTC)
    logger = PayloadLogger(f"{receiver.url}/events?to=here", "all", SOURCE, drops)
    logger.request("r-1", "application/octet-stream", b"\x00\x01", {"Length": ["96"]})
    logger.response("r-1", JSON, b'{"predictions": [1]}')
    logger.close(10)
    events = {one.headers["ce-type"]: one for one in receiver.received}
    request = events["org.kubeflow.serving.inference.request"]
    response = events["org.kubeflow.serving.inference.response"]
    assert len(receiver.received) == 2
    assert {one.path for one in receiver.received} == {"/events?to=here"}
    assert request.body == b"\x00\x01"
    assert response.body == b'{"predictions": [1]}'
    assert before <= datetime.fromisoformat(request.headers["ce-time"]) <= datetime.now(UTC)
    sent = {name: value for name, value in request.headers.items() if name.startswith("ce-")}
    del sent["ce-time"]
    assert sent == {
        "ce-specversion": "1.0",
        "ce-id": "r-1",
        "ce-type": "org.kubeflow.serving.inference.request",
        "ce-source": "tumor-predictor-7d9f",
        "ce-inferenceservicename": "tumor",
        "ce-namespace": "clinic",
        "ce-component": "predictor",
        "ce-endpoint": "default",
        "ce-metadata": '{"Length": ["96"]}',
    }
    assert request.headers["content-type"] == "application/octet-stream"
    assert response.headers["content-type"] == JSON
    assert response.headers["ce-metadata"] == "{}"
    assert drops.count == 0


@pytest.mark.parametrize("mode", ["all", "request", "response"])
def test_sends_what_the_mode_says(receiver: Any, drops: Drops, mode: str) -> None:
    logger = PayloadLogger(receiver.url, mode, SOURCE, drops)
    logger.request("r-1", JSON, b"{}")
    logger.response("r-1", JSON, b"{}")
    logger.close(10)
    kinds = sorted(one.headers["ce-type"].rpartition(".")[2] for one in receiver.received)
    assert kinds == (["request", "response"] if mode == "all" else [mode])


def test_encodes_what_a_header_cannot_carry(receiver: Any, drops: Drops) -> None:
    logger = PayloadLogger(receiver.url, "all", SOURCE, drops)
    logger.request("größe 100%\r\nevil: 1", JSON, b"{}")
    logger.close(10)
    (event,) = receiver.received
    assert event.headers["ce-id"] == "gr%C3%B6%C3%9Fe 100%25%0D%0Aevil: 1"
    assert "evil" not in event.headers


def test_tries_again(receiver: Any, drops: Drops) -> None:
    receiver.statuses = [503, 429]
    logger = PayloadLogger(receiver.url, "all", SOURCE, drops)
    logger.request("r-1", JSON, b"{}")
    logger.close(20)
    assert [one.headers["ce-id"] for one in receiver.received] == ["r-1"] * 3
    assert drops.count == 0


@pytest.mark.parametrize(("statuses", "attempts"), [([500] * 3, 3), ([404], 1), ([301], 1)])
def test_gives_up_what_is_refused(
    receiver: Any,
    drops: Drops,
    caplog: pytest.LogCaptureFixture,
    statuses: list[int],
    attempts: int,
) -> None:
    receiver.statuses = list(statuses)
    logger = PayloadLogger(receiver.url, "all", SOURCE, drops)
    with caplog.at_level(logging.WARNING, "modelport_serving"):
        logger.request("r-1", JSON, b"{}")
        logger.close(20)
    assert len(receiver.received) == attempts
    assert drops.count == 1
    assert caplog.messages == [f"payload events are lost: 127.0.0.1 answers {statuses[0]}"]


def test_does_without_a_receiver(
    drops: Drops, caplog: pytest.LogCaptureFixture, wait_until: WaitUntil
) -> None:
    with sink() as gone:
        url = gone.url.replace("://", "://user:secret@")
    logger = PayloadLogger(url, "all", SOURCE, drops)
    with closing_at_once(logger):
        for number in range(10):
            logger.request(str(number), JSON, b"{}")
        wait_until(lambda: drops.count == 10, "all events are given up")
    # One line, not ten, and no password.
    (message,) = caplog.messages
    assert message.startswith("payload events are lost: 127.0.0.1 cannot be reached (")


def closing_at_once(logger: PayloadLogger) -> Any:
    class Closer:
        def close(self) -> None:
            logger.close(0)

    return closing(Closer())


@pytest.mark.timeout(20)
def test_waits_for_nobody(receiver: Any, drops: Drops, monkeypatch: pytest.MonkeyPatch) -> None:
    """The receiver takes events and answers none of them."""
    # A sender that is stuck stays so for longer than this test may take.
    monkeypatch.setattr(payloads, "_TIMEOUT", 3600)
    receiver.open.clear()
    logger = PayloadLogger(receiver.url, "all", SOURCE, drops)
    for number in range(5000):
        logger.request(str(number), JSON, b"{}")
    most = payloads._MOST_WAITING + payloads._SENDERS
    assert 5000 - most <= drops.count <= 5000 - payloads._MOST_WAITING
    logger.close(0.1)
    assert drops.count == 5000 - payloads._SENDERS
    logger.request("late", JSON, b"{}")
    assert drops.count == 5001 - payloads._SENDERS


def test_bounds_what_waits_in_bytes_too(receiver: Any, drops: Drops, wait_until: WaitUntil) -> None:
    receiver.open.clear()
    logger = PayloadLogger(receiver.url, "all", SOURCE, drops)
    with closing_at_once(logger):
        body = bytes(payloads._MOST_WAITING_BYTES // 4)
        for number in range(6):
            logger.request(str(number), JSON, body)
        assert drops.count == 2
        # What was sent makes room again.
        receiver.open.set()
        wait_until(lambda: len(receiver.received) == 4, "the receiver has what was taken")
        wait_until(lambda: _takes(logger, body, drops), "there is room again")


def _takes(logger: PayloadLogger, body: bytes, drops: Drops) -> bool:
    before = drops.count
    logger.request("more", JSON, body)
    return drops.count == before


def test_sends_everything_that_waits_before_it_ends(receiver: Any, drops: Drops) -> None:
    logger = PayloadLogger(receiver.url, "all", SOURCE, drops)
    for number in range(300):
        logger.request(str(number), JSON, b"{}")
    logger.close(60)
    assert {one.headers["ce-id"] for one in receiver.received} == set(map(str, range(300)))
    assert drops.count == 0


def test_counts_what_it_gives_up_in_the_metrics() -> None:
    metrics = Metrics()
    with sink() as gone:
        url = gone.url
    logger = PayloadLogger(url, "all", SOURCE, lambda: metrics.dropped("payload_events"))
    for _ in range(20):
        logger.request("r-1", JSON, b"{}")
    logger.close(20)
    assert b'modelport_dropped_total{what="payload_events"} 20.0' in metrics.expose()[0]


@pytest.mark.parametrize("url", ["nonsense", "s3://bucket/path", "http://", "/path"])
def test_refuses_other_urls(url: str, drops: Drops) -> None:
    with pytest.raises(StartFailed, match="--logger_url must be http://"):
        PayloadLogger(url, "all", SOURCE, drops)


def test_knows_the_pod_it_runs_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("INFERENCE_SERVICE_NAME", raising=False)
    monkeypatch.delenv("POD_NAMESPACE", raising=False)
    monkeypatch.setattr(payloads, "_NAMESPACE_FILE", tmp_path / "namespace")
    here = Source.here("model", "predictor")
    assert (here.inference_service, here.namespace) == ("model", "default")
    (tmp_path / "namespace").write_text("clinic\n")
    assert Source.here("model", "predictor").namespace == "clinic"
    monkeypatch.setenv("INFERENCE_SERVICE_NAME", "tumor")
    monkeypatch.setenv("POD_NAMESPACE", "ward")
    there = Source.here("model", "transformer")
    assert (there.inference_service, there.namespace) == ("tumor", "ward")
    assert there.component == "transformer"
