"""Recurring tasks, from their schedule to their queue."""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from mcp_queue.adapters.cron import next_tick
from mcp_queue.domain.errors import InvalidTaskError, LedgerDisabledError, NotFoundError, QueueFullError
from mcp_queue.domain.schedules import Misfire, Schedule
from mcp_queue.domain.task_states import RecordedTask, TaskFilter
from mcp_queue.services.schedules.schedules import NewSchedule, Schedules, run_what_is_due
from tests.support.clock import HOUR, MINUTE, NOW, START
from tests.support.gateway import GatewayKit
from tests.support.ledger import LedgerHarness


@pytest.fixture
def gateway(harness: LedgerHarness) -> GatewayKit:
    """Return a gateway with the ledger; its queue ``tasks`` takes one task only."""
    return GatewayKit(harness=harness, max_depth=1)


@pytest.fixture
def scheduling(gateway: GatewayKit) -> Schedules:
    """Return its schedules."""
    return gateway.scheduling


def hourly(**members: Any) -> NewSchedule:
    """Return a schedule that ticks at every full hour."""
    return NewSchedule(**{"cron": "0 * * * *", "queue": "orders", "task": {"type": "echo"}, **members})


async def tasks_of(harness: LedgerHarness) -> list[RecordedTask]:
    """Return what came of the ticks, the oldest first."""
    page = await harness.ledger.tasks.list_tasks(TaskFilter(), limit=200)
    return list(reversed(page.items))


async def test_schedule_shows_when_it_runs(harness: LedgerHarness, scheduling: Schedules) -> None:
    """The first put makes it, the next replaces it; nothing has run yet."""
    schedule, is_new = await scheduling.put("nightly", hourly(cron="30 4 * * *", timezone="Europe/Berlin"))
    again, is_new_again = await scheduling.put("nightly", hourly(misfire="run_once"))
    assert (True, False) == (is_new, is_new_again)
    assert (START + HOUR * 3.5, None) == (schedule.next_run_at, schedule.last_run_at)
    assert (START + HOUR, Misfire.RUN_ONCE) == (again.next_run_at, again.misfire)
    assert again == await scheduling.get("nightly")


async def test_tick_becomes_one_task_and_says_when_it_ran(harness: LedgerHarness, scheduling: Schedules) -> None:
    """Each hour has its own; in between nothing happens."""
    await scheduling.put("hourly", hourly(task={"type": "echo", "payload": [1], "group": "g", "max_retries": 7}))
    counts = []
    for _ in range(8):
        await harness.clock.advance(MINUTE * 15)
        counts.append(await scheduling.run_due())
    assert [0, 0, 0, 1, 0, 0, 0, 1] == counts
    first, _ = await tasks_of(harness)
    view = await harness.ledger.tasks.get(first.task.id)
    assert view is not None
    assert ("orders", "echo", [1], "g", 7) == (
        view.task.queue, view.task.type, view.task.payload, view.task.group, view.task.max_retries,
    )  # fmt: skip
    schedule = await scheduling.get("hourly")
    assert (START + HOUR * 3, START + HOUR * 2) == (schedule.next_run_at, schedule.last_run_at)


async def test_more_ticks_than_one_step_takes_all_run(harness: LedgerHarness, scheduling: Schedules) -> None:
    """At a full hour many come at once."""
    for number in range(130):
        await scheduling.put(f"s{number}", hourly())
    await harness.clock.advance(HOUR)
    assert 130 == await scheduling.run_due()


async def test_one_task_a_tick_however_many_processes_run(harness: LedgerHarness, scheduling: Schedules) -> None:
    """Each process asks twice a second: the first to come runs the tick."""
    await scheduling.put("hourly", hourly())
    await harness.clock.advance(HOUR)
    async with harness.another() as other:
        kit = GatewayKit(harness=replace(harness, ledger=other))
        counts = await asyncio.gather(*(each.run_due() for each in (scheduling, kit.scheduling) * 5))
    assert 1 == sum(counts)
    assert 1 == len(await tasks_of(harness))


@pytest.mark.parametrize(("misfire", "expected"), [("skip", 0), ("run_once", 1)])
async def test_downtime_is_no_flood(harness: LedgerHarness, scheduling: Schedules, misfire: str, expected: int) -> None:
    """Of the ticks that nobody ran comes nothing, or one task for all; then it goes on."""
    await scheduling.put("hourly", hourly(misfire=misfire))
    await harness.clock.advance(HOUR * 5 + MINUTE)
    assert expected == await scheduling.run_due()
    await harness.clock.advance(MINUTE * 59)
    assert 1 == await scheduling.run_due()


