"""Moves dead letters from their queue into the ledger, where people can read them."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from datetime import timedelta

from mcp_queue.domain.dead_letters.reading import dead_letter_of, source_of
from mcp_queue.domain.delivery import Delivery
from mcp_queue.domain.errors import QueueError, VisibilityTimeoutError
from mcp_queue.domain.execution.retry import ExponentialBackoff
from mcp_queue.ports import Clock, DeadLetterStore, Queue

logger = logging.getLogger(__name__)

BATCH = 10
_BACKOFF = ExponentialBackoff(timedelta(seconds=1), timedelta(seconds=60))


class DeadLetterProcessor:
    """Receives from one dead-letter queue, stores what comes, and completes only what is stored.

    What is not stored stays in the queue: it comes back when its lease ends. Notifications are sent from the stored
    rows, so that a slow notifier does not delay this loop. A dead letter whose source is not known is stored under the
    dead-letter queue's own name.
    """

    def __init__(
        self,
        queue: Queue,
        *,
        sources: Collection[str],
        store: DeadLetterStore,
        clock: Clock,
        random: Callable[[], float],
        wait: timedelta,
    ) -> None:
        """Expect dead letters of the queues ``sources``; open polls of ``wait``."""
        self._queue = queue
        self._sources = sources
        self._store = store
        self._clock = clock
        self._random = random
        self._wait = wait
        self._stopping = False
        self._rest: asyncio.Future[None] | None = None

    @contextlib.asynccontextmanager
    async def running(self, hurry: asyncio.Event) -> AsyncIterator[None]:
        """Process dead letters while the context is open; at its end what the receive under way brings is awaited.

        With ``hurry`` it is not, and what it brings is hidden until its lease ends.
        """
        loop = asyncio.create_task(self._run(), name=f"dead-letters-{self._queue.spec.name}")
        try:
            yield
        finally:
            self.stop()
            hurried = asyncio.create_task(hurry.wait())
            longest = self._wait.total_seconds() + 5
            try:
                await asyncio.wait({loop, hurried}, timeout=longest, return_when=asyncio.FIRST_COMPLETED)
            finally:
                loop.cancel()
                hurried.cancel()
                await asyncio.gather(loop, hurried, return_exceptions=True)

    def stop(self) -> None:
        """Begin to end: receive no more."""
        self._stopping = True
        self._queue.stop_waiting()
        if self._rest is not None:
            self._rest.cancel()

    async def _run(self) -> None:
        failures = 0
        while not self._stopping:
            try:
                await self._process(await self._queue.receive(BATCH, self._wait))
                failures = 0
            except Exception as error:  # whatever failed, the dead letters are still in their queue
                known = isinstance(error, QueueError)
                logger.warning("dead letters wait: %s", error, exc_info=None if known else error)
                if not self._stopping:
                    await self._back_off(failures)
                failures += 1

    async def _back_off(self, failures: int) -> None:
        delay = max(_BACKOFF.delay(failures, self._random()), _BACKOFF.base)
        self._rest = asyncio.ensure_future(self._clock.sleep(delay.total_seconds()))
        await asyncio.wait({self._rest})
        self._rest = None

    async def _process(self, deliveries: Sequence[Delivery]) -> None:
        if not deliveries:
            return
        now, own_name = self._clock.now(), self._queue.spec.name
        dead_letters = [dead_letter_of(each, source_of(each, self._sources) or own_name, now) for each in deliveries]
        try:
            await self._store.store_dead_letters(dead_letters)
        except QueueError:
            await asyncio.gather(*(self._release(delivery) for delivery in deliveries))
            raise
        await asyncio.gather(*(self._complete(delivery) for delivery in deliveries))

    async def _complete(self, delivery: Delivery) -> None:
        try:
            await self._queue.complete(delivery)
        except QueueError as error:
            # It comes again, and its row stands already.
            logger.warning("a stored dead letter stays in its queue: %s", error)

    async def _release(self, delivery: Delivery) -> None:
        with contextlib.suppress(VisibilityTimeoutError):
            await self._queue.release(delivery)
