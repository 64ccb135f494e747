"""What ``HeldTasks`` promises, on every database."""

import asyncio
from dataclasses import replace

from mcp_queue.adapters.ledger.ledger import Ledger
from mcp_queue.domain.task import Task, TaskStatus
from mcp_queue.testing import FakeClock
from tests.support.clock import HOUR, MINUTE, SECOND, START
from tests.support.ledger import LedgerHarness
from tests.support.tasks import a_task, an_end, an_execution


async def test_task_is_held_until_it_is_due(ledger: Ledger, clock: FakeClock) -> None:
    """Before its time nobody gets it; then it comes whole, and waits for no time any more."""
    task = a_task(payload={"a": 1}, scheduled_for=START + MINUTE, extra={"later": 1}, traceparent="00-1-2-01")
    await ledger.held.hold([task])
    assert [] == await _due(ledger)
    assert TaskStatus.SCHEDULED == await _status(ledger, task)
    await clock.advance(MINUTE)
    assert [replace(task, scheduled_for=None)] == list(await ledger.held.due(10, MINUTE))


async def test_one_look_tells_whether_anything_is_due(ledger: Ledger, clock: FakeClock) -> None:
    """A task is due from its time on, and while somebody holds it on a lease it is not."""
    assert not await ledger.held.anything_due()
    await _held(ledger)
    assert not await ledger.held.anything_due()
    await clock.advance(MINUTE)
    assert await ledger.held.anything_due()
    await _due(ledger)
    assert not await ledger.held.anything_due()


async def test_promoted_task_is_queued_and_held_no_longer(ledger: Ledger, clock: FakeClock) -> None:
    """Once its queue has it, it is due no more, also after the lease."""
    task = await _held(ledger)
    await clock.advance(MINUTE)
    assert [task.id] == await _due(ledger)
    await ledger.held.promoted([task.id])
    await clock.advance(HOUR)
    assert [] == await _due(ledger)
    assert TaskStatus.QUEUED == await _status(ledger, task)


async def test_due_task_is_with_one_process_at_a_time(ledger: Ledger, clock: FakeClock) -> None:
    """While one sends it, nobody else gets it; when that one crashed, the next does."""
    task = await _held(ledger)
    await clock.advance(MINUTE)
    assert [task.id] == await _due(ledger)
    assert [] == await _due(ledger)
    await clock.advance(MINUTE)
    assert [task.id] == await _due(ledger)


async def test_task_that_could_not_be_sent_is_due_again_at_once(ledger: Ledger, clock: FakeClock) -> None:
    """Whoever gives it back need not let its lease end first."""
    task = await _held(ledger)
    await clock.advance(MINUTE)
    await _due(ledger)
    await ledger.held.release([task.id])
    assert [task.id] == await _due(ledger)


async def test_canceled_task_is_not_promoted(ledger: Ledger, clock: FakeClock) -> None:
    """A cancel that comes before the promotion wins."""
    task = await _held(ledger)
    assert TaskStatus.CANCELED == await ledger.tasks.cancel(task.id)
    await clock.advance(MINUTE)
    assert [] == await _due(ledger)


async def test_task_that_is_canceled_while_it_is_sent_does_not_start(ledger: Ledger, clock: FakeClock) -> None:
    """A cancel that comes in the midst of the promotion was granted: the message then finds it."""
    task = await _held(ledger)
    await clock.advance(MINUTE)
    await _due(ledger)
    assert TaskStatus.CANCELED == await ledger.tasks.cancel(task.id)
    await ledger.held.promoted([task.id])
    assert TaskStatus.CANCELED == await _status(ledger, task)
    [admission] = await ledger.executions.start([an_execution(task)])
    assert TaskStatus.CANCELED == admission.refused


async def test_task_whose_promoter_crashed_after_sending_is_not_sent_again_once_it_ran(
    ledger: Ledger, clock: FakeClock
) -> None:
    """A start says as well as the promoter that the queue has it."""
    task = await _held(ledger)
    await clock.advance(MINUTE)
    await _due(ledger)
    await ledger.executions.start([an_execution(task)])
    await clock.advance(HOUR)
    assert [] == await _due(ledger)


async def test_refused_task_can_be_ended(ledger: Ledger, clock: FakeClock) -> None:
    """What its queue will never take is dead-lettered by its promoter, and held no longer."""
    task = await _held(ledger)
    await clock.advance(MINUTE)
    await _due(ledger)
    await ledger.executions.record(an_end(task, TaskStatus.DEAD_LETTERED, attempt=0, error="too large"))
    await clock.advance(HOUR)
    assert [] == await _due(ledger)


