"""What holds when several processes do things to one task at the same moment, on every database."""

import asyncio
from dataclasses import replace

from mcp_queue.adapters.ledger.ledger import Ledger
from mcp_queue.domain.errors import TaskAlreadyEndedError
from mcp_queue.domain.task import Task, TaskStatus
from mcp_queue.domain.task_states import TaskFilter
from mcp_queue.ports import Admission
from tests.support.clock import HOUR, MINUTE, SECOND, START
from tests.support.ledger import LedgerHarness
from tests.support.tasks import a_dead_letter, a_task, an_end, an_execution


async def test_cancel_and_start_never_both_win(harness: LedgerHarness) -> None:
    """Either the cancel is granted and the start refused, or the task runs and the cancel is a wish."""
    tasks = [a_task() for _ in range(60)]
    await harness.ledger.tasks.record_enqueued(tasks)
    async with harness.another() as other:
        outcomes = await asyncio.gather(*(_cancel_and_start(harness.ledger, other, task) for task in tasks))
    granted = (TaskStatus.CANCELED, Admission(1, refused=TaskStatus.CANCELED))
    wished = (TaskStatus.RUNNING, Admission(1))
    assert {granted, wished} >= set(outcomes)


async def test_cancel_and_promotion_never_both_win(harness: LedgerHarness) -> None:
    """A task that was canceled is given out to no promoter afterwards, and one given out does not start."""
    tasks = [a_task(scheduled_for=START + SECOND) for _ in range(40)]
    await harness.ledger.held.hold(tasks)
    await harness.clock.advance(SECOND)
    async with harness.another() as other:
        canceled, promoted = await asyncio.gather(
            asyncio.gather(*(harness.ledger.tasks.cancel(task.id) for task in tasks[::2])),
            asyncio.gather(*(other.held.due(5, MINUTE) for _ in range(8))),
        )
        assert {TaskStatus.CANCELED} == set(canceled)
        await other.held.promoted([task.id for due in promoted for task in due])
        await harness.clock.advance(HOUR)
        rest = [task.id for task in await other.held.due(40, MINUTE)]
    assert not {task.id for task in tasks[::2]} & set(rest)
    admissions = await harness.ledger.executions.start([an_execution(task) for task in tasks[::2]])
    assert {TaskStatus.CANCELED} == {admission.refused for admission in admissions}


async def test_gateway_and_consumer_enter_a_task_once(harness: LedgerHarness) -> None:
    """Whoever is first, nothing is lost and nothing goes back."""
    tasks = [a_task(payload=number) for number in range(80)]
    async with harness.another() as other:
        await asyncio.gather(
            *(harness.ledger.tasks.record_enqueued([task]) for task in tasks),
            *(_run(other, task) for task in tasks),
        )
    page = await harness.ledger.tasks.list_tasks(TaskFilter(status=TaskStatus.COMPLETED), limit=200)
    assert {task.id for task in tasks} == {view.task.id for view in page.items}


async def test_groups_that_overlap_do_not_stand_in_each_others_way(harness: LedgerHarness) -> None:
    """Two consumers that write about the same tasks in opposite orders both come through."""
    tasks = [a_task() for _ in range(50)]
    await harness.ledger.tasks.record_enqueued(tasks)
    async with harness.another() as other:
        for _ in range(5):
            await asyncio.gather(
                harness.ledger.executions.start([an_execution(task) for task in tasks]),
                other.executions.start([an_execution(task) for task in reversed(tasks)]),
                harness.ledger.tasks.record_enqueued(tasks[::-1]),
                other.tasks.record_enqueued(tasks),
            )
    assert [] == harness.metrics.failed


async def test_late_success_and_dead_letter_leave_no_letter_waiting(harness: LedgerHarness) -> None:
    """Whichever is written first, a task that completed waits for nobody."""
    tasks = [a_task() for _ in range(40)]
    await harness.ledger.executions.start([an_execution(task) for task in tasks])
    async with harness.another() as other:
        await asyncio.gather(
            *(harness.ledger.executions.record(an_end(task)) for task in tasks),
            *(other.dead_letters.store_dead_letters([a_dead_letter(task)]) for task in tasks),
        )
    assert {} == await harness.ledger.dead_letters.summaries()


async def test_two_redrives_of_one_dead_letter_are_one_generation(harness: LedgerHarness) -> None:
    """Two operators at the same moment leave one new generation and one tombstone."""
    task = a_task()
    await harness.ledger.dead_letters.store_dead_letters([a_dead_letter(task)])
    redriven = replace(task, redrive_count=1)
    async with harness.another() as other:
        await asyncio.gather(
            harness.ledger.dead_letters.mark_redriven([redriven], "ann"),
            other.dead_letters.mark_redriven([redriven], "bob"),
        )
    view = await harness.ledger.tasks.get(task.id)
    assert view is not None
    assert (TaskStatus.QUEUED, 1) == (view.status, view.task.redrive_count)
    assert ["redriven"] == [dead_letter.state for dead_letter in view.dead_letters]


async def test_callers_that_are_cancelled_leave_a_ledger_that_works(harness: LedgerHarness) -> None:
    """A client that hangs up, at whatever step, costs nobody else anything."""
    task = a_task()
    await harness.ledger.tasks.record_enqueued([task])
    for turns in range(12):
        calls = [
            asyncio.ensure_future(call)
            for call in (
                harness.ledger.tasks.get(task.id),
                harness.ledger.tasks.list_tasks(TaskFilter(), limit=5),
                harness.ledger.tasks.record_enqueued([a_task()]),
                harness.ledger.executions.start([an_execution(task)]),
                harness.ledger.queues.pause("tasks"),
                harness.ledger.held.hold([a_task(scheduled_for=START + HOUR)]),
            )
        ]
        for _ in range(turns):
            await asyncio.sleep(0)
        for call in calls:
            call.cancel()
        await asyncio.wait(calls)
        view = await harness.ledger.tasks.get(task.id)
        assert view is not None
        await harness.ledger.queues.resume("tasks")
    assert harness.ledger.healthy


async def _cancel_and_start(canceler: Ledger, consumer: Ledger, task: Task) -> tuple[TaskStatus, Admission]:
    status, admissions = await asyncio.gather(
        canceler.tasks.cancel(task.id), consumer.executions.start([an_execution(task)])
    )
    return status, admissions[0]


async def _run(ledger: Ledger, task: Task) -> None:
    [admission] = await ledger.executions.start([an_execution(task)])
    assert admission.refused is None
    await ledger.executions.record(an_end(task))


async def test_cancel_and_end_agree(harness: LedgerHarness) -> None:
    """A task that ended first tells the canceler so."""
    tasks = [a_task() for _ in range(30)]
    await harness.ledger.executions.start([an_execution(task) for task in tasks])
    async with harness.another() as other:
        await asyncio.gather(
            *(harness.ledger.executions.record(an_end(task)) for task in tasks),
            *(_try_to_cancel(other, task) for task in tasks),
        )
    page = await harness.ledger.tasks.list_tasks(TaskFilter(status=TaskStatus.COMPLETED), limit=200)
    assert len(tasks) == len(page.items)


async def _try_to_cancel(ledger: Ledger, task: Task) -> None:
    try:
        assert TaskStatus.RUNNING == await ledger.tasks.cancel(task.id)
    except TaskAlreadyEndedError:
        return
