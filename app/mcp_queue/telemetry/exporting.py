"""Exports spans. Imports OpenTelemetry's SDK, so only a process with traces imports this module."""

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter
from typing_extensions import override

# A collector that does not answer must not delay the end of the process until it is killed.
_LAST_EXPORT_MS = 5000


def make_provider(exporter: str, service_name: str | None) -> TracerProvider:
    """Return a provider that exports in the background, by ``exporter``: ``otlp`` or ``console``."""
    provider = TracerProvider(resource=Resource.create({} if service_name is None else {SERVICE_NAME: service_name}))
    provider.add_span_processor(
        _QuickShutdownProcessor(ConsoleSpanExporter() if exporter == "console" else OTLPSpanExporter())
    )
    return provider


class _QuickShutdownProcessor(BatchSpanProcessor):
    """Exports the remaining spans for at most five seconds at shutdown, instead of thirty."""

    @override
    def shutdown(self) -> None:
        self._batch_processor.shutdown(timeout_millis=_LAST_EXPORT_MS)