async def test_paused_schedule_has_no_next_run_and_makes_up_for_nothing(
    harness: LedgerHarness, scheduling: Schedules
) -> None:
    """A pause ends with the tick after it, whatever the misfire policy says."""
    await scheduling.put("hourly", hourly(misfire="run_once"))
    paused, _ = await scheduling.put("hourly", hourly(misfire="run_once", paused=True))
    assert paused.next_run_at is None
    await harness.clock.advance(HOUR * 3.5)
    assert 0 == await scheduling.run_due()
    resumed, _ = await scheduling.put("hourly", hourly(misfire="run_once"))
    assert START + HOUR * 4 == resumed.next_run_at
    assert 0 == await scheduling.run_due()


async def test_replacing_a_schedule_drops_no_tick_that_is_due(harness: LedgerHarness, scheduling: Schedules) -> None:
    """Whoever puts the same times at every deployment loses none; other times begin anew."""
    await scheduling.put("hourly", hourly())
    await harness.clock.advance(HOUR)
    await scheduling.put("hourly", hourly(task={"type": "other"}))
    assert 1 == await scheduling.run_due()
    assert ["other"] == [view.task.type for view in await tasks_of(harness)]
    await harness.clock.advance(HOUR)
    await scheduling.put("hourly", hourly(cron="30 * * * *"))
    assert 0 == await scheduling.run_due()


async def test_schedule_runs_when_asked_paused_or_not(
    harness: LedgerHarness, gateway: GatewayKit, scheduling: Schedules
) -> None:
    """Its task goes to the queue at once; its ticks go on as before."""
    await scheduling.put("hourly", hourly(paused=True))
    enqueued = await scheduling.run("hourly", traceparent="00-1-2-01")
    (delivery,) = await gateway.orders.receive(1, NOW)
    assert delivery.task is not None
    assert (enqueued.task.id, "00-1-2-01") == (delivery.task.id, delivery.task.traceparent)
    assert (await scheduling.get("hourly")).last_run_at is None


async def test_full_queue_refuses_the_run(scheduling: Schedules) -> None:
    """As it refuses any other task."""
    await scheduling.put("hourly", hourly(queue="tasks"))
    await scheduling.run("hourly")
    with pytest.raises(QueueFullError):
        await scheduling.run("hourly")


@pytest.mark.parametrize(
    ("members", "loc"),
    [
        ({"cron": "every hour"}, ("body", "cron")),
        ({"cron": "0 0 31 2 *"}, ("body", "cron")),
        ({"timezone": "Europe/Atlantis"}, ("body", "timezone")),
        ({"queue": "nowhere"}, ("body", "queue")),
        ({"queue": "dlq"}, ("body", "queue")),
        ({"task": {}}, ("body", "task", "type")),
        ({"task": {"type": "echo", "prioritty": 1}}, ("body", "task", "prioritty")),
        ({"task": {"type": "embedding", "payload": {}}}, ("body", "task", "payload", "text")),
        ({"task": {"type": "x", "callback_url": "http://127.0.0.1/"}}, ("body", "task", "callback_url")),
        ({"task": {"type": "x", "delay": "5m"}}, ("body", "task", "delay")),
        ({"task": {"type": "x", "scheduled_for": "2026-02-01T00:00:00Z"}}, ("body", "task", "scheduled_for")),
        ({"task": {"type": "x", "deduplication_id": "d"}}, ("body", "task", "deduplication_id")),
    ],
)
async def test_schedule_that_could_never_run_is_refused(
    scheduling: Schedules, members: dict[str, Any], loc: tuple[str, ...]
) -> None:
    """Its task is held to the rules of enqueueing, and each mistake is named where it stands."""
    with pytest.raises(InvalidTaskError) as caught:
        await scheduling.put("nightly", hourly(**members))
    assert loc == caught.value.errors[0].loc


@pytest.mark.parametrize("name", ["", "a b", "ä", "x" * 129, "a/b"])
async def test_name_is_plain(scheduling: Schedules, name: str) -> None:
    """It stands in a path."""
    with pytest.raises(InvalidTaskError):
        await scheduling.put(name, hourly())


async def test_deleted_schedule_is_gone(harness: LedgerHarness, scheduling: Schedules) -> None:
    """Nothing comes of it any more; there is none to delete or run again."""
    await scheduling.put("hourly", hourly())
    await scheduling.delete("hourly")
    await harness.clock.advance(HOUR)
    assert 0 == await scheduling.run_due()
    for call in (scheduling.get("hourly"), scheduling.delete("hourly"), scheduling.run("hourly")):
        with pytest.raises(NotFoundError):
            await call


