"""Dead letters at SQS without a ledger, on LocalStack."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

import pytest

from mcp_queue.adapters.clock import SystemClock
from mcp_queue.adapters.ledger.disabled import NoLedger
from mcp_queue.adapters.sqs.backend import SqsBackend
from mcp_queue.domain.dead_letters.dead_letter import DeadLetterFilter, RedriveStatus
from mcp_queue.domain.dead_letters.reading import RedriveProgress
from mcp_queue.domain.errors import LedgerDisabledError, NotSupportedError
from mcp_queue.domain.execution.retry import dead_letter_message, revived
from mcp_queue.domain.queues import QueueSpec
from mcp_queue.domain.task import Task
from mcp_queue.services.dead_letters.edits import DeadLetterEdits
from mcp_queue.services.dead_letters.in_queue import QueueDeadLetters
from mcp_queue.services.dead_letters.redrive import RedriveSender
from mcp_queue.services.dead_letters.topology import DeadLetterTopology
from mcp_queue.services.enqueueing.rules import EnqueueRules
from mcp_queue.services.queues.purges import Purges, purge_times
from tests.support.metrics import DeadLetterCounts
from tests.support.sqs.client import create_queue, sqs_backend, sqs_client, sqs_spec
from tests.support.tasks import a_task
from tests.support.waiting import eventually

pytestmark = [pytest.mark.usefixtures("localstack"), pytest.mark.timeout(300)]

ALL = DeadLetterFilter(queue="tasks")
WAIT = timedelta(seconds=3)
PATIENCE = 20.0


@dataclass(frozen=True)
class Stage:
    """Queues at SQS, their backend, and the dead letters without a ledger."""

    backend: SqsBackend
    dead_letters: QueueDeadLetters

    async def bury(self, task: Task, reason: str = "it broke") -> None:
        """Dead-letter ``task`` as the consumer does."""
        queue = self.backend.queue(task.queue)
        await queue.enqueue(task)
        [delivery] = await queue.receive(1, WAIT)
        await queue.dead_letter(delivery, dead_letter_message(task, reason, SystemClock().now(), task.queue))

    async def left(self, queue: str = "dlq") -> int | None:
        """Count what lies in a queue."""
        stats = await self.backend.queue(queue).stats()
        return stats.approximate_messages + stats.inflight_messages

    async def received(self, number: int, queue: str = "tasks") -> list[Task]:
        """Take ``number`` tasks."""
        found: list[Task] = []
        while len(found) < number:
            deliveries = await self.backend.queue(queue).receive(10, WAIT)
            assert deliveries, f"only {len(found)} of {number} came"
            for delivery in deliveries:
                assert delivery.task is not None
                found.append(delivery.task)
                await self.backend.queue(queue).complete(delivery)
        return found


@asynccontextmanager
async def staged(names: Sequence[str] = ("tasks",), *, fifo: bool = False, policy: bool = True) -> AsyncIterator[Stage]:
    """Create queues that share one dead-letter queue."""
    async with sqs_client() as sqs:
        dlq = await create_queue(sqs, "dlq", fifo=fifo)
        urls = {name: await create_queue(sqs, name, fifo=fifo, dead_letters=dlq if policy else None) for name in names}
    specs: list[QueueSpec] = [sqs_spec(name, url, dead_letter_queue="dlq") for name, url in urls.items()]
    async with sqs_backend(*specs, sqs_spec("dlq", dlq)) as backend:
        queues = {name: backend.queue(name) for name in (*names, "dlq")}

        async def depth(name: str) -> int | None:
            return (await queues[name].stats()).dead_letters

        clock = SystemClock()
        sender = RedriveSender(
            purges=Purges(purge_times(queues), NoLedger(clock).queues, clock), metrics=DeadLetterCounts()
        )
        sources = DeadLetterTopology(queues, queues)
        yield Stage(
            backend,
            QueueDeadLetters(sources, backend.movers, {}, sender, depth=depth, rules=EnqueueRules(), clock=clock),
        )


async def test_looking_changes_nothing() -> None:
    """However often: a message is neither moved, nor sent anew, nor hidden afterwards."""
    async with staged() as stage:
        for number in range(5):
            await stage.bury(a_task(f"t{number}", created_at=SystemClock().now()))
        for _ in range(4):
            page = await stage.dead_letters.list_dead_letters(ALL, limit=10)
            assert {"t0", "t1", "t2", "t3", "t4"} == {dead_letter.task_id for dead_letter in page.dead_letters}
        assert 5 == await stage.left()
        assert 5 == (await stage.dead_letters.summary("tasks")).waiting


@pytest.mark.parametrize("fifo", [False, True])
async def test_one_and_some_are_taken_out(*, fifo: bool) -> None:
    """Sent first, then deleted; on FIFO in their group, under a deduplication id of their own."""
    async with staged(fifo=fifo) as stage:
        for number in range(4):
            task = a_task(f"t{number}", created_at=SystemClock().now(), group=f"g{number}", retry_count=1)
            await stage.bury(task, reason="timeout" if number else "gone")
        await stage.dead_letters.redrive_one(
            "tasks", "t0", DeadLetterEdits.model_validate({"payload": "edited"}), "ann"
        )
        [first] = await stage.received(1)
        assert ("t0", "edited", 0, 1, "g0") == (
            first.id,
            first.payload,
            first.retry_count,
            first.redrive_count,
            first.group,
        )
        await stage.dead_letters.delete("tasks", "t1", "ann")
        await stage.dead_letters.redrive_many(DeadLetterFilter(queue="tasks", reason="timeout"), "ann")
        assert {"t2", "t3"} == {task.id for task in await stage.received(2)}
        assert 0 == await stage.left()


async def test_all_are_moved_by_sqs_itself() -> None:
    """Its progress is a resource; the consumer takes what comes back as a new generation."""
    async with staged() as stage:
        for number in range(6):
            await stage.bury(a_task(f"t{number}", created_at=SystemClock().now(), retry_count=2))
        progress = await stage.dead_letters.redrive_many(ALL, "ann", max_per_second=100)
        assert isinstance(progress, RedriveProgress)

        async def moved() -> bool:
            return RedriveStatus.COMPLETED is (await stage.dead_letters.redrive(progress.id)).status

        await eventually(moved, PATIENCE, "SQS has moved everything")
        assert 6 == (await stage.dead_letters.redrive(progress.id)).redriven
        assert RedriveStatus.COMPLETED is (await stage.dead_letters.cancel_redrive(progress.id)).status
        back = [revived(task) for task in await stage.received(6)]
        assert {(1, 0)} == {(task.redrive_count, task.retry_count) for task in back}
        assert [{}] * 6 == [task.metadata for task in back]


async def test_move_is_stopped() -> None:
    """What was moved stays moved."""
    async with staged() as stage:
        for number in range(5):
            await stage.bury(a_task(f"t{number}", created_at=SystemClock().now()))
        progress = await stage.dead_letters.redrive_many(ALL, "ann", max_per_second=1)
        assert isinstance(progress, RedriveProgress)
        await stage.dead_letters.cancel_redrive(progress.id)

        async def stopped() -> bool:
            return RedriveStatus.CANCELED is (await stage.dead_letters.redrive(progress.id)).status

        await eventually(stopped, PATIENCE, "SQS has stopped")
        assert (await stage.dead_letters.redrive(progress.id)).redriven < 5


async def test_sqs_cannot_move_what_several_queues_share() -> None:
    """Nor can it be purged; but counts of one queue are not known then."""
    async with staged(("tasks", "others")) as stage:
        await stage.bury(a_task("mine", created_at=SystemClock().now()))
        await stage.bury(a_task("theirs", queue="others", created_at=SystemClock().now()))
        with pytest.raises(LedgerDisabledError):
            await stage.dead_letters.redrive_many(ALL, "ann")
        with pytest.raises(LedgerDisabledError):
            await stage.dead_letters.purge("tasks", "ann")
        assert (await stage.dead_letters.summary("tasks")).waiting is None
        page = await stage.dead_letters.list_dead_letters(ALL, limit=10)
        assert ["mine"] == [dead_letter.task_id for dead_letter in page.dead_letters]


async def test_sqs_moves_only_where_a_redrive_policy_leads() -> None:
    """And only at rates that it knows."""
    async with staged(policy=False) as stage:
        with pytest.raises(NotSupportedError, match="redrive policy"):
            await stage.dead_letters.redrive_many(ALL, "ann")
    async with staged() as stage:
        with pytest.raises(NotSupportedError, match="1 to 500"):
            await stage.dead_letters.redrive_many(ALL, "ann", max_per_second=1000)
