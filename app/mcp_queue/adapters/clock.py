"""Time: the machine's, and one that tests move by hand."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush
from itertools import count

# Turns of the event loop after each step of a fake clock: enough for a chain of tasks to react to it.
_TURNS = 20


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the time of day in UTC."""
        return datetime.now(UTC)  # noqa: TID251  # this is the Clock port's one implementation

    def monotonic(self) -> float:
        """Return seconds since the machine's start."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Return after ``seconds``; at once, but after other tasks had their turn, where they are not positive."""
        await asyncio.sleep(seconds)


class FakeClock:
    """A clock that stands still until a test moves it."""

    def __init__(self, now: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        """Start at ``now``."""
        self._start = now
        self._elapsed = timedelta(0)
        self._sleepers: list[tuple[timedelta, int, asyncio.Future[None]]] = []
        self._order = count()

    def now(self) -> datetime:
        """Return the time of day that the test has reached."""
        return self._start + self._elapsed

    def monotonic(self) -> float:
        """Return how far the test has moved the clock, in seconds."""
        return self._elapsed.total_seconds()

    async def sleep(self, seconds: float) -> None:
        """Return when the test has moved the clock by ``seconds``."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        wake = asyncio.get_running_loop().create_future()
        # Rounded up: a sleeper that woke before its moment would sleep again, for nothing at all.
        due = self._elapsed + max(timedelta(seconds=seconds), timedelta.resolution)
        heappush(self._sleepers, (due, next(self._order), wake))
        await wake

    async def advance(self, duration: timedelta) -> None:
        """Move both readings on by ``duration``, stopping at each sleeper on the way so that it can act in its time."""
        await self._let_others_act()
        target = self._elapsed + duration
        while self._sleepers and self._sleepers[0][0] <= target:
            due, _, wake = heappop(self._sleepers)
            if wake.done():  # its sleeper was cancelled
                continue
            self._elapsed = max(self._elapsed, due)
            wake.set_result(None)
            await self._let_others_act()
        self._elapsed = target
        await self._let_others_act()

    def step(self, offset: timedelta) -> None:
        """Set the time of day forward or back as an operator or NTP does; the monotonic reading goes on."""
        self._start += offset

    async def _let_others_act(self) -> None:
        for _ in range(_TURNS):
            await asyncio.sleep(0)
