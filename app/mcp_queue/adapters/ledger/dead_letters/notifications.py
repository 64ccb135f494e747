"""Stores the notices that notifiers have yet to send."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from sqlalchemy import Row, Select, delete, exists, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection
from typing_extensions import override

from mcp_queue.adapters.ledger.engine.bulk import Bulk
from mcp_queue.adapters.ledger.engine.bulk import Row as BulkRow
from mcp_queue.adapters.ledger.engine.database import Database
from mcp_queue.adapters.ledger.tables import dead_letters as dead_letter_table
from mcp_queue.adapters.ledger.tables import notices
from mcp_queue.domain.dead_letters.dead_letter import DeadLetterNotice
from mcp_queue.domain.task_states import microseconds
from mcp_queue.ports import Clock, NotificationOutbox

#: Dead letters that one notice can be about; a flood beyond it makes further notices.
_AT_ONCE = 10_000
_EXAMPLES = 5


class SqlNotificationOutbox(NotificationOutbox):
    """The ``NotificationOutbox`` of a database."""

    def __init__(self, database: Database, *, clock: Clock) -> None:
        """Keep notices in ``database``."""
        self._database = database
        self._clock = clock

    @override
    async def gather(self, notifiers: Collection[str], stored_before: datetime) -> int:
        now = self._clock.now()
        new = dead_letter_table.c.notified_at.is_(None)

        async def anything(connection: AsyncConnection) -> bool:
            ready = exists().where(new, dead_letter_table.c.stored_at < stored_before)
            return bool((await connection.execute(select(ready))).scalar_one())

        async def create(connection: AsyncConnection) -> int:
            unsent: Select[Any] = select(*_CONTENT).where(new).order_by(dead_letter_table.c.stored_at).limit(_AT_ONCE)
            unsent = unsent.with_for_update(skip_locked=True)
            rows: list[Row[Any]] = sorted(await connection.execute(unsent), key=_kind)
            kinds = [list(dead_letters) for _, dead_letters in groupby(rows, key=_kind)]
            # A kind whose first dead letters another process has just taken begins anew.
            ready = [
                dead_letters
                for dead_letters in kinds
                if min(dead_letter.stored_at for dead_letter in dead_letters) < stored_before
            ]
            contents = [_notice_values(dead_letters, now) for dead_letters in ready]
            values = [{**notice, "notifier": notifier} for notice in contents for notifier in notifiers]
            if values:
                await connection.execute(insert(notices), values)
            noted = microseconds(now)
            gathered: list[BulkRow] = [
                (row.task_id, row.redrive_count, noted) for dead_letters in ready for row in dead_letters
            ]
            await self._database.bulk(connection, _NOTIFIED, sorted(gathered))
            return len(gathered)

        return await self._database.write(create, "notify") if await self._database.read(anything) else 0

    @override
    async def due(self, limit: int, lease: timedelta) -> Sequence[DeadLetterNotice]:
        now = self._clock.now()
        due = notices.c.next_try_at <= now

        async def anything(connection: AsyncConnection) -> bool:
            return bool((await connection.execute(select(exists().where(due)))).scalar_one())

        async def lease_due(connection: AsyncConnection) -> list[DeadLetterNotice]:
            unsent = select(notices).where(due).order_by(notices.c.id).limit(limit).with_for_update(skip_locked=True)
            rows = (await connection.execute(unsent)).all()
            # A process that crashes while it sends leaves the notice to the next: it may be sent twice.
            leased = update(notices).where(notices.c.id.in_([row.id for row in rows])).values(next_try_at=now + lease)
            await connection.execute(leased)
            return [_notice(row) for row in rows]

        return await self._database.write(lease_due, "notify") if await self._database.read(anything) else []

    @override
    async def settle(self, notice_id: int, retry_at: datetime | None) -> None:
        this = notices.c.id == notice_id
        again = update(notices).where(this).values(tries=notices.c.tries + 1, next_try_at=retry_at)
        statement = delete(notices).where(this) if retry_at is None else again
        await self._database.write(lambda connection: connection.execute(statement), "notify")


_CONTENT = (
    dead_letter_table.c.task_id,
    dead_letter_table.c.redrive_count,
    dead_letter_table.c.queue,
    dead_letter_table.c.type,
    dead_letter_table.c.failure_reason,
    dead_letter_table.c.failed_at,
    dead_letter_table.c.stored_at,
)
_NOTIFIED = Bulk(
    {"task_id": "text", "redrive_count": "integer", "notified_at": "bigint"},
    "UPDATE dead_letters SET notified_at = batch.notified_at FROM batch "
    "WHERE dead_letters.task_id = batch.task_id AND dead_letters.redrive_count = batch.redrive_count",
)


def _kind(row: Row[Any]) -> tuple[str, str]:
    return row.queue, row.type or ""


def _notice_values(dead_letters: Sequence[Row[Any]], now: datetime) -> dict[str, Any]:
    return {
        "queue": dead_letters[0].queue,
        "type": dead_letters[0].type,
        "letters": len(dead_letters),
        "first_failed_at": min(dead_letter.failed_at for dead_letter in dead_letters),
        "last_failed_at": max(dead_letter.failed_at for dead_letter in dead_letters),
        "examples": [
            {"id": dead_letter.task_id, "reason": dead_letter.failure_reason}
            for dead_letter in dead_letters[:_EXAMPLES]
        ],
        "tries": 0,
        "next_try_at": now,
    }


def _notice(row: Row[Any]) -> DeadLetterNotice:
    return DeadLetterNotice(
        id=row.id,
        notifier=row.notifier,
        queue=row.queue,
        type=row.type,
        count=row.letters,
        first_failed_at=row.first_failed_at,
        last_failed_at=row.last_failed_at,
        examples=tuple(row.examples),
        tries=row.tries,
    )