async def test_schedules_are_listed_by_name(scheduling: Schedules) -> None:
    """Page by page."""
    for name in "ba":
        await scheduling.put(name, hourly())
    first = await scheduling.list_schedules(limit=1)
    second = await scheduling.list_schedules(limit=1, cursor=first.next_cursor)
    assert ["a", "b"] == [schedule.name for schedule in (*first.items, *second.items)]


async def test_without_a_ledger_there_are_no_schedules() -> None:
    """Every question says what is missing."""
    scheduling = GatewayKit().scheduling
    calls = [scheduling.put("n", hourly()), scheduling.get("n"), scheduling.list_schedules(limit=1)]
    for call in (*calls, scheduling.delete("n"), scheduling.run("n"), scheduling.run_due()):
        with pytest.raises(LedgerDisabledError):
            await call


async def test_schedule_whose_queue_is_not_known_here_is_left_to_others(
    harness: LedgerHarness, scheduling: Schedules
) -> None:
    """Another process may know it; the ticks of others run."""
    lost = Schedule(name="lost", cron="0 * * * *", queue="gone", task={"type": "echo"}, next_run_at=START + HOUR)
    await harness.ledger.schedules.put(lost)
    await scheduling.put("hourly", hourly())
    await harness.clock.advance(HOUR)
    assert 1 == await scheduling.run_due()
    assert START + HOUR == (await scheduling.get("lost")).next_run_at


async def test_schedule_whose_task_is_no_longer_allowed_holds_up_no_other(
    harness: LedgerHarness, scheduling: Schedules, caplog: pytest.LogCaptureFixture
) -> None:
    """Its ticks are skipped, one after the other, and the log says why."""
    wrong = Schedule(name="wrong", cron="0 * * * *", queue="tasks", task={"type": "a b"}, next_run_at=START + HOUR)
    await harness.ledger.schedules.put(wrong)
    await scheduling.put("hourly", hourly())
    await harness.clock.advance(HOUR)
    assert 1 == await scheduling.run_due()
    assert "a tick is skipped" in caplog.text
    assert START + HOUR * 2 == (await scheduling.get("wrong")).next_run_at


async def test_schedule_without_a_further_tick_comes_to_its_end(harness: LedgerHarness, gateway: GatewayKit) -> None:
    """What was due still runs; then there is no next run."""

    def once(cron: str, timezone: str, after: datetime) -> datetime:
        if after >= START + HOUR:
            raise InvalidTaskError("it is never due")
        return next_tick(cron, timezone, after)

    scheduling = Schedules(harness.ledger.schedules, gateway.manager, next_tick=once, clock=harness.clock)
    await scheduling.put("once", hourly())
    await harness.clock.advance(HOUR)
    assert 1 == await scheduling.run_due()
    assert (await scheduling.get("once")).next_run_at is None


async def test_tasks_of_ticks_are_promoted_at_once(harness: LedgerHarness, scheduling: Schedules) -> None:
    """A tick need not wait for the promoter's next round; without a tick nobody is woken."""
    promoted: list[float] = []

    async def promote() -> None:
        promoted.append(harness.clock.monotonic())

    job = run_what_is_due(harness.ledger.held, scheduling, promote)
    await scheduling.put("hourly", hourly())
    await job.do()
    await harness.clock.advance(HOUR)
    await job.do()
    assert [3600.0] == promoted
    assert job.interval <= timedelta(seconds=0.9)


async def test_summer_time_neither_drops_nor_doubles_a_daily_run(harness: LedgerHarness, scheduling: Schedules) -> None:
    """At half past two in the night Berlin has no such time once a year, and has it twice on another day."""
    await harness.clock.advance(datetime(2026, 3, 28, 12, tzinfo=START.tzinfo) - START)
    await scheduling.put("daily", hourly(cron="30 2 * * *", timezone="Europe/Berlin", misfire="run_once"))
    spring = await ticks(harness, scheduling, days=3)
    await harness.clock.advance(datetime(2026, 10, 24, 12, tzinfo=START.tzinfo) - harness.clock.now())
    await scheduling.run_due()
    autumn = await ticks(harness, scheduling, days=3)
    assert (3, 3) == (spring, autumn)


async def ticks(harness: LedgerHarness, scheduling: Schedules, days: int) -> int:
    """Return how many tasks come of so many days."""
    count = 0
    for _ in range(days * 4):
        await harness.clock.advance(HOUR * 6)
        count += await scheduling.run_due()
    return count
