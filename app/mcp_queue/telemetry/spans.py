"""Traces tasks as spans, named by OpenTelemetry's semantic conventions for messaging and HTTP.

https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from typing_extensions import override

from mcp_queue.domain.delivery import Delivery
from mcp_queue.domain.errors import CallbackFailedError, CallbackRejectedError
from mcp_queue.domain.queues import Backend, QueueSpec
from mcp_queue.domain.task import Task
from mcp_queue.ports import CallbackRequest, CallbackResponse, CallbackSender, Clock, Span, Tracer

_Attributes = dict[str, str | int]

_SCOPE = "mcp_queue"
_TRACEPARENT = "traceparent"
_STATUS = "http.response.status_code"
# Messages carry W3C Trace Context, whatever OTEL_PROPAGATORS sets for HTTP requests.
_W3C = TraceContextTextMapPropagator()
_SYSTEMS = {Backend.SQS: "aws_sqs"}
_PORTS = {"http": 80, "https": 443}


class OpenTelemetryTracer(Tracer):
    """The ``Tracer`` of a process with traces."""

    def __init__(self, provider: trace.TracerProvider, clock: Clock) -> None:
        self._tracer = provider.get_tracer(_SCOPE)
        self._clock = clock

    def enqueue(self, queue: QueueSpec, count: int = 1) -> AbstractContextManager[Span]:
        """Make the span ``queue.enqueue``, one for all tasks of a batch."""
        attributes = _messaging(queue, "enqueue", "send")
        if count > 1:
            attributes["messaging.batch.message_count"] = count
        return _current(self._tracer.start_span("queue.enqueue", kind=SpanKind.PRODUCER, attributes=attributes))

    def received(
        self, queue: QueueSpec, began: float, deliveries: Sequence[Delivery], error: Exception | None = None
    ) -> None:
        """Make the span ``queue.receive``: a trace of its own, since its messages belong to many traces."""
        if not deliveries and error is None:
            return
        ended, took = self._clock.now(), self._clock.monotonic() - began
        span = self._tracer.start_span(
            "queue.receive",
            context=Context(),
            kind=SpanKind.CLIENT,
            attributes={**_messaging(queue, "receive", "receive"), "messaging.batch.message_count": len(deliveries)},
            links=[link for delivery in deliveries if (link := _link(delivery)) is not None],
            start_time=_nanoseconds(ended - timedelta(seconds=took)),
        )
        if error is not None:
            _fail(span, error)
        span.end(_nanoseconds(ended))

    def process(self, queue: QueueSpec, delivery: Delivery, task: Task, attempt: int) -> AbstractContextManager[Span]:
        """Make the span ``queue.process_task``."""
        span = self._tracer.start_span(
            "queue.process_task",
            context=_context(task.traceparent),
            kind=SpanKind.CONSUMER,
            attributes={
                **_messaging(queue, "process", "process"),
                **_about(task),
                "task.attempt": attempt,
                "messaging.message.id": delivery.message_id,
            },
        )
        return _current(span)


class TracedCallbackSender(CallbackSender):
    """Makes the span ``callback`` for each request, and passes its context to the receiver."""

    def __init__(self, sender: CallbackSender, provider: trace.TracerProvider) -> None:
        self._sender = sender
        self._tracer = provider.get_tracer(_SCOPE)

    @override
    async def send(self, request: CallbackRequest) -> CallbackResponse:
        span = self._tracer.start_span("callback", kind=SpanKind.CLIENT, attributes=_http(request))
        with _current(span) as step:
            try:
                response = await self._sender.send(_carrying(request, step.traceparent))
            except (CallbackFailedError, CallbackRejectedError) as error:
                if error.response_status is not None:
                    span.set_attribute(_STATUS, error.response_status)
                raise
            span.set_attribute(_STATUS, response.status)
            return response


def current_trace_id() -> str | None:
    """Return the id of the current trace as 32 hexadecimal digits, ``None`` without one."""
    context = trace.get_current_span().get_span_context()
    return trace.format_trace_id(context.trace_id) if context.is_valid else None


class _TracerSpan:
    """Adapts an OpenTelemetry span to the port."""

    __slots__ = ("_span",)

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    @property
    def traceparent(self) -> str:
        context = self._span.get_span_context()
        ids = f"{trace.format_trace_id(context.trace_id)}-{trace.format_span_id(context.span_id)}"
        return f"00-{ids}-{context.trace_flags:02x}"

    def describe(self, task: Task) -> None:
        self._span.set_attributes(_about(task))

    def failed(self, error: BaseException) -> None:
        _fail(self._span, error)


@contextmanager
def _current(span: trace.Span) -> Iterator[_TracerSpan]:
    step = _TracerSpan(span)
    # The text of an error may hold what a client sent: OpenTelemetry must not record it.
    with trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
        try:
            yield step
        except BaseException as error:
            step.failed(error)
            raise


def _fail(span: trace.Span, error: BaseException) -> None:
    span.set_attribute("error.type", type(error).__qualname__)
    span.set_status(StatusCode.ERROR)


def _context(traceparent: str | None) -> Context:
    """Return the context of a message; without one, an empty context, which begins a trace."""
    return _W3C.extract({} if traceparent is None else {_TRACEPARENT: traceparent}, Context())


def _link(delivery: Delivery) -> Link | None:
    context = trace.get_current_span(_context(delivery.attributes.get(_TRACEPARENT))).get_span_context()
    return Link(context, {"messaging.message.id": delivery.message_id}) if context.is_valid else None


def _nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000_000) * 1000


def _messaging(queue: QueueSpec, operation: str, kind: str) -> _Attributes:
    return {
        "messaging.system": _SYSTEMS.get(queue.backend, queue.backend.value),
        "messaging.operation.name": operation,
        "messaging.operation.type": kind,
        "messaging.destination.name": queue.public_name,
    }


def _about(task: Task) -> _Attributes:
    return {"task.id": task.id, "task.type": task.type}


def _http(request: CallbackRequest) -> _Attributes:
    """Return the attributes of a request. Path and query are left out: receivers put secrets there."""
    attributes: _Attributes = {"http.request.method": request.method}
    try:
        parts = urlsplit(request.url)
        host, port = parts.hostname, parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return attributes
    if host is not None and port is not None:
        attributes |= {"server.address": host, "server.port": port}
    return attributes


def _carrying(request: CallbackRequest, traceparent: str) -> CallbackRequest:
    """Return ``request`` with this ``traceparent`` in place of its own, in any spelling."""
    headers: Mapping[str, str] = {
        name: value for name, value in request.headers.items() if name.lower() != _TRACEPARENT
    }
    return replace(request, headers={**headers, _TRACEPARENT: traceparent})
