"""Notifies people of stored dead letters, so that a slow notifier delays nothing else."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from mcp_queue.domain.dead_letters.dead_letter import DeadLetterNotice
from mcp_queue.domain.errors import LedgerUnavailableError, TaskFailedError
from mcp_queue.domain.execution.retry import ExponentialBackoff
from mcp_queue.ports import Clock, DeadLetterMetrics, NotificationOutbox, Notifier
from mcp_queue.services.periodic import PeriodicJob

logger = logging.getLogger(__name__)

#: Failures of one type that come within this time after the first are in one notice.
WINDOW = timedelta(minutes=1)
#: How long a process holds a notice: longer than any notifier may take.
LEASE = timedelta(minutes=1)
TIME_LIMIT = timedelta(seconds=10)
AT_ONCE = 20
#: Tries before a notice is dropped: about a day, most of them an hour apart.
MOST_TRIES = 30
_BACKOFF = ExponentialBackoff(timedelta(seconds=30), timedelta(hours=1), jitter=False)


class NotificationSender:
    """Sends the notices of the outbox; any number of processes may do so side by side."""

    def __init__(
        self,
        outbox: NotificationOutbox,
        notifiers: Mapping[str, Notifier],
        *,
        clock: Clock,
        random: Callable[[], float],
        metrics: DeadLetterMetrics,
    ) -> None:
        """Notify by ``notifiers``, which the outbox knows by their names."""
        self._outbox = outbox
        self._notifiers = notifiers
        self._clock = clock
        self._random = random
        self._metrics = metrics

    async def notify(self) -> None:
        """Gather new dead letters into notices, and send those that are due.

        Raises:
            LedgerUnavailableError: the ledger does not answer.

        """
        await self._outbox.gather(self._notifiers.keys(), self._clock.now() - WINDOW)
        while notices := await self._outbox.due(AT_ONCE, LEASE):
            async with asyncio.TaskGroup() as group:
                for notice in notices:
                    group.create_task(self._send(notice))

    async def _send(self, notice: DeadLetterNotice) -> None:
        notifier = self._notifiers.get(notice.notifier)
        if notifier is None:  # it was taken out of the configuration
            await self._settle(notice, None)
            return
        try:
            async with asyncio.timeout(TIME_LIMIT.total_seconds()):
                await notifier.notify(notice)
        except (TaskFailedError, TimeoutError) as error:
            await self._retry_later(notice, str(error) or "no answer in time")
        except Exception:  # whatever a notifier raises, the notice is kept for another try
            logger.exception("a notifier is broken", extra={"notifier": notice.notifier})
            await self._retry_later(notice, "the notifier is broken")
        else:
            self._metrics.notified(notice.notifier, "sent")
            await self._settle(notice, None)

    async def _retry_later(self, notice: DeadLetterNotice, reason: str) -> None:
        fields = {"notifier": notice.notifier, "queue": notice.queue, "tries": notice.tries + 1}
        if notice.tries + 1 >= MOST_TRIES:
            logger.error("nobody was told of %d dead letters: %s", notice.count, reason, extra=fields)
            self._metrics.notified(notice.notifier, "given_up")
            await self._settle(notice, None)
            return
        logger.warning("a notifier failed: %s", reason, extra=fields)
        self._metrics.notified(notice.notifier, "failed")
        # At least half of it, so that a notifier that is down is not asked again at once.
        delay = _BACKOFF.delay(notice.tries, 1.0) * (0.5 + self._random() / 2)
        await self._settle(notice, self._clock.now() + delay)

    async def _settle(self, notice: DeadLetterNotice, retry_at: datetime | None) -> None:
        try:
            await self._outbox.settle(notice.id, retry_at)
        except LedgerUnavailableError as error:
            logger.warning("a notice comes again: %s", error, extra={"notifier": notice.notifier})


def notifying(service: NotificationSender) -> PeriodicJob:
    """Send notices every few seconds."""
    return PeriodicJob("notify-of-dead-letters", timedelta(seconds=15), service.notify)
