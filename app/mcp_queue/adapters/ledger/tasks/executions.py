"""Executions: which deliveries may start, and how attempts ended."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection
from typing_extensions import override

from mcp_queue.adapters.ledger.engine.bulk import Bulk, Row, clean
from mcp_queue.adapters.ledger.engine.database import Database, RowsRefusedError
from mcp_queue.adapters.ledger.engine.group_commit import GroupCommit
from mcp_queue.adapters.ledger.engine.upserts import insert_or_count
from mcp_queue.adapters.ledger.engine.write_behind import WriteBehind, WriteBehindBuffer
from mcp_queue.adapters.ledger.tables import attempts, suspects
from mcp_queue.adapters.ledger.tables import dead_letters as dead_letter_table
from mcp_queue.adapters.ledger.tasks.rows import TaskStates, id_of, state_row
from mcp_queue.domain.dead_letters.dead_letter import DeadLetterState
from mcp_queue.domain.errors import LedgerUnavailableError
from mcp_queue.domain.formats.strict_json import dumps
from mcp_queue.domain.task import TaskStatus
from mcp_queue.domain.task_states import (
    AttemptEnd,
    DeliveredAttempt,
    TaskState,
    admit,
    conclude,
    kept_result,
    microseconds,
)
from mcp_queue.ports import Admission, AttemptRecord, AttemptStart, Clock, DecidedEnd, ExecutionLog, LedgerMetrics

logger = logging.getLogger(__name__)

#: How long tasks wait for their admission before they start without.
START_LIMIT = timedelta(seconds=5)

# Of two runs of one attempt, the one that succeeded is the one to remember.
_ATTEMPTS = Bulk(
    {
        "task_id": "text",
        "redrive_count": "integer",
        "attempt": "integer",
        "started_at": "bigint",
        "duration": "double precision",
        "status": "text",
        "error": "text",
        "response_status": "integer",
    },
    "INSERT INTO attempts (task_id, redrive_count, attempt, started_at, duration, status, error, response_status) "
    "SELECT task_id, redrive_count, attempt, started_at, duration, status, error, response_status FROM batch "
    "WHERE true ON CONFLICT (task_id, redrive_count, attempt) DO UPDATE SET started_at = excluded.started_at, "
    "duration = excluded.duration, status = excluded.status, error = excluded.error, "
    "response_status = excluded.response_status WHERE attempts.status <> 'completed'",
)


@dataclass(frozen=True, slots=True)
class _Ended:
    """How an attempt ended, with its result as it is kept."""

    record: AttemptRecord
    result: str | None


class SqlExecutionLog(ExecutionLog):
    """The ``ExecutionLog`` of a database."""

    def __init__(self, database: Database, buffer: WriteBehindBuffer, *, clock: Clock, metrics: LedgerMetrics) -> None:
        """Keep what cannot be written in ``buffer``."""
        self._database = database
        self._clock = clock
        self._starts: GroupCommit[AttemptStart, Admission] = GroupCommit(self._start)
        self._records: WriteBehind[_Ended] = WriteBehind(
            self._record, _size_of, database=database, buffer=buffer, metrics=metrics
        )

    @override
    async def start(self, executions: Sequence[AttemptStart]) -> Sequence[Admission]:
        try:
            async with asyncio.timeout(START_LIMIT.total_seconds()):
                return await self._starts.submit(executions)
        except TimeoutError as error:
            raise LedgerUnavailableError from error

    @override
    async def record(self, attempt: AttemptRecord) -> None:
        ended = _Ended(attempt, kept_result(attempt.result))
        await self._records.submit([ended], size=len(ended.result or ""))

    @property
    @override
    def counts_crashes(self) -> bool:
        return True

    @override
    async def mark_suspect(self, start: AttemptStart) -> int:
        row = {
            "task_id": id_of(start.task),
            "redrive_count": start.task.redrive_count,
            "attempt": start.attempt,
            "starts": 1,
            "marked_at": self._clock.now(),
        }

        async def mark(connection: AsyncConnection) -> int:
            starts = (await connection.execute(insert_or_count(connection, suspects, row, "starts"))).scalar_one()
            return int(starts) - 1

        return await self._database.write(mark, "suspects", durable=False)

    async def aclose(self) -> None:
        """Return when everything that waits is written or kept."""
        await self._starts.aclose()
        await self._records.aclose()

    async def _start(self, executions: Sequence[AttemptStart]) -> Sequence[Admission]:
        try:
            return await self._database.write(
                lambda connection: self._admit(connection, executions), "start", durable=False
            )
        except RowsRefusedError as error:
            # One task that the database cannot take holds up no other, and starts unchecked.
            if len(executions) == 1:
                logger.error("the ledger refuses a task for good: %s", error)  # noqa: TRY400  # the trace says no more
                return [Admission(executions[0].attempt)]
            return [admission for execution in executions for admission in await self._start([execution])]

    async def _admit(self, connection: AsyncConnection, executions: Sequence[AttemptStart]) -> Sequence[Admission]:
        states = TaskStates(self._database, connection)
        known = await states.lock_or_enter([each.task for each in executions], self._clock.now())
        changed: set[str] = set()
        admissions: list[Admission] = []
        for each in executions:
            task_id = id_of(each.task)
            delivered = DeliveredAttempt(each.task.redrive_count, each.attempt, each.counts_itself, each.may_be_stale)
            verdict = admit(known[task_id], delivered, each.started_at)
            if verdict.state is not known[task_id]:
                known[task_id] = verdict.state
                changed.add(task_id)
            admissions.append(Admission(verdict.attempt, verdict.refused, verdict.stale, suspect=verdict.suspect))
            if verdict.decided:
                admissions[-1] = await self._decided(connection, task_id, known[task_id])
        await states.write([state_row(task_id, known[task_id]) for task_id in changed])
        return admissions

    async def _decided(self, connection: AsyncConnection, task_id: str, state: TaskState) -> Admission:
        """Return the admission of a postponed attempt; few are, so that each is read alone."""
        key = (task_id, state.redrive_count, state.attempt)
        columns = tuple_(attempts.c.task_id, attempts.c.redrive_count, attempts.c.attempt)
        row = (await connection.execute(select(attempts).where(columns == key))).one()
        decided = DecidedEnd(
            status=TaskStatus(row.status),
            error=row.error or "",
            started_at=row.started_at,
            duration=row.duration,
            response_status=row.response_status,
            next_at=state.next_at,
        )
        return Admission(state.attempt, decided=decided)

    async def _record(self, ended: Sequence[_Ended]) -> None:
        await self._database.write(lambda connection: self._conclude(connection, ended), "record", durable=False)

    async def _conclude(self, connection: AsyncConnection, ended: Sequence[_Ended]) -> None:
        states = TaskStates(self._database, connection)
        known = await states.lock_or_enter([each.record.task for each in ended], self._clock.now())
        before = dict(known)
        ends: dict[str, tuple[str | None, str | None]] = {}
        for each in ended:
            task_id = id_of(each.record.task)
            after = conclude(known[task_id], _end(each.record))
            if after.position > known[task_id].position:
                ends[task_id] = (each.record.error, each.result)
            known[task_id] = after
        changed = [task_id for task_id, state in known.items() if state != before[task_id]]
        await states.write([state_row(task_id, known[task_id], ends.get(task_id)) for task_id in changed])
        await self._remember_attempts(connection, [each.record for each in ended])
        await self._clear_released(connection, [each.record for each in ended])
        await self._close_dead_letters(
            connection,
            [
                (task_id, known[task_id].redrive_count)
                for task_id in changed
                if before[task_id].status is TaskStatus.DEAD_LETTERED and known[task_id].status is TaskStatus.COMPLETED
            ],
        )

    async def _remember_attempts(self, connection: AsyncConnection, records: Sequence[AttemptRecord]) -> None:
        rows: dict[tuple[str, int, int], Row] = {}
        for each in records:
            key = (id_of(each.task), each.task.redrive_count, each.attempt)
            over = each.attempt > 0 and each.status is not TaskStatus.QUEUED
            if over and (key not in rows or each.status is TaskStatus.COMPLETED):
                rows[key] = _attempt_row(each)
        await self._database.bulk(connection, _ATTEMPTS, [rows[key] for key in sorted(rows)])

    async def _clear_released(self, connection: AsyncConnection, records: Sequence[AttemptRecord]) -> None:
        """Count no start of a suspect that was released: it did not end its process."""
        released = [
            (id_of(each.task), each.task.redrive_count, each.attempt)
            for each in records
            if each.status is TaskStatus.QUEUED
        ]
        if released:
            key = tuple_(*suspects.primary_key.columns)
            statement = update(suspects).where(key.in_(released)).values(starts=suspects.c.starts - 1)
            await connection.execute(statement)

    async def _close_dead_letters(self, connection: AsyncConnection, keys: Sequence[tuple[str, int]]) -> None:
        if not keys:
            return
        key = tuple_(dead_letter_table.c.task_id, dead_letter_table.c.redrive_count)
        await connection.execute(
            update(dead_letter_table)
            .where(key.in_(keys), dead_letter_table.c.state == DeadLetterState.WAITING)
            .values(state=DeadLetterState.COMPLETED, closed_at=self._clock.now())
        )


def _end(record: AttemptRecord) -> AttemptEnd:
    return AttemptEnd(
        redrive_count=record.task.redrive_count,
        attempt=record.attempt,
        status=record.status,
        started_at=record.started_at if record.attempt else None,
        at=record.started_at + record.duration,
        next_at=record.next_at,
        confirmed=record.confirmed,
        postponed=record.postponed,
        redelivered=record.redelivered,
    )


def _attempt_row(record: AttemptRecord) -> Row:
    return (
        id_of(record.task),
        record.task.redrive_count,
        record.attempt,
        microseconds(record.started_at),
        record.duration.total_seconds(),
        record.status.value,
        clean(record.error),
        record.response_status,
    )


def _size_of(ended: _Ended) -> int:
    return 2048 + len(dumps(ended.record.task.payload)) + len(ended.result or "")
