"""Repeats a settling call until the backend confirms it, and gives up where the queue cannot take it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from enum import Enum, auto

from mcp_queue.domain.delivery import Delivery, DeliveryState
from mcp_queue.domain.errors import DeliverySettledError, QueueError, VisibilityTimeoutError
from mcp_queue.domain.execution.retry import ExponentialBackoff, describe
from mcp_queue.ports import Clock, Metrics, Queue

logger = logging.getLogger(__name__)

#: Between two tries of a settling call that failed.
SETTLE_BACKOFF = ExponentialBackoff(timedelta(seconds=0.2), timedelta(seconds=5))
#: How long a settling call is tried.
SETTLE_TIME = timedelta(seconds=30)
#: How long one call may take before its delivery counts as stalled.
STALL_TIME = timedelta(seconds=1)


class Confirmation(Enum):
    """How the settlement of a delivery ended."""

    CONFIRMED = auto()
    LOST = auto()  #: its lease was lost first
    POSTPONED = auto()  #: its queue cannot take it now: the message is hidden, and comes back


class Confirmer:
    """Makes settling calls, each delivery once.

    A delivery whose settling call fails or takes over ``STALL_TIME`` is *stalled*: the listener is told, so that it
    keeps no slot. After ``SETTLE_TIME`` the settlement is postponed: the message is hidden for one visibility timeout.
    """

    def __init__(self, *, clock: Clock, random: Callable[[], float], metrics: Metrics) -> None:
        self._clock = clock
        self._random = random
        self._metrics = metrics
        self._on_stall: Callable[[Delivery], None] = _ignore
        self._calls: dict[Delivery, float] = {}
        self._watching = False
        self._failing: dict[tuple[str, str], str] = {}

    def on_stall(self, listener: Callable[[Delivery], None]) -> None:
        """Call ``listener`` when a delivery stalls; it may hear of one more than once."""
        self._on_stall = listener

    @property
    def failing(self) -> Mapping[tuple[str, str], str]:
        """Why settlements were postponed, by queue and settlement; one that is confirmed again is left out."""
        return self._failing

    async def settle(
        self,
        queue: Queue,
        delivery: Delivery,
        settlement: str,
        call: Callable[[], Awaitable[None]],
        postponed: Callable[[], Awaitable[None]] | None = None,
    ) -> Confirmation:
        """Repeat ``call`` until it is confirmed, the lease is lost, or its time is over.

        ``postponed`` records what was decided, before the message is hidden.
        """
        if not self._claimed(delivery, settlement):
            return Confirmation.LOST
        began, tries = self._clock.monotonic(), 0
        while not delivery.lost:
            delivery.state = DeliveryState.SETTLING
            self._calls[delivery] = began if not tries else self._clock.monotonic()
            if not self._watching:
                self._watch()
            try:
                await call()
            except VisibilityTimeoutError as error:
                logger.warning("lease lost before settling: %s", error, extra=delivery.log_fields)
                self._metrics.lease_lost(delivery.queue)
                delivery.state = DeliveryState.LOST
            except QueueError as error:
                delivery.state = DeliveryState.HELD
                self._on_stall(delivery)
                if self._clock.monotonic() - began >= SETTLE_TIME.total_seconds():
                    await self._postpone(queue, delivery, settlement, error, postponed)
                    return Confirmation.POSTPONED
                logger.warning("settling failed, trying again: %s", error, extra=delivery.log_fields)
                await self._clock.sleep(SETTLE_BACKOFF.delay(tries, self._random()).total_seconds())
                tries += 1
            else:
                delivery.state = DeliveryState.SETTLED
                if self._failing:
                    self._failing.pop((delivery.queue, settlement), None)
                return Confirmation.CONFIRMED
            finally:
                self._calls.pop(delivery, None)
        return Confirmation.LOST

    def _watch(self) -> None:
        # One timer for all calls: a timer for each would cost every task.
        self._watching = True
        asyncio.get_running_loop().call_later(STALL_TIME.total_seconds() / 4, self._look)

    def _look(self) -> None:
        latest = self._clock.monotonic() - STALL_TIME.total_seconds()
        for delivery in [delivery for delivery, began in self._calls.items() if began <= latest]:
            self._on_stall(delivery)
        self._watching = False
        if self._calls:
            self._watch()

    async def _postpone(
        self,
        queue: Queue,
        delivery: Delivery,
        settlement: str,
        error: QueueError,
        postponed: Callable[[], Awaitable[None]] | None,
    ) -> None:
        logger.error("%s is postponed: %s", settlement, error, extra=delivery.log_fields)
        self._failing[delivery.queue, settlement] = describe(error)
        self._metrics.postponed(delivery.queue, settlement)
        if postponed is not None:
            await postponed()
        try:
            await queue.extend(delivery, queue.spec.visibility_timeout)
        except QueueError as refusal:
            logger.warning("hiding the message failed too: %s", refusal, extra=delivery.log_fields)
        delivery.state = DeliveryState.LOST  # it is left to its queue

    def _claimed(self, delivery: Delivery, settlement: str) -> bool:
        """Return whether ``settlement`` is the one that ends the delivery, whose lease is not lost."""
        if delivery.lost:
            return False
        try:
            delivery.settle_as(settlement)
        except DeliverySettledError as error:
            logger.error("a delivery was settled twice: %s", error, extra=delivery.log_fields)  # noqa: TRY400  # the trace says no more
            self._metrics.settled_twice(delivery.queue)
            return False
        return True


def _ignore(_delivery: Delivery) -> None:
    """Nobody keeps a slot before the pool runs."""
