"""What is known of what lies in a queue. SQS tells counts late, and ages not at all."""

import math
from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from mcp_queue.adapters.sqs.messages import SqsDelivery
from mcp_queue.ports import Clock

#: The attributes that ``counts_of`` reads.
COUNTS: Final = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)
#: How old an age seen at a receive may be before it says nothing of the present.
_AGE_KEPT = timedelta(seconds=60)


class SeenAge:
    """The age of what this process received last, by the moment it was sent.

    Standard queues give messages back in roughly the order they were sent, so that this is close to the oldest's. A
    message that comes again says nothing: it may have been hidden for hours.
    """

    def __init__(self, clock: Clock) -> None:
        """Tell ages by ``clock``."""
        self._clock = clock
        self._age: timedelta | None = None
        self._seen_at = -math.inf

    def saw(self, deliveries: list[SqsDelivery]) -> None:
        """Remember the oldest of a receive."""
        sent = [one.sent_at for one in deliveries if one.receive_count == 1 and one.sent_at is not None]
        if sent:
            self._age = max(timedelta(0), self._clock.now() - min(sent))
            self._seen_at = self._clock.monotonic()

    def read(self) -> timedelta | None:
        """Return the age seen within the last minute, ``None`` where there is none."""
        fresh = self._clock.monotonic() - self._seen_at <= _AGE_KEPT.total_seconds()
        return self._age if fresh else None


def counts_of(attributes: Mapping[str, str]) -> tuple[int, int, int]:
    """Return how many messages wait, are in flight and are delayed."""
    waiting, in_flight, delayed = (int(attributes.get(name, 0)) for name in COUNTS)
    return waiting, in_flight, delayed
