"""What the queue manager asks of the ledger: how old the oldest task is, and what a purge ended."""

from dataclasses import replace

from mcp_queue.domain.formats.serialization import JsonTaskSerializer
from mcp_queue.domain.queues import QueueSpec, QueueStats
from mcp_queue.services.enqueueing.request import NewTask
from mcp_queue.services.enqueueing.submission import Draft, Enqueued
from mcp_queue.services.queues.manager import QueueManager
from mcp_queue.testing import FakeClock, InMemoryQueue
from tests.support.clock import HOUR, MINUTE
from tests.support.gateway import GatewayKit
from tests.support.ledger import LedgerHarness
from tests.support.queues.doubles import SqsLike
from tests.support.tasks import a_task, make_spec


async def put(manager: QueueManager, queue: str, new: NewTask) -> Enqueued:
    """Put a task into a queue without an idempotency key."""
    enqueued = await manager.enqueue(queue, Draft(new))
    assert isinstance(enqueued, Enqueued)
    return enqueued


async def test_age_comes_from_the_ledger_where_the_backend_does_not_tell(harness: LedgerHarness) -> None:
    """It is that of the oldest task that waits; nobody knows it while the ledger is down, or where nothing waits."""
    kit = GatewayKit(harness=harness, extra={"quiet": _Ageless(make_spec("quiet"), clock=harness.clock)})
    assert (await kit.manager.stats("quiet")).oldest_message_age is None
    await put(kit.manager, "quiet", NewTask(type="a"))
    await harness.clock.advance(HOUR)
    await put(kit.manager, "quiet", NewTask(type="a"))
    assert HOUR == (await kit.manager.stats("quiet")).oldest_message_age
    harness.ledger._database.set_away("the test says so")
    assert (await kit.manager.stats("quiet")).oldest_message_age is None


async def test_age_of_what_the_ledger_does_not_know_is_unknown(harness: LedgerHarness) -> None:
    """Others may put messages into the queue."""
    queue = _Ageless(make_spec("quiet"), clock=harness.clock)
    kit = GatewayKit(harness=harness, extra={"quiet": queue})
    await queue.enqueue(a_task(queue="quiet"))
    assert (await kit.manager.stats("quiet")).oldest_message_age is None


async def test_purge_ends_what_waits(harness: LedgerHarness) -> None:
    """The ledger says of purged tasks, and of those it holds, that they were canceled; of later ones nothing."""
    queue = SqsLike(harness.clock, "far", fifo=False)
    kit = GatewayKit(harness=harness, extra={"far": queue})
    earlier = [await put(kit.manager, "far", NewTask(type="a", delay=delay)) for delay in (None, HOUR)]
    await harness.clock.advance(MINUTE)
    await kit.manager.purge("far")
    later = await put(kit.manager, "far", NewTask(type="a"))
    views = [await kit.records.get(enqueued.task.id) for enqueued in (*earlier, later)]
    assert ["canceled", "canceled", "queued"] == [record.view.status for record in views]


class _Ageless(InMemoryQueue):
    """A queue whose backend does not know how old its messages are."""

    def __init__(self, spec: QueueSpec, clock: FakeClock) -> None:
        super().__init__(spec, clock=clock, serializer=JsonTaskSerializer())

    async def stats(self) -> QueueStats:
        return replace(await super().stats(), oldest_message_age=None)
