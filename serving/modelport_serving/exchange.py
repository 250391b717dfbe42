"""One prediction as those who watch see it: its times, its outcome, its place in a trace."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from modelport_serving import logs

if TYPE_CHECKING:
    from modelport_serving.batching import Call
    from modelport_serving.logs import LatencyLog
    from modelport_serving.metrics import Metrics, ModelMetrics
    from modelport_serving.payloads import PayloadLogger
    from modelport_serving.tracing import Tracer
    from modelport_serving.tracing.spans import Stage, Trace

_GOOD = (0, 200)
_NO_SECONDS: Mapping[str, float] = {}


@dataclass(frozen=True)
class Watchers:
    """Who watches the predictions; None for those that are off."""

    metrics: Metrics
    tracer: Tracer | None = None
    latencies: LatencyLog | None = None
    payloads: PayloadLogger | None = None

    @cached_property
    def need_ids(self) -> bool:
        """Whether somebody wants an id for every request, also for those that brought none."""
        return any(watcher is not None for watcher in (self.tracer, self.latencies, self.payloads))


class Exchange:
    """One request and its answer, whatever the protocol. Times are `time.perf_counter()`.

    `found`, `decoded` and `predicted` are called on the way, `finished` once at the end.
    `headers` are the request's, or gRPC's metadata, by lower-case name.
    """

    __slots__ = (
        "_decoded",
        "_ended",
        "_metrics",
        "_predicted",
        "_started",
        "_trace",
        "_watchers",
        "call",
        "headers",
        "protocol",
        "request_id",
        "route",
        "seconds",
    )

    def __init__(
        self,
        watchers: Watchers,
        protocol: str,
        route: str,
        headers: Mapping[str, str],
    ) -> None:
        self._started = time.perf_counter()
        self._watchers = watchers
        self._metrics: ModelMetrics | None = None
        self._decoded = self._predicted = self._ended = 0.0
        self.protocol = protocol
        self.route = route
        self.headers = headers
        self.request_id = headers.get("x-request-id")
        self.call: Call | None = None
        self.seconds = _NO_SECONDS
        """What the parts of a transformer or explainer took."""
        self._trace: Trace | None = None
        if watchers.need_ids:
            self._name_it()

    def _name_it(self) -> None:
        headers = self.headers
        self.request_id = logs.request_id(self.request_id)
        if (tracer := self._watchers.tracer) is not None:
            self._trace = tracer.begin(headers.get("traceparent"), headers.get("tracestate"))

    @property
    def trace_headers(self) -> Mapping[str, str]:
        """What a call made for this request is sent with, to be a part of its trace."""
        return self._trace.headers if self._trace else {}

    def found(self, metrics: ModelMetrics) -> None:
        """Note that the model that was asked for is here."""
        self._metrics = metrics
        metrics.arrived()

    def decoded(self) -> None:
        """Note that the request is understood, and goes to the model."""
        self._decoded = time.perf_counter()

    def predicted(self) -> None:
        """Note that the model has answered, or failed."""
        self._predicted = time.perf_counter()

    def give_up(self) -> None:
        """Give up, since the caller is gone: what has not begun need not be computed."""
        if self.call is not None:
            self.call.cancel()
            gone = 1 if self.protocol == "grpc" else 499  # CANCELLED; what nginx calls it
            self.finished(gone)

    def finished(self, code: int) -> None:
        """Note that the answer is on its way, with this HTTP status or gRPC code."""
        end = self._ended = time.perf_counter()
        metrics, started, decoded = self._metrics, self._started, self._decoded
        if metrics is not None and code in _GOOD and not self.seconds:
            predicted = self._predicted
            metrics.answered(
                self.protocol,
                decoded - started,
                predicted - decoded,
                end - predicted,
                end - started,
            )
        else:
            self._count(code)
        if self._watchers.need_ids:
            self._tell(code)

    def _tell(self, code: int) -> None:
        watchers = self._watchers
        if watchers.latencies is not None and code in _GOOD:
            preprocess, predict, postprocess = self._parts()
            explain = self.seconds.get("explain", 0.0)
            watchers.latencies.write(
                self.request_id or "", preprocess, explain, predict, postprocess
            )
        if self._trace is not None:
            self._record(self._trace, code)

    def _count(self, code: int) -> None:
        metrics = self._metrics
        if metrics is None:
            self._watchers.metrics.unmatched(self.protocol, code)
        elif code not in _GOOD:
            metrics.failed(self.protocol, code)
        elif "explain" in self.seconds:
            preprocess, _, postprocess = self._parts()
            metrics.observe("preprocess", preprocess)
            metrics.observe("explain", self.seconds["explain"])
            metrics.observe("postprocess", postprocess)
            metrics.explained(self.protocol)
        else:
            metrics.answered(self.protocol, *self._parts(), self._ended - self._started)

    def _parts(self) -> tuple[float, float, float]:
        """Return the seconds before, in and after the model; a transformer's own lie outside."""
        seconds = self.seconds
        before = self._decoded - self._started
        model = self._predicted - self._decoded
        after = self._ended - self._predicted
        if not seconds:
            return before, model, after
        first, last = seconds.get("preprocess", 0.0), seconds.get("postprocess", 0.0)
        return before + first, seconds.get("predict", model), after + last

    def _record(self, trace: Trace, code: int) -> None:
        from modelport_serving.tracing.spans import Times

        tracer = self._watchers.tracer
        assert tracer is not None  # noqa: S101 - there is no trace without it
        times = Times(self._started, self._ended)
        if self.protocol == "grpc":
            from modelport_serving.grpc.status import Code

            tracer.rpc(trace, self.route, Code(code).name, times, self._stages())
        else:
            tracer.http(trace, "POST", self.route, code, times, self._stages())

    def _stages(self) -> list[Stage]:
        from modelport_serving.tracing.spans import Stage, Times

        call = self.call
        if call is None or not call.started:
            return []
        return [
            Stage("queue", Times(call.queued, call.started)),
            Stage(
                "model",
                Times(call.started, self._predicted),
                {"modelport.batch.rows": call.batch_rows},
            ),
        ]
