"""Tasks whose queue was purged while a consumer held them."""

from datetime import timedelta

from mcp_queue.domain.delivery import Delivery
from mcp_queue.domain.errors import PermanentError, RetryableError
from mcp_queue.domain.task import JsonValue, Task, TaskStatus
from tests.support.consumer import KitFactory, succeed


def purged(_task: Task, _delivery: Delivery) -> bool:
    """Say that the queue was purged."""
    return True


async def failing(_task: Task) -> JsonValue:
    """Fail for a passing reason."""
    raise RetryableError("not now")


async def broken(_task: Task) -> JsonValue:
    """Fail for good."""
    raise PermanentError("never")


async def test_purged_task_is_not_sent_again_for_a_retry(consumer: KitFactory) -> None:
    """It ends canceled, with what its attempt ended with, and leaves the queue empty."""
    kit = await consumer(failing, withdrawn=purged)
    await kit.enqueue(kit.task())
    await kit.pass_time(60)

    assert [("t1", 1)] == kit.dispatcher.ran
    (record,) = kit.log.records
    assert (TaskStatus.CANCELED, 1) == (record.status, record.attempt)
    assert "its queue was purged; the attempt failed: not now" == record.error
    assert (0, []) == (await kit.depth(), await kit.dead_letters())


async def test_purged_task_is_not_put_off(consumer: KitFactory) -> None:
    """One that is not due yet would have to be sent again, too."""
    kit = await consumer(succeed, withdrawn=purged)
    later = kit.clock.now() + timedelta(hours=1)
    queue = kit.queues["tasks"].inner
    await queue.enqueue(kit.task(scheduled_for=later))
    (message,) = queue._messages
    message.visible_at = kit.clock.now()
    await kit.pass_time(60)

    assert [] == kit.dispatcher.ran
    (record,) = kit.log.records
    assert (TaskStatus.CANCELED, 0, "its queue was purged") == (record.status, record.attempt, record.error)
    assert 0 == await kit.depth()


async def test_purged_task_that_succeeds_or_breaks_ends_as_ever(consumer: KitFactory) -> None:
    """Neither is sent again: the one is completed, the other dead-lettered."""
    for handler, status in ((succeed, TaskStatus.COMPLETED), (broken, TaskStatus.DEAD_LETTERED)):
        kit = await consumer(handler, withdrawn=purged)
        await kit.enqueue(kit.task())
        await kit.pass_time()

        assert [status] == [record.status for record in kit.log.records]
