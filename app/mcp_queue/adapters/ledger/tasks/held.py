"""Holds tasks until they are due."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Select,
    Update,
    and_,
    bindparam,
    exists,
    literal_column,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection
from typing_extensions import override

from mcp_queue.adapters.ledger.engine.bulk import Row
from mcp_queue.adapters.ledger.engine.database import Database
from mcp_queue.adapters.ledger.engine.group_commit import GroupCommit
from mcp_queue.adapters.ledger.tables import schedules, tasks
from mcp_queue.adapters.ledger.tasks.rows import TaskStates, state_row, task_of, task_row
from mcp_queue.domain.task import Task, TaskStatus
from mcp_queue.domain.task_states import TaskState
from mcp_queue.ports import Clock, HeldTasks

# Tasks that a queue holds by itself become due as well; so many of them are noted at a time.
_SWEEP = 500


class SqlHeldTasks(HeldTasks):
    """The ``HeldTasks`` of a database."""

    def __init__(self, database: Database, *, clock: Clock) -> None:
        """Hold tasks in ``database``."""
        self._database = database
        self._clock = clock
        self._holds: GroupCommit[Row, None] = GroupCommit(self._hold)

    @override
    async def hold(self, tasks: Sequence[Task]) -> None:
        await self._holds.submit([held_row(task, task.scheduled_for or self._clock.now()) for task in tasks])

    @override
    async def anything_due(self) -> bool:
        now = self._clock.now()
        return await self._database.read(lambda connection: _finds(connection, _IS_ANYTHING_DUE, now))

    @override
    async def due(
        self, limit: int, lease: timedelta, *, known: Collection[str] | None = None, without: Collection[str] = ()
    ) -> Sequence[Task]:
        now = self._clock.now()
        mine = and_(among(tasks.c.queue, known), tasks.c.queue.not_in(without))
        check = select(or_(exists().where(_due(_NOW), mine), exists().where(_waits_in_its_queue(_NOW))))
        if not await self._database.read(lambda connection: _finds(connection, check, now)):
            return []

        async def lease_due(connection: AsyncConnection) -> list[Task]:
            await connection.execute(_sweep(now))
            rows = (await connection.execute(_unleased(now, limit, mine))).all()
            late = await _behind_others(connection, [row.id for row in rows if row.group_id is not None])
            leased = [row for row in rows if row.id not in late]
            await connection.execute(
                update(tasks).where(tasks.c.id.in_([row.id for row in leased])).values(leased_until=now + lease)
            )
            # It waits for no time any more, whatever the consumer's clock says.
            return [replace(task_of(row), scheduled_for=None) for row in leased]

        return await self._database.write(lease_due, "promote")

    @override
    async def promoted(self, task_ids: Collection[str]) -> None:
        async def note(connection: AsyncConnection) -> None:
            states = TaskStates(self._database, connection)
            known = await states.lock(list(task_ids))
            # One that was withdrawn meanwhile stays so: its message will not start.
            await states.write(
                [
                    state_row(task_id, replace(state, status=TaskStatus.QUEUED))
                    for task_id, state in known.items()
                    if state.status is TaskStatus.SCHEDULED
                ]
            )

        if task_ids:
            await self._database.write(note, "promote")

    @override
    async def release(self, task_ids: Collection[str]) -> None:
        again = update(tasks).where(tasks.c.id.in_(task_ids), tasks.c.due_at.is_not(None)).values(leased_until=None)
        if task_ids:
            await self._database.write(lambda connection: connection.execute(again), "promote", durable=False)

    async def aclose(self) -> None:
        """Return when everything that waits is written or refused."""
        await self._holds.aclose()

    async def _hold(self, rows: Sequence[Row]) -> Sequence[None]:
        async def enter(connection: AsyncConnection) -> None:
            await TaskStates(self._database, connection).enter(rows)

        await self._database.write(enter, "hold")
        return [None] * len(rows)


def held_row(task: Task, due_at: datetime) -> Row:
    """Return the row of a task that the ledger holds."""
    return task_row(task, TaskState(status=TaskStatus.SCHEDULED, redrive_count=task.redrive_count), due_at)


def among(queue: ColumnElement[str], known: Collection[str] | None) -> ColumnElement[bool]:
    """Return whether a queue is one of those that this process knows; ``None`` knows all."""
    return true() if known is None else queue.in_(known)


def _due(now: datetime | BindParameter[datetime]) -> ColumnElement[bool]:
    return and_(
        tasks.c.due_at.is_not(None),
        tasks.c.due_at <= now,
        or_(tasks.c.leased_until.is_(None), tasks.c.leased_until <= now),
    )


def _waits_in_its_queue(now: datetime | BindParameter[datetime]) -> ColumnElement[bool]:
    # Its status stands in the text: only so do the databases use the partial index.
    scheduled = tasks.c.status == literal_column(f"'{TaskStatus.SCHEDULED}'")
    return and_(scheduled, tasks.c.scheduled_for <= now, tasks.c.due_at.is_(None))


_NOW: BindParameter[datetime] = bindparam("now", type_=tasks.c.due_at.type)
_TICK_DUE = exists().where(
    schedules.c.paused.is_(False), schedules.c.next_run_at.is_not(None), schedules.c.next_run_at <= _NOW
)
# Asked every second by every process: building it costs as much as running it.
_IS_ANYTHING_DUE = select(or_(exists().where(_due(_NOW)), exists().where(_waits_in_its_queue(_NOW)), _TICK_DUE))


async def _finds(connection: AsyncConnection, check: Select[bool], now: datetime) -> bool:
    return bool((await connection.execute(check, {"now": now})).scalar_one())


def _sweep(now: datetime) -> Update:
    some = select(tasks.c.id).where(_waits_in_its_queue(now)).limit(_SWEEP).with_for_update(skip_locked=True)
    # Queued is the position after scheduled.
    return update(tasks).where(tasks.c.id.in_(some)).values(status=TaskStatus.QUEUED, position=tasks.c.position + 1)


def _unleased(now: datetime, limit: int, mine: ColumnElement[bool]) -> Select[Any]:
    return (
        select(tasks)
        .where(_due(now), mine)
        .order_by(tasks.c.due_at, tasks.c.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )


async def _behind_others(connection: AsyncConnection, task_ids: Sequence[str]) -> set[str]:
    """Return which of these tasks come after one of their group that another process has."""
    if not task_ids:
        return set()
    earlier = tasks.alias("earlier")
    statement = select(tasks.c.id).where(
        tasks.c.id.in_(task_ids),
        exists().where(
            earlier.c.queue == tasks.c.queue,
            earlier.c.group_id == tasks.c.group_id,
            earlier.c.group_id.is_not(None),
            earlier.c.due_at.is_not(None),
            earlier.c.id.not_in(task_ids),
            or_(
                earlier.c.due_at < tasks.c.due_at,
                and_(earlier.c.due_at == tasks.c.due_at, earlier.c.id < tasks.c.id),
            ),
        ),
    )
    return {row.id for row in await connection.execute(statement)}
