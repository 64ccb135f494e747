"""Stores, lists and closes dead letters."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, Update, and_, func, or_, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection
from typing_extensions import override

from mcp_queue.adapters.ledger.dead_letters.rows import WAITING, conditions, dead_letter_of, dead_letter_values, waiting
from mcp_queue.adapters.ledger.engine.bulk import clean
from mcp_queue.adapters.ledger.engine.database import Database
from mcp_queue.adapters.ledger.engine.paging import after, page
from mcp_queue.adapters.ledger.engine.upserts import upsert
from mcp_queue.adapters.ledger.tables import dead_letters as dead_letter_table
from mcp_queue.adapters.ledger.tasks.rows import TaskStates, state_row, task_row
from mcp_queue.domain.dead_letters.dead_letter import (
    DeadLetter,
    DeadLetterCount,
    DeadLetterFilter,
    DeadLetterState,
)
from mcp_queue.domain.dead_letters.notes import without_notes
from mcp_queue.domain.task import Task, TaskStatus
from mcp_queue.domain.task_states import AttemptEnd, Page, TaskState, conclude, enqueued
from mcp_queue.ports import Clock, DeadLetterStore

_KEY = tuple_(dead_letter_table.c.task_id, dead_letter_table.c.redrive_count)
_PURGE_STEP = 1000


class SqlDeadLetterStore(DeadLetterStore):
    """The ``DeadLetterStore`` of a database."""

    def __init__(self, database: Database, *, clock: Clock) -> None:
        """Keep dead letters in ``database``."""
        self._database = database
        self._clock = clock

    @override
    async def store_dead_letters(self, dead_letters: Sequence[DeadLetter]) -> Sequence[bool]:
        cleaned = [_cleaned(dead_letter) for dead_letter in dead_letters]
        return await self._database.write(lambda connection: self._store(connection, cleaned), "store")

    @override
    async def list_dead_letters(
        self, query: DeadLetterFilter, *, limit: int, cursor: str | None = None
    ) -> Page[DeadLetter]:
        return await self._page(query, limit, cursor, oldest_first=False)

    @override
    async def read_dead_letters(
        self, query: DeadLetterFilter, *, limit: int, cursor: str | None = None
    ) -> Page[DeadLetter]:
        return await self._page(query, limit, cursor, oldest_first=True)

    @override
    async def get_dead_letter(self, queue: str, task_id: str) -> DeadLetter | None:
        found = await self.read_dead_letters(DeadLetterFilter(queue=queue, ids=(task_id,)), limit=1)
        return found.items[0] if found.items else None

    @override
    async def count_dead_letters(self, query: DeadLetterFilter) -> int:
        statement = select(func.count()).select_from(dead_letter_table).where(*conditions(query))

        async def count(connection: AsyncConnection) -> int:
            return int((await connection.execute(statement)).scalar_one())

        return await self._database.read(count)

    @override
    async def summaries(self) -> Mapping[str, DeadLetterCount]:
        statement = (
            select(
                dead_letter_table.c.queue,
                func.count().label("waiting"),
                func.min(dead_letter_table.c.failed_at).label("oldest"),
            )
            .where(WAITING)
            .group_by(dead_letter_table.c.queue)
        )

        async def find(connection: AsyncConnection) -> dict[str, DeadLetterCount]:
            return {row.queue: DeadLetterCount(row.waiting, row.oldest) for row in await connection.execute(statement)}

        return await self._database.read(find)

    @override
    async def mark_redriven(self, tasks: Sequence[Task], actor: str) -> None:
        now = self._clock.now()

        async def mark(connection: AsyncConnection) -> None:
            await TaskStates(self._database, connection).enter([task_row(task, enqueued(task, now)) for task in tasks])
            # A consumer may have seen the new generation first, without knowing who began it.
            unsigned = and_(
                dead_letter_table.c.state == DeadLetterState.REDRIVEN, dead_letter_table.c.closed_by.is_(None)
            )
            keys = [(task.id, task.redrive_count - 1) for task in tasks]
            condition = and_(_KEY.in_(keys), or_(WAITING, unsigned))
            await connection.execute(_closed(condition, DeadLetterState.REDRIVEN, now, actor))

        if tasks:
            await self._database.write(mark, "redrive")

    @override
    async def delete_dead_letter(self, queue: str, task_id: str, actor: str) -> bool:
        condition = and_(WAITING, dead_letter_table.c.queue == queue, dead_letter_table.c.task_id == task_id)
        return await self._close(_closed(condition, DeadLetterState.DELETED, self._clock.now(), actor)) > 0

    @override
    async def purge_dead_letters(self, queue: str, actor: str, failed_before: datetime) -> int:
        some = (
            select(dead_letter_table.c.task_id, dead_letter_table.c.redrive_count)
            .where(WAITING, dead_letter_table.c.queue == queue, dead_letter_table.c.failed_at < failed_before)
            .limit(_PURGE_STEP)
        )
        step = _closed(and_(_KEY.in_(some), WAITING), DeadLetterState.DELETED, self._clock.now(), actor)
        total = 0
        while (count := await self._close(step)) > 0:
            total += count
        return total

    async def _close(self, statement: Update) -> int:
        async def close(connection: AsyncConnection) -> int:
            return (await connection.execute(statement)).rowcount

        return await self._database.write(close, "purge")

    async def _page(
        self, query: DeadLetterFilter, limit: int, cursor: str | None, *, oldest_first: bool
    ) -> Page[DeadLetter]:
        time, name = dead_letter_table.c.failed_at, dead_letter_table.c.task_id
        statement = waiting(query, payloads=oldest_first).limit(limit + 1)
        statement = statement.order_by(time, name) if oldest_first else statement.order_by(time.desc(), name.desc())
        if cursor is not None:
            statement = statement.where(after(cursor, time, name, oldest_first=oldest_first))

        async def find(connection: AsyncConnection) -> Page[DeadLetter]:
            rows = (await connection.execute(statement)).all()
            return page(rows, limit, time, dead_letter_of, _position)

        return await self._database.read(find)

    async def _store(self, connection: AsyncConnection, dead_letters: Sequence[DeadLetter]) -> list[bool]:
        now = self._clock.now()
        states = TaskStates(self._database, connection)
        known = await states.lock_or_enter(
            [dead_letter.task for dead_letter in dead_letters if dead_letter.task is not None], now
        )
        wanted = [
            dead_letter
            for dead_letter in dead_letters
            if dead_letter.task is None or _may_fail(known[dead_letter.task_id], dead_letter)
        ]
        if not wanted:
            return [False] * len(dead_letters)
        values = [dead_letter_values(dead_letter, now) for dead_letter in wanted]
        stored = await connection.execute(upsert(connection, dead_letter_table, values).returning(*_KEY.clauses))
        new = {(row.task_id, row.redrive_count) for row in stored}
        failed = {dead_letter.task_id: dead_letter for dead_letter in wanted if dead_letter.task is not None}
        await states.write(
            [
                state_row(task_id, _failed(known[task_id], dead_letter), (dead_letter.failure_reason, None))
                for task_id, dead_letter in failed.items()
                if known[task_id].status is not TaskStatus.DEAD_LETTERED
            ]
        )
        return [_taken(new, (dead_letter.task_id, dead_letter.redrive_count)) for dead_letter in dead_letters]


def _position(row: Row[Any]) -> tuple[datetime, str]:
    return row.dead_letter_failed_at, row.dead_letter_task_id


def _cleaned(dead_letter: DeadLetter) -> DeadLetter:
    task_id = clean(dead_letter.task_id) or ""
    if dead_letter.task is None:
        return replace(dead_letter, task_id=task_id)
    return replace(dead_letter, task_id=task_id, task=replace(without_notes(dead_letter.task), id=task_id))


def _may_fail(known: TaskState, dead_letter: DeadLetter) -> bool:
    """Whether a dead letter says something new: a late copy does not, nor one of a task that ended in another way."""
    if dead_letter.redrive_count < known.redrive_count:
        return False
    return not known.status.ended or known.status is TaskStatus.DEAD_LETTERED


def _failed(known: TaskState, dead_letter: DeadLetter) -> TaskState:
    end = AttemptEnd(
        redrive_count=dead_letter.redrive_count,
        attempt=0,
        status=TaskStatus.DEAD_LETTERED,
        started_at=None,
        at=dead_letter.failed_at,
    )
    return conclude(known, end)


def _closed(condition: ColumnElement[bool], state: DeadLetterState, now: datetime, actor: str) -> Update:
    return update(dead_letter_table).where(condition).values(state=state, closed_at=now, closed_by=actor)


def _taken(new: set[tuple[Any, ...]], key: tuple[str, int]) -> bool:
    # Of two copies in one batch the first is new.
    if key not in new:
        return False
    new.remove(key)
    return True
