"""Where spans go, and how the last of them get there. Imports the SDK, which nobody needs who traces nothing."""

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

# A collector that does not answer must not hold up the end of a process until it is killed.
_LAST_EXPORT_MS = 5000


def make_provider(exporter: str, service_name: str | None) -> TracerProvider:
    """Return a provider that exports in the background, by ``exporter``: ``otlp`` or ``console``."""
    provider = TracerProvider(resource=Resource.create({} if service_name is None else {SERVICE_NAME: service_name}))
    provider.add_span_processor(_BriefProcessor(ConsoleSpanExporter() if exporter == "console" else OTLPSpanExporter()))
    return provider


class _BriefProcessor(BatchSpanProcessor):
    """Sends what is left for up to five seconds at the end, not for thirty."""

    def shutdown(self) -> None:
        """Send what is left, and give up the rest."""
        self._batch_processor.shutdown(timeout_millis=_LAST_EXPORT_MS)
