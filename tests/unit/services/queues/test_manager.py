"""The gateway's only door to queues."""

from typing import Any

import pytest

from mcp_queue.domain.errors import (
    DelayNotSupportedError,
    InvalidTaskError,
    LedgerDisabledError,
    NotFoundError,
    QueueError,
    QueueNotFoundError,
)
from mcp_queue.domain.queues import QueueKind, QueueSpec, QueueStats
from mcp_queue.domain.task import TaskStatus
from mcp_queue.services.enqueueing.request import BatchTask, NewTask
from mcp_queue.services.enqueueing.rules import EnqueueRules
from mcp_queue.services.enqueueing.submission import Draft, Enqueued, IdempotencyKey, Submission
from mcp_queue.services.queues.manager import QueueManager
from mcp_queue.services.queues.priority import PriorityQueue, ProducerQueue
from mcp_queue.services.queues.purges import Purges
from mcp_queue.services.queues.stats import only_queued
from mcp_queue.testing import InMemoryQueue
from tests.support.clock import HOUR, NOW
from tests.support.gateway import GatewayKit
from tests.support.tasks import make_spec


@pytest.fixture
def kit() -> GatewayKit:
    """Return queues in memory and their manager."""
    return GatewayKit()


def managing(kit: GatewayKit, **queues: ProducerQueue) -> QueueManager:
    """Return a manager of ``queues`` alone."""
    return QueueManager(
        queues,
        pauses=dict.fromkeys(queues, kit.ledger.queues),
        rules=EnqueueRules(),
        clock=kit.clock,
        metrics=kit.metrics,
        random_bits=lambda _: 0,
        submission=Submission(kit.metrics),
        purges=Purges({}, kit.ledger.queues, kit.clock),
        store=kit.ledger.tasks,
        dead_letters=only_queued,
    )


async def put(manager: QueueManager, queue: str, new: NewTask) -> Enqueued:
    """Put a task into a queue without an idempotency key."""
    enqueued = await manager.enqueue(queue, Draft(new))
    assert isinstance(enqueued, Enqueued)
    return enqueued


def drafts(*entries: BatchTask | Exception) -> list[Draft | Exception]:
    """Return the entries of a batch."""
    return [entry if isinstance(entry, Exception) else Draft(entry) for entry in entries]


async def test_enqueued_task_has_an_id_that_sorts_by_time(kit: GatewayKit) -> None:
    """Ids are UUIDs of version 7, made from the clock and the source of randomness."""
    first = await put(kit.manager, "tasks", NewTask(type="a"))
    await kit.clock.advance(HOUR)
    second = await put(kit.manager, "tasks", NewTask(type="a"))
    assert "019b76da-a800-7000-8000-000000000001" == first.task.id
    assert first.task.id < second.task.id


async def test_status_tells_whether_the_task_waits_for_a_time(kit: GatewayKit) -> None:
    """A task that is due is queued, another scheduled."""
    at_once = await put(kit.manager, "tasks", NewTask(type="a"))
    later = await put(kit.manager, "tasks", NewTask(type="a", delay=HOUR))
    assert (TaskStatus.QUEUED, TaskStatus.SCHEDULED) == (at_once.status, later.status)


async def test_visibility_timeout_that_holds_is_told(kit: GatewayKit) -> None:
    """It is the task's own, or the queue's."""
    queues = await put(kit.manager, "tasks", NewTask(type="a"))
    own = await put(kit.manager, "tasks", NewTask(type="a", visibility_timeout=HOUR))
    assert (kit.tasks.spec.visibility_timeout, HOUR) == (queues.visibility_timeout, own.visibility_timeout)


async def test_dropped_duplicate_is_not_counted(kit: GatewayKit) -> None:
    """The metric counts what the backend took."""
    new = NewTask(type="a", deduplication_id="d")
    first = await put(kit.manager, "orders", new)
    second = await put(kit.manager, "orders", new)
    assert (False, True, first.task.id) == (first.deduplicated, second.deduplicated, second.task.id)
    labels = {"queue": "orders", "task_type": "other"}
    assert 1 == kit.registry.get_sample_value("mcp_queue_tasks_enqueued_total", labels)


async def test_backends_own_refusal_reaches_the_caller(kit: GatewayKit) -> None:
    """What only the backend knows is its own error."""

    class NoDelays(InMemoryQueue):
        async def enqueue(self, task: object) -> Any:
            raise DelayNotSupportedError

    manager = managing(kit, strict=NoDelays(make_spec("strict"), clock=kit.clock, serializer=kit.serializer))
    with pytest.raises(DelayNotSupportedError):
        await put(manager, "strict", NewTask(type="a", delay=HOUR))


async def test_batch_keeps_the_order_of_its_verdicts(kit: GatewayKit) -> None:
    """Entries refused before, refused here and accepted stand where they stood."""
    refused = ValueError("before")
    entries: list[BatchTask | Exception] = [BatchTask(type="a"), refused]
    entries += [BatchTask(type="b", deduplication_id="d"), BatchTask(type="c")]
    verdicts = await kit.manager.enqueue_batch("tasks", drafts(*entries))
    assert [Enqueued, ValueError, InvalidTaskError, Enqueued] == [type(verdict) for verdict in verdicts]
    assert refused is verdicts[1]
    received = await kit.tasks.receive(10, NOW)
    assert ["a", "c"] == [delivery.task.type for delivery in received if delivery.task]


