"""What ``max_depth`` promises, on every backend that counts exactly."""

import pytest

from mcp_queue.domain.delivery import Accepted
from mcp_queue.domain.errors import QueueFullError
from mcp_queue.domain.queues import RECEIVES_HEADROOM, QueueKind
from tests.support.clock import NOW, SECOND
from tests.support.queues.harness import QueueHarness, take_one
from tests.support.tasks import a_task


@pytest.fixture(autouse=True)
def _exact(harness: QueueHarness) -> None:
    if not harness.capabilities.exact_counts:
        pytest.skip("the backend does not count exactly")


async def test_a_full_queue_refuses_exactly_what_is_over_its_limit(harness: QueueHarness) -> None:
    """Of a batch the tasks that still fit are accepted, in order."""
    queue, _ = await harness.queue(max_depth=3)
    await queue.enqueue(a_task("first"))
    verdicts = await queue.enqueue_batch([a_task(f"t-{number}") for number in range(4)])
    assert [Accepted, Accepted, QueueFullError, QueueFullError] == [type(verdict) for verdict in verdicts]
    with pytest.raises(QueueFullError):
        await queue.enqueue(a_task("last"))


async def test_running_and_delayed_tasks_fill_a_queue_too(harness: QueueHarness) -> None:
    """The depth counts whatever lies in the queue."""
    queue, _ = await harness.queue(max_depth=2)
    await queue.enqueue(a_task("running"))
    await take_one(harness, queue)
    await queue.enqueue(a_task("later", scheduled_for=harness.clock.now() + SECOND))
    with pytest.raises(QueueFullError):
        await queue.enqueue(a_task("over"))


async def test_a_completed_task_makes_room(harness: QueueHarness) -> None:
    """What has gone no longer counts."""
    queue, _ = await harness.queue(max_depth=1)
    await queue.enqueue(a_task("a"))
    await queue.complete(await take_one(harness, queue))
    assert isinstance(await queue.enqueue(a_task("b")), Accepted)


async def test_a_purge_makes_room(harness: QueueHarness) -> None:
    """A purged queue takes tasks again."""
    queue, _ = await harness.queue(max_depth=2)
    await queue.enqueue_batch([a_task("a"), a_task("b")])
    await queue.purge()
    assert isinstance(await queue.enqueue(a_task("c")), Accepted)


async def test_a_copy_needs_no_room(harness: QueueHarness) -> None:
    """A duplicate of what is there already is accepted by a full queue."""
    queue, _ = await harness.queue(max_depth=1, kind=QueueKind.FIFO)
    await queue.enqueue(a_task("a"))
    assert "a" == (await queue.enqueue(a_task("a"))).duplicate_of


async def test_a_dead_letter_is_never_refused(harness: QueueHarness) -> None:
    """The depth of one queue does not count what moved to another."""
    queue, dead_letters = await harness.queue(max_depth=1, max_receive_count=1 - RECEIVES_HEADROOM)
    await queue.enqueue(a_task("a"))
    await take_one(harness, queue)
    await harness.pass_time(queue.spec.visibility_timeout)
    assert [] == await queue.receive(1, NOW)
    assert isinstance(await queue.enqueue(a_task("b")), Accepted)
    assert 1 == (await dead_letters.stats()).approximate_messages
