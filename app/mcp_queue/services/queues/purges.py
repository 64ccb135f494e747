"""When queues were purged last, and what follows from it while SQS may still drop what arrives."""

from collections.abc import Collection
from datetime import datetime, timedelta

from mcp_queue.domain.delivery import Delivery
from mcp_queue.domain.errors import BackendUnavailableError, RateLimitedError, TryLaterError
from mcp_queue.domain.task import Task
from mcp_queue.ports import Clock, QueueMarks
from mcp_queue.services.periodic import Job

#: How long SQS may drop messages after a purge, and allows no second one.
PURGE_TIME = timedelta(seconds=60)


class Purges:
    """Knows the last purge of each SQS queue: from the ledger for every process, else of this process alone."""

    def __init__(self, queues: Collection[str], marks: QueueMarks | None, clock: Clock) -> None:
        """Watch over ``queues``, those that lie at SQS."""
        self._queues = queues
        self._marks = marks
        self._clock = clock
        self._moments: dict[str, datetime] = {}

    async def begin(self, name: str) -> datetime:
        """Note that a purge of ``name`` begins and return its moment.

        Raises:
            RateLimitedError: the last one was less than a minute ago.

        """
        if name not in self._queues:
            return self._clock.now()
        left = self._left(name)
        if left > timedelta(0):
            raise RateLimitedError("SQS purges a queue once a minute", left)
        if self._marks is None:
            moment = self._clock.now()
        else:
            try:
                moment = await self._marks.begin_purge(name, PURGE_TIME)
            except TryLaterError as error:
                if isinstance(error, BackendUnavailableError):
                    raise
                raise RateLimitedError("SQS purges a queue once a minute", error.retry_after) from error
        self._moments[name] = moment
        return moment

    def check_open(self, name: str) -> None:
        """Return if ``name`` takes tasks.

        Raises:
            BackendUnavailableError: it was purged a moment ago, and SQS may drop what arrives now.

        """
        left = self._left(name)
        if left > timedelta(0):
            message = f"{name!r} was purged; SQS may still drop what arrives"
            raise BackendUnavailableError(message, left)

    async def closed(self) -> Collection[str]:
        """Return the queues that take no tasks at the moment."""
        return [name for name in self._moments if self._left(name) > timedelta(0)]

    def withdrew(self, task: Task, delivery: Delivery) -> bool:
        """Whether ``task`` was in its queue when that was purged, so that it must not be sent again.

        What a redrive puts back later is older than the purge as a task, but not as a message: none comes for a minute.
        """
        moment = self._moments.get(delivery.queue)
        if moment is None or task.created_at >= moment:
            return False
        return delivery.sent_at is None or delivery.sent_at < moment + PURGE_TIME

    async def refresh(self) -> None:
        """Learn of the purges of other processes."""
        if self._marks is not None:
            known = await self._marks.purge_moments()
            self._moments = {name: moment for name, moment in known.items() if name in self._queues}

    def _left(self, name: str) -> timedelta:
        moment = self._moments.get(name)
        return timedelta(0) if moment is None else moment + PURGE_TIME - self._clock.now()


def watch_purges(purges: Purges) -> Job:
    """Keep what is known of purges up to date."""
    return Job("watch-purges", timedelta(seconds=1), purges.refresh)
