"""Long polling for backends that know when a message arrives."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from mcp_queue.domain.delivery import Delivery
from mcp_queue.ports import Clock


@dataclass(frozen=True, slots=True)
class ReceiveResult:
    """The deliveries of one receive. ``next_due`` is when a further message can be received, where one waits."""

    deliveries: list[Delivery] = field(default_factory=list)
    next_due: datetime | None = None


class LongPolling:
    """Lets receivers of one queue wait for the next message."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._stopped = False
        self._waiting: set[asyncio.Future[None]] = set()

    def wake(self) -> None:
        """Let every waiting receiver try again."""
        for signal in self._waiting:
            if not signal.done():
                signal.set_result(None)
        self._waiting.clear()

    def stop_waiting(self) -> None:
        """Let every waiting receiver try once more, and none wait from now on."""
        self._stopped = True
        self.wake()

    async def poll(self, receive: Callable[[], Awaitable[ReceiveResult]], wait: timedelta) -> list[Delivery]:
        """Call ``receive`` at once and at every arrival and due time, until it returns deliveries or ``wait`` ends."""
        deadline = self._clock.monotonic() + wait.total_seconds()
        while True:
            # Registered before the receive: what arrives during it must not be missed.
            signal: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.add(signal)
            try:
                received = await receive()
                left = deadline - self._clock.monotonic()
                if received.deliveries or left <= 0 or self._stopped:
                    return received.deliveries
                if received.next_due is not None:
                    left = min(left, (received.next_due - self._clock.now()).total_seconds())
                await self._either(signal, left)
            finally:
                self._waiting.discard(signal)

    async def _either(self, signal: asyncio.Future[None], seconds: float) -> None:
        timer = asyncio.ensure_future(self._clock.sleep(seconds))
        try:
            await asyncio.wait({signal, timer}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
