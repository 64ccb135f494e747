"""Records tasks, looks them up, cancels and forgets them."""

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import BigInteger, ColumnElement, Select, Update, select, update
from sqlalchemy import Row as TableRow
from sqlalchemy import cast as sql_cast
from sqlalchemy.ext.asyncio import AsyncConnection
from typing_extensions import override

from mcp_queue.adapters.ledger.engine.bulk import Row, clean
from mcp_queue.adapters.ledger.engine.database import Database
from mcp_queue.adapters.ledger.engine.paging import after, page
from mcp_queue.adapters.ledger.engine.write_behind import WriteBehind, WriteBehindBuffer
from mcp_queue.adapters.ledger.retention import prune
from mcp_queue.adapters.ledger.tables import attempts, tasks
from mcp_queue.adapters.ledger.tables import dead_letters as dead_letter_table
from mcp_queue.adapters.ledger.tasks.rows import ENTER, SUMMARY, TaskStates, one_each, state_row, task_of, task_row
from mcp_queue.domain.dead_letters.dead_letter import DeadLetterRecord, DeadLetterState
from mcp_queue.domain.errors import TaskAlreadyEndedError, TaskNotFoundError
from mcp_queue.domain.task import Task, TaskResult, TaskStatus
from mcp_queue.domain.task_states import (
    Page,
    RecordedAttempt,
    RecordedTask,
    TaskFilter,
    cancel,
    ended_position,
    enqueued,
)
from mcp_queue.ports import Clock, LedgerMetrics, TaskStore

#: What waits, in the sense of a purge.
_WAITING = (TaskStatus.SCHEDULED, TaskStatus.QUEUED, TaskStatus.RETRYING)
#: Rows that one transaction of a purge changes; the writes of others come in between.
_PURGE_STEP = 1000


class SqlTaskStore(TaskStore):
    """The ``TaskStore`` of a database."""

    def __init__(self, database: Database, buffer: WriteBehindBuffer, *, clock: Clock, metrics: LedgerMetrics) -> None:
        """Keep what cannot be written in ``buffer``."""
        self._database = database
        self._clock = clock
        self._enqueued: WriteBehind[Row] = WriteBehind(
            self._enter, _size_of, database=database, buffer=buffer, metrics=metrics
        )

    @override
    async def record_enqueued(self, tasks: Sequence[Task]) -> None:
        now = self._clock.now()
        rows = [task_row(task, enqueued(task, now)) for task in tasks]
        await self._enqueued.submit(rows, size=sum(map(_size_of, rows)))

    @override
    async def get(self, task_id: str) -> RecordedTask | None:
        task_id = cast("str", clean(task_id))

        async def find(connection: AsyncConnection) -> RecordedTask | None:
            row = (await connection.execute(select(tasks).where(tasks.c.id == task_id))).one_or_none()
            if row is None:
                return None
            ends = await connection.execute(
                select(attempts)
                .where(attempts.c.task_id == task_id)
                .order_by(attempts.c.redrive_count, attempts.c.attempt)
            )
            dead_letters = await connection.execute(
                select(dead_letter_table)
                .where(dead_letter_table.c.task_id == task_id)
                .order_by(dead_letter_table.c.redrive_count)
            )
            return _details(
                row, [_attempt(end) for end in ends], [_dead_letter(dead_letter) for dead_letter in dead_letters]
            )

        return await self._database.read(find)

    @override
    async def list_tasks(self, query: TaskFilter, *, limit: int, cursor: str | None = None) -> Page[RecordedTask]:
        statement = select(*SUMMARY).order_by(tasks.c.created_at.desc(), tasks.c.id.desc()).limit(limit + 1)
        statement = statement.where(*_conditions(query))
        if cursor is not None:
            statement = statement.where(after(cursor, tasks.c.created_at, tasks.c.id))
        rows = await self._database.read(lambda connection: _all(connection, statement))
        return page(rows, limit, tasks.c.created_at, _summary, lambda row: (row.created_at, row.id))

    @override
    async def cancel(self, task_id: str) -> TaskStatus:
        task_id = cast("str", clean(task_id))

        async def withdraw(connection: AsyncConnection) -> TaskStatus:
            states = TaskStates(self._database, connection)
            known = (await states.lock([task_id])).get(task_id)
            if known is None:
                raise TaskNotFoundError
            if known.status.ended:
                raise TaskAlreadyEndedError
            wanted = cancel(known, self._clock.now())
            await states.write([state_row(task_id, wanted)])
            return wanted.status

        return await self._database.write(withdraw, "cancel")

    @override
    async def cancel_requests(self, task_ids: Collection[str]) -> frozenset[str]:
        statement = select(tasks.c.id).where(tasks.c.id.in_(task_ids), tasks.c.cancel_requested)
        rows = await self._database.read(lambda connection: _all(connection, statement)) if task_ids else []
        return frozenset(row.id for row in rows)

    @override
    async def cancel_waiting(self, queue: str, created_before: datetime) -> int:
        waiting = (
            select(tasks.c.id)
            .where(tasks.c.queue == queue, tasks.c.status.in_(_WAITING), tasks.c.created_at < created_before)
            .limit(_PURGE_STEP)
            .with_for_update()
        )
        withdrawn = (
            update(tasks)
            .where(tasks.c.id.in_(waiting))
            .values(
                status=TaskStatus.CANCELED,
                position=ended_position(cast("int", sql_cast(tasks.c.redrive_count, BigInteger))),
                cancel_requested=True,
                due_at=None,
                next_at=None,
                ended_at=self._clock.now(),
            )
        )
        total, count = 0, _PURGE_STEP
        while count == _PURGE_STEP:
            count = await self._database.write(lambda connection: _count(connection, withdrawn), "purge")
            total += count
        return total

    @override
    async def oldest_waiting(self, queue: str) -> datetime | None:
        statement = (
            select(tasks.c.created_at)
            .where(tasks.c.queue == queue, tasks.c.status == TaskStatus.QUEUED, tasks.c.scheduled_for.is_(None))
            .order_by(tasks.c.created_at)
            .limit(1)
        )
        rows = await self._database.read(lambda connection: _all(connection, statement))
        return rows[0].created_at if rows else None

    @override
    async def prune(self, ended_before: datetime, failed_before: datetime | None) -> int:
        return await prune(self._database, self._clock.now(), ended_before, failed_before)

    async def aclose(self) -> None:
        """Return when everything that waits is written or kept."""
        await self._enqueued.aclose()

    async def _enter(self, rows: Sequence[Row]) -> None:
        await self._database.write_alone(ENTER, one_each(rows), "enqueue")


