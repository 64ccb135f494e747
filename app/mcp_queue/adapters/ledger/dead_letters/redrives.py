"""Stores redrives that go on in the background."""

from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import Row, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection
from typing_extensions import override

from mcp_queue.adapters.ledger.engine.database import Database
from mcp_queue.adapters.ledger.engine.upserts import upsert
from mcp_queue.adapters.ledger.tables import redrives
from mcp_queue.domain.dead_letters.dead_letter import DeadLetterFilter, Redrive, RedriveStatus
from mcp_queue.domain.formats.serialization import format_time, parse_time
from mcp_queue.domain.task import JsonValue
from mcp_queue.ports import Clock, RedriveStore


class SqlRedriveStore(RedriveStore):
    """The ``RedriveStore`` of a database."""

    def __init__(self, database: Database, *, clock: Clock) -> None:
        """Keep redrives in ``database``."""
        self._database = database
        self._clock = clock

    @override
    async def create(self, redrive: Redrive) -> None:
        values = {
            "id": redrive.id,
            "filter": _filter_members(redrive.filter),
            "actor": redrive.actor,
            "created_at": redrive.created_at,
            "matched": redrive.matched,
            "max_per_second": redrive.max_per_second,
            "status": redrive.status,
            "redriven": redrive.redriven,
            "failed": redrive.failed,
            "cursor": redrive.cursor,
        }

        async def store(connection: AsyncConnection) -> None:
            await connection.execute(upsert(connection, redrives, values))

        await self._database.write(store, "redrive")

    @override
    async def get(self, redrive_id: str) -> Redrive | None:
        async def find(connection: AsyncConnection) -> Redrive | None:
            row = (await connection.execute(select(redrives).where(redrives.c.id == redrive_id))).one_or_none()
            return None if row is None else _redrive(row)

        return await self._database.read(find)

    @override
    async def adopt(self, lease: timedelta) -> Redrive | None:
        now = self._clock.now()
        free = (
            redrives.c.status == RedriveStatus.RUNNING,
            or_(redrives.c.leased_until.is_(None), redrives.c.leased_until <= now),
        )
        oldest = select(redrives).where(*free).order_by(redrives.c.created_at, redrives.c.id).limit(1)

        async def is_any(connection: AsyncConnection) -> bool:
            return (await connection.execute(oldest)).first() is not None

        async def take(connection: AsyncConnection) -> Redrive | None:
            row = (await connection.execute(oldest.with_for_update(skip_locked=True))).first()
            if row is None:
                return None
            leased = update(redrives).where(redrives.c.id == row.id).values(leased_until=now + lease)
            await connection.execute(leased)
            return _redrive(row)

        return await self._database.write(take, "redrive") if await self._database.read(is_any) else None

    @override
    async def advance(self, redrive: Redrive, lease: timedelta) -> bool:
        now = self._clock.now()
        progress = {
            "status": redrive.status,
            "redriven": redrive.redriven,
            "failed": redrive.failed,
            "cursor": redrive.cursor,
            "leased_until": now + lease,
            "ended_at": None if redrive.status is RedriveStatus.RUNNING else now,
        }

        async def store(connection: AsyncConnection) -> bool:
            counts = {name: progress[name] for name in ("redriven", "failed", "cursor")}
            running = redrives.c.id == redrive.id, redrives.c.status == RedriveStatus.RUNNING
            if (await connection.execute(update(redrives).where(*running).values(progress))).rowcount:
                return True
            # What was sent before the cancel was seen is still counted.
            await connection.execute(update(redrives).where(redrives.c.id == redrive.id).values(counts))
            return False

        return await self._database.write(store, "redrive")

    @override
    async def cancel(self, redrive_id: str) -> bool:
        stopped = (
            update(redrives)
            .where(redrives.c.id == redrive_id, redrives.c.status == RedriveStatus.RUNNING)
            .values(status=RedriveStatus.CANCELED, ended_at=self._clock.now())
        )

        async def stop(connection: AsyncConnection) -> bool:
            return (await connection.execute(stopped)).rowcount > 0

        return await self._database.write(stop, "redrive")


def _filter_members(query: DeadLetterFilter) -> dict[str, JsonValue]:
    members = asdict(query)
    members["shelf"] = members.pop("shared_dead_letter_queue")  # its name in stored rows
    for name in ("failed_after", "failed_before"):
        members[name] = None if members[name] is None else format_time(members[name])
    return members


def _filter(members: dict[str, Any]) -> DeadLetterFilter:
    return DeadLetterFilter(
        queue=members["queue"],
        shared_dead_letter_queue=members["shelf"],
        type=members["type"],
        reason=members["reason"],
        failed_after=_time(members["failed_after"]),
        failed_before=_time(members["failed_before"]),
        ids=None if members["ids"] is None else tuple(members["ids"]),
    )


def _time(text: str | None) -> datetime | None:
    return None if text is None else parse_time(text)


def _redrive(row: Row[Any]) -> Redrive:
    return Redrive(
        id=row.id,
        filter=_filter(cast("dict[str, Any]", row.filter)),
        actor=row.actor,
        created_at=row.created_at,
        matched=row.matched,
        max_per_second=row.max_per_second,
        status=RedriveStatus(row.status),
        redriven=row.redriven,
        failed=row.failed,
        cursor=row.cursor,
        ended_at=row.ended_at,
    )
