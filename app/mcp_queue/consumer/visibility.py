"""Keeps the leases of everything that the consumer holds."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from datetime import timedelta

from mcp_queue.consumer.work import Lane, Stop, Work
from mcp_queue.domain.delivery import Delivery
from mcp_queue.domain.errors import TryLaterError, VisibilityTimeoutError
from mcp_queue.domain.queues import MAX_LEASE, lease_of
from mcp_queue.ports import Clock, Metrics

logger = logging.getLogger(__name__)

#: How often due extensions are looked for. The shortest lease is 5 s, so its first extension comes in time.
TICK = timedelta(seconds=0.5)
#: SQS refuses an extension to the full 12 h after a receive, by some seconds.
MARGIN = timedelta(seconds=10)


class VisibilityExtender:
    """Extends every watched lease at a third of its length, until it is forgotten or lost.

    A lease is lost when the backend says so, or when it has run out because the backend did not answer.
    """

    def __init__(self, clock: Clock, metrics: Metrics) -> None:
        """Watch nothing yet."""
        self._clock = clock
        self._metrics = metrics
        self._on_lost: Callable[[Work], None] = _nobody
        self._watched: dict[Work, None] = {}
        self._any = asyncio.Event()
        self._extending: set[asyncio.Task[None]] = set()

    def watch(self, delivery: Delivery, lane: Lane) -> Work:
        """Keep the lease of ``delivery`` from now on."""
        spec = lane.queue.spec
        task_timeout = delivery.task.visibility_timeout if delivery.task else None
        lease = lease_of(spec.visibility_timeout, task_timeout)
        ends = delivery.leased_at + spec.visibility_timeout.total_seconds()
        work = Work(delivery, lane, lease, ends, delivery.leased_at + lease.total_seconds() / 3)
        self._watched[work] = None
        self._any.set()
        return work

    def forget(self, work: Work) -> None:
        """Stop extending: the delivery is settled, or about to be given back."""
        self._watched.pop(work, None)

    @contextlib.asynccontextmanager
    async def running(self, on_lost: Callable[[Work], None]) -> AsyncIterator[None]:
        """Extend leases while the context is open; report each lost one once, with ``work.stop`` set."""
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
            if not self._watched:
                self._any.clear()
                await self._any.wait()
            await self._clock.sleep(TICK.total_seconds())
            self._tick(self._clock.monotonic())

    def _tick(self, now: float) -> None:
        for work in [work for work in self._watched if now >= work.extend_at]:
            if now >= work.lease_ends:
                self._lose(work, "it ran out")
            elif not work.settling:
                # Not due again before this call has ended, however long it takes.
                work.extend_at = work.lease_ends
                extension = asyncio.create_task(self._extend(work))
                self._extending.add(extension)
                extension.add_done_callback(self._extending.discard)

    async def _extend(self, work: Work) -> None:
        asked_at = self._clock.monotonic()
        last_end = work.delivery.leased_at + (MAX_LEASE - MARGIN).total_seconds()
        if last_end <= work.lease_ends:
            return  # nothing more to be had of the 12 hours; the tick at its end reports the loss
        lease = min(work.lease.total_seconds(), last_end - asked_at)
        try:
            await work.lane.queue.extend(work.delivery, timedelta(seconds=lease))
        except VisibilityTimeoutError as error:
            self._lose(work, str(error))
        except TryLaterError as error:
            logger.warning("extending a lease failed, trying again: %s", error)
            work.extend_at = min(self._clock.monotonic() + 1, work.lease_ends)
        else:
            work.lease_ends = asked_at + lease
            work.extend_at = asked_at + lease / 3

    def _lose(self, work: Work, reason: str) -> None:
        if work not in self._watched or work.settling:
            return  # an extension may fail because the message was just settled
        self._watched.pop(work, None)
        work.stop = Stop.LEASE_LOST
        logger.warning("lease lost: %s", reason, extra=work.log_fields)
        self._metrics.lease_lost(work.lane.name)
        self._on_lost(work)


def _nobody(_work: Work) -> None:
    """Nothing is lost before the extender runs."""
