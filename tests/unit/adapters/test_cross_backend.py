"""Dead letters that leave their backend."""

from datetime import timedelta

from mcp_queue.adapters.cross_backend import CrossBackendQueue
from mcp_queue.domain.delivery import DeadLetterMessage, Requeued
from mcp_queue.domain.execution.retry import dead_letter_message
from mcp_queue.domain.formats.serialization import JsonTaskSerializer
from mcp_queue.domain.task import Task
from mcp_queue.testing import FakeClock, InMemoryQueue
from tests.support.tasks import standard


def make_pair() -> tuple[InMemoryQueue, InMemoryQueue, CrossBackendQueue]:
    """Return a queue, a dead-letter queue that it does not know, and both joined."""
    clock, serializer = FakeClock(), JsonTaskSerializer()
    inner = InMemoryQueue(standard(dead_letter_queue=None), clock=clock, serializer=serializer)
    dead_letters = InMemoryQueue(standard("dlq", dead_letter_queue=None), clock=clock, serializer=serializer)
    return inner, dead_letters, CrossBackendQueue(inner, dead_letters)


async def test_a_dead_letter_is_sent_and_then_deleted() -> None:
    """It arrives with its reason, and the source is empty."""
    _, dead_letters, queue = make_pair()
    task = Task(id="t1", type="job", queue="tasks", created_at=FakeClock().now())
    await queue.enqueue(task)
    (delivery,) = await queue.receive(1, timedelta(0))
    await queue.dead_letter(delivery, dead_letter_message(task, "broken", task.created_at, "tasks"))

    (dead_letter,) = await dead_letters.receive(1, timedelta(0))
    assert dead_letter.task is not None
    assert ("t1", "broken") == (dead_letter.task.id, dead_letter.task.metadata["failure_reason"])
    assert (await queue.stats()).inflight_messages == 0


async def test_a_body_that_is_no_task_arrives_as_a_payload() -> None:
    """Nothing of it is lost."""
    inner, dead_letters, queue = make_pair()
    inner._add("{nonsense", {}, None)
    (delivery,) = await queue.receive(1, timedelta(0))
    await queue.dead_letter(
        delivery, DeadLetterMessage(task=None, reason="no task", failed_at=FakeClock().now(), original_queue="tasks")
    )

    (dead_letter,) = await dead_letters.receive(1, timedelta(0))
    assert dead_letter.task is not None
    assert ("unparsable", "{nonsense", "no task") == (
        dead_letter.task.type,
        dead_letter.task.payload,
        dead_letter.task.metadata["failure_reason"],
    )


async def test_the_consumer_counts_receives_where_the_backend_cannot_move_messages() -> None:
    """All else is the queue's own."""
    inner, _, queue = make_pair()

    assert not queue.traits.backend_redrives
    assert ("dlq", "tasks") == (queue.spec.dead_letter_queue, queue.spec.name)
    verdicts = await queue.enqueue_batch(
        [Task(id=name, type="job", queue="tasks", created_at=FakeClock().now()) for name in ("a", "b", "c", "d", "e")]
    )
    assert len(verdicts) == 5
    first, second, third, fourth = await queue.receive(4, timedelta(0))
    await queue.extend(first, timedelta(seconds=100))
    await queue.release(first)
    assert second.task is not None
    assert Requeued.REWRITTEN is await queue.retry(second, second.task, timedelta(seconds=9))
    assert third.task is not None
    assert Requeued.REWRITTEN is await queue.defer(third, third.task, timedelta(seconds=9))
    await queue.complete(fourth)
    await queue.ping()
    assert await queue.purge() == 4
    assert (await inner.stats()).approximate_messages == 0
