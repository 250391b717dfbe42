"""Spans, made at the end of a request from times that were taken anyway.

Only this module imports opentelemetry.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, NamedTuple

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    get_current_span,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

if TYPE_CHECKING:
    from opentelemetry.trace.span import TraceState

Attributes = Mapping[str, "str | int | float | bool"]

_NOBODY = Context()
_NONE: Attributes = {}
_UNSET = Status(StatusCode.UNSET)
_ERROR = Status(StatusCode.ERROR)
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_NOT_SAMPLED = TraceFlags(TraceFlags.DEFAULT)

_GRPC_ERRORS = frozenset(
    {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}
)
"""gRPC codes that are the server's fault, as the semantic conventions have it."""


class Times(NamedTuple):
    """Begin and end, in `time.perf_counter()` seconds."""

    started: float
    ended: float


class Stage(NamedTuple):
    """A part of a request that becomes a span of its own, such as `queue` or `model`."""

    name: str
    times: Times
    attributes: Attributes = _NONE


class Trace(NamedTuple):
    """A request's place in its trace, known from its arrival on."""

    context: SpanContext
    parent: SpanContext | None

    @property
    def headers(self) -> dict[str, str]:
        """What calls made for this request are sent with, so that they join the trace."""
        at = self.context
        headers = {"traceparent": f"00-{at.trace_id:032x}-{at.span_id:016x}-{at.trace_flags:02x}"}
        if at.trace_state:
            headers["tracestate"] = at.trace_state.to_header()
        return headers


class Tracer:
    """Makes spans and sends them from a thread: no call but `close` waits, and none fails."""

    def __init__(self, url: str | None, service_name: str) -> None:
        name = os.environ.get("OTEL_SERVICE_NAME") or service_name
        self._exporter = OTLPSpanExporter(url)
        self._processor = BatchSpanProcessor(self._exporter)
        # The provider reads the sampler from the environment.
        provider = TracerProvider(
            resource=Resource.create({SERVICE_NAME: name}), shutdown_on_exit=False
        )
        self._sampler = provider.sampler
        self._ids = provider.id_generator
        self._resource = provider.resource
        self._scope = InstrumentationScope("modelport_serving", version("modelport"))
        self._propagator = TraceContextTextMapPropagator()

    def begin(self, traceparent: str | None, tracestate: str | None = None) -> Trace:
        """Find a new request's place in its caller's trace, or begin one; decide on sampling.

        Headers that are no W3C trace context count as none.
        """
        caller = _NOBODY
        if traceparent is not None:
            given = {"traceparent": traceparent, "tracestate": tracestate or ""}
            caller = self._propagator.extract(given)
        parent = get_current_span(caller).get_span_context()
        trace_id = parent.trace_id if parent.is_valid else self._ids.generate_trace_id()
        result = self._sampler.should_sample(caller, trace_id, "", SpanKind.SERVER)
        sampled = result.decision is Decision.RECORD_AND_SAMPLE
        flags = _SAMPLED if sampled else _NOT_SAMPLED
        context = self._context(trace_id, flags, result.trace_state)
        return Trace(context, parent if parent.is_valid else None)

    def http(
        self,
        trace: Trace,
        method: str,
        route: str,
        status: int,
        times: Times,
        stages: Sequence[Stage] = (),
        attributes: Attributes = _NONE,
    ) -> None:
        """Record an HTTP request that is over.

        Args:
            trace: What `begin` returned when it came.
            method: Such as `POST`.
            route: The path with its variables' names, such as `/v2/models/{model_name}/infer`.
            status: The answer's HTTP status.
            times: When it came and when it was answered.
            stages: Its parts.
            attributes: What else is to be known, such as the model's name.
        """
        if not trace.context.trace_flags.sampled:
            return
        known = {
            "http.request.method": method,
            "http.route": route,
            "http.response.status_code": status,
            **attributes,
        }
        error = str(status) if status >= 500 else None
        self._record(trace, f"{method} {route}", known, error, times, stages)

    def rpc(
        self,
        trace: Trace,
        method: str,
        code: str,
        times: Times,
        stages: Sequence[Stage] = (),
        attributes: Attributes = _NONE,
    ) -> None:
        """Record a gRPC call that is over, like `http`.

        `method` is the full one, such as `inference.GRPCInferenceService/ModelInfer`; `code` the
        name of the gRPC code it ended with, such as `OK`.
        """
        if not trace.context.trace_flags.sampled:
            return
        known = {
            "rpc.system.name": "grpc",
            "rpc.method": method,
            "rpc.response.status_code": code,
            **attributes,
        }
        self._record(trace, method, known, code if code in _GRPC_ERRORS else None, times, stages)

    def close(self, seconds: float) -> None:
        """Send what is left, for so many seconds at most."""
        # The processor itself may wait for half a minute.
        ending = threading.Thread(target=self._processor.shutdown, daemon=True)
        ending.start()
        ending.join(seconds)
        if ending.is_alive():
            self._exporter.shutdown()  # type: ignore[no-untyped-call]  # ends what it waits for

    def _record(
        self,
        trace: Trace,
        name: str,
        attributes: Attributes,
        error: str | None,
        times: Times,
        stages: Sequence[Stage],
    ) -> None:
        epoch = time.time_ns() - time.perf_counter_ns()
        context = trace.context
        for stage in stages:
            inner = self._context(context.trace_id, context.trace_flags, context.trace_state)
            self._emit(Trace(inner, context), stage.name, stage.attributes, stage.times, epoch)
        if error:
            attributes = {**attributes, "error.type": error}
        status = _ERROR if error else _UNSET
        self._emit(trace, name, attributes, times, epoch, SpanKind.SERVER, status)

    def _context(self, trace_id: int, flags: TraceFlags, state: TraceState | None) -> SpanContext:
        span_id = self._ids.generate_span_id()
        return SpanContext(trace_id, span_id, is_remote=False, trace_flags=flags, trace_state=state)

    def _emit(
        self,
        trace: Trace,
        name: str,
        attributes: Attributes,
        times: Times,
        epoch: int,
        kind: SpanKind = SpanKind.INTERNAL,
        status: Status = _UNSET,
    ) -> None:
        # Not through the SDK's own tracer, whose spans change while time goes on: for spans that
        # are over, that costs several times as much.
        span = ReadableSpan(
            name,
            context=trace.context,
            parent=trace.parent,
            resource=self._resource,
            attributes=attributes,
            kind=kind,
            status=status,
            start_time=epoch + int(times.started * 1e9),
            end_time=epoch + int(times.ended * 1e9),
            instrumentation_scope=self._scope,
        )
        self._processor.on_end(span)
