"""Stores which destinations are paused, and what consumers report of each."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, delete, select
from sqlalchemy.ext.asyncio import AsyncConnection
from typing_extensions import override

from mcp_queue.adapters.ledger.engine.database import Database
from mcp_queue.adapters.ledger.engine.upserts import upsert
from mcp_queue.adapters.ledger.tables import destination_reports, paused_destinations
from mcp_queue.domain.operators.audit import DestinationReport, DestinationView
from mcp_queue.ports import Destinations


class SqlDestinations(Destinations):
    """The ``Destinations`` of a database."""

    def __init__(self, database: Database) -> None:
        """Keep pauses and reports in ``database``."""
        self._database = database

    @override
    async def pause(self, name: str) -> None:
        async def store(connection: AsyncConnection) -> None:
            await connection.execute(upsert(connection, paused_destinations, {"name": name}))

        await self._database.write(store, "pause")

    @override
    async def resume(self, name: str) -> None:
        gone = delete(paused_destinations).where(paused_destinations.c.name == name)
        await self._database.write(lambda connection: connection.execute(gone), "pause")

    @override
    async def paused(self) -> frozenset[str]:
        return await self._database.read(_paused)

    @override
    async def publish(self, reports: Sequence[DestinationReport]) -> None:
        values = [
            {
                "name": report.name,
                "consumer": report.consumer,
                "state": report.state,
                "reported_at": report.reported_at,
                "figures": dict(report.figures),
            }
            for report in sorted(reports, key=lambda report: (report.name, report.consumer))
        ]

        async def store(connection: AsyncConnection) -> None:
            replaced = ("state", "reported_at", "figures")
            await connection.execute(upsert(connection, destination_reports, values, replaced=replaced))

        if values:
            await self._database.write(store, "publish", durable=False)

    @override
    async def list_destinations(self, reported_after: datetime) -> Sequence[DestinationView]:
        statement = (
            select(destination_reports)
            .where(destination_reports.c.reported_at > reported_after)
            .order_by(destination_reports.c.consumer)
        )

        async def find(connection: AsyncConnection) -> list[DestinationView]:
            paused = await _paused(connection)
            reports: defaultdict[str, list[DestinationReport]] = defaultdict(list)
            for row in await connection.execute(statement):
                reports[row.name].append(_report(row))
            return [
                DestinationView(name, name in paused, tuple(reports.get(name, ())))
                for name in sorted(paused | reports.keys())
            ]

        return await self._database.read(find)


async def _paused(connection: AsyncConnection) -> frozenset[str]:
    return frozenset(row.name for row in await connection.execute(select(paused_destinations)))


def _report(row: Row[Any]) -> DestinationReport:
    return DestinationReport(
        name=row.name, consumer=row.consumer, state=row.state, reported_at=row.reported_at, figures=row.figures
    )
