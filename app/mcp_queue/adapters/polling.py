"""Long polling for backends that know when something arrives."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from mcp_queue.domain.delivery import Delivery
from mcp_queue.ports import Clock


@dataclass(frozen=True, slots=True)
class Catch:
    """What one look into a queue found. ``due`` is when its next message can be received, where one waits."""

    deliveries: list[Delivery] = field(default_factory=list)
    due: datetime | None = None


class Arrivals:
    """Lets receivers of one queue wait for the next message."""

    def __init__(self, clock: Clock) -> None:
        """Measure waits on ``clock``."""
        self._clock = clock
        self._over = False
        self._waiting: set[asyncio.Future[None]] = set()

    def wake(self) -> None:
        """Let everybody who waits look again."""
        for signal in self._waiting:
            if not signal.done():
                signal.set_result(None)
        self._waiting.clear()

    def stop_waiting(self) -> None:
        """Let everybody look once more, and nobody wait any longer."""
        self._over = True
        self.wake()

    async def poll(self, look: Callable[[], Awaitable[Catch]], wait: timedelta) -> list[Delivery]:
        """Look, and again at every arrival and due time, until something is found or ``wait`` is over."""
        deadline = self._clock.monotonic() + wait.total_seconds()
        while True:
            # Registered before the look: what arrives during it must not be missed.
            signal: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.add(signal)
            try:
                catch = await look()
                left = deadline - self._clock.monotonic()
                if catch.deliveries or left <= 0 or self._over:
                    return catch.deliveries
                if catch.due is not None:
                    left = min(left, (catch.due - self._clock.now()).total_seconds())
                await self._either(signal, left)
            finally:
                self._waiting.discard(signal)

    async def _either(self, signal: asyncio.Future[None], seconds: float) -> None:
        timer = asyncio.ensure_future(self._clock.sleep(seconds))
        try:
            await asyncio.wait({signal, timer}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