async def test_batch_of_which_nothing_is_left_asks_no_backend(kit: GatewayKit) -> None:
    """Where every entry was refused there is nothing to send."""
    keyed = Draft(BatchTask(type="a", idempotency_key="k"), IdempotencyKey("k", "hash", lambda _: b""))
    (verdict,) = await kit.manager.enqueue_batch("tasks", [keyed])
    assert isinstance(verdict, LedgerDisabledError)


@pytest.mark.parametrize("count", [0, 1001])
async def test_batch_has_a_size(kit: GatewayKit, count: int) -> None:
    """Nobody gets around the limit."""
    with pytest.raises(InvalidTaskError):
        await kit.manager.enqueue_batch("tasks", drafts(BatchTask(type="a")) * count)


@pytest.mark.parametrize("call", ["enqueue", "enqueue_batch", "purge", "pause", "resume"])
async def test_only_queues_that_clients_use_can_be_changed(kit: GatewayKit, call: str) -> None:
    """Unknown queues, levels and dead-letter queues are out of reach."""
    arguments: dict[str, list[Any]] = {
        "enqueue": [Draft(NewTask(type="a"))],
        "enqueue_batch": [drafts(BatchTask(type="a"))],
    }
    for name, expected in (("nope", QueueNotFoundError), ("work-p0", QueueNotFoundError), ("dlq", NotFoundError)):
        with pytest.raises(expected):
            await getattr(kit.manager, call)(name, *arguments.get(call, []))


async def test_dead_letters_of_a_queue_alone_with_its_dead_letter_queue_are_counted(kit: GatewayKit) -> None:
    """Where the backend does not tell, all that lies there is this queue's."""
    dlq = kit.memory(make_spec("bin"))
    manager = managing(kit, lone=_Forgetful(make_spec("lone", dead_letter_queue="bin"), kit), bin=dlq)
    await _put(kit, dlq, waiting=2, delayed=1)
    assert 3 == (await manager.stats("lone")).dead_letters


async def test_dead_letters_in_a_shared_queue_are_not_guessed(kit: GatewayKit) -> None:
    """Where the backend does not tell whose dead letters they are, the number is unknown."""
    dlq = kit.memory(make_spec("bin"))
    queues = {name: _Forgetful(make_spec(name, dead_letter_queue="bin"), kit) for name in ("a", "b")}
    manager = managing(kit, bin=dlq, **queues)
    assert (await manager.stats("a")).dead_letters is None


async def test_dead_letter_queue_out_of_sight_is_unknown(kit: GatewayKit) -> None:
    """A dead-letter queue that the gateway does not know cannot be counted; nor one that is not there."""
    manager = managing(
        kit,
        a=_Forgetful(make_spec("a", dead_letter_queue="elsewhere"), kit),
        b=_Forgetful(make_spec("b"), kit),
    )
    assert (await manager.stats("a")).dead_letters is None
    assert (await manager.stats("b")).dead_letters is None


async def test_levels_of_a_priority_queue_fill_its_dead_letter_queue(kit: GatewayKit) -> None:
    """They count as the one queue that clients know."""
    dlq = kit.memory(make_spec("bin"))
    levels = {
        level: _Forgetful(make_spec(f"p{level}", public_name="prio", dead_letter_queue="bin"), kit) for level in (0, 1)
    }
    manager = managing(kit, prio=PriorityQueue(make_spec("prio", QueueKind.PRIORITY), levels), bin=dlq)
    await _put(kit, dlq, waiting=1)
    assert 1 == (await manager.stats("prio")).dead_letters
    with pytest.raises(NotFoundError):
        await manager.purge("bin")


async def test_stats_set_the_gauges(kit: GatewayKit) -> None:
    """Whoever looks at a queue refreshes its metrics."""
    await put(kit.manager, "tasks", NewTask(type="a"))
    await kit.manager.stats("tasks")
    assert 1 == kit.registry.get_sample_value("mcp_queue_depth", {"queue": "tasks"})


def test_task_can_be_made_without_a_place(kit: GatewayKit) -> None:
    """By the rules of its queue, which has to take tasks."""
    assert ("tasks", 3) == ((made := kit.manager.make("tasks", NewTask(type="a"))).queue, made.max_retries)
    with pytest.raises(InvalidTaskError):
        kit.manager.make("tasks", NewTask(type="a", deduplication_id="d"))
    with pytest.raises(NotFoundError):
        kit.manager.make("dlq", NewTask(type="a"))


class _Forgetful(InMemoryQueue):
    """A queue whose backend does not count dead letters."""

    def __init__(self, spec: QueueSpec, kit: GatewayKit) -> None:
        super().__init__(spec, clock=kit.clock, serializer=kit.serializer)

    async def stats(self) -> QueueStats:
        stats = await super().stats()
        assert stats.dead_letters is None
        return stats


async def _put(kit: GatewayKit, queue: InMemoryQueue, *, waiting: int, delayed: int = 0) -> None:
    filler = managing(kit, **{queue.spec.name: queue})
    entries: list[BatchTask | Exception] = [BatchTask(type="a")] * waiting
    entries += [BatchTask(type="a", delay=HOUR)] * delayed
    verdicts = await filler.enqueue_batch(queue.spec.name, drafts(*entries))
    assert not [verdict for verdict in verdicts if isinstance(verdict, QueueError)]
