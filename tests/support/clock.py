"""Times that tests use, and a clock that runs faster than the machine's."""

import asyncio
import time
from datetime import UTC, datetime, timedelta

#: Where fake clocks start.
START = datetime(2026, 1, 1, tzinfo=UTC)
NOW = timedelta(0)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


class HurriedClock:
    """A clock that runs ``speed`` times as fast as the machine's."""

    def __init__(self, speed: float) -> None:
        """Begin at the start of the year."""
        self._speed = speed
        self._began = time.monotonic()

    def now(self) -> datetime:
        """Return the time of day."""
        return START + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        """Return how many of its seconds have passed."""
        return (time.monotonic() - self._began) * self._speed

    async def sleep(self, seconds: float) -> None:
        """Return after ``seconds`` of its own."""
        await asyncio.sleep(seconds / self._speed)
