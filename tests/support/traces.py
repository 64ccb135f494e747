"""Where spans go in tests: the memory of this process, or a collector that takes them over HTTP."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from types import TracebackType
from typing import Self

from aiohttp import web
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as WireSpan
from opentelemetry.proto.trace.v1.trace_pb2 import Status
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from mcp_queue.ports import Clock
from mcp_queue.telemetry.spans import OpenTelemetryTracer

Attributes = Mapping[str, str | int | float | bool]
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


class Kind(Enum):
    """Who a span speaks to."""

    INTERNAL = WireSpan.SPAN_KIND_INTERNAL
    SERVER = WireSpan.SPAN_KIND_SERVER
    CLIENT = WireSpan.SPAN_KIND_CLIENT
    PRODUCER = WireSpan.SPAN_KIND_PRODUCER
    CONSUMER = WireSpan.SPAN_KIND_CONSUMER


@dataclass(frozen=True, kw_only=True)
class ReceivedSpan:
    """A span as it came. Ids are in hexadecimal digits, ``parent`` is empty without one; times in seconds.

    ``links`` holds the trace and the span of each link, ``text`` everything that the exporter wrote of the span.
    """

    service: str
    name: str
    kind: Kind
    trace_id: str
    span_id: str
    parent: str
    links: Sequence[tuple[str, str]]
    attributes: Attributes
    failed: bool
    began: float
    ended: float
    text: str

    @property
    def traceparent(self) -> str:
        """What the span gives to those that go on from it."""
        return f"00-{self.trace_id}-{self.span_id}-01"


class Collector:
    """Keeps every span that is sent to it: ``async with Collector() as collector``."""

    def __init__(self) -> None:
        """Listen on a free port."""
        self.spans: list[ReceivedSpan] = []
        self._arrived = asyncio.Condition()
        application = web.Application(client_max_size=64 * 1024 * 1024)
        application.router.add_post("/v1/traces", self._take)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    @property
    def variables(self) -> dict[str, str]:
        """The environment of a process that sends its spans here, soon after they end."""
        host, port = self._runner.addresses[0][:2]
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{host}:{port}", "OTEL_BSP_SCHEDULE_DELAY": "50"}

    def named(self, name: str) -> list[ReceivedSpan]:
        """Return the spans of that name, in the order in which they began."""
        return sorted((span for span in self.spans if span.name == name), key=lambda span: span.began)

    async def until(self, complete: Callable[[], bool], seconds: float = 30) -> None:
        """Return when what came makes ``complete`` true."""
        async with asyncio.timeout(seconds), self._arrived:
            await self._arrived.wait_for(complete)

    async def _take(self, request: web.Request) -> web.Response:
        for resource in ExportTraceServiceRequest.FromString(await request.read()).resource_spans:
            service = str(_attributes(resource.resource.attributes)["service.name"])
            self.spans += [_read(service, span) for scope in resource.scope_spans for span in scope.spans]
        async with self._arrived:
            self._arrived.notify_all()
        return web.Response(
            body=ExportTraceServiceResponse().SerializeToString(), content_type="application/x-protobuf"
        )


def _read(service: str, span: WireSpan) -> ReceivedSpan:
    return ReceivedSpan(
        service=service,
        name=span.name,
        kind=Kind(span.kind),
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        links=[(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
        attributes=_attributes(span.attributes),
        failed=span.status.code == Status.STATUS_CODE_ERROR,
        began=span.start_time_unix_nano / 1e9,
        ended=span.end_time_unix_nano / 1e9,
        text=str(span),
    )


def _attributes(pairs: Sequence[KeyValue]) -> dict[str, str | int | float | bool]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> str | int | float | bool:
    kind = value.WhichOneof("value")
    assert kind is not None, "an attribute has a value"
    found: str | int | float | bool = getattr(value, kind)
    return found