def _size_of(row: Row) -> int:
    # The payload is all that may be large; the rest of a row takes less than this.
    return 1024 + len(cast("str", row[-1] or ""))


def _conditions(query: TaskFilter) -> Iterator[ColumnElement[bool]]:
    if query.queue is not None:
        yield tasks.c.queue == clean(query.queue)
    if query.reached is not None:
        yield tasks.c.queue.in_(sorted(query.reached))
    if query.type is not None:
        yield tasks.c.type == clean(query.type)
    if query.status is not None:
        yield tasks.c.status == query.status
    if query.group is not None:
        yield tasks.c.group_id == clean(query.group)
    if query.created_after is not None:
        yield tasks.c.created_at > query.created_after
    if query.created_before is not None:
        yield tasks.c.created_at < query.created_before


async def _all(connection: AsyncConnection, statement: Select[Any]) -> Sequence[TableRow[Any]]:
    rows: Sequence[TableRow[Any]] = (await connection.execute(statement)).all()
    return rows


async def _count(connection: AsyncConnection, statement: Update) -> int:
    return (await connection.execute(statement)).rowcount


def _summary(row: TableRow[Any]) -> RecordedTask:
    return RecordedTask(task=task_of(row), status=TaskStatus(row.status), ended_at=row.ended_at)


def _details(
    row: TableRow[Any], ends: Sequence[RecordedAttempt], dead_letters: Sequence[DeadLetterRecord]
) -> RecordedTask:
    return RecordedTask(
        task=task_of(row),
        status=TaskStatus(row.status),
        ended_at=row.ended_at,
        attempts=tuple(ends),
        result=_result(row, ends),
        dead_letters=tuple(dead_letters),
    )


def _result(row: TableRow[Any], ends: Sequence[RecordedAttempt]) -> TaskResult | None:
    """Return how the last attempt of this generation ended, or the task without one."""
    last = ends[-1] if ends and ends[-1].redrive_count == row.redrive_count else None
    if row.ended_at is not None and (last is None or TaskStatus(row.status) is not last.status):
        return TaskResult(
            task_id=row.id,
            status=TaskStatus(row.status),
            timestamp=row.ended_at,
            duration=timedelta(0),
            result=row.result,
            error=row.error,
        )
    if last is None:
        return None
    return TaskResult(
        task_id=row.id,
        status=last.status,
        timestamp=last.started_at + last.duration,
        duration=last.duration,
        result=row.result,
        error=last.error,
    )


def _attempt(row: TableRow[Any]) -> RecordedAttempt:
    return RecordedAttempt(
        redrive_count=row.redrive_count,
        attempt=row.attempt,
        started_at=row.started_at,
        duration=row.duration,
        status=TaskStatus(row.status),
        error=row.error,
        response_status=row.response_status,
    )


def _dead_letter(row: TableRow[Any]) -> DeadLetterRecord:
    return DeadLetterRecord(
        redrive_count=row.redrive_count,
        failure_reason=row.failure_reason,
        failed_at=row.failed_at,
        state=DeadLetterState(row.state),
        closed_at=row.closed_at,
        closed_by=row.closed_by,
    )
