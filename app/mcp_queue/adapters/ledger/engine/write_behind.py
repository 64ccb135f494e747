"""Writes rows without failing their callers: while the database is away they are buffered and written later."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, TypeVar

from mcp_queue.adapters.ledger.engine.database import Database, RowsRefusedError
from mcp_queue.adapters.ledger.engine.group_commit import GroupCommit
from mcp_queue.domain.errors import LedgerSchemaError, LedgerUnavailableError
from mcp_queue.ports import Clock, LedgerMetrics

logger = logging.getLogger(__name__)

Item = TypeVar("Item")

#: Bounds of the buffer; beyond them the oldest rows are dropped and counted.
MAX_BUFFERED_ROWS = 20_000
MAX_BUFFERED_BYTES = 64 * 1024 * 1024
#: How long a caller waits for its write before it goes on without it.
MAX_WAIT = timedelta(seconds=1)
#: How often a database that is away is asked again.
PROBE_INTERVAL = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class _Buffered:
    writer: "WriteBehind[Any]"
    item: Any
    size: int


class WriteBehindBuffer:
    """Rows that wait for the database to come back, and the loop that writes them then."""

    def __init__(self, database: Database, *, clock: Clock, metrics: LedgerMetrics) -> None:
        """Be empty; ``run`` writes what is added."""
        self._database = database
        self._clock = clock
        self._metrics = metrics
        self._items: deque[_Buffered] = deque()
        self._size = 0
        self._filled = asyncio.Event()

    def add(self, writer: "WriteBehind[Item]", items: Sequence[Item]) -> None:
        """Buffer ``items`` for a later try."""
        for item in items:
            size = writer.size_of(item)
            self._items.append(_Buffered(writer, item, size))
            self._size += size
        dropped = 0
        while len(self._items) > MAX_BUFFERED_ROWS or self._size > MAX_BUFFERED_BYTES:
            self._size -= self._items.popleft().size
            dropped += 1
        if dropped:
            self._metrics.ledger_dropped(dropped)
        self._metrics.ledger_backlog(len(self._items))
        self._filled.set()

    async def run(self) -> None:
        """Bring the database back into use and write the buffered rows, until it is cancelled."""
        while True:
            await self._wait_for_work()
            await self._clock.sleep(PROBE_INTERVAL.total_seconds())
            try:
                if self._database.away is not None:
                    await self._database.probe()
                await self.flush()
            except (LedgerUnavailableError, LedgerSchemaError):
                continue

    async def flush(self) -> None:
        """Write everything that is buffered.

        Raises:
            LedgerUnavailableError: the database went away again; what was not written stays buffered.

        """
        while self._items:
            writer = self._items[0].writer
            some: list[_Buffered] = []
            while self._items and self._items[0].writer is writer and len(some) < writer.rows_at_once:
                some.append(self._items.popleft())
            self._size -= sum(row.size for row in some)
            try:
                await writer.write_now([row.item for row in some])
            except BaseException:  # cancellation included: what was taken goes back, and it is raised again
                self._items.extendleft(reversed(some))
                self._size += sum(row.size for row in some)
                raise
            self._metrics.ledger_backlog(len(self._items))
        self._filled.clear()

    def drop(self) -> None:
        """Drop what is still buffered, since the process ends."""
        if self._items:
            logger.error("the ledger is still not available: %d observations are lost", len(self._items))
            self._metrics.ledger_dropped(len(self._items))
            self._items.clear()

    async def _wait_for_work(self) -> None:
        waits = [
            asyncio.ensure_future(self._filled.wait()),
            asyncio.ensure_future(self._database.wait_until_away()),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()


class WriteBehind(Generic[Item]):
    """One kind of row, written in groups."""

    rows_at_once = 200

    def __init__(
        self,
        write: Callable[[Sequence[Item]], Awaitable[None]],
        size_of: Callable[[Item], int],
        *,
        database: Database,
        buffer: WriteBehindBuffer,
        metrics: LedgerMetrics,
    ) -> None:
        """Write by ``write``; ``size_of`` an item is what it takes in memory, in bytes, roughly."""
        self._write = write
        self.size_of = size_of
        self._database = database
        self._buffer = buffer
        self._metrics = metrics
        self._groups: GroupCommit[Item, None] = GroupCommit(self._write_group)

    async def submit(self, items: Sequence[Item], *, size: int = 0) -> None:
        """Return when ``items`` are written or kept, or after a second: they are written all the same. Never raises."""
        if self._database.away is not None:
            self._buffer.add(self, items)
            return
        try:
            async with asyncio.timeout(MAX_WAIT.total_seconds()):
                await self._groups.submit(items, size=size)
        except TimeoutError:
            logger.warning("the ledger is slow: going on without waiting for it")
        except LedgerUnavailableError:
            # Only while it closes; a write that fails is buffered.
            self._buffer.add(self, items)

    async def write_now(self, items: Sequence[Item]) -> None:
        """Write ``items``; rows that the database refuses are dropped, the others are not.

        Raises:
            LedgerUnavailableError: the database does not answer.

        """
        try:
            await self._write(items)
        except RowsRefusedError as error:
            if len(items) == 1:
                logger.error("the ledger refuses a row for good: %s", error)  # noqa: TRY400  # the trace says no more
                self._metrics.ledger_dropped(1)
                return
            middle = len(items) // 2
            await self.write_now(items[:middle])
            await self.write_now(items[middle:])

    async def aclose(self) -> None:
        """Return when everything that waits is written or buffered."""
        await self._groups.aclose()

    async def _write_group(self, items: Sequence[Item]) -> Sequence[None]:
        try:
            await self.write_now(items)
        except LedgerUnavailableError:
            self._buffer.add(self, items)
        return [None] * len(items)
