"""Reads the counts of a queue, and estimates its oldest message's age, which SQS does not tell."""

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
#: The attributes that stats show. Others name accounts, roles and keys, as the policy does.
SHOWN: Final = frozenset(
    {
        *COUNTS,
        "ContentBasedDeduplication",
        "CreatedTimestamp",
        "DeduplicationScope",
        "DelaySeconds",
        "FifoQueue",
        "FifoThroughputLimit",
        "LastModifiedTimestamp",
        "MaximumMessageSize",
        "MessageRetentionPeriod",
        "ReceiveMessageWaitTimeSeconds",
        "SqsManagedSseEnabled",
        "VisibilityTimeout",
    }
)
#: How long an age that was observed at a receive stays valid.
_AGE_KEPT = timedelta(seconds=60)


class ObservedAge:
    """The age of the messages that this process received last, since they were sent.

    Standard queues give messages back in roughly the order they were sent, so this is close to the oldest's. A
    message that is received again says nothing: it may have been hidden for hours.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._age: timedelta | None = None
        self._seen_at = -math.inf

    def observe(self, deliveries: list[SqsDelivery]) -> None:
        """Remember the oldest message of a receive."""
        sent = [one.sent_at for one in deliveries if one.receive_count == 1 and one.sent_at is not None]
        if sent:
            self._age = max(timedelta(0), self._clock.now() - min(sent))
            self._seen_at = self._clock.monotonic()

    def read(self) -> timedelta | None:
        """Return the age observed within the last minute, ``None`` where there is none."""
        fresh = self._clock.monotonic() - self._seen_at <= _AGE_KEPT.total_seconds()
        return self._age if fresh else None


def counts_of(attributes: Mapping[str, str]) -> tuple[int, int, int]:
    """Return how many messages wait, are in flight and are delayed."""
    waiting, in_flight, delayed = (int(attributes.get(name, 0)) for name in COUNTS)
    return waiting, in_flight, delayed
