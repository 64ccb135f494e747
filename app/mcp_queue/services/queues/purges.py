"""Remembers when queues were purged, since SQS may drop what arrives for a while after that."""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta

from mcp_queue.domain.delivery import Delivery
from mcp_queue.domain.errors import BackendUnavailableError, RateLimitedError
from mcp_queue.domain.task import Task
from mcp_queue.ports import Clock, QueueMarks
from mcp_queue.services.periodic import PeriodicJob
from mcp_queue.services.queues.priority import ProducerQueue, leaves


class Purges:
    """Knows the last purge of each queue that needs time for one: of every process that shares ``marks``."""

    def __init__(self, times: Mapping[str, timedelta], marks: QueueMarks, clock: Clock) -> None:
        """Watch over the queues in ``times``, which says how long a purge of each may take (``purge_times``)."""
        self._times = times
        self._marks = marks
        self._clock = clock
        self._moments: dict[str, datetime] = {}

    async def begin(self, name: str) -> datetime:
        """Note that a purge of ``name`` begins and return its moment.

        Raises:
            RateLimitedError: the backend allows no second one yet.

        """
        if name not in self._times:
            return self._clock.now()
        left = self._left(name)
        if left > timedelta(0):
            raise RateLimitedError("the queue was purged less than a minute ago", left)
        self._moments[name] = await self._marks.begin_purge(name, self._times[name])
        return self._moments[name]

    def check_open(self, name: str) -> None:
        """Return if ``name`` takes tasks.

        Raises:
            BackendUnavailableError: it was purged a moment ago, and its backend may drop what arrives now.

        """
        left = self._left(name)
        if left > timedelta(0):
            message = f"{name!r} was purged; what arrives may still be dropped"
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
        return delivery.sent_at is None or delivery.sent_at < moment + self._times[delivery.queue]

    async def refresh(self) -> None:
        """Learn of the purges of other processes."""
        known = await self._marks.purge_moments()
        self._moments = {name: moment for name, moment in known.items() if name in self._times}

    def _left(self, name: str) -> timedelta:
        moment = self._moments.get(name)
        return timedelta(0) if moment is None else moment + self._times[name] - self._clock.now()


def purge_times(queues: Mapping[str, ProducerQueue]) -> dict[str, timedelta]:
    """Return how long a purge of each of ``queues`` may take; those that are purged at once are left out."""
    longest = {name: max(leaf.traits.purge_time for leaf in leaves(queue)) for name, queue in queues.items()}
    return {name: time for name, time in longest.items() if time}


def watch_purges(purges: Purges) -> PeriodicJob:
    """Keep what is known of purges up to date."""
    return PeriodicJob("watch-purges", timedelta(seconds=1), purges.refresh)
