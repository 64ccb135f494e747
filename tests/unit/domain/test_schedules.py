"""What a due schedule does."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mcp_queue.domain.schedules import TICK_TOLERANCE, Misfire, Schedule, Tick, plan_tick, replacing
from mcp_queue.domain.task import Task

DUE = datetime(2026, 1, 1, tzinfo=UTC)
SCHEDULE = Schedule(name="s", cron="* * * * *", queue="q", next_run_at=DUE)
HOUR = timedelta(hours=1)


def make_task(schedule: Schedule, tick: datetime) -> Task:
    """Return a task that tells its tick."""
    return Task(id=f"{schedule.name}-{tick:%H%M}", type="t", queue=schedule.queue, created_at=tick)


def plan(schedule: Schedule, now: datetime) -> Tick:
    """Plan with ticks an hour apart."""
    return plan_tick(schedule, now, make_task=make_task, next_tick=lambda _, after: after + HOUR)


@pytest.mark.parametrize("misfire", Misfire)
def test_tick_that_is_on_time_runs(misfire: Misfire) -> None:
    """Within the tolerance no tick counts as missed."""
    now = DUE + TICK_TOLERANCE
    tick = plan(replace(SCHEDULE, misfire=misfire), now)
    assert Tick(make_task(SCHEDULE, DUE), now + HOUR) == tick


def test_missed_ticks_are_skipped() -> None:
    """After a downtime the next tick is one that lies ahead."""
    now = DUE + timedelta(days=3)
    assert Tick(None, now + HOUR) == plan(SCHEDULE, now)


def test_missed_ticks_run_once_where_asked() -> None:
    """However many were missed, one task makes up for them, and it tells the first."""
    now = DUE + timedelta(days=3)
    tick = plan(replace(SCHEDULE, misfire=Misfire.RUN_ONCE), now)
    assert Tick(make_task(SCHEDULE, DUE), now + HOUR) == tick


@pytest.mark.parametrize("due", [None, DUE + timedelta(microseconds=1)])
def test_schedule_that_is_not_due_stays_as_it_is(due: datetime | None) -> None:
    """There is nothing to run, and nothing to move."""
    assert Tick(None, due) == plan(replace(SCHEDULE, next_run_at=due), DUE)


@pytest.mark.parametrize(
    ("known", "new", "expected"),
    [
        pytest.param({}, {"queue": "other"}, DUE, id="the same times go on, a due tick included"),
        pytest.param({}, {"cron": "0 * * * *"}, DUE + HOUR, id="other ticks begin anew"),
        pytest.param({}, {"timezone": "Europe/Berlin"}, DUE + HOUR, id="as in another time zone"),
        pytest.param({"next_run_at": None, "paused": True}, {}, DUE + HOUR, id="a pause ends with the next tick"),
        pytest.param({}, {"next_run_at": None, "paused": True}, None, id="a paused one has no tick"),
    ],
)
def test_replaced_schedule_goes_on(known: dict[str, Any], new: dict[str, Any], expected: datetime | None) -> None:
    """Where its times are the same, no tick is dropped and none doubled; it never forgets when it ran."""
    before = replace(SCHEDULE, last_run_at=DUE - HOUR, **known)
    after = replacing(before, replace(SCHEDULE, **{"next_run_at": DUE + HOUR, **new}))
    assert (expected, DUE - HOUR) == (after.next_run_at, after.last_run_at)
