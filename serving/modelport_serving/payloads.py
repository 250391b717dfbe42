"""KServe's payload logger: requests and answers as CloudEvents, sent behind the answers' backs.

As KServe's agent sends them (its pkg/logger): CloudEvents 1.0 over HTTP in binary mode, the body
and its content type as they were. Unlike the agent's queue, which makes callers wait when it is
full, this one gives events up and counts them.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import urllib3

from modelport_serving.errors import StartFailed

log = logging.getLogger("modelport_serving")

_REQUEST = "org.kubeflow.serving.inference.request"
_RESPONSE = "org.kubeflow.serving.inference.response"

_SENDERS = 5
"""Threads, as the agent has workers: a sink that takes 10 ms gets 500 events a second."""

_MOST_WAITING = 1000
_MOST_WAITING_BYTES = 64 * 1024 * 1024

_ATTEMPTS = 3
_FIRST_BACKOFF_SECONDS = 0.2
_TIMEOUT = urllib3.Timeout(connect=2.0, read=5.0)
_TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})

_COMPLAINT_SECONDS = 60.0

_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")

_PLAIN = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")


@dataclass(frozen=True)
class Source:
    """Who sends the events, in KServe's attributes."""

    source: str
    inference_service: str
    namespace: str
    component: str
    endpoint: str

    @classmethod
    def here(cls, service: str, component: str) -> Source:
        """Describe this pod as KServe's agent would, or this machine.

        `service` stands in where KServe did not inject INFERENCE_SERVICE_NAME; `component` is
        predictor, transformer or explainer.
        """
        namespace = os.environ.get("POD_NAMESPACE") or _read(_NAMESPACE_FILE)
        return cls(
            source=socket.gethostname(),
            inference_service=os.environ.get("INFERENCE_SERVICE_NAME") or service,
            namespace=namespace or "default",
            component=component,
            endpoint="default",
        )

    def headers(self) -> dict[str, str]:
        """Return these attributes as HTTP headers."""
        return {
            "ce-specversion": "1.0",
            "ce-source": _header(self.source),
            "ce-inferenceservicename": _header(self.inference_service),
            "ce-namespace": _header(self.namespace),
            "ce-component": _header(self.component),
            "ce-endpoint": _header(self.endpoint),
        }


class _Event(NamedTuple):
    type: str
    id: str
    time: datetime
    content_type: str
    body: bytes
    metadata: Mapping[str, list[str]]


class PayloadLogger:
    """Sends events from threads of its own; no call but `close` waits, and none fails.

    `request` and `response` belong to one thread.

    Args:
        url: Where events are posted to.
        mode: `all`, `request` or `response`.
        source: Who sends them.
        dropped: Called for every event that is given up, from any thread.

    Raises:
        StartFailed: Events cannot be posted to such a URL.
    """

    def __init__(self, url: str, mode: str, source: Source, dropped: Callable[[], None]) -> None:
        self._url = url
        self._host = _host(url)
        self._wants_requests = mode in ("all", "request")
        self._wants_responses = mode in ("all", "response")
        self._headers = source.headers()
        self._dropped = dropped
        self._pool = urllib3.PoolManager(maxsize=_SENDERS, timeout=_TIMEOUT, retries=False)
        self._waiting: queue.SimpleQueue[_Event | None] = queue.SimpleQueue()
        # Each number has one writer, so that nobody needs a lock.
        self._taken_in_bytes = 0
        self._done_bytes = [0] * _SENDERS
        self._ending = threading.Event()
        self._next_complaint = 0.0
        self._threads = [
            threading.Thread(target=self._send_all, args=(number,), name="payloads", daemon=True)
            for number in range(_SENDERS)
        ]
        for thread in self._threads:
            thread.start()

    def request(
        self,
        identity: str,
        content_type: str,
        body: bytes,
        metadata: Mapping[str, list[str]] | None = None,
    ) -> None:
        """Send a request's body, unless only responses are wanted.

        `metadata` are headers without which the body cannot be read, such as
        Inference-Header-Content-Length; they become the attribute that KServe has for them.
        """
        if self._wants_requests:
            self._take(_REQUEST, identity, content_type, body, metadata)

    def response(
        self,
        identity: str,
        content_type: str,
        body: bytes,
        metadata: Mapping[str, list[str]] | None = None,
    ) -> None:
        """Send a good answer's body, unless only requests are wanted; KServe sends no others."""
        if self._wants_responses:
            self._take(_RESPONSE, identity, content_type, body, metadata)

    def close(self, seconds: float) -> None:
        """Send what waits, for so many seconds at most; the rest is given up."""
        end = time.monotonic() + seconds
        for _ in self._threads:
            self._waiting.put(None)
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        self._ending.set()
        self._give_up_waiting()
        for _ in self._threads:
            self._waiting.put(None)

    def _take(
        self,
        kind: str,
        identity: str,
        content_type: str,
        body: bytes,
        metadata: Mapping[str, list[str]] | None,
    ) -> None:
        waiting_bytes = self._taken_in_bytes - sum(self._done_bytes)
        full = self._waiting.qsize() >= _MOST_WAITING
        if full or waiting_bytes + len(body) > _MOST_WAITING_BYTES or self._ending.is_set():
            self._drop("they come faster than they can be sent")
            return
        self._taken_in_bytes += len(body)
        now = datetime.now(UTC)
        self._waiting.put(_Event(kind, identity, now, content_type, body, metadata or {}))

    def _send_all(self, number: int) -> None:
        while (event := self._waiting.get()) is not None:
            if problem := self._problem(event):
                self._drop(problem)
            self._done_bytes[number] += len(event.body)

    def _problem(self, event: _Event) -> str | None:
        """Send an event, if need be several times. Returns why it could not be sent."""
        headers = self._headers | _event_headers(event)
        problem = ""
        for attempt in range(_ATTEMPTS):
            if attempt and self._ending.wait(_FIRST_BACKOFF_SECONDS * 2 ** (attempt - 1)):
                break
            try:
                reply = self._pool.request(
                    "POST", self._url, body=event.body, headers=headers, redirect=False
                )
            except (urllib3.exceptions.HTTPError, OSError) as error:
                problem = f"{self._host} cannot be reached ({type(error).__name__})"
                continue
            if 200 <= reply.status < 300:
                return None
            problem = f"{self._host} answers {reply.status}"
            if reply.status not in _TRY_AGAIN:
                break
        return problem

    def _give_up_waiting(self) -> None:
        while True:
            try:
                event = self._waiting.get_nowait()
            except queue.Empty:
                return
            if event is not None:
                self._drop("the server ends")

    def _drop(self, why: str) -> None:
        self._dropped()
        now = time.monotonic()
        if now >= self._next_complaint:
            self._next_complaint = now + _COMPLAINT_SECONDS
            log.warning("payload events are lost: %s", why)


def _host(url: str) -> str:
    parsed = urllib3.util.parse_url(url)
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise StartFailed("--logger_url must be http://host:port/path or https://...: change it")
    return parsed.host


def _event_headers(event: _Event) -> dict[str, str]:
    return {
        "ce-id": _header(event.id),
        "ce-type": event.type,
        "ce-time": event.time.isoformat().replace("+00:00", "Z"),
        "ce-metadata": _header(json.dumps(event.metadata)),
        "content-type": _header(event.content_type),
    }


def _header(value: str) -> str:
    """Encode what a header cannot carry, as the CloudEvents HTTP binding has it.

    Blanks and quotes, which may be encoded as well, stay: not every receiver decodes.
    """
    return quote(value, safe=_PLAIN)


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
