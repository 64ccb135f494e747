"""Searches a dead-letter queue: what is found is hidden from others until the search ends."""

import asyncio
import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

from mcp_queue.domain.dead_letters.dead_letter import DeadLetter, DeadLetterFilter
from mcp_queue.domain.dead_letters.reading import dead_letter_of, matches, source_of
from mcp_queue.domain.delivery import Delivery
from mcp_queue.domain.errors import QueueError
from mcp_queue.ports import Clock, MessageBrowser, Queue
from mcp_queue.services.dead_letters.topology import SourceQueue

logger = logging.getLogger(__name__)

#: What one search hides from others at most: messages, and the bytes of their bodies.
MOST_HELD = 1000
MOST_BYTES = 64 * 1024 * 1024
#: How long one search may take.
TIME_LIMIT = timedelta(seconds=20)
_BATCH = 10


class FoundDeadLetter(NamedTuple):
    """A message of a dead-letter queue, and the dead letter that it is."""

    delivery: Delivery
    dead_letter: DeadLetter

    @property
    def task_id(self) -> str:
        """The id of its task."""
        return self.dead_letter.task_id


class DeadLetterSearch:
    """One search of a dead-letter queue for the dead letters that ``query`` means.

    What a ``browser`` shows is looked at where it lies. Other queues give only what can be received, which is hidden
    from others then: of a FIFO group the first message alone.
    """

    def __init__(
        self,
        source: SourceQueue,
        query: DeadLetterFilter,
        clock: Clock,
        *,
        most: int,
        browser: MessageBrowser | None = None,
        take: bool = False,
    ) -> None:
        """Look at ``most`` messages; ``take``: what is found is to be deleted or sent back."""
        self._source = source
        self._queue = source.dead_letters()
        self._query = query
        self._clock = clock
        self._left = most
        self._browser = browser
        self._take = take
        self._last: Delivery | None = None
        self._held: set[Delivery] = set()
        self._size = 0
        self._ends = clock.monotonic() + TIME_LIMIT.total_seconds()

    async def find(self) -> Sequence[FoundDeadLetter] | None:
        """Return what is found among the next messages, ``None`` where there are no more or it takes too much."""
        room = min(_BATCH, self._left)
        if room <= 0 or self._size >= MOST_BYTES or self._clock.monotonic() >= self._ends:
            return None
        if self._browser is not None:
            return await self._browse(self._browser, room)
        deliveries = await self._queue.receive(room, self._queue.traits.full_receive_wait)
        self._hold(deliveries)
        return self._matching(deliveries) if deliveries else None

    async def _browse(self, browser: MessageBrowser, room: int) -> Sequence[FoundDeadLetter] | None:
        deliveries = await browser.browse(self._last, room)
        if not deliveries:
            return None
        self._last = deliveries[-1]
        self._left -= len(deliveries)
        found = self._matching(deliveries)
        if not self._take:
            return found
        taken = [delivery for one in found if (delivery := await browser.take(one.delivery)) is not None]
        self._held.update(taken)
        return self._matching(taken)

    def _hold(self, deliveries: Sequence[Delivery]) -> None:
        self._held.update(deliveries)
        self._left -= len(deliveries)
        self._size += sum(len(delivery.body) for delivery in deliveries)

    async def complete(self, delivery: Delivery) -> None:
        """Delete a message that was found."""
        await self._queue.complete(delivery)
        self._held.discard(delivery)
        if self._browser is None:
            self._left += 1
            self._size -= len(delivery.body)

    async def release(self) -> None:
        """Make every message that is still hidden visible again."""
        await asyncio.gather(*(_show(self._queue, delivery) for delivery in self._held))

    def _matching(self, deliveries: Sequence[Delivery]) -> list[FoundDeadLetter]:
        now, siblings = self._clock.now(), self._source.siblings
        sources = [(delivery, source_of(delivery, siblings) or self._queue.spec.name) for delivery in deliveries]
        found = [
            FoundDeadLetter(delivery, dead_letter_of(delivery, source, now))
            for delivery, source in sources
            if source in {self._source.name, self._queue.spec.name}
        ]
        return [one for one in found if matches(one.dead_letter, self._query)]


async def _show(queue: Queue, delivery: Delivery) -> None:
    try:
        await queue.extend(delivery, timedelta(0))
    except QueueError as error:
        logger.warning("a dead letter stays hidden for a while: %s", error, extra={"queue": delivery.queue})
