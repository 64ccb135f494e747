"""A clock that stands still until a test moves it."""

import asyncio
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush
from itertools import count

from typing_extensions import override

from mcp_queue.ports import Clock

# Turns of the event loop after each step of a fake clock: enough for a chain of tasks to react to it.
_TURNS = 20


class FakeClock(Clock):
    """Shows the time that a test has moved it to, and wakes sleepers on the way there."""

    def __init__(self, now: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._start = now
        self._elapsed = timedelta(0)
        self._sleepers: list[tuple[timedelta, int, asyncio.Future[None]]] = []
        self._order = count()

    @override
    def now(self) -> datetime:
        return self._start + self._elapsed

    @override
    def monotonic(self) -> float:
        return self._elapsed.total_seconds()

    @override
    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        wake = asyncio.get_running_loop().create_future()
        # Rounded up: a sleeper that woke before its moment would sleep again, for nothing at all.
        due = self._elapsed + max(timedelta(seconds=seconds), timedelta.resolution)
        heappush(self._sleepers, (due, next(self._order), wake))
        await wake

    async def advance(self, duration: timedelta) -> None:
        """Move both readings on by ``duration``, stopping when each sleeper is due so that it acts at its own time."""
        await self._let_others_run()
        target = self._elapsed + duration
        while self._sleepers and self._sleepers[0][0] <= target:
            due, _, wake = heappop(self._sleepers)
            if wake.done():  # its sleeper was cancelled
                continue
            self._elapsed = max(self._elapsed, due)
            wake.set_result(None)
            await self._let_others_run()
        self._elapsed = target
        await self._let_others_run()

    def step(self, offset: timedelta) -> None:
        """Set the time of day forward or back as an operator or NTP does; the monotonic reading goes on."""
        self._start += offset

    async def _let_others_run(self) -> None:
        for _ in range(_TURNS):
            await asyncio.sleep(0)
