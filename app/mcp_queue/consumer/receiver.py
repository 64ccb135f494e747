"""Opens one receive and takes over what it brings."""

import logging
from collections.abc import Callable, Sequence
from datetime import timedelta

from mcp_queue.consumer.held_delivery import HeldDelivery
from mcp_queue.consumer.poll_planning import Poll
from mcp_queue.consumer.visibility import VisibilityExtender
from mcp_queue.domain.errors import QueueError
from mcp_queue.domain.execution.retry import ExponentialBackoff
from mcp_queue.ports import Clock, Metrics, Tracer
from mcp_queue.services.tracing import NO_TRACER

logger = logging.getLogger(__name__)

#: How long a poll for many messages stays open: it must not keep its share of the slots from other queues for long.
BRIEF_WAIT = timedelta(seconds=1)
#: How long a queue is left alone after a receive that failed.
RECEIVE_BACKOFF = ExponentialBackoff(timedelta(seconds=0.5), timedelta(seconds=30))


class Receiver:
    """Receives from polled queues; a failure blocks its queue for a while and is never raised.

    The lease of every delivery is watched by ``extender`` from the start.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        random: Callable[[], float],
        metrics: Metrics,
        extender: VisibilityExtender,
        tracer: Tracer = NO_TRACER,
    ) -> None:
        self._clock = clock
        self._random = random
        self._metrics = metrics
        self._extender = extender
        self._tracer = tracer

    async def receive(self, poll: Poll) -> list[HeldDelivery]:
        """Return the heads of what came: members of one FIFO group follow the first of them."""
        polled, queue = poll.polled, poll.polled.queue
        wait = min(polled.wait, BRIEF_WAIT) if poll.brief else polled.wait
        began = self._clock.monotonic()
        try:
            deliveries = await queue.receive(poll.limit, wait)
        except Exception as error:  # noqa: BLE001  # whatever a backend raises, the queue is polled again
            self._tracer.received(queue.spec, began, (), error)
            self._failed(poll, error)
            return []
        self._tracer.received(queue.spec, began, deliveries)
        polled.answered(poll.limit, len(deliveries), self._clock.monotonic())
        received = [HeldDelivery(delivery, polled) for delivery in deliveries]
        for held in received:
            self._extender.watch(held)
            self._metrics.dequeued(polled.name, held.delivery.task.type if held.delivery.task else "")
        return _heads(received) if queue.spec.fifo else received

    def _failed(self, poll: Poll, error: Exception) -> None:
        delay = RECEIVE_BACKOFF.delay(poll.polled.failures, self._random())
        seconds = max(delay, RECEIVE_BACKOFF.base).total_seconds()
        poll.polled.failed(poll.limit, self._clock.monotonic() + seconds)
        known = isinstance(error, QueueError)
        extra = {"queue": poll.polled.name}
        logger.warning("receive failed: %s", error, exc_info=None if known else error, extra=extra)


def _heads(received: Sequence[HeldDelivery]) -> list[HeldDelivery]:
    heads: dict[str | None, HeldDelivery] = {}
    for held in received:
        group = held.delivery.group
        if group is None or group not in heads:
            heads[group if group is not None else held.delivery.message_id] = held
        else:
            heads[group].followers.append(held)
    return list(heads.values())
