"""Stores that were restored from a backup, one older than the other: tasks may run again, and none is lost."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from mcp_queue.adapters.ledger.ledger import Ledger, open_ledger
from mcp_queue.adapters.sqlite import SqliteBackend
from mcp_queue.domain.delivery import Delivery
from mcp_queue.domain.formats.serialization import JsonTaskSerializer
from mcp_queue.domain.queues import QueueSpec
from mcp_queue.domain.task import TaskStatus
from mcp_queue.ports import Admission, AttemptStart, Queue
from mcp_queue.testing import FakeClock
from tests.support.clock import NOW, START
from tests.support.metrics import LedgerCounts
from tests.support.queues.embedded import FIFO, STANDARD
from tests.support.sqs.strict_queues import StrictWorld
from tests.support.tasks import a_task, an_end

BOTH_KINDS = pytest.mark.parametrize("spec", [STANDARD, FIFO], ids=["standard", "fifo"])


@dataclass
class Stores:
    """The files of a queue and a ledger, which a test opens, closes and restores."""

    directory: Path
    clock: FakeClock
    spec: QueueSpec

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[tuple[Queue, Ledger]]:
        """Open both for as long as the context is open."""
        url = f"sqlite+aiosqlite:///{self.directory / 'ledger.db'}"
        async with (
            SqliteBackend(self.directory / "queue.db", clock=self.clock, serializer=JsonTaskSerializer()) as backend,
            open_ledger(url, clock=self.clock, metrics=LedgerCounts()) as ledger,
        ):
            yield backend.queue(self.spec), ledger

    def back_up(self, name: str) -> None:
        """Copy a closed file, as a backup does."""
        shutil.copy(self.directory / name, self.directory / f"{name}.backup")

    def restore(self, name: str) -> None:
        """Put the copy into the place of the closed file."""
        for left in self.directory.glob(f"{name}-*"):
            left.unlink()
        shutil.copy(self.directory / f"{name}.backup", self.directory / name)


@pytest.fixture
def stores(tmp_path: Path, clock: FakeClock, spec: QueueSpec) -> Stores:
    """Return two stores that do not exist yet."""
    return Stores(tmp_path, clock, spec)


async def take(queue: Queue, ledger: Ledger) -> tuple[Delivery, Admission]:
    """Receive the one message, and ask the ledger about it as the consumer does."""
    (delivery,) = await queue.receive(1, NOW)
    assert delivery.task is not None
    start = AttemptStart(
        task=delivery.task,
        attempt=delivery.task.retry_count + 1,
        counts_itself=queue.traits.rewrites,
        may_be_stale=queue.traits.leaves_stale_copies,
        started_at=START,
    )
    [admission] = await ledger.executions.start([start])
    return delivery, admission


async def fail_once(queue: Queue, ledger: Ledger) -> None:
    """Run the one task without success, so that it is retried at once."""
    delivery, _ = await take(queue, ledger)
    assert delivery.task is not None
    requeued = await queue.retry(delivery, delivery.task.next_attempt(), NOW)
    assert requeued is not None
    await ledger.executions.record(an_end(delivery.task, TaskStatus.RETRYING, next_at=START))


@BOTH_KINDS
async def test_a_task_under_retry_outlives_an_older_queue(stores: Stores) -> None:
    """The ledger knows of a retry of which the restored file has no message: the attempt before it runs again."""
    async with stores.opened() as (queue, ledger):
        await queue.enqueue(a_task("t-1"))
    stores.back_up("queue.db")
    async with stores.opened() as (queue, ledger):
        await fail_once(queue, ledger)
        await fail_once(queue, ledger)
    stores.restore("queue.db")
    async with stores.opened() as (queue, ledger):
        delivery, admission = await take(queue, ledger)
        assert Admission(1) == admission
        assert delivery.task is not None
        await ledger.executions.record(an_end(delivery.task))
        recorded = await ledger.tasks.get("t-1")
        assert recorded is not None
        assert TaskStatus.COMPLETED == recorded.status


@BOTH_KINDS
async def test_a_task_under_retry_outlives_an_older_ledger(stores: Stores) -> None:
    """The message itself says which attempt comes."""
    async with stores.opened() as (queue, ledger):
        await queue.enqueue(a_task("t-1"))
        await ledger.tasks.record_enqueued([a_task("t-1")])
    stores.back_up("ledger.db")
    async with stores.opened() as (queue, ledger):
        await fail_once(queue, ledger)
    stores.restore("ledger.db")
    async with stores.opened() as (queue, ledger):
        _, admission = await take(queue, ledger)
        assert Admission(2) == admission


@pytest.mark.parametrize(("name", "attempt"), [("work", 2), ("work.fifo", 1)])
async def test_a_task_at_sqs_outlives_an_older_ledger(tmp_path: Path, name: str, attempt: int) -> None:
    """An attempt of a FIFO task is counted by the ledger alone, and so runs again."""
    world = StrictWorld()
    stores = Stores(tmp_path, world.clock, STANDARD)
    queue = await world.queue(name, dlq=None)
    async with stores.opened() as (_, ledger):
        await queue.enqueue(a_task("t-1"))
        await ledger.tasks.record_enqueued([a_task("t-1")])
    stores.back_up("ledger.db")
    async with stores.opened() as (_, ledger):
        await fail_once(queue, ledger)
    stores.restore("ledger.db")
    async with stores.opened() as (_, ledger):
        _, admission = await take(queue, ledger)
        assert Admission(attempt) == admission
