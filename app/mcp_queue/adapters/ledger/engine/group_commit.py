"""Turns concurrent small writes to the ledger into few large ones."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Final, Generic, TypeVar

from mcp_queue.adapters.batching import GroupCollector, PendingItem
from mcp_queue.domain.errors import LedgerUnavailableError

Item = TypeVar("Item")
Answer = TypeVar("Answer")

#: How long a busy ledger waits for more. An idle one writes at once.
LINGER: Final = timedelta(milliseconds=4)
#: Rows after which a group is closed; a row of more bytes counts as several.
MAX_ROWS: Final = 500
BYTES_OF_A_ROW: Final = 4096


class GroupCommit(Generic[Item, Answer]):
    """Writes together what is submitted while a write is under way: one write at a time."""

    _writing: asyncio.Task[None]

    def __init__(
        self,
        write: Callable[[Sequence[Item]], Awaitable[Sequence[Answer]]],
        *,
        max_rows: int = MAX_ROWS,
        linger: timedelta = LINGER,
    ) -> None:
        """Write by ``write``, which returns an answer for each item, in the order given."""
        self._write = write
        self._collector: GroupCollector[Sequence[Item], Sequence[Answer]] = GroupCollector(
            self._start, max_rows, linger=linger
        )
        self._closed = False

    async def submit(self, items: Sequence[Item], *, size: int = 0) -> Sequence[Answer]:
        """Return the answers for ``items``, of ``size`` bytes together, when they are written.

        They are also written when the caller stops waiting.

        Raises:
            LedgerUnavailableError: they were not written, or it is not known whether they were.

        """
        if not items:
            return []
        if self._closed:
            raise LedgerUnavailableError("the ledger is closing")
        return await self._collector.submit(items, max(len(items), size // BYTES_OF_A_ROW))

    async def aclose(self) -> None:
        """Refuse new writes, and return when those that wait are done."""
        self._closed = True
        await self._collector.drain()

    def _start(self, group: list[PendingItem[Sequence[Item], Sequence[Answer]]]) -> None:
        self._writing = asyncio.get_running_loop().create_task(self._write_group(group))

    async def _write_group(self, group: list[PendingItem[Sequence[Item], Sequence[Answer]]]) -> None:
        try:
            answers = await self._write([item for pending in group for item in pending.item])
            start = 0
            for pending in group:
                end = start + len(pending.item)
                pending.resolve(answers[start:end])
                start = end
        except LedgerUnavailableError as error:
            for pending in group:
                pending.fail(error)
        finally:
            # Also after an unforeseen error: no caller waits for an answer that never comes.
            for pending in group:
                pending.fail(LedgerUnavailableError())
            if not self._writing.cancelling():  # it is cancelled only when the event loop closes
                self._collector.group_ended()
