"""The spans of a task's way, as OpenTelemetry's SDK has them."""

import asyncio
import json
import logging
from dataclasses import replace
from datetime import timedelta

import pytest
from opentelemetry.trace import SpanKind, StatusCode

from mcp_queue.domain.delivery import Delivery
from mcp_queue.domain.errors import (
    BackendUnavailableError,
    CallbackFailedError,
    CallbackRejectedError,
    RefusedAddressError,
)
from mcp_queue.domain.queues import Backend, QueueKind, QueueSpec
from mcp_queue.domain.task import Task
from mcp_queue.ports import CallbackRequest, CallbackResponse
from mcp_queue.telemetry.logs import JsonFormatter
from mcp_queue.telemetry.spans import TracedCallbackSender, current_trace_id
from mcp_queue.testing import FakeClock
from tests.support.clock import START
from tests.support.http.callbacks import a_request
from tests.support.traces import (
    TRACE,
    TRACEPARENT,
    RecordedTraces,
    attributes_of,
    links_of,
    parent_of,
    traceparent_of,
)

OTHER = f"00-{'c' * 32}-{'d' * 16}-00"
SECRET = "what a client sent"

ON_SQS = QueueSpec(name="work-p0", public_name="work", kind=QueueKind.STANDARD, backend=Backend.SQS)
EMBEDDED = QueueSpec(name="tasks", kind=QueueKind.STANDARD, backend=Backend.SQLITE)


class ScriptedSender:
    """A ``CallbackSender`` that keeps requests, and answers 204 or fails with what a test says."""

    def __init__(self) -> None:
        """Answer."""
        self.requests: list[CallbackRequest] = []
        self.error: BaseException | None = None

    async def send(self, request: CallbackRequest) -> CallbackResponse:
        """Keep the request."""
        self.requests.append(request)
        if self.error is not None:
            raise self.error
        return CallbackResponse(status=204, content_type="", body=b"")


@pytest.fixture
def clock() -> FakeClock:
    """Return a clock that stands still."""
    return FakeClock(START)


@pytest.fixture
def traces(clock: FakeClock) -> RecordedTraces:
    """Return a tracer whose spans are recorded."""
    return RecordedTraces(clock)


@pytest.fixture
def sender() -> ScriptedSender:
    """Return what makes requests."""
    return ScriptedSender()


@pytest.fixture
def traced(sender: ScriptedSender, traces: RecordedTraces) -> TracedCallbackSender:
    """Return the sender with its requests traced."""
    return TracedCallbackSender(sender, traces.provider)


def a_task(**members: object) -> Task:
    """Make a task that carries a trace."""
    task = Task(id="t1", type="job", queue="work", created_at=START, payload=SECRET, traceparent=TRACEPARENT)
    return replace(task, **members)  # type: ignore[arg-type]  # the members are those of a task


def a_delivery(number: int = 1, traceparent: str | None = TRACEPARENT) -> Delivery:
    """Make a delivery whose message carries ``traceparent``."""
    attributes = {} if traceparent is None else {"traceparent": traceparent}
    return Delivery(
        queue="work",
        message_id=f"m{number}",
        receipt_handle="r",
        body="",
        receive_count=1,
        leased_at=0,
        attributes=attributes,
    )


def test_an_enqueue_is_a_step_of_the_trace_under_way(traces: RecordedTraces) -> None:
    """Its traceparent, which the task takes along, names it."""
    with (
        traces.provider.get_tracer("test").start_as_current_span("request"),
        traces.tracer.enqueue(ON_SQS) as step,
    ):
        step.describe(a_task())
        carried = step.traceparent

    span = traces.only("queue.enqueue")
    assert (traceparent_of(traces.only("request")), SpanKind.PRODUCER) == (parent_of(span), span.kind)
    assert traceparent_of(span) == carried
    assert {
        "messaging.system": "aws_sqs",
        "messaging.operation.name": "enqueue",
        "messaging.operation.type": "send",
        "messaging.destination.name": "work",
        "task.id": "t1",
        "task.type": "job",
    } == attributes_of(span)


def test_a_batch_is_one_step(traces: RecordedTraces) -> None:
    """However many tasks it has; it says how many."""
    with traces.tracer.enqueue(ON_SQS, 1000):
        pass

    assert attributes_of(traces.only("queue.enqueue"))["messaging.batch.message_count"] == 1000


def test_a_step_that_an_exception_leaves_has_failed(traces: RecordedTraces) -> None:
    """The type of the exception is noted; its text, which may hold what a client sent, is not."""
    with pytest.raises(BackendUnavailableError), traces.tracer.enqueue(ON_SQS):
        raise BackendUnavailableError(SECRET)

    span = traces.only("queue.enqueue")
    assert StatusCode.ERROR is span.status.status_code
    assert attributes_of(span)["error.type"] == "BackendUnavailableError"
    assert SECRET not in span.to_json()


async def test_a_receive_is_linked_to_the_trace_of_each_message(traces: RecordedTraces, clock: FakeClock) -> None:
    """It is in a trace of its own, and began when the receive was asked for."""
    began = clock.monotonic()
    await clock.advance(timedelta(seconds=2))
    deliveries = [a_delivery(1), a_delivery(2, None), a_delivery(3, "nonsense"), a_delivery(4, OTHER)]

    with traces.provider.get_tracer("test").start_as_current_span("whatever runs"):
        traces.tracer.received(EMBEDDED, began, deliveries)

    span = traces.only("queue.receive")
    assert (None, SpanKind.CLIENT) == (parent_of(span), span.kind)
    assert [TRACEPARENT, OTHER] == links_of(span)
    assert ["m1", "m4"] == [(link.attributes or {})["messaging.message.id"] for link in span.links]
    start = int(START.timestamp()) * 10**9
    assert (start, start + 2 * 10**9) == (span.start_time, span.end_time)
    assert {
        "messaging.system": "sqlite",
        "messaging.operation.name": "receive",
        "messaging.operation.type": "receive",
        "messaging.destination.name": "tasks",
        "messaging.batch.message_count": 4,
    } == attributes_of(span)


