"""What ends a delivery, by whomever it was received."""

import json
import logging
from datetime import timedelta

import pytest

from mcp_queue.domain.dead_letters.reading import dead_letter_of
from mcp_queue.domain.delivery import DeliveryState
from mcp_queue.domain.errors import RetryableError
from mcp_queue.domain.execution.retry import RetryPolicy
from mcp_queue.domain.formats.serialization import JsonTaskSerializer
from mcp_queue.domain.task import TaskStatus
from mcp_queue.ports import Clock
from mcp_queue.services.execution.admission import Admitter, Attempt, Received
from mcp_queue.services.execution.settlement import Settlement
from mcp_queue.testing import FakeClock, InMemoryQueue
from tests.support.clock import NOW, SECOND
from tests.support.consumer import RecordingLog
from tests.support.metrics import CountingMetrics
from tests.support.sqs.client import sqs_spec
from tests.support.sqs.strict_queues import MemoryPayloads, StrictWorld
from tests.support.tasks import a_task, standard


class Settling:
    """A settlement with what it tells."""

    def __init__(self, clock: Clock) -> None:
        """Note everything."""
        self.clock = clock
        self.log, self.metrics = RecordingLog(), CountingMetrics()
        self.settlement = Settlement(
            clock=clock, random=lambda: 1.0, metrics=self.metrics, log=self.log, policy=RetryPolicy()
        )

    async def admitted(self, received: Received) -> Attempt:
        """Return the attempt that a delivery is."""
        (attempt,) = await Admitter(clock=self.clock, log=self.log).admit([received])
        return attempt


async def receive(queue: InMemoryQueue) -> Received:
    """Put a task into the queue and receive it."""
    await queue.enqueue(a_task("t-1"))
    (delivery,) = await queue.receive(1, NOW)
    return Received(queue, delivery)


@pytest.fixture
def queue() -> InMemoryQueue:
    """Return an empty queue."""
    return InMemoryQueue(standard(), clock=FakeClock(), serializer=JsonTaskSerializer())


async def test_a_second_settlement_touches_nothing_and_is_reported(
    queue: InMemoryQueue, caplog: pytest.LogCaptureFixture
) -> None:
    """It is a defect of the caller, and names the delivery."""
    settling, received = Settling(queue._clock), await receive(queue)
    attempt = await settling.admitted(received)
    await settling.settlement.defer(received, timedelta(minutes=1))

    with caplog.at_level(logging.ERROR):
        assert not await settling.settlement.succeed(attempt, None)

    assert 1 == settling.metrics.twice
    (logged,) = caplog.records
    assert "complete was asked for after defer" in logged.getMessage()
    assert "t-1" == logged.__dict__["task_id"]
    stats = await queue.stats()
    assert 1 == stats.delayed_messages


async def test_a_delivery_whose_lease_is_lost_is_left_alone_silently(queue: InMemoryQueue) -> None:
    """An outcome that is reached is still recorded, as one that the backend knows nothing of."""
    settling, received = Settling(queue._clock), await receive(queue)
    attempt = await settling.admitted(received)
    received.delivery.state = DeliveryState.LOST

    assert not await settling.settlement.succeed(attempt, 42)

    assert 0 == settling.metrics.twice
    assert [(42, False)] == [(record.result, record.confirmed) for record in settling.log.records]
    assert 1 == (await queue.stats()).inflight_messages


async def test_a_retry_that_could_only_be_hidden_runs_as_the_next_attempt() -> None:
    """The same body comes back, and the ledger counts: taken for a stale copy, it would be deleted unrun."""
    world = StrictWorld()
    queue = await world.queue(attributes={"MaximumMessageSize": "2000"})
    await world.put("work", json.dumps({"type": "echo", "payload": "ä" * 900}, ensure_ascii=False))
    (delivery,) = await queue.receive(1, NOW)
    settling = Settling(world.clock)
    attempt = await settling.admitted(Received(queue, delivery))

    assert not await settling.settlement.fail(attempt, RetryableError("not now", delay=10 * SECOND))

    (record,) = settling.log.records
    assert (TaskStatus.RETRYING, 1, True) == (record.status, record.attempt, record.confirmed)
    await world.clock.advance(10 * SECOND)
    (again,) = await queue.receive(1, NOW)
    assert delivery.message_id == again.message_id
    assert 2 == (await settling.admitted(Received(queue, again))).number


async def test_a_task_whose_body_cannot_be_fetched_ends_as_a_dead_letter() -> None:
    """Its message says whose it is; the dead letter bears the same id."""
    store = MemoryPayloads()
    world = StrictWorld(store)
    queue = await world.queue(payload_bucket="bucket", max_task_bytes=10_000_000)
    await queue.enqueue(a_task("t-1", payload="x" * 2_000_000))
    store.bodies.clear()
    (delivery,) = await queue.receive(1, NOW)
    settling = Settling(world.clock)

    assert await settling.settlement.dead_letter_raw(Received(queue, delivery), "its body is gone")

    (record,) = settling.log.records
    assert ("t-1", TaskStatus.DEAD_LETTERED) == (record.task.id, record.status)
    dlq = await world.open(sqs_spec("dlq", "https://sqs.us-east-1.amazonaws.com/111122223333/dlq"), None)
    (stored,) = await dlq.receive(1, NOW)
    assert "t-1" == dead_letter_of(stored, "tasks", world.clock.now()).task_id
