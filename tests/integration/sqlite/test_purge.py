"""Purges that take several transactions, while tasks come and come due."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

import pytest

from mcp_queue.adapters.sqlite import SqliteBackend, SqliteQueue
from mcp_queue.adapters.sqlite.purge import PURGED_AT_ONCE, Purge, PurgeProgress
from mcp_queue.domain.execution.retry import dead_letter_message
from mcp_queue.domain.queues import Backend, QueueSpec
from mcp_queue.testing import FakeClock
from tests.support.clock import NOW, SECOND, START
from tests.support.queues.embedded import FIFO, STANDARD
from tests.support.queues.harness import ids, spec_of
from tests.support.tasks import a_task

DEAD_LETTERS = spec_of("dlq", backend=Backend.SQLITE)


@dataclass
class Purging:
    """A purge, one transaction at a time."""

    backend: SqliteBackend
    queue: SqliteQueue
    progress: PurgeProgress | None = None

    async def step(self) -> int:
        """Delete as many as one transaction takes."""
        last = None if self.progress is None else self.progress.last
        self.progress = await self.backend._writer.submit(Purge(self.queue.spec.name, last))
        return self.progress.deleted


async def waiting(queue: SqliteQueue) -> int:
    """Return how many messages lie in the queue, delayed ones too."""
    stats = await queue.stats()
    return stats.approximate_messages + stats.delayed_messages


async def test_a_purge_of_many_takes_several_transactions(backend: SqliteBackend) -> None:
    """However much there is, all of it goes."""
    queue = backend.queue(STANDARD)
    await queue.enqueue_batch([a_task(f"t-{number}") for number in range(4500)])
    assert 4500 == await queue.purge()
    assert 0 == await waiting(queue)


@pytest.mark.parametrize("spec", [STANDARD, FIFO], ids=["standard", "fifo"])
async def test_tasks_accepted_during_a_purge_stay(backend: SqliteBackend, spec: QueueSpec) -> None:
    """Also when the newest message of the file was deleted by an earlier step, so that its row number is free again."""
    queue = backend.queue(spec)
    await queue.enqueue_batch([a_task(f"t-{number}") for number in range(PURGED_AT_ONCE + 500)])
    purging = Purging(backend, queue)
    while await purging.step() == PURGED_AT_ONCE:
        pass
    # The purge has not seen its last, short step yet, as far as it knows.
    await queue.enqueue_batch([a_task(f"new-{number}") for number in range(3)])
    assert 0 == await purging.step()
    assert 3 == await waiting(queue)


async def test_tasks_accepted_while_purges_run_stay(backend: SqliteBackend) -> None:
    """Whatever way the transactions of both fall, each accepted task is purged as a whole or still there."""
    queue = backend.queue(STANDARD)
    for _ in range(3):
        await queue.enqueue_batch([a_task(f"old-{number}") for number in range(2 * PURGED_AT_ONCE + 10)])
        begun = await backend._writer.submit(Purge(STANDARD.name))
        rest, *_ = await asyncio.gather(
            backend._writer.submit(Purge(STANDARD.name, begun.last)),
            *(queue.enqueue(a_task(f"new-{number}")) for number in range(20)),
        )
        last = await backend._writer.submit(Purge(STANDARD.name, begun.last))
        assert 2 * PURGED_AT_ONCE + 10 == begun.deleted + rest.deleted + last.deleted
        assert 20 == await queue.purge()


async def test_delayed_fifo_tasks_that_come_due_during_a_purge_go_with_it(
    backend: SqliteBackend, clock: FakeClock
) -> None:
    """They were accepted before it, wherever they stand in the meantime."""
    queue = backend.queue(FIFO)
    due = START + 10 * SECOND
    await queue.enqueue_batch([a_task(f"later-{number}", scheduled_for=due) for number in range(PURGED_AT_ONCE + 1000)])
    purging = Purging(backend, queue)
    assert PURGED_AT_ONCE == await purging.step()
    clock.step(timedelta(minutes=1))
    await queue.enqueue(a_task("new"))
    assert 1000 == await purging.step()
    assert ["new"] == ids(await queue.receive(10, NOW))


async def test_a_dead_letter_that_arrives_during_a_purge_stays(backend: SqliteBackend) -> None:
    """The dead-letter queue accepts it then, however old its task is."""
    queue, dead_letters = backend.queue(STANDARD), backend.queue(DEAD_LETTERS)
    task = a_task("t-1")
    await queue.enqueue(task)
    begun = await backend._writer.submit(Purge("dlq"))
    (delivery,) = await queue.receive(1, NOW)
    await queue.dead_letter(delivery, dead_letter_message(task, "broken", START, "work"))
    await backend._writer.submit(Purge("dlq", begun.last))
    assert ["t-1"] == ids(await dead_letters.receive(1, NOW))
