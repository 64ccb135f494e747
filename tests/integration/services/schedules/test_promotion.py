"""Due tasks find their way from the ledger to their queues."""

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from mcp_queue.domain.delivery import Accepted
from mcp_queue.domain.errors import BackendUnavailableError, InvalidTaskError, QueueError
from mcp_queue.domain.formats.serialization import JsonTaskSerializer
from mcp_queue.domain.task import Task, TaskStatus
from mcp_queue.services.schedules.promotion import REST, Promoter
from mcp_queue.testing import InMemoryQueue
from tests.support.ledger import LedgerHarness, ledger_harness
from tests.support.metrics import CountingMetrics
from tests.support.tasks import standard


class Target(InMemoryQueue):
    """A queue that refuses what a test says."""

    refusals: list[QueueError]
    down: bool

    async def enqueue_batch(self, tasks: Sequence[Task]) -> list[Accepted | QueueError]:
        """Refuse or take."""
        if self.down:
            raise BackendUnavailableError
        verdicts = await super().enqueue_batch(tasks)
        return [self.refusals.pop(0) if self.refusals else verdict for verdict in verdicts]


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[LedgerHarness]:
    """Return a ledger in a file of its own."""
    async with ledger_harness(f"sqlite+aiosqlite:///{tmp_path / 'ledger.db'}") as opened:
        yield opened


@pytest.fixture
def target(harness: LedgerHarness) -> Target:
    """Return the queue ``tasks``."""
    queue = Target(standard(), clock=harness.clock, serializer=JsonTaskSerializer())
    queue.refusals, queue.down = [], False
    return queue


@pytest.fixture
def closed() -> set[str]:
    """Return the names of queues that take nothing at the moment."""
    return set()


@pytest.fixture
def promoter(harness: LedgerHarness, target: Target, closed: set[str]) -> Promoter:
    """Return a promoter to ``tasks``."""

    async def names() -> set[str]:
        return closed

    return Promoter(
        harness.ledger.held,
        harness.ledger.dead_letters,
        {"tasks": target},
        clock=harness.clock,
        metrics=CountingMetrics(),
        closed=names,
    )


def due_in(harness: LedgerHarness, seconds: float, task_id: str = "t1", queue: str = "tasks") -> Task:
    """Make a task that is due later."""
    now = harness.clock.now()
    return Task(id=task_id, type="job", queue=queue, created_at=now, scheduled_for=now + timedelta(seconds=seconds))


async def status_of(harness: LedgerHarness, task_id: str = "t1") -> TaskStatus | None:
    """Return what the ledger says of a task."""
    view = await harness.ledger.tasks.get(task_id)
    return None if view is None else view.status


async def test_a_task_is_sent_when_it_is_due_and_not_before(
    harness: LedgerHarness, promoter: Promoter, target: Target
) -> None:
    """It carries an id of its own for deduplication, and waits for no time any more."""
    await harness.ledger.held.hold([due_in(harness, 100)])
    await promoter.promote()
    assert await target.receive(1, timedelta(0)) == []
    await harness.clock.advance(timedelta(seconds=101))
    await promoter.promote()

    (delivery,) = await target.receive(1, timedelta(0))
    assert delivery.task is not None
    assert ("t1", "t1.0", None) == (delivery.task.id, delivery.task.deduplication_id, delivery.task.scheduled_for)
    assert await status_of(harness) is TaskStatus.QUEUED


async def test_more_tasks_than_one_step_takes_are_all_sent(
    harness: LedgerHarness, promoter: Promoter, target: Target
) -> None:
    """A thousand that are due at the same moment go out in one round."""
    await harness.ledger.held.hold([due_in(harness, 1, f"t{number:04}") for number in range(1001)])
    await harness.clock.advance(timedelta(seconds=2))
    await promoter.promote()

    assert (await target.stats()).approximate_messages == 1001


async def test_a_queue_that_does_not_answer_is_tried_again(
    harness: LedgerHarness, promoter: Promoter, target: Target
) -> None:
    """The task stays held, and goes once the queue has been left alone for a moment."""
    await harness.ledger.held.hold([due_in(harness, 1)])
    await harness.clock.advance(timedelta(seconds=2))
    target.down = True
    await promoter.promote()
    assert await status_of(harness) is TaskStatus.SCHEDULED
    target.down = False
    await harness.clock.advance(REST)
    await promoter.promote()

    assert (await target.stats()).approximate_messages == 1


async def test_a_closed_queue_gets_nothing(
    harness: LedgerHarness, promoter: Promoter, target: Target, closed: set[str]
) -> None:
    """While a queue is being purged its due tasks wait."""
    await harness.ledger.held.hold([due_in(harness, 1)])
    await harness.clock.advance(timedelta(seconds=2))
    closed.add("tasks")
    await promoter.promote()
    assert (await target.stats()).approximate_messages == 0
    closed.clear()
    await promoter.promote()

    assert (await target.stats()).approximate_messages == 1


async def test_a_task_that_its_queue_refuses_for_good_is_dead_lettered(
    harness: LedgerHarness, promoter: Promoter, target: Target
) -> None:
    """Neither lost nor tried for ever: its reason can be read."""
    target.refusals.append(InvalidTaskError("too odd"))
    await harness.ledger.held.hold([due_in(harness, 1)])
    await harness.clock.advance(timedelta(seconds=2))
    await promoter.promote()

    dead_letter = await harness.ledger.dead_letters.get_dead_letter("tasks", "t1")
    assert dead_letter is not None
    assert "it could not be sent when it was due: too odd" == dead_letter.failure_reason
    assert await status_of(harness) is TaskStatus.DEAD_LETTERED


async def test_a_task_of_a_queue_that_is_not_known_here_is_left_to_others(
    harness: LedgerHarness, promoter: Promoter
) -> None:
    """A consumer of some queues, or one from before the queue was added, cannot say that nobody knows it."""
    await harness.ledger.held.hold([due_in(harness, 1, queue="gone")])
    await harness.clock.advance(timedelta(days=7))
    await promoter.promote()

    assert await status_of(harness) is TaskStatus.SCHEDULED


async def test_a_queue_that_takes_nothing_holds_up_no_other(
    harness: LedgerHarness, target: Target, caplog: pytest.LogCaptureFixture
) -> None:
    """However many of its tasks are due: they are tried once, and said to wait once."""
    full = Target(standard("full"), clock=harness.clock, serializer=JsonTaskSerializer())
    full.refusals, full.down = [], True
    promoter = Promoter(
        harness.ledger.held,
        harness.ledger.dead_letters,
        {"full": full, "tasks": target},
        clock=harness.clock,
        metrics=CountingMetrics(),
        closed=nobody,
    )
    await harness.ledger.held.hold([due_in(harness, 1, f"f{number:04}", "full") for number in range(1200)])
    await harness.ledger.held.hold([due_in(harness, 2)])
    for _ in range(3):
        await harness.clock.advance(REST)
        await promoter.promote()

    assert (await target.stats()).approximate_messages == 1
    assert 1 == len(caplog.records)


async def nobody() -> set[str]:
    """Return the names of no queues."""
    return set()
