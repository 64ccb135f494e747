"""Stores schedules and runs their due ticks."""

from collections.abc import Callable, Collection
from typing import Any

from sqlalchemy import Row, delete, exists, select, update
from sqlalchemy.ext.asyncio import AsyncConnection
from typing_extensions import override

from mcp_queue.adapters.ledger.engine.database import Database
from mcp_queue.adapters.ledger.engine.upserts import upsert
from mcp_queue.adapters.ledger.tables import schedules
from mcp_queue.adapters.ledger.tasks.held import among, held_row
from mcp_queue.adapters.ledger.tasks.rows import TaskStates
from mcp_queue.domain.schedules import Misfire, Schedule, Tick, replacing
from mcp_queue.domain.task_states import Page, decode_cursor, encode_cursor
from mcp_queue.ports import Clock, ScheduleStore

# Schedules that one transaction runs; more are left for the next call.
_AT_ONCE = 100
_IS_DUE = schedules.c.paused.is_(False), schedules.c.next_run_at.is_not(None)


class SqlScheduleStore(ScheduleStore):
    """The ``ScheduleStore`` of a database."""

    def __init__(self, database: Database, *, clock: Clock) -> None:
        """Keep schedules in ``database``."""
        self._database = database
        self._clock = clock

    @override
    async def put(self, schedule: Schedule) -> bool:
        async def store(connection: AsyncConnection) -> bool:
            found = await connection.execute(
                select(schedules).where(schedules.c.name == schedule.name).with_for_update()
            )
            row = found.one_or_none()
            wanted = schedule if row is None else replacing(_schedule(row), schedule)
            values = _values(wanted)
            await connection.execute(
                upsert(connection, schedules, {"name": schedule.name, **values}, replaced=tuple(values))
            )
            return row is None

        return await self._database.write(store, "schedule")

    @override
    async def get(self, name: str) -> Schedule | None:
        async def find(connection: AsyncConnection) -> Schedule | None:
            row = (await connection.execute(select(schedules).where(schedules.c.name == name))).one_or_none()
            return None if row is None else _schedule(row)

        return await self._database.read(find)

    @override
    async def list_schedules(self, *, limit: int, cursor: str | None = None) -> Page[Schedule]:
        statement = select(schedules).order_by(schedules.c.name).limit(limit + 1)
        if cursor is not None:
            statement = statement.where(schedules.c.name > decode_cursor(cursor, str)[0])

        async def find(connection: AsyncConnection) -> list[Schedule]:
            return [_schedule(row) for row in await connection.execute(statement)]

        found = await self._database.read(find)
        more = len(found) > limit
        return Page(tuple(found[:limit]), encode_cursor(found[limit - 1].name) if more else None)

    @override
    async def delete(self, name: str) -> bool:
        async def forget(connection: AsyncConnection) -> bool:
            return (await connection.execute(delete(schedules).where(schedules.c.name == name))).rowcount > 0

        return await self._database.write(forget, "schedule")

    @override
    async def run_due(self, plan: Callable[[Schedule], Tick], known: Collection[str] | None = None) -> int:
        now = self._clock.now()
        due = *_IS_DUE, schedules.c.next_run_at <= now, among(schedules.c.queue, known)

        async def anything(connection: AsyncConnection) -> bool:
            return bool((await connection.execute(select(exists().where(*due)))).scalar_one())

        async def run(connection: AsyncConnection) -> int:
            # Another process that runs them now has locked them, and moves them on before it lets go.
            found = select(schedules).where(*due).order_by(schedules.c.name).limit(_AT_ONCE)
            rows = (await connection.execute(found.with_for_update(skip_locked=True))).all()
            ticks = [(row, plan(_schedule(row))) for row in rows]
            await TaskStates(self._database, connection).enter(
                [held_row(tick.task, now) for _, tick in ticks if tick.task is not None]
            )
            for row, tick in ticks:
                last = row.last_run_at if tick.task is None else row.next_run_at
                moved = {"next_run_at": tick.next_run_at, "last_run_at": last}
                await connection.execute(update(schedules).where(schedules.c.name == row.name).values(moved))
            return sum(tick.task is not None for _, tick in ticks)

        return await self._database.write(run, "schedule") if await self._database.read(anything) else 0


def _values(schedule: Schedule) -> dict[str, object]:
    return {
        "cron": schedule.cron,
        "timezone": schedule.timezone,
        "queue": schedule.queue,
        "task": dict(schedule.task),
        "paused": schedule.paused,
        "misfire": schedule.misfire,
        "next_run_at": schedule.next_run_at,
    }


def _schedule(row: Row[Any]) -> Schedule:
    return Schedule(
        name=row.name,
        cron=row.cron,
        queue=row.queue,
        timezone=row.timezone,
        task=row.task,
        paused=row.paused,
        misfire=Misfire(row.misfire),
        next_run_at=row.next_run_at,
        last_run_at=row.last_run_at,
    )
