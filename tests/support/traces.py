"""Spans that stay in this process."""

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from mcp_queue.ports import Clock
from mcp_queue.telemetry.spans import OpenTelemetryTracer

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{SPAN}-01"


class RecordedTraces:
    """A tracer whose finished spans can be looked at."""

    def __init__(self, clock: Clock) -> None:
        """Record everything."""
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = OpenTelemetryTracer(self.provider, clock)

    @property
    def spans(self) -> list[ReadableSpan]:
        """What has ended, in order."""
        return list(self._exporter.get_finished_spans())

    def named(self, name: str) -> list[ReadableSpan]:
        """Return the spans of that name."""
        return [span for span in self.spans if span.name == name]

    def only(self, name: str) -> ReadableSpan:
        """Return the one span of that name."""
        (span,) = self.named(name)
        return span


def traceparent_of(span: ReadableSpan) -> str:
    """Return what a span gives to those that go on from it."""
    return _written(span.get_span_context())


def parent_of(span: ReadableSpan) -> str | None:
    """Return what a span goes on from."""
    return None if span.parent is None else _written(span.parent)


def links_of(span: ReadableSpan) -> list[str]:
    """Return what a span is linked to."""
    return [_written(link.context) for link in span.links]


def attributes_of(span: ReadableSpan) -> dict[str, object]:
    """Return the attributes of a span."""
    return dict(span.attributes or {})


def _written(context: trace.SpanContext | None) -> str:
    assert context is not None
    ids = trace.format_trace_id(context.trace_id), trace.format_span_id(context.span_id)
    return f"00-{ids[0]}-{ids[1]}-{context.trace_flags:02x}"
