"""Turns tasks and their states into rows, and rows into tasks."""

from collections.abc import Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any, cast

from sqlalchemy import Row as TableRow
from sqlalchemy.ext.asyncio import AsyncConnection

from mcp_queue.adapters.ledger.engine.bulk import Bulk, Row, clean
from mcp_queue.adapters.ledger.engine.database import Database
from mcp_queue.adapters.ledger.tables import tasks
from mcp_queue.domain.formats.strict_json import dumps
from mcp_queue.domain.task import Task, TaskStatus
from mcp_queue.domain.task_states import TaskState, microseconds, moment

_TASK_COLUMNS = MappingProxyType(
    {
        "id": "text",
        "queue": "text",
        "type": "text",
        "group_id": "text",
        "status": "text",
        "position": "bigint",
        "redrive_count": "integer",
        "created_at": "bigint",
        "scheduled_for": "bigint",
        "due_at": "bigint",
        "priority": "integer",
        "max_retries": "integer",
        "visibility_timeout": "double precision",
        "expires_at": "bigint",
        "callback_url": "text",
        "deduplication_id": "text",
        "metadata": "text",
        "extra": "text",
        "traceparent": "text",
        "payload": "text",
    }
)
_STATE_COLUMNS = MappingProxyType(
    {
        "id": "text",
        "status": "text",
        "position": "bigint",
        "attempt": "integer",
        "recorded": "integer",
        "superseded": "integer",
        "cancel_requested": "boolean",
        "started_at": "bigint",
        "next_at": "bigint",
        "ended_at": "bigint",
    }
)

#: Columns of a task as a list shows it.
SUMMARY = tuple(column for column in tasks.c if column.name not in {"payload", "result"})

# A row of a lower position knows nothing that the new one does not: it is replaced whole.
ENTER = Bulk(
    _TASK_COLUMNS,
    "INSERT INTO tasks ({columns}) SELECT {columns} FROM batch WHERE true "  # noqa: S608  # names of columns
    "ON CONFLICT (id) DO UPDATE SET {replaced} WHERE excluded.position > tasks.position".format(
        columns=", ".join(_TASK_COLUMNS),
        replaced=", ".join(f"{column.name} = excluded.{column.name}" for column in tasks.c if column.name != "id"),
    ),
)
_LOCK = Bulk(
    MappingProxyType({"id": "text"}),
    "SELECT tasks.id, tasks.status, tasks.redrive_count, tasks.attempt, tasks.recorded, tasks.superseded, "
    "tasks.cancel_requested, tasks.started_at, tasks.next_at, tasks.ended_at "
    "FROM batch JOIN tasks ON tasks.id = batch.id ORDER BY tasks.id {lock}",
)
# A task that is no longer scheduled is held no longer. What an attempt ended with replaces what an earlier one did.
_UPDATE = Bulk(
    MappingProxyType({**_STATE_COLUMNS, "ends": "boolean", "error": "text", "result": "text"}),
    "UPDATE tasks SET {states}, due_at = CASE WHEN batch.status = 'scheduled' THEN tasks.due_at END, "  # noqa: S608  # names of columns
    "error = CASE WHEN batch.ends THEN batch.error ELSE tasks.error END, "
    "result = CASE WHEN batch.ends THEN batch.result ELSE tasks.result END "
    "FROM batch WHERE tasks.id = batch.id".format(
        states=", ".join(f"{column} = batch.{column}" for column in _STATE_COLUMNS if column != "id")
    ),
)
# The dead letter of a generation before the one that runs was redriven.
_REDRIVEN = Bulk(
    MappingProxyType({"task_id": "text", "redrive_count": "integer", "closed_at": "bigint"}),
    "UPDATE dead_letters SET state = 'redriven', closed_at = batch.closed_at FROM batch "
    "WHERE dead_letters.task_id = batch.task_id AND dead_letters.redrive_count < batch.redrive_count "
    "AND dead_letters.state = 'waiting'",
)


def id_of(task: Task) -> str:
    """Return the id of ``task`` as the ledger stores it."""
    return cast("str", clean(task.id))


def task_row(task: Task, state: TaskState, due_at: datetime | None = None) -> Row:
    """Return the row of a task that has not run in this generation; ``due_at`` where the ledger holds it."""
    return (
        id_of(task),
        clean(task.queue),
        clean(task.type),
        clean(task.group),
        state.status.value,
        state.position,
        state.redrive_count,
        microseconds(task.created_at),
        _micros(task.scheduled_for),
        _micros(due_at),
        task.priority,
        task.max_retries,
        None if task.visibility_timeout is None else task.visibility_timeout.total_seconds(),
        _micros(task.expires_at),
        clean(task.callback_url),
        clean(task.deduplication_id),
        dumps(task.metadata) if task.metadata else None,
        dumps(task.extra) if task.extra else None,
        clean(task.traceparent),
        None if task.payload is None else dumps(task.payload),
    )


