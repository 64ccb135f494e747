"""Tells people of dead letters: from what the ledger stores, so that nobody's notifier delays anything."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from mcp_queue.domain.dead_letters.dead_letter import DeadLetterNotice
from mcp_queue.domain.errors import LedgerUnavailableError, TaskFailedError
from mcp_queue.domain.execution.retry import ExponentialBackoff
from mcp_queue.ports import Clock, DeadLetterMetrics, NotificationOutbox, Notifier
from mcp_queue.services.periodic import Job

logger = logging.getLogger(__name__)

#: Failures of one type that come within this after the first are told of together.
WINDOW = timedelta(minutes=1)
#: How long a notice is nobody else's: longer than any notifier may take.
LEASE = timedelta(minutes=1)
TIME_LIMIT = timedelta(seconds=10)
AT_ONCE = 20
#: Tries before a notice is dropped: about a day, most of them an hour apart.
MOST_TRIES = 30
_BACKOFF = ExponentialBackoff(timedelta(seconds=30), timedelta(hours=1), jitter=False)


class NotificationSender:
    """Sends what is in the outbox; any number of processes may do so side by side."""

    def __init__(
        self,
        outbox: NotificationOutbox,
        notifiers: Mapping[str, Notifier],
        *,
        clock: Clock,
        random: Callable[[], float],
        metrics: DeadLetterMetrics,
    ) -> None:
        """Tell ``notifiers``, which are known to the outbox by their names."""
        self._outbox = outbox
        self._notifiers = notifiers
        self._clock = clock
        self._random = random
        self._metrics = metrics

    async def notify(self) -> None:
        """Gather what is new, once it waited for company, and send what is due.

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
            await self._put_off(notice, str(error) or "no answer in time")
        except Exception:  # whatever a notifier raises, the notice is kept for another try
            logger.exception("a notifier is broken", extra={"notifier": notice.notifier})
            await self._put_off(notice, "the notifier is broken")
        else:
            self._metrics.notified(notice.notifier, "sent")
            await self._settle(notice, None)

    async def _put_off(self, notice: DeadLetterNotice, reason: str) -> None:
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


def notifying(service: NotificationSender) -> Job:
    """Look for something to tell every few seconds."""
    return Job("notify-of-dead-letters", timedelta(seconds=15), service.notify)
