"""Tasks looked up and withdrawn."""

import pytest

from mcp_queue.adapters.ledger.disabled import NoLedger
from mcp_queue.domain.errors import (
    InvalidCursorError,
    LedgerDisabledError,
    LedgerUnavailableError,
    TaskAlreadyEndedError,
    TaskNotFoundError,
)
from mcp_queue.domain.formats.serialization import JsonTaskSerializer
from mcp_queue.domain.task import TaskStatus
from mcp_queue.domain.task_states import TaskFilter
from mcp_queue.services.operators.task_records import TaskRecords
from mcp_queue.testing import FakeClock, InMemoryQueue
from tests.support.clock import MINUTE, SECOND, START
from tests.support.ledger import LedgerHarness
from tests.support.tasks import a_task, an_end, an_execution, standard


@pytest.fixture
def records(harness: LedgerHarness) -> TaskRecords:
    """Return the records of the ledger, where ``tasks`` is a known queue."""
    queue = InMemoryQueue(standard(visibility_timeout=MINUTE), clock=harness.clock, serializer=JsonTaskSerializer())
    return TaskRecords(harness.ledger.tasks, {"tasks": queue})


async def test_task_comes_back_with_the_time_limit_that_holds(harness: LedgerHarness, records: TaskRecords) -> None:
    """Its own, or its queue's; nobody knows that of a queue that is no longer configured."""
    own, queues, orphan = a_task(visibility_timeout=SECOND * 7), a_task(), a_task(queue="gone")
    await harness.ledger.tasks.record_enqueued([own, queues, orphan])
    found = [await records.get(task.id) for task in (own, queues, orphan)]
    assert [own, queues, orphan] == [record.view.task for record in found]
    assert [SECOND * 7, MINUTE, None] == [record.visibility_timeout for record in found]


async def test_list_goes_page_by_page(harness: LedgerHarness, records: TaskRecords) -> None:
    """The newest comes first, and a cursor of nobody is refused."""
    tasks = [a_task(created_at=START + SECOND * number) for number in range(3)]
    await harness.ledger.tasks.record_enqueued(tasks)
    first = await records.list_tasks(TaskFilter(queue="tasks"), limit=2)
    second = await records.list_tasks(TaskFilter(queue="tasks"), limit=2, cursor=first.next_cursor)
    listed = [record.view.task.id for record in (*first.items, *second.items)]
    assert [task.id for task in reversed(tasks)] == listed
    assert second.next_cursor is None
    with pytest.raises(InvalidCursorError):
        await records.list_tasks(TaskFilter(), limit=2, cursor="nobody's")


async def test_cancel_withdraws_what_waits_and_asks_what_runs(harness: LedgerHarness, records: TaskRecords) -> None:
    """What has ended, or is unknown, cannot be withdrawn."""
    waiting, running, done = a_task(), a_task(), a_task()
    await harness.ledger.tasks.record_enqueued([waiting])
    await harness.ledger.executions.start([an_execution(running)])
    await harness.ledger.executions.record(an_end(done))
    assert TaskStatus.CANCELED == await records.cancel(waiting.id)
    assert TaskStatus.RUNNING == await records.cancel(running.id)
    with pytest.raises(TaskAlreadyEndedError):
        await records.cancel(done.id)
    with pytest.raises(TaskNotFoundError):
        await records.cancel("nobody")


@pytest.mark.parametrize("task_id", ["nobody", "with a \0 in it"])
async def test_unknown_task_is_not_found(records: TaskRecords, task_id: str) -> None:
    """Whatever was asked for."""
    with pytest.raises(TaskNotFoundError):
        await records.get(task_id)


async def test_without_a_ledger_nothing_is_remembered() -> None:
    """Every question says what is missing."""
    records = TaskRecords(NoLedger(FakeClock()).tasks, {})
    for question in (records.get("t"), records.list_tasks(TaskFilter(), limit=1), records.cancel("t")):
        with pytest.raises(LedgerDisabledError):
            await question


async def test_ledger_that_is_down_is_no_missing_task(harness: LedgerHarness, records: TaskRecords) -> None:
    """Nobody knows at the moment."""
    harness.ledger._database.set_away("the test says so")
    with pytest.raises(LedgerUnavailableError):
        await records.get("t")
