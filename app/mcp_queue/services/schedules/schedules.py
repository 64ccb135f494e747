"""Stores recurring tasks and runs their due ticks."""

import logging
import re
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from mcp_queue.domain.errors import FieldError, InvalidTaskError, NotFoundError, QueueError
from mcp_queue.domain.schedules import Misfire, Schedule, Tick, plan_tick
from mcp_queue.domain.task import Task
from mcp_queue.domain.task_states import Page
from mcp_queue.ports import Clock, HeldTasks, ScheduleStore
from mcp_queue.services.enqueueing.request import Name, NewTask, read_new_task
from mcp_queue.services.enqueueing.submission import Draft, Enqueued, Replayed
from mcp_queue.services.enqueueing.validation import MAX_NAME, invalid
from mcp_queue.services.periodic import PeriodicJob
from mcp_queue.services.queues.manager import QueueManager

logger = logging.getLogger(__name__)

#: Returns the first moment after another at which a cron expression is due in a time zone. Raises
#: ``InvalidTaskError`` where there is none, or where the one or the other is none.
NextTick = Callable[[str, str, datetime], datetime]

_NAME = re.compile(r"[A-Za-z0-9_:-][A-Za-z0-9._:-]{0,127}")
# The tick itself says when its task is due, and that it is a task of its own.
_UNFIT = ("delay", "scheduled_for", "deduplication_id")


class NewSchedule(BaseModel):
    """A task that comes again and again."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    cron: Annotated[str, Field(max_length=256, description="Five fields: minute, hour, day, month, weekday.")]
    timezone: Annotated[str, Field(max_length=MAX_NAME, description="A time zone of the IANA database.")] = "UTC"
    queue: Annotated[Name, Field(description="Name of the queue.")]
    task: Annotated[
        dict[str, Any],  # read as a task of its own, by the rules of enqueueing
        WithJsonSchema({"allOf": [{"$ref": "#/components/schemas/NewTask"}]}),
        Field(description="The members of a task to enqueue, but for those that say when."),
    ]
    paused: Annotated[bool, Field(description="No tick runs while it is.")] = False
    misfire: Annotated[
        Literal["skip", "run_once"],
        Field(description="What comes of ticks that nobody ran: nothing, or one task for all of them."),
    ] = "skip"


class Schedules:
    """Every schedule.

    Methods raise ``LedgerDisabledError`` where there is no ledger, ``LedgerUnavailableError`` where it does not answer.
    """

    def __init__(self, store: ScheduleStore, manager: QueueManager, *, next_tick: NextTick, clock: Clock) -> None:
        """Keep schedules in ``store``; their tasks go into the queues of ``manager``."""
        self._store = store
        self._manager = manager
        self._next_tick = next_tick
        self._clock = clock

    async def put(self, name: str, new: NewSchedule) -> tuple[Schedule, bool]:
        """Store a schedule under ``name``; return it, and whether it is new.

        Raises:
            InvalidTaskError: the name, the times or the task break a rule; ``errors`` names the member.

        """
        if not _NAME.fullmatch(name):
            raise invalid(FieldError(("path", "name"), "expected 1 to 128 letters, digits and . _ : -, no dot first"))
        self._check(new)
        next_run_at = self._next_tick(new.cron, new.timezone, self._clock.now())
        schedule = Schedule(
            name=name,
            cron=new.cron,
            timezone=new.timezone,
            queue=new.queue,
            task=new.task,
            paused=new.paused,
            misfire=Misfire(new.misfire),
            next_run_at=None if new.paused else next_run_at,
        )
        is_new = await self._store.put(schedule)
        return await self.get(name), is_new

    async def get(self, name: str) -> Schedule:
        """Return the schedule ``name``.

        Raises:
            NotFoundError: there is none.

        """
        schedule = await self._store.get(name)
        if schedule is None:
            raise _not_found(name)
        return schedule

    async def list_schedules(self, *, limit: int, cursor: str | None = None) -> Page[Schedule]:
        """Return schedules by name.

        Raises:
            InvalidCursorError: no list gave out ``cursor``.

        """
        return await self._store.list_schedules(limit=limit, cursor=cursor)

    async def delete(self, name: str) -> None:
        """Forget the schedule ``name``; tasks of its ticks stay.

        Raises:
            NotFoundError: there is none.

        """
        if not await self._store.delete(name):
            raise _not_found(name)

    async def run(self, name: str, *, traceparent: str | None = None) -> Enqueued:
        """Enqueue the task of the schedule ``name`` now, paused or not; its ticks go on as before.

        Raises:
            NotFoundError: there is no such schedule, or no longer its queue.
            InvalidTaskError: the rules have changed since the schedule was put, and its task breaks one.
            TryLaterError: the queue takes no task at the moment.

        """
        schedule = await self.get(name)
        draft = Draft(read_new_task(dict(schedule.task), NewTask))
        enqueued = await self._manager.enqueue(schedule.queue, draft, traceparent=traceparent)
        assert not isinstance(enqueued, Replayed), "only a request with a key is ever replayed"
        return enqueued

    async def run_due(self) -> int:
        """Turn every due tick into a task that the ledger holds; return how many.

        Raises:
            LedgerUnavailableError: the ledger does not answer.

        """
        total = 0
        while count := await self._store.run_due(self._plan, self._manager.names):
            total += count
        return total

    def _plan(self, schedule: Schedule) -> Tick:
        try:
            return plan_tick(schedule, self._clock.now(), make_task=self._task, next_tick=self._next)
        except QueueError as error:
            # What is wrong with one schedule must not hold up the others.
            logger.error("a tick is skipped: %s", error, extra={"schedule": schedule.name})  # noqa: TRY400  # the trace says no more
            return Tick(None, self._next(schedule, self._clock.now()))

    def _task(self, schedule: Schedule, _: datetime) -> Task:
        return self._manager.make(schedule.queue, read_new_task(dict(schedule.task), NewTask))

    def _next(self, schedule: Schedule, after: datetime) -> datetime | None:
        try:
            return self._next_tick(schedule.cron, schedule.timezone, after)
        except InvalidTaskError as error:
            logger.warning("a schedule has come to its end: %s", error, extra={"schedule": schedule.name})
            return None

    def _check(self, new: NewSchedule) -> None:
        unfit = [name for name in _UNFIT if name in new.task]
        if unfit:
            raise invalid(*(FieldError(("body", "task", name), "each tick says that by itself") for name in unfit))
        try:
            self._manager.make(new.queue, read_new_task(new.task, NewTask))
        except NotFoundError as error:
            raise invalid(FieldError(("body", "queue"), str(error))) from error
        except InvalidTaskError as error:
            if not error.errors:
                raise
            raise invalid(*(FieldError(("body", "task", *each.loc[1:]), each.msg) for each in error.errors)) from error


def run_what_is_due(held: HeldTasks, schedules: Schedules, promote: Callable[[], Awaitable[None]]) -> PeriodicJob:
    """Run due ticks and have ``promote`` send due tasks, within a second of their time."""

    async def run() -> None:
        if await held.anything_due():
            await schedules.run_due()
            await promote()

    return PeriodicJob("run-what-is-due", timedelta(seconds=0.9), run)


def _not_found(name: str) -> NotFoundError:
    return NotFoundError(f"there is no schedule named {name[:MAX_NAME]!r}")
