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
class PendingItem(Generic[Item, Answer]):
    """An item and the future of its answer. ``size`` is in the unit of its batch's limit."""

    item: Item
    answer: "asyncio.Future[Answer]"
    size: int

    def resolve(self, answer: Answer) -> None:
        """Return ``answer`` to the caller, unless it has stopped waiting."""
        if not self.answer.done():
            self.answer.set_result(answer)

    def fail(self, error: Exception) -> None:
        """Raise ``error`` at the caller, unless it has its answer or has stopped waiting."""
        if not self.answer.done():
            self.answer.set_exception(error)


class GroupCollector(Generic[Item, Answer]):
    """Starts one group at a time, of everything that was submitted while the one before it was under way.

    The first group of an idle collector starts at the end of the current turn of the event loop. An item is never
    split, so the last one of a group may exceed the limit.
    """

    def __init__(
        self,
        start: Callable[[list[PendingItem[Item, Answer]]], None],
        limit: int,
        *,
        linger: timedelta = timedelta(0),
        drop_cancelled: bool = False,
    ) -> None:
        """Call ``start`` with each group of up to ``limit``; ``group_ended`` is to be called when it is answered.

        ``linger`` is how long a group of several items waits for more, unless it is full. ``drop_cancelled`` leaves out
        items whose caller was cancelled before their group started.
        """
        self._start = start
        self._limit = limit
        self._linger = linger.total_seconds()
        self._drop_cancelled = drop_cancelled
        self._waiting: deque[PendingItem[Item, Answer]] = deque()
        self._size = 0
        self._under_way = False
        self._next: asyncio.Handle | None = None
        self._lingering = False
        self._idle = asyncio.Event()
        self._idle.set()

    def submit(self, item: Item, size: int = 1) -> "asyncio.Future[Answer]":
        """Return the future of the answer for ``item``."""
        pending: PendingItem[Item, Answer] = PendingItem(item, asyncio.get_running_loop().create_future(), size)
        self._waiting.append(pending)
        self._size += size
        self._idle.clear()
        if not self._under_way and (self._next is None or (self._lingering and self._size >= self._limit)):
            self._schedule()
        return pending.answer

    def group_ended(self) -> None:
        """Start the next group, when everything submitted in this turn of the event loop has joined it."""
        self._under_way = False
        if self._linger and len(self._waiting) > 1 and self._size < self._limit:
            self._lingering = True
            self._next = asyncio.get_running_loop().call_later(self._linger, self._start_next)
        else:
            self._schedule()

    async def drain(self) -> None:
        """Start what waits without lingering; return when all of it has ended."""
        self._linger = 0
        if self._lingering:
            self._schedule()
        await self._idle.wait()

    def _schedule(self) -> None:
        if self._next is not None:
            self._next.cancel()
        self._lingering = False
        self._next = asyncio.get_running_loop().call_soon(self._start_next)

    def _start_next(self) -> None:
        self._next, self._lingering = None, False
        while self._waiting:
            if group := self._take():
                self._under_way = True
                self._start(group)
                return
        self._idle.set()

    def _take(self) -> list[PendingItem[Item, Answer]]:
        group: list[PendingItem[Item, Answer]] = []
        waiting, size = self._waiting, 0
        while waiting and size < self._limit:
            pending = waiting.popleft()
            size += pending.size
            group.append(pending)
        self._size -= size
        return [pending for pending in group if not pending.answer.cancelled()] if self._drop_cancelled else group
