"""What a consumer notes of the traces that its messages carry."""

import asyncio
from datetime import timedelta

import pytest
from opentelemetry.trace import StatusCode

from mcp_queue.domain.delivery import Delivery
from mcp_queue.domain.errors import BackendUnavailableError, PermanentError, RetryableError
from mcp_queue.domain.task import JsonValue, Task
from mcp_queue.telemetry.spans import current_trace_id
from mcp_queue.testing import FakeClock
from tests.support.consumer import ConsumerKit, KitFactory, forever, succeed
from tests.support.traces import TRACE, TRACEPARENT, RecordedTraces, attributes_of, links_of, parent_of


@pytest.fixture
def traces() -> RecordedTraces:
    """Return a tracer whose spans are recorded."""
    return RecordedTraces(FakeClock())


async def fail_first(task: Task) -> JsonValue:
    """Fail at the first attempt."""
    if task.retry_count == 0:
        raise RetryableError("not now")
    return None


async def test_every_attempt_goes_on_from_what_the_message_carries(
    consumer: KitFactory, traces: RecordedTraces
) -> None:
    """A retry keeps it, so that all attempts stand side by side in one trace."""
    kit: ConsumerKit = await consumer(fail_first, tracer=traces.tracer)

    await kit.enqueue(kit.task(traceparent=TRACEPARENT))
    await kit.pass_time(60)

    attempts = traces.named("queue.process_task")
    assert [TRACEPARENT, TRACEPARENT] == [parent_of(span) for span in attempts]
    assert [1, 2] == [attributes_of(span)["task.attempt"] for span in attempts]
    assert ["RetryableError", None] == [attributes_of(span).get("error.type") for span in attempts]
    assert [StatusCode.ERROR, StatusCode.UNSET] == [span.status.status_code for span in attempts]


async def test_every_receive_is_linked_to_what_it_brings(consumer: KitFactory, traces: RecordedTraces) -> None:
    """That of the retry as well; polls that brought nothing are not noted."""
    kit: ConsumerKit = await consumer(fail_first, tracer=traces.tracer)

    await kit.enqueue(kit.task(traceparent=TRACEPARENT))
    await kit.pass_time(60)

    assert [[TRACEPARENT], [TRACEPARENT]] == [links_of(span) for span in traces.named("queue.receive")]


async def test_a_handler_runs_inside_the_step_of_its_attempt(consumer: KitFactory, traces: RecordedTraces) -> None:
    """Its own spans and its log lines belong there."""
    seen: list[str | None] = []

    async def look(_task: Task) -> JsonValue:
        seen.append(current_trace_id())
        return None

    kit: ConsumerKit = await consumer(look, tracer=traces.tracer)
    await kit.enqueue(kit.task(traceparent=TRACEPARENT))
    await kit.pass_time()

    assert [TRACE] == seen


async def test_an_attempt_that_is_stopped_is_noted_as_such(consumer: KitFactory, traces: RecordedTraces) -> None:
    """It did not succeed, whatever comes of its task."""
    kit: ConsumerKit = await consumer(forever, tracer=traces.tracer)
    await kit.enqueue(kit.task(traceparent=TRACEPARENT))
    await kit.pass_time()

    kit.pool.cancel("t1")
    await kit.pass_time()

    assert asyncio.CancelledError.__name__ == attributes_of(traces.only("queue.process_task"))["error.type"]


async def test_an_attempt_that_cannot_succeed_says_why(consumer: KitFactory, traces: RecordedTraces) -> None:
    """By the type of the error, not by its text."""

    async def refuse(task: Task) -> JsonValue:
        raise PermanentError(str(task.payload))

    kit: ConsumerKit = await consumer(refuse, tracer=traces.tracer)
    await kit.enqueue(kit.task(traceparent=TRACEPARENT, payload="a secret"))
    await kit.pass_time()

    span = traces.only("queue.process_task")
    assert attributes_of(span)["error.type"] == "PermanentError"
    assert "a secret" not in span.to_json()


async def test_a_receive_that_fails_is_noted(consumer: KitFactory, traces: RecordedTraces) -> None:
    """It belongs to no task."""
    kit: ConsumerKit = await consumer(
        succeed,
        tracer=traces.tracer,
        prepare=lambda kit: kit.queues["tasks"].faults.update(receive=[BackendUnavailableError("no answer")]),
    )

    await kit.pass_time()

    assert attributes_of(traces.only("queue.receive"))["error.type"] == "BackendUnavailableError"


async def test_what_the_consumer_does_between_attempts_belongs_to_no_trace(
    consumer: KitFactory, traces: RecordedTraces
) -> None:
    """Such as a receive that is asked for while an attempt ends."""
    seen: list[str | None] = []

    def look(kit: ConsumerKit) -> None:
        receive = kit.queues["tasks"].inner.receive

        async def watched(limit: int, wait: timedelta) -> list[Delivery]:
            seen.append(current_trace_id())
            return await receive(limit, wait)

        kit.queues["tasks"].inner.receive = watched  # type: ignore[method-assign]  # a double that looks

    kit: ConsumerKit = await consumer(succeed, slots=1, tracer=traces.tracer, prepare=look)
    call = {"traceparent": TRACEPARENT, "callback_url": "http://hooks.example/"}
    await kit.enqueue(*(kit.task(f"t{number}", **call) for number in range(3)))
    await kit.pass_time(60)

    assert {None} == set(seen)