def state_row(task_id: str, state: TaskState, end: "tuple[str | None, str | None] | None" = None) -> Row:
    """Return the row of a new state; ``end`` is the error and the result of the attempt that led to it."""
    error, result = end or (None, None)
    return (
        task_id,
        state.status.value,
        state.position,
        state.attempt,
        state.recorded,
        state.superseded,
        state.cancel_requested,
        _micros(state.started_at),
        _micros(state.next_at),
        _micros(state.ended_at),
        end is not None,
        clean(error),
        result,
    )


class TaskStates:
    """The states of some tasks, locked for one transaction: read, decided about in Python, and written back."""

    def __init__(self, database: Database, connection: AsyncConnection) -> None:
        """Work in the transaction of ``connection``."""
        self._database = database
        self._connection = connection

    async def lock(self, task_ids: Sequence[str]) -> dict[str, TaskState]:
        """Return the states of the tasks that the ledger knows."""
        rows: list[Row] = [(task_id,) for task_id in sorted(set(task_ids))]
        found = await self._database.bulk(self._connection, _LOCK, rows)
        return {cast("str", row[0]): _state(row) for row in found}

    async def lock_or_enter(self, delivered: Sequence[Task], now: datetime) -> dict[str, TaskState]:
        """Return the states of delivered tasks, after entering those unknown, or known of an earlier generation only.

        A task may be unknown because another program sent it, or because its consumer was faster than its gateway.
        """
        ids = [id_of(task) for task in delivered]
        states = await self.lock(ids)
        missing = [
            task
            for task_id, task in zip(ids, delivered, strict=True)
            if task_id not in states or states[task_id].redrive_count < task.redrive_count
        ]
        if not missing:
            return states
        # Whoever sent them, they wait for no time any more.
        queued = [TaskState(status=TaskStatus.QUEUED, redrive_count=task.redrive_count) for task in missing]
        await self.enter([task_row(task, state) for task, state in zip(missing, queued, strict=True)])
        redriven = [(id_of(task), task.redrive_count) for task in missing if task.redrive_count > 0]
        closed: list[Row] = [(*key, microseconds(now)) for key in sorted(redriven)]
        await self._database.bulk(self._connection, _REDRIVEN, closed)
        return await self.lock(ids)

    async def enter(self, rows: Sequence[Row]) -> None:
        """Insert tasks, or begin a new generation of them; those that are further already stay as they are."""
        await self._database.bulk(self._connection, ENTER, one_each(rows))

    async def write(self, rows: Sequence[Row]) -> None:
        """Store new states of locked tasks, one row each."""
        await self._database.bulk(self._connection, _UPDATE, sorted(rows, key=_id))


def one_each(rows: Sequence[Row]) -> list[Row]:
    """Return rows by id, of each task the furthest: PostgreSQL changes no row twice at once."""
    furthest: dict[str, Row] = {}
    for row in rows:
        other = furthest.get(_id(row))
        if other is None or _position(row) >= _position(other):
            furthest[_id(row)] = row
    return [furthest[task_id] for task_id in sorted(furthest)]


def task_of(row: TableRow[Any]) -> Task:
    """Return the task in a row of ``tasks``; its payload is ``None`` where the row leaves it out."""
    members = row._mapping  # noqa: SLF001  # public by SQLAlchemy's documentation
    return Task(
        id=members["id"],
        type=members["type"],
        queue=members["queue"],
        created_at=members["created_at"],
        payload=members.get("payload"),
        priority=members["priority"],
        metadata=members["metadata"] or {},
        scheduled_for=members["scheduled_for"],
        expires_at=members["expires_at"],
        max_retries=members["max_retries"],
        retry_count=max(members["attempt"] - 1, 0),
        redrive_count=members["redrive_count"],
        visibility_timeout=members["visibility_timeout"],
        callback_url=members["callback_url"],
        group=members["group_id"],
        deduplication_id=members["deduplication_id"],
        extra=members["extra"] or {},
        traceparent=members["traceparent"],
    )


def _id(row: Row) -> str:
    return cast("str", row[0])


def _position(row: Row) -> int:
    return cast("int", row[5])


def _state(row: Row) -> TaskState:
    _, status, *counts, cancel_requested, started_at, next_at, ended_at = cast("tuple[Any, ...]", row)
    redrive_count, attempt, recorded, superseded = counts
    return TaskState(
        status=TaskStatus(status),
        redrive_count=redrive_count,
        attempt=attempt,
        recorded=recorded,
        superseded=superseded,
        cancel_requested=bool(cancel_requested),
        started_at=_moment(started_at),
        next_at=_moment(next_at),
        ended_at=_moment(ended_at),
    )


def _micros(value: datetime | None) -> int | None:
    return None if value is None else microseconds(value)


def _moment(value: int | None) -> datetime | None:
    return None if value is None else moment(value)