async def test_holding_a_task_twice_is_the_same_as_once(ledger: Ledger, clock: FakeClock) -> None:
    """A request whose claim was taken over holds its task again: also when it has gone on meanwhile."""
    task = await _held(ledger)
    await ledger.held.hold([task])
    await clock.advance(MINUTE)
    assert [task.id] == await _due(ledger)
    await ledger.held.promoted([task.id])
    await ledger.held.hold([task])
    await clock.advance(HOUR)
    assert [] == await _due(ledger)


async def test_earlier_tasks_come_first_and_never_more_than_asked(ledger: Ledger, clock: FakeClock) -> None:
    """A promoter takes what it can send soon, in the order in which it became due."""
    first, second, third = (a_task(scheduled_for=START + SECOND * delay) for delay in (1, 2, 3))
    await ledger.held.hold([third, first, second])
    await clock.advance(MINUTE)
    assert [first.id, second.id] == await _due(ledger, limit=2)
    assert [third.id] == await _due(ledger, limit=2)


async def test_queues_that_take_nothing_now_are_left_out(ledger: Ledger, clock: FakeClock) -> None:
    """While a queue is being purged, its due tasks wait."""
    kept, other = await _held(ledger, queue="purged"), await _held(ledger)
    await clock.advance(MINUTE)
    assert [other.id] == [task.id for task in await ledger.held.due(10, MINUTE, without={"purged"})]
    assert [kept.id] == await _due(ledger)


async def test_tasks_of_unknown_queues_are_left_to_those_who_know_them(ledger: Ledger, clock: FakeClock) -> None:
    """A process from before a queue was added does not call its tasks undeliverable."""
    new, other = await _held(ledger, queue="new"), await _held(ledger)
    await clock.advance(MINUTE)
    assert [other.id] == [task.id for task in await ledger.held.due(10, MINUTE, known={other.queue})]
    assert [] == list(await ledger.held.due(10, MINUTE, known={other.queue}))
    assert [new.id] == [task.id for task in await ledger.held.due(10, MINUTE, known={new.queue})]


async def test_group_waits_for_its_earlier_task(ledger: Ledger, clock: FakeClock) -> None:
    """While somebody else sends the first of a group, its second is not given out: it would overtake."""
    first, second = (a_task(scheduled_for=START + SECOND * delay, group="g") for delay in (1, 2))
    alone = a_task(scheduled_for=START + SECOND * 3, group="other")
    await ledger.held.hold([first, second, alone])
    await clock.advance(SECOND)
    assert [first.id] == await _due(ledger)
    await clock.advance(MINUTE / 2)
    assert [alone.id] == await _due(ledger)
    await ledger.held.promoted([first.id])
    assert [second.id] == await _due(ledger)


async def test_group_longer_than_a_promoters_hands_is_promoted_in_order(ledger: Ledger, clock: FakeClock) -> None:
    """Many tasks of one group and one moment come by and by, none twice and none never."""
    tasks = [a_task(scheduled_for=START + SECOND, group="g") for _ in range(7)]
    await ledger.held.hold(tasks)
    await clock.advance(SECOND)
    promoted: list[str] = []
    while due := await _due(ledger, limit=3):
        promoted += due
        await ledger.held.promoted(due)
    assert [task.id for task in tasks] == promoted


async def test_many_promoters_share_the_work(harness: LedgerHarness) -> None:
    """However many processes promote at the same moment, each due task comes once."""
    tasks = [a_task(scheduled_for=START + SECOND) for _ in range(60)]
    await harness.ledger.held.hold(tasks)
    await harness.clock.advance(SECOND)
    async with harness.another() as other:
        answers = await asyncio.gather(*((harness.ledger, other)[n % 2].held.due(10, MINUTE) for n in range(12)))
    promoted = [task.id for due in answers for task in due]
    assert sorted(set(promoted)) == sorted(promoted)
    rest = [task.id for task in await harness.ledger.held.due(60, MINUTE)]
    assert sorted(task.id for task in tasks) == sorted(promoted + rest)


async def test_nothing_promoted_is_no_statement(ledger: Ledger) -> None:
    """Empty lists are fine."""
    await ledger.held.hold([])
    await ledger.held.promoted([])
    await ledger.held.release([])


async def _held(ledger: Ledger, **members: str) -> Task:
    task = a_task(scheduled_for=START + MINUTE, **members)
    await ledger.held.hold([task])
    return task


async def _due(ledger: Ledger, limit: int = 10) -> list[str]:
    return [task.id for task in await ledger.held.due(limit, MINUTE)]


async def _status(ledger: Ledger, task: Task) -> TaskStatus | None:
    view = await ledger.tasks.get(task.id)
    return None if view is None else view.status
