"""Moves dead letters from their queue into the ledger, where people can read them."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from datetime import datetime, timedelta

from app.domain.delivery import Delivery
from app.domain.errors import QueueError, VisibilityTimeoutError
from app.domain.failed_tasks import FailedTask, without_notes
from app.domain.retry import ExponentialBackoff
from app.domain.serialization import parse_time
from app.domain.task import cut_reason
from app.ports import Clock, DeadLetterStore, Queue

logger = logging.getLogger(__name__)

BATCH = 10
_BACKOFF = ExponentialBackoff(timedelta(seconds=1), timedelta(seconds=60))


class DeadLetterProcessor:
    """Receives from one dead-letter queue, stores what comes, and completes only what is stored.

    What is not stored stays in the queue: it comes back when its lease ends. Notifications are sent from the stored
    rows, so that nobody's notifier delays this loop.
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
        """Expect letters of the queues ``sources``; open polls of ``wait``."""
        self._queue = queue
        self._sources = sources
        self._store = store
        self._clock = clock
        self._random = random
        self._wait = wait
        self._stopping = False

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Process letters while the context is open; at its end the poll under way is awaited, and what it brings."""
        loop = asyncio.create_task(self._run(), name=f"dead-letters-{self._queue.spec.name}")
        try:
            yield
        finally:
            self._stopping = True
            try:
                await asyncio.wait([loop], timeout=self._wait.total_seconds() + 5)
            finally:
                loop.cancel()
                await asyncio.gather(loop, return_exceptions=True)

    async def _run(self) -> None:
        failures = 0
        while not self._stopping:
            try:
                await self._process(await self._queue.receive(BATCH, self._wait))
                failures = 0
            except Exception as error:  # whatever failed, the letters are still in their queue
                known = isinstance(error, QueueError)
                logger.warning("dead letters wait: %s", error, exc_info=None if known else error)
                delay = _BACKOFF.delay(failures, self._random())
                failures += 1
                await self._clock.sleep(max(delay, _BACKOFF.base).total_seconds())

    async def _process(self, deliveries: Sequence[Delivery]) -> None:
        if not deliveries:
            return
        now = self._clock.now()
        try:
            await self._store.store_failed_tasks([failed_task(it, self._home(it), now) for it in deliveries])
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

    def _home(self, delivery: Delivery) -> str:
        """Return the queue that a letter came from, the dead-letter queue's own name where nobody can tell."""
        notes = _notes(delivery)
        named = [notes.get("original_queue"), delivery.source_queue, delivery.task and delivery.task.queue]
        known = [name for name in named if name in self._sources]
        if known:
            return str(known[0])
        return next(iter(self._sources)) if len(self._sources) == 1 else self._queue.spec.name


def failed_task(delivery: Delivery, queue: str, now: datetime) -> FailedTask:
    """Return a received dead letter as it is stored, whoever sent it."""
    task, notes = delivery.task, _notes(delivery)
    return FailedTask(
        task_id=delivery.message_id if task is None else task.id,
        redrive_count=0 if task is None else task.redrive_count,
        queue=queue,
        failure_reason=cut_reason(notes.get("failure_reason") or _reason(delivery)),
        failed_at=_failed_at(notes) or now,
        task=None if task is None else without_notes(task),
        body=delivery.body if task is None else None,
    )


def _notes(delivery: Delivery) -> dict[str, str]:
    """Return what we wrote when we dead-lettered it: in the task's metadata, or beside a body that is no task."""
    return {**delivery.attributes, **(delivery.task.metadata if delivery.task is not None else {})}


def _reason(delivery: Delivery) -> str:
    if delivery.source_queue is not None:
        return "received too often without being settled: its worker crashed, or its lease was lost"
    if delivery.poison is not None:
        return f"sent to the dead-letter queue by another program; {delivery.poison}"
    return "sent to the dead-letter queue by another program"


def _failed_at(notes: dict[str, str]) -> datetime | None:
    try:
        return parse_time(notes["failed_at"])
    except (KeyError, ValueError):
        return None
