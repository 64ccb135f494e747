"""Turns concurrent small writes into few large ones."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Generic, TypeVar

from mcp_queue.domain.errors import LedgerUnavailableError

Item = TypeVar("Item")
Answer = TypeVar("Answer")

#: How long a busy ledger waits for company. An idle one writes at once.
LINGER = timedelta(milliseconds=4)
#: A group is closed by so many rows; one submission is never split.
MAX_ROWS = 500
MAX_BYTES = 2 * 1024 * 1024


@dataclass(slots=True, eq=False)
class _Submission(Generic[Item, Answer]):
    items: Sequence[Item]
    size: int
    answers: asyncio.Future[Sequence[Answer]]


class GroupCommit(Generic[Item, Answer]):
    """Collects what comes while a write is under way, and writes it together: one write at a time."""

    def __init__(self, write: Callable[[Sequence[Item]], Awaitable[Sequence[Answer]]]) -> None:
        """Write by ``write``, which answers for each item, in the order given."""
        self._write = write
        self._waiting: deque[_Submission[Item, Answer]] = deque()
        self._rows = 0
        self._size = 0
        self._full = asyncio.Event()
        self._writer: asyncio.Task[None] | None = None
        self._closed = False

    async def submit(self, items: Sequence[Item], *, size: int = 0) -> Sequence[Answer]:
        """Return the answers for ``items``, of ``size`` bytes together, when they are written.

        Whoever stops waiting leaves the write to go on.

        Raises:
            LedgerUnavailableError: they were not written, or nobody knows.

        """
        if not items:
            return []
        if self._closed:
            raise LedgerUnavailableError("the ledger is closing")
        answers: asyncio.Future[Sequence[Answer]] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Submission(items, size, answers))
        self._rows += len(items)
        self._size += size
        if self._rows >= MAX_ROWS or self._size >= MAX_BYTES:
            self._full.set()
        if self._writer is None:
            self._writer = asyncio.get_running_loop().create_task(self._write_all())
            self._writer.add_done_callback(self._ended)
        return await answers

    async def aclose(self) -> None:
        """Refuse new writes, and return when those that wait are done."""
        self._closed = True
        self._full.set()
        if self._writer is not None:
            await asyncio.wait([self._writer])

    async def _write_all(self) -> None:
        # A turn of the loop first, so that everything that comes in this turn goes together.
        await asyncio.sleep(0)
        while self._waiting:
            await self._write_group(self._take())
            if len(self._waiting) > 1 and not self._closed:
                await self._linger()

    async def _linger(self) -> None:
        try:
            async with asyncio.timeout(LINGER.total_seconds()):
                await self._full.wait()
        except TimeoutError:
            return

    def _take(self) -> list[_Submission[Item, Answer]]:
        group: list[_Submission[Item, Answer]] = []
        rows = size = 0
        while self._waiting and (not group or (rows < MAX_ROWS and size < MAX_BYTES)):
            submission = self._waiting.popleft()
            group.append(submission)
            rows += len(submission.items)
            size += submission.size
        self._rows -= rows
        self._size -= size
        if self._rows < MAX_ROWS and self._size < MAX_BYTES and not self._closed:
            self._full.clear()
        return group

    async def _write_group(self, group: list[_Submission[Item, Answer]]) -> None:
        try:
            answers = await self._write([item for submission in group for item in submission.items])
            start = 0
            for submission in group:
                end = start + len(submission.items)
                if not submission.answers.done():
                    submission.answers.set_result(answers[start:end])
                start = end
        except LedgerUnavailableError as error:
            _fail(group, error)
        finally:
            # Also after an error that nobody foresaw, which ends the writer: no caller waits for ever.
            _fail(group, LedgerUnavailableError())

    def _ended(self, writer: asyncio.Task[None]) -> None:
        self._writer = None
        if self._waiting and not writer.cancelled():
            self._writer = asyncio.get_running_loop().create_task(self._write_all())
            self._writer.add_done_callback(self._ended)


def _fail(group: list[_Submission[Item, Answer]], error: LedgerUnavailableError) -> None:
    for submission in group:
        if not submission.answers.done():
            submission.answers.set_exception(error)
