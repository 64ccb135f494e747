"""Dead letters on the embedded queue's file without a ledger."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from mcp_queue.adapters.clock import SystemClock
from mcp_queue.adapters.ledger.disabled import NoLedger
from mcp_queue.adapters.sqlite.backend import SqliteBackend
from mcp_queue.domain.dead_letters.dead_letter import DeadLetterFilter
from mcp_queue.domain.dead_letters.reading import RedriveOutcome, dead_letter_of, next_generation
from mcp_queue.domain.errors import TaskTooLargeError
from mcp_queue.domain.execution.retry import dead_letter_message
from mcp_queue.domain.formats.serialization import JsonTaskSerializer
from mcp_queue.domain.queues import Backend
from mcp_queue.domain.task import Task
from mcp_queue.services.dead_letters.edits import DeadLetterEdits
from mcp_queue.services.dead_letters.in_queue import QueueDeadLetters
from mcp_queue.services.dead_letters.redrive import RedriveSender
from mcp_queue.services.dead_letters.topology import DeadLetterTopology
from mcp_queue.services.enqueueing.rules import EnqueueRules
from mcp_queue.services.queues.purges import Purges
from tests.support.metrics import DeadLetterCounts
from tests.support.tasks import a_task, fifo, standard

NOW = timedelta(0)
NUMBER = 30


async def test_dead_letters_are_sampled_and_taken_out(tmp_path: Path) -> None:
    """Looking hides nothing for longer than it takes, and every dead letter finds its way back to its own queue."""
    clock = SystemClock()
    async with SqliteBackend(tmp_path / "queue.db", clock=clock, serializer=JsonTaskSerializer()) as backend:
        specs = standard(), fifo(), standard("dlq", dead_letter_queue=None)
        queues = {spec.name: backend.queue(spec) for spec in specs}
        assert {Backend.MEMORY} == {queue.spec.backend for queue in queues.values()}, "no spec says SQS"

        async def depth(name: str) -> int | None:
            return (await queues[name].stats()).dead_letters

        for name in ("tasks", "orders"):
            for number in range(NUMBER):
                task = a_task(f"{name}-{number}", queue=name, group=f"g{number % 3}", created_at=clock.now())
                await queues[name].enqueue(task)
                [delivery] = await queues[name].receive(1, NOW)
                await queues[name].dead_letter(delivery, dead_letter_message(task, "it broke", clock.now(), name))
        dead_letters = QueueDeadLetters(
            DeadLetterTopology(queues, queues),
            {},
            queues,
            RedriveSender(purges=Purges({}, NoLedger(clock).queues, clock), metrics=DeadLetterCounts()),
            depth=depth,
            rules=EnqueueRules(),
            clock=clock,
        )
        for _ in range(3):
            page = await dead_letters.list_dead_letters(DeadLetterFilter(queue="tasks"), limit=200)
            assert NUMBER == len(page.dead_letters)
        assert (2 * NUMBER, 0) == (
            (await queues["dlq"].stats()).approximate_messages,
            (await queues["dlq"].stats()).inflight_messages,
        )
        for name in ("orders", "tasks"):
            done = await dead_letters.redrive_many(DeadLetterFilter(queue=name), "ann")
            assert RedriveOutcome(matched=NUMBER, redriven=NUMBER, sampled=True) == done
            assert (NUMBER, 0) == ((await queues[name].stats()).approximate_messages, await depth(name))


async def test_task_of_the_largest_size_can_be_redriven(tmp_path: Path) -> None:
    """It has grown by its count since it was accepted."""
    clock, serializer = SystemClock(), JsonTaskSerializer()
    task = Task(id="t", type="job", queue="orders", created_at=clock.now(), payload="x" * 2000, group="g")
    async with SqliteBackend(tmp_path / "queue.db", clock=clock, serializer=serializer) as backend:
        queue = backend.queue(fifo(max_task_bytes=len(serializer.dumps(task))))
        await queue.enqueue(task)
        [delivery] = await queue.receive(1, NOW)
        dead_letter = dead_letter_of(delivery, "orders", clock.now())
        await queue.complete(delivery)
        await queue.enqueue(next_generation(dead_letter, queue.spec))
        [again] = await queue.receive(1, NOW)
        assert again.task is not None
        assert 1 == again.task.redrive_count
        with pytest.raises(TaskTooLargeError):
            await queue.enqueue(replace(task, id="larger", payload="x" * 2001))


@pytest.mark.parametrize("taken", ["redriven", "deleted"])
async def test_dead_letters_behind_others_of_their_group_are_reached(tmp_path: Path, taken: str) -> None:
    """A FIFO dead-letter queue lets only the first of each group be received; an operator sees and takes all."""
    clock = SystemClock()
    async with SqliteBackend(tmp_path / "queue.db", clock=clock, serializer=JsonTaskSerializer()) as backend:
        specs = fifo("orders", dead_letter_queue="dlq.fifo"), fifo("dlq.fifo", dead_letter_queue=None)
        queues = {spec.name: backend.queue(spec) for spec in specs}
        for number in range(NUMBER):
            task = a_task(f"t-{number}", queue="orders", group="g")
            await queues["orders"].enqueue(task)
            [delivery] = await queues["orders"].receive(1, NOW)
            await queues["orders"].dead_letter(delivery, dead_letter_message(task, "it broke", clock.now(), "orders"))

        async def depth(name: str) -> int | None:
            return (await queues[name].stats()).dead_letters

        dead_letters = QueueDeadLetters(
            DeadLetterTopology(queues, queues),
            {},
            queues,
            RedriveSender(purges=Purges({}, NoLedger(clock).queues, clock), metrics=DeadLetterCounts()),
            depth=depth,
            rules=EnqueueRules(),
            clock=clock,
        )
        every = DeadLetterFilter(queue="orders")
        assert NUMBER == len((await dead_letters.list_dead_letters(every, limit=200)).dead_letters)
        assert RedriveOutcome(matched=NUMBER, sampled=True) == await dead_letters.redrive_many(
            every, "me", dry_run=True
        )
        assert "t-20" == (await dead_letters.get("orders", "t-20")).dead_letter.task_id
        if taken == "deleted":
            await dead_letters.delete("orders", "t-20", "me")
        else:
            await dead_letters.redrive_one("orders", "t-20", DeadLetterEdits(), "me")
            [redriven] = await queues["orders"].receive(1, NOW)
            assert redriven.task is not None
            assert ("t-20", 1) == (redriven.task.id, redriven.task.redrive_count)
            await queues["orders"].complete(redriven)
        assert NUMBER - 1 == await depth("orders")
        outcome = await dead_letters.redrive_many(DeadLetterFilter(queue="orders", ids=("t-5", "t-25")), "me")
        assert isinstance(outcome, RedriveOutcome)
        assert 2 == outcome.redriven
        assert NUMBER - 3 == await depth("orders")
