"""Runs transactions: whole ones, repeated where that helps, and bounded in time."""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from mcp_queue.adapters.ledger.engine.bulk import Bulk, Row
from mcp_queue.adapters.ledger.engine.faults import DATABASE_ERRORS, Fault, classify, explain
from mcp_queue.domain.errors import LedgerSchemaError, LedgerUnavailableError
from mcp_queue.ports import LedgerMetrics

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")

#: Longest time of one transaction, the wait for a connection included.
TRANSACTION_LIMIT = timedelta(seconds=10)
# Lost against another transaction, it will win some time; of stale connections the pool sheds all with the first.
_TRIES: dict[Fault | None, int] = {Fault.REPEAT: 5, Fault.LOST: 2}


class RowsRefusedError(LedgerUnavailableError):
    """The database will never take these rows."""


class Database(ABC):
    """One database, in whichever dialect.

    Work is given as a function, since a transaction may be done again: also where it was committed, but the answer was
    lost, which work must not mind.

    Once it was found away, everything is refused at once until ``probe`` finds it back.
    """

    def __init__(self, metrics: LedgerMetrics) -> None:
        """Count failures in ``metrics``."""
        self._metrics = metrics
        self._away: str | None = None
        self._left = asyncio.Event()

    @property
    def away(self) -> str | None:
        """Why the database is not used at the moment, in its own words; ``None`` while it answers."""
        return self._away

    async def wait_until_away(self) -> None:
        """Return when the database stops answering."""
        await self._left.wait()

    async def read(self, work: Callable[[AsyncConnection], Awaitable[Answer]]) -> Answer:
        """Return what ``work`` finds in one consistent state.

        Raises:
            LedgerUnavailableError: the database does not answer, or not in time.

        """
        return await self._guard(lambda: self._within(self._reading(), work), "read", writes=False)

    async def write(
        self, work: Callable[[AsyncConnection], Awaitable[Answer]], operation: str, *, durable: bool = True
    ) -> Answer:
        """Do ``work`` as one transaction; with ``durable``, it survives a power cut when this returns.

        Raises:
            LedgerUnavailableError: the database does not answer, or cannot write. Nothing may have happened, or all.
            RowsRefusedError: it will never take what ``work`` wrote.

        """
        return await self._guard(lambda: self._within(self._writing(durable=durable), work), operation, writes=True)

    async def write_alone(self, statement: Bulk, rows: Sequence[Row], operation: str) -> None:
        """Run one statement that is atomic by itself; large SQLite batches in several steps.

        Raises:
            LedgerUnavailableError: as in ``write``.
            RowsRefusedError: as in ``write``.

        """
        await self._guard(lambda: self._alone(statement, rows), operation, writes=True)

    @abstractmethod
    async def bulk(self, connection: AsyncConnection, statement: Bulk, rows: Sequence[Row]) -> list[Row]:
        """Run a statement about ``rows`` in the transaction of ``connection``; return the rows that it returns.

        Without rows there is no statement.
        """

    @abstractmethod
    async def close(self) -> None:
        """Close every connection."""

    async def probe(self) -> None:
        """Use the database again if it answers, can write, and has the tables that this program works with.

        Raises:
            LedgerSchemaError: it answers, but its tables are not ours.
            LedgerUnavailableError: it does not answer.

        """
        try:
            await self._guard(self._prepare, "prepare", writes=True, though_away=True)
        except LedgerSchemaError as error:
            self.set_away(str(error))
            raise
        if self._away is not None:
            logger.warning("the ledger answers again")
        self._away = None
        self._left.clear()

    def set_away(self, reason: str) -> None:
        """Refuse everything until ``probe`` succeeds."""
        if self._away is None:
            logger.error("the ledger is not available: %s", reason)
        self._away = reason
        self._left.set()

    @abstractmethod
    def _reading(self) -> AbstractAsyncContextManager[AsyncConnection]: ...

    @abstractmethod
    def _writing(self, *, durable: bool) -> AbstractAsyncContextManager[AsyncConnection]: ...

    @abstractmethod
    async def _alone(self, statement: Bulk, rows: Sequence[Row]) -> None: ...

    @abstractmethod
    async def _prepare(self) -> None:
        """Make the tables ready for use, or make sure that they are; prove that the database can be written to."""

    async def _within(
        self,
        transaction: AbstractAsyncContextManager[AsyncConnection],
        work: Callable[[AsyncConnection], Awaitable[Answer]],
    ) -> Answer:
        async with transaction as connection:
            return await work(connection)

    async def _guard(
        self, work: Callable[[], Awaitable[Answer]], operation: str, *, writes: bool, though_away: bool = False
    ) -> Answer:
        if self._away is not None and not though_away:
            raise LedgerUnavailableError
        try:
            async with asyncio.timeout(TRANSACTION_LIMIT.total_seconds()):
                return await self._repeated(work)
        except DATABASE_ERRORS as error:
            fault = classify(error)
            if fault is None:
                raise
            raise self._failure(error, fault, operation, writes=writes) from error

    async def _repeated(self, work: Callable[[], Awaitable[Answer]]) -> Answer:
        tries = 0
        while True:
            tries += 1
            try:
                return await work()
            except DATABASE_ERRORS as error:
                if tries >= _TRIES.get(classify(error), 1):
                    raise

    def _failure(self, error: Exception, fault: Fault, operation: str, *, writes: bool) -> Exception:
        self._metrics.ledger_failed(operation)
        reason = explain(error)
        if fault is Fault.REFUSED:
            return RowsRefusedError(reason)
        if fault in {Fault.AWAY, Fault.LOST} or (writes and fault is Fault.SLOW):
            self.set_away(reason)
        else:
            logger.error("the ledger could not %s: %s", operation, reason)
        return LedgerUnavailableError()
