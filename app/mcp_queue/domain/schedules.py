"""Decides when a tick of a schedule becomes a task."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from mcp_queue.domain.task import JsonValue, Task

#: A tick that is found later than this was missed: nobody ran when it was due.
TICK_TOLERANCE = timedelta(seconds=30)


class Misfire(StrEnum):
    """What happens to the ticks that were missed."""

    SKIP = "skip"  #: nothing
    RUN_ONCE = "run_once"  #: one task for all of them


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A task that comes again and again. ``task`` holds the members of an enqueue request.

    ``next_run_at`` is ``None`` where no tick is left or it is paused, ``last_run_at`` where none has run yet.
    """

    name: str
    cron: str
    queue: str
    timezone: str = "UTC"
    task: Mapping[str, JsonValue] = field(default_factory=dict)
    paused: bool = False
    misfire: Misfire = Misfire.SKIP
    next_run_at: datetime | None = None
    last_run_at: datetime | None = None


def replacing(known: Schedule, new: Schedule) -> Schedule:
    """Return ``new`` as it takes the place of ``known``.

    Where the times of its ticks are the same it goes on where ``known`` was: a tick that is due as the schedule is
    replaced is neither dropped nor run twice. A pause ends with the next tick after it.
    """
    went_on = known.next_run_at is not None and new.next_run_at is not None
    same = (known.cron, known.timezone) == (new.cron, new.timezone)
    next_run_at = known.next_run_at if went_on and same else new.next_run_at
    return replace(new, next_run_at=next_run_at, last_run_at=known.last_run_at)


@dataclass(frozen=True, slots=True)
class Tick:
    """What a due schedule does: the task of the tick, if it runs, and the next tick."""

    task: Task | None
    next_run_at: datetime | None


def plan_tick(
    schedule: Schedule,
    now: datetime,
    *,
    make_task: Callable[[Schedule, datetime], Task],
    next_tick: Callable[[Schedule, datetime], datetime | None],
) -> Tick:
    """Decide about a due tick. ``make_task`` is given the tick's own moment; the next tick lies after ``now``.

    However many ticks were missed, at most one task comes of them.
    """
    due = schedule.next_run_at
    if due is None or due > now:
        return Tick(None, due)
    runs = now - due <= TICK_TOLERANCE or schedule.misfire is Misfire.RUN_ONCE
    return Tick(make_task(schedule, due) if runs else None, next_tick(schedule, now))
