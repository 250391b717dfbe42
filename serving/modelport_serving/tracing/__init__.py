"""OpenTelemetry traces: W3C trace context in, OTLP over HTTP out.

Off unless an endpoint is given: then there is no tracer, and no cost but asking whether there is.
What is sampled follows OTEL_TRACES_SAMPLER (the default, parentbased_always_on, takes what the
caller's trace takes, and every request without one); how spans are sent follows OTEL_BSP_* and
OTEL_EXPORTER_OTLP_*, as
https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/ has it.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from modelport_serving.errors import StartFailed

if TYPE_CHECKING:
    from modelport_serving.tracing.spans import Tracer as Tracer

log = logging.getLogger("modelport_serving")

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_PATH = "/v1/traces"


def start(endpoint: str | None, service_name: str) -> Tracer | None:
    """Return the tracer, or None when nobody said where traces go.

    Args:
        endpoint: The collector's OTLP/HTTP base URL (`http://host:4318`) or full URL; None for
            what OpenTelemetry's own environment variables say.
        service_name: What the traces call this server, unless OTEL_SERVICE_NAME does.

    Raises:
        StartFailed: The OpenTelemetry packages are not installed.
    """
    if endpoint is None and not any(os.environ.get(name) for name in _ENDPOINTS):
        return None
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    if "grpc" in (os.environ.get(name) for name in _PROTOCOLS):
        log.warning("traces are sent over HTTP, although OTEL_EXPORTER_OTLP_PROTOCOL says grpc")
    try:
        from modelport_serving.tracing.spans import Tracer
    except ModuleNotFoundError as error:
        raise StartFailed(
            f"traces need a package that is not here ({error.name}): "
            "pip install 'modelport[tracing]', or start without an OTLP endpoint"
        ) from error
    return Tracer(endpoint and _traces_url(endpoint), service_name)


def _traces_url(endpoint: str) -> str:
    base = endpoint.rstrip("/")
    return base if base.endswith(_PATH) else base + _PATH
