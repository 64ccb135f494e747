"""Opens one receive and turns what it brings into work."""

import logging
from collections.abc import Callable
from datetime import timedelta

from mcp_queue.consumer.poll_planning import Poll, answered
from mcp_queue.consumer.visibility import VisibilityExtender
from mcp_queue.consumer.work import Work
from mcp_queue.domain.errors import QueueError
from mcp_queue.domain.execution.retry import ExponentialBackoff
from mcp_queue.ports import Clock, Metrics, Tracer
from mcp_queue.services.tracing import NO_TRACER

logger = logging.getLogger(__name__)

#: How long a poll for many messages stays open: it must not keep its share of the slots from other lanes for long.
BRIEF_WAIT = timedelta(seconds=1)
#: How long a lane is left alone after a receive that failed.
RECEIVE_BACKOFF = ExponentialBackoff(timedelta(seconds=0.5), timedelta(seconds=30))


class Receiver:
    """Receives for lanes; a failure blocks its lane for a while and is never raised."""

    def __init__(
        self,
        *,
        clock: Clock,
        random: Callable[[], float],
        metrics: Metrics,
        extender: VisibilityExtender,
        tracer: Tracer = NO_TRACER,
    ) -> None:
        """Put every delivery under ``extender``'s care at once."""
        self._clock = clock
        self._random = random
        self._metrics = metrics
        self._extender = extender
        self._tracer = tracer

    async def receive(self, poll: Poll) -> list[Work]:
        """Return the heads of what came: members of one FIFO group follow the first of them."""
        lane = poll.lane
        wait = min(lane.wait, BRIEF_WAIT) if poll.brief else lane.wait
        began = self._clock.monotonic()
        try:
            deliveries = await lane.queue.receive(poll.limit, wait)
        except Exception as error:  # noqa: BLE001  # whatever a backend raises, the lane is tried again
            self._tracer.received(lane.queue.spec, began, (), error)
            self._failed(poll, error)
            return []
        self._tracer.received(lane.queue.spec, began, deliveries)
        answered(poll, len(deliveries), self._clock.monotonic())
        works = [self._extender.watch(delivery, lane) for delivery in deliveries]
        for work in works:
            self._metrics.dequeued(lane.name, work.delivery.task.type if work.delivery.task else "")
        return _heads(works) if lane.queue.spec.fifo else works

    def _failed(self, poll: Poll, error: Exception) -> None:
        lane = poll.lane
        failures = lane.failures
        progress_at = lane.progress_at
        answered(poll, 0, self._clock.monotonic())
        lane.progress_at = progress_at  # an error is no progress
        lane.failures = failures + 1
        delay = RECEIVE_BACKOFF.delay(failures, self._random()).total_seconds()
        lane.blocked_until = self._clock.monotonic() + max(delay, RECEIVE_BACKOFF.base.total_seconds())
        known = isinstance(error, QueueError)
        logger.warning("receive failed: %s", error, exc_info=None if known else error, extra={"queue": lane.name})


def _heads(works: list[Work]) -> list[Work]:
    heads: dict[str | None, Work] = {}
    for work in works:
        group = work.delivery.group
        if group is None or group not in heads:
            heads[group if group is not None else work.delivery.message_id] = work
        else:
            heads[group].followers.append(work)
    return list(heads.values())
