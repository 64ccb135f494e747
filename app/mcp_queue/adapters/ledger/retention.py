"""Deletes old rows in small batches, so that other writes come in between."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Table, and_, delete, exists, or_, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from mcp_queue.adapters.ledger.engine.database import Database
from mcp_queue.adapters.ledger.tables import (
    attempts,
    claims,
    dead_letters,
    destination_reports,
    redrives,
    suspects,
    tasks,
)
from mcp_queue.domain.dead_letters.dead_letter import DeadLetterState
from mcp_queue.domain.task import TaskStatus

#: Rows of each table that one batch takes.
BATCH = 500
_REPORTS_KEPT = timedelta(hours=1)


async def prune(database: Database, now: datetime, ended_before: datetime, failed_before: datetime | None) -> int:
    """Forget one batch of each kind; return how many rows went or were closed."""
    # Found outside the write: past all the dead letters that wait it may be a long way.
    ended = await database.read(lambda connection: _ended(connection, ended_before))
    # Its consumer was killed, and its message purged: how it ended will never be recorded.
    silent = and_(
        tasks.c.status == TaskStatus.RUNNING, tasks.c.created_at < ended_before, tasks.c.started_at < ended_before
    )

    async def step(connection: AsyncConnection) -> int:
        count = 0
        if failed_before is not None:
            count += await _expire_dead_letters(connection, now, failed_before)
        count += await _forget_tasks(connection, tasks.c.id.in_(ended), tasks.c.ended_at < ended_before)
        count += await _forget_tasks(connection, tasks.c.id.in_(select(tasks.c.id).where(silent).limit(BATCH)), silent)
        count += await _forget(connection, dead_letters, dead_letters.c.closed_at < ended_before)
        count += await _forget(connection, claims, claims.c.expires_at < now)
        count += await _forget(connection, redrives, redrives.c.ended_at < ended_before)
        count += await _forget(connection, suspects, suspects.c.marked_at < ended_before)
        old_reports = destination_reports.c.reported_at < now - _REPORTS_KEPT
        return count + await _forget(connection, destination_reports, old_reports)

    return await database.write(step, "prune", durable=False)


async def _ended(connection: AsyncConnection, before: datetime) -> list[str]:
    waits = exists().where(dead_letters.c.task_id == tasks.c.id, dead_letters.c.state == DeadLetterState.WAITING)
    found = await connection.execute(
        select(tasks.c.id)
        .where(tasks.c.ended_at < before, or_(tasks.c.status != TaskStatus.DEAD_LETTERED, ~waits))
        .order_by(tasks.c.ended_at)
        .limit(BATCH)
    )
    return [row.id for row in found]


async def _forget_tasks(connection: AsyncConnection, *conditions: ColumnElement[bool]) -> int:
    # Asked once more: a redrive may have begun a new generation since they were found.
    gone = await connection.execute(delete(tasks).where(*conditions).returning(tasks.c.id))
    forgotten = [row.id for row in gone]
    if forgotten:
        await connection.execute(delete(attempts).where(attempts.c.task_id.in_(forgotten)))
    return len(forgotten)


async def _expire_dead_letters(connection: AsyncConnection, now: datetime, before: datetime) -> int:
    old = (
        select(dead_letters.c.task_id, dead_letters.c.redrive_count)
        .where(dead_letters.c.state == DeadLetterState.WAITING, dead_letters.c.failed_at < before)
        .limit(BATCH)
    )
    closed = await connection.execute(
        update(dead_letters)
        .where(tuple_(dead_letters.c.task_id, dead_letters.c.redrive_count).in_(old))
        .values(state=DeadLetterState.DELETED, closed_at=now, closed_by="retention")
    )
    return closed.rowcount


async def _forget(connection: AsyncConnection, table: Table, condition: ColumnElement[Any]) -> int:
    old = select(*table.primary_key.columns).where(condition).limit(BATCH)
    gone = await connection.execute(delete(table).where(tuple_(*table.primary_key.columns).in_(old)))
    return gone.rowcount
