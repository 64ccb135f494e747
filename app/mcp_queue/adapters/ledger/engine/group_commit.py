"""Turns concurrent small writes to the ledger into few large ones."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Generic, TypeVar

from mcp_queue.adapters.batching import GroupCollector, GroupLimits, Submission
from mcp_queue.domain.errors import LedgerUnavailableError

Item = TypeVar("Item")
Answer = TypeVar("Answer")

LIMITS = GroupLimits(rows=500, size=2 * 1024 * 1024, linger=timedelta(milliseconds=4))


class GroupCommit(Generic[Item, Answer]):
    """Writes together what is submitted while a write is under way: one write at a time."""

    def __init__(
        self, write: Callable[[Sequence[Item]], Awaitable[Sequence[Answer]]], limits: GroupLimits = LIMITS
    ) -> None:
        """Write by ``write``, which returns an answer for each item, in the order given."""
        self._write = write
        self._collector: GroupCollector[Sequence[Item], Sequence[Answer]] = GroupCollector(self._start, limits)
        self._writing: asyncio.Task[None] | None = None
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
        return await self._collector.submit(items, rows=len(items), size=size)

    async def aclose(self) -> None:
        """Refuse new writes, and return when those that wait are done."""
        self._closed = True
        await self._collector.drain()

    def _start(self, group: list[Submission[Sequence[Item], Sequence[Answer]]]) -> None:
        self._writing = asyncio.get_running_loop().create_task(self._write_group(group))
        self._writing.add_done_callback(self._ended)

    async def _write_group(self, group: list[Submission[Sequence[Item], Sequence[Answer]]]) -> None:
        try:
            answers = await self._write([item for submission in group for item in submission.item])
            start = 0
            for submission in group:
                submission.resolve(answers[start : start + submission.rows])
                start += submission.rows
        except LedgerUnavailableError as error:
            for submission in group:
                submission.fail(error)
        finally:
            # Also after an unforeseen error: no caller waits for an answer that never comes.
            for submission in group:
                submission.fail(LedgerUnavailableError())

    def _ended(self, writing: asyncio.Task[None]) -> None:
        if not writing.cancelled():  # it is cancelled only when the event loop closes
            self._collector.group_ended()
