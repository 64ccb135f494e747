"""Extends the leases of everything that the consumer holds."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import timedelta

from mcp_queue.consumer.held_delivery import HeldDelivery
from mcp_queue.domain.delivery import DeliveryState
from mcp_queue.domain.errors import TryLaterError, VisibilityTimeoutError
from mcp_queue.domain.queues import MAX_LEASE, lease_of
from mcp_queue.ports import Clock, Metrics

logger = logging.getLogger(__name__)

#: How often due extensions are looked for. The shortest lease is 5 s, so its first extension comes in time.
TICK = timedelta(seconds=0.5)
#: SQS refuses an extension to the full 12 h after a receive, by some seconds.
MARGIN = timedelta(seconds=10)


@dataclass(slots=True)
class _Lease:
    """How long one extension lasts, when the lease ends, and when to extend it: monotonic readings in seconds."""

    length: timedelta
    ends: float
    extend_at: float


class VisibilityExtender:
    """Extends every watched lease at a third of its length, until it is forgotten or lost.

    A lease is lost when the backend says so, or when it has run out because the backend did not answer.
    """

    def __init__(self, clock: Clock, metrics: Metrics) -> None:
        self._clock = clock
        self._metrics = metrics
        self._on_lost: Callable[[HeldDelivery], None] = _ignore
        self._leases: dict[HeldDelivery, _Lease] = {}
        self._any = asyncio.Event()
        self._extending: set[asyncio.Task[None]] = set()

    def watch(self, held: HeldDelivery) -> None:
        """Keep the lease of a delivery that was just received."""
        delivery, queue_timeout = held.delivery, held.polled.queue.spec.visibility_timeout
        length = lease_of(queue_timeout, delivery.task.visibility_timeout if delivery.task else None)
        began = delivery.leased_at
        self._leases[held] = _Lease(length, began + queue_timeout.total_seconds(), began + length.total_seconds() / 3)
        self._any.set()

    def forget(self, held: HeldDelivery) -> None:
        """Stop extending: the delivery has ended."""
        self._leases.pop(held, None)

    @contextlib.asynccontextmanager
    async def running(self, on_lost: Callable[[HeldDelivery], None]) -> AsyncIterator[None]:
        """Extend leases while the context is open; report each lost delivery once."""
        self._on_lost = on_lost
        loop = asyncio.create_task(self._run(), name="visibility-extender")
        try:
            yield
        finally:
            tasks = {loop, *self._extending}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            if not self._leases:
                self._any.clear()
                await self._any.wait()
            await self._clock.sleep(TICK.total_seconds())
            self._tick(self._clock.monotonic())

    def _tick(self, now: float) -> None:
        for held, lease in [item for item in self._leases.items() if now >= item[1].extend_at]:
            if now >= lease.ends:
                self._lose(held, "it ran out")
            elif held.delivery.state is DeliveryState.HELD:
                # Not due again before this call has ended, however long it takes.
                lease.extend_at = lease.ends
                extension = asyncio.create_task(self._extend(held, lease))
                self._extending.add(extension)
                extension.add_done_callback(self._extending.discard)

    async def _extend(self, held: HeldDelivery, lease: _Lease) -> None:
        asked_at = self._clock.monotonic()
        last_end = held.delivery.leased_at + (MAX_LEASE - MARGIN).total_seconds()
        if last_end <= lease.ends:
            return  # nothing is left of the 12 hours; the tick at its end reports the loss
        seconds = min(lease.length.total_seconds(), last_end - asked_at)
        try:
            await held.polled.queue.extend(held.delivery, timedelta(seconds=seconds))
        except VisibilityTimeoutError as error:
            self._lose(held, str(error))
        except TryLaterError as error:
            logger.warning("extending a lease failed, trying again: %s", error)
            lease.extend_at = min(self._clock.monotonic() + 1, lease.ends)
        else:
            lease.ends = asked_at + seconds
            lease.extend_at = asked_at + seconds / 3

    def _lose(self, held: HeldDelivery, reason: str) -> None:
        delivery = held.delivery
        if held not in self._leases or delivery.state is not DeliveryState.HELD:
            return  # an extension may fail because the message was just settled
        del self._leases[held]
        delivery.state = DeliveryState.LOST
        logger.warning("lease lost: %s", reason, extra=delivery.log_fields)
        self._metrics.lease_lost(delivery.queue)
        self._on_lost(held)


def _ignore(_held: HeldDelivery) -> None:
    """Nothing is lost before the extender runs."""
