"""Writes that fail nobody: what cannot be written is kept and written later, or dropped and counted."""

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

#: Bounds of what is kept while the database is away; the oldest goes first.
MAX_KEPT_ROWS = 20_000
MAX_KEPT_BYTES = 64 * 1024 * 1024
#: How long a caller waits for its write before it goes on without.
PATIENCE = timedelta(seconds=1)
#: How often a database that is away is asked again.
PROBE_INTERVAL = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class _Kept:
    lane: "Observer[Any]"
    item: Any
    size: int


class Backlog:
    """What waits for the database to come back, and the task that writes it then."""

    def __init__(self, database: Database, *, clock: Clock, metrics: LedgerMetrics) -> None:
        """Keep nothing yet; ``run`` does the rest."""
        self._database = database
        self._clock = clock
        self._metrics = metrics
        self._kept: deque[_Kept] = deque()
        self._size = 0
        self._filled = asyncio.Event()

    def keep(self, lane: "Observer[Item]", items: Sequence[Item]) -> None:
        """Keep ``items`` for a later try."""
        for item in items:
            size = lane.size_of(item)
            self._kept.append(_Kept(lane, item, size))
            self._size += size
        dropped = 0
        while len(self._kept) > MAX_KEPT_ROWS or self._size > MAX_KEPT_BYTES:
            self._size -= self._kept.popleft().size
            dropped += 1
        if dropped:
            self._metrics.ledger_dropped(dropped)
        self._metrics.ledger_backlog(len(self._kept))
        self._filled.set()

    async def run(self) -> None:
        """Bring the database back into use, and write what was kept; for ever."""
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
        """Write everything that is kept.

        Raises:
            LedgerUnavailableError: the database went away again; what was not written is still kept.

        """
        while self._kept:
            lane = self._kept[0].lane
            some: list[_Kept] = []
            while self._kept and self._kept[0].lane is lane and len(some) < lane.rows_at_once:
                some.append(self._kept.popleft())
            self._size -= sum(kept.size for kept in some)
            try:
                await lane.write_now([kept.item for kept in some])
            except BaseException:  # cancellation included: nothing taken is forgotten, and it is raised again
                self._kept.extendleft(reversed(some))
                self._size += sum(kept.size for kept in some)
                raise
            self._metrics.ledger_backlog(len(self._kept))
        self._filled.clear()

    def give_up(self) -> None:
        """Drop what is still kept, since the process ends."""
        if self._kept:
            logger.error("the ledger is still not available: %d observations are lost", len(self._kept))
            self._metrics.ledger_dropped(len(self._kept))
            self._kept.clear()

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


class Observer(Generic[Item]):
    """One kind of observation, written in groups."""

    rows_at_once = 200

    def __init__(
        self,
        write: Callable[[Sequence[Item]], Awaitable[None]],
        size_of: Callable[[Item], int],
        *,
        database: Database,
        backlog: Backlog,
        metrics: LedgerMetrics,
    ) -> None:
        """Write by ``write``; ``size_of`` an item is what it takes in memory, in bytes, roughly."""
        self._write = write
        self.size_of = size_of
        self._database = database
        self._backlog = backlog
        self._metrics = metrics
        self._groups: GroupCommit[Item, None] = GroupCommit(self._write_group)

    async def observe(self, items: Sequence[Item], *, size: int = 0) -> None:
        """Return when ``items`` are written or kept, or after a second: they are written all the same. Never raises."""
        if self._database.away is not None:
            self._backlog.keep(self, items)
            return
        try:
            async with asyncio.timeout(PATIENCE.total_seconds()):
                await self._groups.submit(items, size=size)
        except TimeoutError:
            logger.warning("the ledger is slow: going on without waiting for it")
        except LedgerUnavailableError:
            # Only while it closes; a write that fails is kept.
            self._backlog.keep(self, items)

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
        """Return when everything that waits is written or kept."""
        await self._groups.aclose()

    async def _write_group(self, items: Sequence[Item]) -> Sequence[None]:
        try:
            await self.write_now(items)
        except LedgerUnavailableError:
            self._backlog.keep(self, items)
        return [None] * len(items)
