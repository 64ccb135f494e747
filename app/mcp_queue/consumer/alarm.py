"""One moment to wake up at."""

import asyncio
from collections.abc import Callable

from mcp_queue.ports import Clock


class Alarm:
    """Calls back once at the moment set last; setting it again replaces the moment."""

    def __init__(self, clock: Clock, ring: Callable[[], None]) -> None:
        """Call ``ring`` on the event loop."""
        self._clock = clock
        self._ring = ring
        self._moment: float | None = None
        self._sleeper: asyncio.Task[None] | None = None

    def set(self, moment: float | None) -> None:
        """Ring at ``moment``, a monotonic reading in seconds; ``None`` is never."""
        if moment == self._moment:
            return
        if self._sleeper is not None:
            self._sleeper.cancel()
        self._moment = moment
        self._sleeper = None if moment is None else asyncio.create_task(self._sleep(moment))

    async def _sleep(self, moment: float) -> None:
        await self._clock.sleep(max(moment - self._clock.monotonic(), 0))
        self._moment = self._sleeper = None
        self._ring()
