"""Traces by OpenTelemetry, set up by its own ``OTEL_*`` variables."""

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import FastAPI
    from opentelemetry.sdk.trace import TracerProvider

logger = logging.getLogger(__name__)

_PROTOCOL = "http/protobuf"
# Asked every few seconds for as long as the process lives: nobody looks for those.
_NOT_TRACED = "/(healthz|readyz|metrics)$"


def configure_tracing(service_name: str, environment: Mapping[str, str]) -> "TracerProvider | None":
    """Return a provider that exports as ``environment`` says, or ``None`` where it names no exporter.

    On with ``OTEL_EXPORTER_OTLP_ENDPOINT``, ``OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`` or ``OTEL_TRACES_EXPORTER``; off
    with ``OTEL_SDK_DISABLED=true``. ``OTEL_SERVICE_NAME`` comes before ``service_name``. The provider's
    ``shutdown()`` sends what is left; it blocks, for about five seconds at most.
    """
    exporter = _exporter(environment)
    if exporter is None:
        return None
    # Imported here, since the SDK costs time and memory that nobody should pay for traces that are off.
    from mcp_queue.telemetry.exporting import make_provider  # noqa: PLC0415  # see above

    named = "OTEL_SERVICE_NAME" in environment or "service.name=" in environment.get("OTEL_RESOURCE_ATTRIBUTES", "")
    return make_provider(exporter, None if named else service_name)


def _exporter(environment: Mapping[str, str]) -> str | None:
    endpoint = environment.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or environment.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    name = environment.get("OTEL_TRACES_EXPORTER") or ("otlp" if endpoint else "none")
    if name == "none" or environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    if name not in {"otlp", "console"}:
        logger.warning("OTEL_TRACES_EXPORTER=%s is not supported: no traces", name)
        return None
    protocol = environment.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or environment.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    if name == "otlp" and (protocol or _PROTOCOL) != _PROTOCOL:
        logger.warning("OTEL_EXPORTER_OTLP_PROTOCOL=%s is not supported, only %s: no traces", protocol, _PROTOCOL)
        return None
    return name


def instrument(app: "FastAPI", provider: "TracerProvider") -> None:
    """Make a span of each request to ``app``, which has served none yet."""
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor  # noqa: PLC0415  # see above
    from opentelemetry.metrics import NoOpMeterProvider  # noqa: PLC0415  # see above

    FastAPIInstrumentor.instrument_app(
        app,
        tracer_provider=provider,
        # Metrics are Prometheus's, and the spans of single ASGI messages say nothing.
        meter_provider=NoOpMeterProvider(),
        exclude_spans=["receive", "send"],
        excluded_urls=_NOT_TRACED,
    )
