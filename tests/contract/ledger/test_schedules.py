"""What a ``ScheduleStore`` promises, on every database."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from mcp_queue.adapters.ledger.ledger import Ledger
from mcp_queue.domain.errors import InvalidCursorError
from mcp_queue.domain.schedules import Misfire, Schedule, Tick
from mcp_queue.domain.task import TaskStatus
from mcp_queue.domain.task_states import TaskFilter
from mcp_queue.testing import FakeClock
from tests.support.clock import HOUR, MINUTE, START
from tests.support.ledger import LedgerHarness
from tests.support.tasks import a_task


def a_schedule(name: str = "nightly", **members: object) -> Schedule:
    """Return a schedule whose first tick is a minute ahead."""
    given = {"cron": "* * * * *", "queue": "tasks", "next_run_at": START + MINUTE, **members}
    return Schedule(name=name, **given)  # type: ignore[arg-type]  # tests name the members they mean


def plan(schedule: Schedule) -> Tick:
    """Run every tick, the next an hour later."""
    assert schedule.next_run_at is not None
    return Tick(a_task(queue=schedule.queue), schedule.next_run_at + HOUR)


async def test_schedule_comes_back_whole(ledger: Ledger) -> None:
    """What was stored under a name is what the name gives."""
    schedule = a_schedule(
        timezone="Europe/Berlin", task={"type": "t", "payload": [1, {"a": None}]}, paused=True, misfire=Misfire.RUN_ONCE
    )
    assert await ledger.schedules.put(schedule)
    assert schedule == await ledger.schedules.get("nightly")
    assert await ledger.schedules.get("other") is None


async def test_replacing_a_schedule_keeps_when_it_ran(ledger: Ledger, clock: FakeClock) -> None:
    """A second put is no new schedule, and does not forget the last run."""
    await ledger.schedules.put(a_schedule())
    await clock.advance(MINUTE)
    await ledger.schedules.run_due(plan)
    assert not await ledger.schedules.put(a_schedule(cron="0 * * * *"))
    stored = await ledger.schedules.get("nightly")
    assert stored is not None
    assert ("0 * * * *", START + MINUTE) == (stored.cron, stored.last_run_at)


async def test_replacing_a_schedule_keeps_a_tick_that_is_due(ledger: Ledger, clock: FakeClock) -> None:
    """A put at the very moment of a tick neither drops it nor runs it twice; other times begin anew."""
    await ledger.schedules.put(a_schedule())
    await clock.advance(MINUTE)
    await ledger.schedules.put(a_schedule(next_run_at=START + MINUTE * 2))
    assert 1 == await ledger.schedules.run_due(plan)
    await ledger.schedules.put(a_schedule(next_run_at=START + MINUTE * 2))
    assert 0 == await ledger.schedules.run_due(plan)
    await ledger.schedules.put(a_schedule(cron="0 * * * *", next_run_at=START + MINUTE * 2))
    stored = await ledger.schedules.get("nightly")
    assert stored is not None
    assert START + MINUTE * 2 == stored.next_run_at


async def test_schedules_are_listed_by_name_in_pages(ledger: Ledger) -> None:
    """Pages follow each other, and a cursor of nobody is refused."""
    for name in "cab":
        await ledger.schedules.put(a_schedule(name))
    first = await ledger.schedules.list_schedules(limit=2)
    second = await ledger.schedules.list_schedules(limit=2, cursor=first.next_cursor)
    assert ["a", "b", "c"] == [schedule.name for page in (first, second) for schedule in page.items]
    assert second.next_cursor is None
    with pytest.raises(InvalidCursorError):
        await ledger.schedules.list_schedules(limit=2, cursor="x")


async def test_deleted_schedule_is_gone(ledger: Ledger) -> None:
    """Deleting says whether there was something."""
    await ledger.schedules.put(a_schedule())
    assert await ledger.schedules.delete("nightly")
    assert not await ledger.schedules.delete("nightly")
    assert await ledger.schedules.get("nightly") is None


async def test_due_tick_becomes_a_held_task_and_the_schedule_moves_on(ledger: Ledger, clock: FakeClock) -> None:
    """The task is due at once, for the promoter to send."""
    await ledger.schedules.put(a_schedule())
    assert 0 == await ledger.schedules.run_due(plan)
    await clock.advance(MINUTE)
    assert 1 == await ledger.schedules.run_due(plan)
    assert 0 == await ledger.schedules.run_due(plan)
    assert 1 == len(await ledger.held.due(10, MINUTE))
    stored = await ledger.schedules.get("nightly")
    assert stored is not None
    assert (START + MINUTE + HOUR, START + MINUTE) == (stored.next_run_at, stored.last_run_at)


async def test_tick_is_due_from_its_time_on_unless_it_is_paused(ledger: Ledger, clock: FakeClock) -> None:
    """The look that tells whether a task is due tells it of ticks as well."""
    await ledger.schedules.put(a_schedule())
    assert not await ledger.held.anything_due()
    await clock.advance(MINUTE)
    assert await ledger.held.anything_due()
    await ledger.schedules.put(replace(a_schedule(), paused=True))
    assert not await ledger.held.anything_due()


async def test_ticks_of_unknown_queues_are_left_to_those_who_know_them(ledger: Ledger, clock: FakeClock) -> None:
    """As their tasks are."""
    await ledger.schedules.put(a_schedule(queue="new"))
    await clock.advance(MINUTE)
    assert 0 == await ledger.schedules.run_due(plan, {"tasks"})
    assert 1 == await ledger.schedules.run_due(plan, {"tasks", "new"})


async def test_skipped_tick_moves_on_without_a_task(ledger: Ledger, clock: FakeClock) -> None:
    """A missed tick leaves no task and no trace of a run."""
    await ledger.schedules.put(a_schedule())
    await clock.advance(HOUR)
    assert 0 == await ledger.schedules.run_due(lambda _: Tick(None, START + HOUR * 2))
    stored = await ledger.schedules.get("nightly")
    assert stored is not None
    assert (START + HOUR * 2, None) == (stored.next_run_at, stored.last_run_at)
    assert [] == list(await ledger.held.due(10, MINUTE))


@pytest.mark.parametrize("change", [{"paused": True}, {"next_run_at": None}])
async def test_paused_and_finished_schedules_do_nothing(
    ledger: Ledger, clock: FakeClock, change: dict[str, object]
) -> None:
    """Neither is ever due."""
    await ledger.schedules.put(replace(a_schedule(), **change))  # type: ignore[arg-type]  # members by name
    await clock.advance(HOUR)
    assert 0 == await ledger.schedules.run_due(plan)


async def test_one_task_a_tick_however_many_processes_run(harness: LedgerHarness) -> None:
    """Ten runners in two processes at the same moment make one task of each of twenty ticks."""
    for number in range(20):
        await harness.ledger.schedules.put(a_schedule(f"s{number:02}"))
    await harness.clock.advance(MINUTE)
    async with harness.another() as other:
        counts = await asyncio.gather(*((harness.ledger, other)[n % 2].schedules.run_due(plan) for n in range(10)))
    assert 20 == sum(counts)
    page = await harness.ledger.tasks.list_tasks(TaskFilter(status=TaskStatus.SCHEDULED), limit=200)
    assert 20 == len(page.items)


async def test_tick_whose_planning_fails_changes_nothing(ledger: Ledger, clock: FakeClock) -> None:
    """The task and the move are one transaction: neither is there without the other."""
    await ledger.schedules.put(a_schedule("a"))
    await ledger.schedules.put(a_schedule("b"))
    await clock.advance(MINUTE)

    def fails_at_the_second(schedule: Schedule) -> Tick:
        if schedule.name == "b":
            raise LookupError
        return Tick(a_task(), START + timedelta(days=1))

    with pytest.raises(LookupError):
        await ledger.schedules.run_due(fails_at_the_second)
    stored = await ledger.schedules.get("a")
    assert stored is not None
    assert START + MINUTE == stored.next_run_at
    assert () == (await ledger.tasks.list_tasks(TaskFilter(), limit=10)).items
