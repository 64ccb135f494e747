"""Traces by OpenTelemetry, set up by its own ``OTEL_*`` variables."""

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

logger = logging.getLogger(__name__)


def configure_tracing(service_name: str, environment: Mapping[str, str]) -> "TracerProvider | None":
    """Return a provider that exports as ``environment`` says, or ``None`` where it names no exporter.

    On with ``OTEL_EXPORTER_OTLP_ENDPOINT``, ``OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`` or ``OTEL_TRACES_EXPORTER``; off
    with ``OTEL_SDK_DISABLED=true``. ``OTEL_SERVICE_NAME`` comes before ``service_name``. The provider's
    ``shutdown()`` sends what is left; it blocks, for at most ``OTEL_BSP_EXPORT_TIMEOUT``.
    """
    exporter = _exporter(environment)
    if exporter is None:
        return None
    # Imported here, since the SDK costs time and memory that nobody should pay for traces that are off.
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource  # noqa: PLC0415  # see above
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415  # see above
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415  # see above

    named = "OTEL_SERVICE_NAME" in environment or "service.name=" in environment.get("OTEL_RESOURCE_ATTRIBUTES", "")
    provider = TracerProvider(resource=Resource.create({} if named else {SERVICE_NAME: service_name}))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


def _exporter(environment: Mapping[str, str]) -> "SpanExporter | None":
    endpoint = environment.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or environment.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    name = environment.get("OTEL_TRACES_EXPORTER") or ("otlp" if endpoint else "none")
    if name == "none" or environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    if name == "console":
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter  # noqa: PLC0415  # only where it is used

        return ConsoleSpanExporter()
    if name != "otlp":
        logger.warning("OTEL_TRACES_EXPORTER=%s is not supported: no traces", name)
        return None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415  # see above

    return OTLPSpanExporter()
