"""Ledgers for tests, and tasks to put into them."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from typing import Any

from mcp_queue.adapters.ledger.ledger import Ledger, open_ledger
from mcp_queue.domain.dead_letters.dead_letter import DeadLetter
from mcp_queue.domain.task import Task, TaskStatus
from mcp_queue.ports import AttemptRecord, AttemptStart
from mcp_queue.services.enqueueing.submission import EnqueueLedger
from mcp_queue.testing import FakeClock
from tests.support.clock import START

_ids = count(1)


def enqueue_ledger(ledger: Ledger) -> EnqueueLedger:
    """Return what enqueueing needs of ``ledger``."""
    return EnqueueLedger(tasks=ledger.tasks, claims=ledger.claims, held=ledger.held)


@dataclass(slots=True)
class LedgerCounts:
    """A ``LedgerMetrics`` that remembers."""

    failed: list[str] = field(default_factory=list)
    dropped: int = 0
    backlog: int = 0

    def ledger_failed(self, operation: str) -> None:
        """Remember which operation failed."""
        self.failed.append(operation)

    def ledger_dropped(self, count: int) -> None:
        """Add up what was dropped."""
        self.dropped += count

    def ledger_backlog(self, count: int) -> None:
        """Remember how many rows wait."""
        self.backlog = count


@dataclass(slots=True, kw_only=True)
class LedgerHarness:
    """A ledger under test, and further processes on the same database."""

    url: str
    clock: FakeClock
    metrics: LedgerCounts
    ledger: Ledger

    def another(self) -> AbstractAsyncContextManager[Ledger]:
        """Open the same database as another process does."""
        return open_ledger(self.url, clock=self.clock, metrics=LedgerCounts())


@asynccontextmanager
async def ledger_harness(url: str) -> AsyncIterator[LedgerHarness]:
    """Open the ledger at ``url`` with a clock that stands still."""
    clock, metrics = FakeClock(START), LedgerCounts()
    async with open_ledger(url, clock=clock, metrics=metrics) as ledger:
        yield LedgerHarness(url=url, clock=clock, metrics=metrics, ledger=ledger)


def a_task(task_id: str | None = None, **members: Any) -> Task:
    """Return a task with an id of its own."""
    given: Mapping[str, Any] = {"type": "embedding", "queue": "tasks", "created_at": START, **members}
    return Task(id=task_id or f"task-{next(_ids):06}", **given)


def an_execution(task: Task, **members: Any) -> AttemptStart:
    """Return an execution of ``task`` as its message tells it."""
    given = {"attempt": task.retry_count + 1, "counts_itself": True, "started_at": START, **members}
    return AttemptStart(task=task, **given)


def an_end(task: Task, status: TaskStatus = TaskStatus.COMPLETED, **members: Any) -> AttemptRecord:
    """Return how the attempt of ``task`` ended that its message tells."""
    given = {
        "queue": task.queue,
        "attempt": task.retry_count + 1,
        "started_at": START,
        "duration": timedelta(seconds=2),
        **members,
    }
    return AttemptRecord(task=task, status=status, **given)


def a_dead_letter(task: Task, **members: Any) -> DeadLetter:
    """Return ``task`` as a dead letter."""
    given = {"failure_reason": "it broke", "failed_at": START, "attempts": task.retry_count + 1, **members}
    return DeadLetter(task_id=task.id, redrive_count=task.redrive_count, queue=task.queue, task=task, **given)


Opener = Callable[[], AbstractAsyncContextManager[Ledger]]
