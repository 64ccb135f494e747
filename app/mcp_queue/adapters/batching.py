"""Collects what callers submit while a write is under way, so that it is written together."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


@dataclass(slots=True, eq=False)
class Submission(Generic[Item, Answer]):
    """An item and the future of its answer. ``rows`` and ``size``, in bytes, count towards the limits of a group."""

    item: Item
    answer: "asyncio.Future[Answer]"
    rows: int
    size: int

    def resolve(self, answer: Answer) -> None:
        """Return ``answer`` to the caller, unless it has stopped waiting."""
        if not self.answer.done():
            self.answer.set_result(answer)

    def fail(self, error: Exception) -> None:
        """Raise ``error`` at the caller, unless it has its answer or has stopped waiting."""
        if not self.answer.done():
            self.answer.set_exception(error)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupLimits:
    """When a group is full. A submission is never split, so a group may exceed them by its last one.

    ``linger``: how long a group that has company already waits for more. The first group of an idle collector starts
    at the end of the current turn of the event loop.
    """

    rows: int
    size: int | None = None
    linger: timedelta = timedelta(0)


class GroupCollector(Generic[Item, Answer]):
    """Starts one group at a time, of everything that was submitted while the one before it was under way."""

    def __init__(
        self,
        start: Callable[[list[Submission[Item, Answer]]], None],
        limits: GroupLimits,
        *,
        drop_cancelled: bool = False,
    ) -> None:
        """Call ``start`` with each group; it arranges that ``group_ended`` is called when all have their answers.

        ``drop_cancelled`` leaves out submissions whose caller was cancelled before their group started.
        """
        self._start = start
        self._limits = limits
        self._drop_cancelled = drop_cancelled
        self._waiting: deque[Submission[Item, Answer]] = deque()
        self._rows = 0
        self._size = 0
        self._under_way = False
        self._next: asyncio.Handle | None = None
        self._lingering = False
        self._draining = False
        self._idle = asyncio.Event()
        self._idle.set()

    def submit(self, item: Item, *, rows: int = 1, size: int = 0) -> "asyncio.Future[Answer]":
        """Return the future of the answer for ``item``."""
        submission: Submission[Item, Answer] = Submission(item, asyncio.get_running_loop().create_future(), rows, size)
        self._waiting.append(submission)
        self._rows += rows
        self._size += size
        self._idle.clear()
        if not self._under_way and (self._next is None or (self._lingering and self._full())):
            self._schedule()
        return submission.answer

    def group_ended(self) -> None:
        """Start the next group, when everything submitted in this turn of the event loop has joined it."""
        self._under_way = False
        if self._limits.linger and len(self._waiting) > 1 and not self._draining and not self._full():
            self._lingering = True
            delay = self._limits.linger.total_seconds()
            self._next = asyncio.get_running_loop().call_later(delay, self._start_next)
        else:
            self._schedule()

    async def drain(self) -> None:
        """Start what waits without lingering; return when all of it has ended."""
        self._draining = True
        if self._lingering:
            self._schedule()
        await self._idle.wait()

    def _full(self) -> bool:
        limits = self._limits
        return self._rows >= limits.rows or (limits.size is not None and self._size >= limits.size)

    def _schedule(self) -> None:
        if self._next is not None:
            self._next.cancel()
        self._lingering = False
        self._next = asyncio.get_running_loop().call_soon(self._start_next)

    def _start_next(self) -> None:
        self._next, self._lingering = None, False
        if group := self._take():
            self._under_way = True
            self._start(group)
        else:
            self._idle.set()

    def _take(self) -> list[Submission[Item, Answer]]:
        group: list[Submission[Item, Answer]] = []
        rows = size = 0
        limits = self._limits
        while self._waiting and rows < limits.rows and (limits.size is None or size < limits.size):
            submission = self._waiting.popleft()
            self._rows -= submission.rows
            self._size -= submission.size
            if self._drop_cancelled and submission.answer.cancelled():
                continue
            group.append(submission)
            rows += submission.rows
            size += submission.size
        return group