def test_a_receive_that_brings_nothing_leaves_no_span(traces: RecordedTraces) -> None:
    """An idle consumer asks day and night."""
    traces.tracer.received(EMBEDDED, 0, [])

    assert [] == traces.spans


def test_a_receive_that_fails_says_so(traces: RecordedTraces) -> None:
    """By the type of its error."""
    traces.tracer.received(EMBEDDED, 0, (), BackendUnavailableError(SECRET))

    span = traces.only("queue.receive")
    assert StatusCode.ERROR is span.status.status_code
    assert attributes_of(span)["error.type"] == "BackendUnavailableError"


def test_an_attempt_goes_on_from_what_its_task_carries(traces: RecordedTraces) -> None:
    """Whatever else runs around it."""
    with (
        traces.provider.get_tracer("test").start_as_current_span("whatever runs"),
        traces.tracer.process(ON_SQS, a_delivery(), a_task(), 2),
    ):
        pass

    span = traces.only("queue.process_task")
    assert (TRACEPARENT, SpanKind.CONSUMER) == (parent_of(span), span.kind)
    assert {
        "messaging.system": "aws_sqs",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "work",
        "messaging.message.id": "m1",
        "task.id": "t1",
        "task.type": "job",
        "task.attempt": 2,
    } == attributes_of(span)


@pytest.mark.parametrize("carried", [None, "nonsense"])
def test_an_attempt_of_a_task_without_a_trace_begins_one(traces: RecordedTraces, carried: str | None) -> None:
    """As of one that another producer sent."""
    with traces.tracer.process(ON_SQS, a_delivery(), a_task(traceparent=carried), 1):
        pass

    assert parent_of(traces.only("queue.process_task")) is None


def test_what_a_client_does_not_sample_is_not_sampled(traces: RecordedTraces) -> None:
    """The decision travels on with the trace."""
    with traces.tracer.process(ON_SQS, a_delivery(), a_task(traceparent=OTHER), 1) as step:
        carried = step.traceparent or ""

    assert [] == traces.spans
    assert (OTHER[:36], "-00") == (carried[:36], carried[-3:])


def test_log_lines_inside_a_step_carry_the_id_of_its_trace(traces: RecordedTraces) -> None:
    """So does whoever asks for it."""
    record = logging.makeLogRecord({"msg": "inside"})
    with traces.tracer.process(ON_SQS, a_delivery(), a_task(), 1):
        inside = json.loads(JsonFormatter().format(record))

        assert TRACE == current_trace_id()
    assert TRACE == inside["trace_id"]
    assert current_trace_id() is None


async def test_a_callback_goes_on_from_its_span(
    traces: RecordedTraces, traced: TracedCallbackSender, sender: ScriptedSender
) -> None:
    """The receiver is told of that span, not of the one around it."""
    with traces.tracer.process(ON_SQS, a_delivery(), a_task(), 1):
        await traced.send(a_request("https://hooks.example/a?token=1", headers={"X-Own": "1", "traceparent": OTHER}))

    span = traces.only("callback")
    assert traceparent_of(traces.only("queue.process_task")) == parent_of(span)
    assert [{"X-Own": "1", "traceparent": traceparent_of(span)}] == [request.headers for request in sender.requests]
    assert {
        "http.request.method": "POST",
        "server.address": "hooks.example",
        "server.port": 443,
        "http.response.status_code": 204,
    } == attributes_of(span)


async def test_a_callback_has_one_traceparent_however_a_client_spells_it(
    traces: RecordedTraces, traced: TracedCallbackSender, sender: ScriptedSender
) -> None:
    """A webhook's headers are its client's own words."""
    await traced.send(a_request("http://hooks.example:8080/", headers={"TraceParent": OTHER}))

    assert [{"traceparent": traceparent_of(traces.only("callback"))}] == [
        request.headers for request in sender.requests
    ]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (CallbackFailedError("the callback answered 503", None, 503), 503),
        (CallbackFailedError("the callback could not be connected to"), None),
        (CallbackRejectedError("the callback answered 404", 404), 404),
        (RefusedAddressError("a loopback address"), None),
        (asyncio.CancelledError(), None),
    ],
)
async def test_a_callback_that_fails_says_how(
    traces: RecordedTraces,
    traced: TracedCallbackSender,
    sender: ScriptedSender,
    error: BaseException,
    status: int | None,
) -> None:
    """By the type of its error, and the status where there was an answer."""
    sender.error = error

    with pytest.raises(type(error)):
        await traced.send(a_request("http://hooks.example/"))

    span = traces.only("callback")
    assert StatusCode.ERROR is span.status.status_code
    assert type(error).__name__ == attributes_of(span)["error.type"]
    assert status == attributes_of(span).get("http.response.status_code")


@pytest.mark.parametrize("url", ["http://[::1", "nowhere", "http://hooks.example:99999/"])
async def test_a_url_that_cannot_be_read_is_left_to_the_sender(
    traces: RecordedTraces, traced: TracedCallbackSender, url: str
) -> None:
    """It refuses it; the span only says less."""
    await traced.send(a_request(url))

    assert {"http.request.method": "POST", "http.response.status_code": 204} == attributes_of(traces.only("callback"))
