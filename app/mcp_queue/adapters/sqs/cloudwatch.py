"""Reads the age of a queue's oldest message from CloudWatch: it is a metric, not an attribute of the queue."""

import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from botocore.exceptions import BotoCoreError, ClientError

from mcp_queue.ports import Clock

if TYPE_CHECKING:
    from types_aiobotocore_cloudwatch import CloudWatchClient

logger = logging.getLogger(__name__)

#: How far back a measurement may lie. SQS sends one a minute, and none for a queue that is not in use.
_WINDOW: Final = timedelta(minutes=5)
_PERIOD: Final = timedelta(seconds=60)


class CloudWatchAges:
    """Asks CloudWatch, which bills every request, at most once a minute for each queue."""

    def __init__(self, cloudwatch: "CloudWatchClient", clock: Clock) -> None:
        self._cloudwatch = cloudwatch
        self._clock = clock
        self._kept: dict[str, tuple[float, timedelta | None]] = {}

    async def read(self, queue_name: str) -> timedelta | None:
        """Return the latest age of the queue that SQS calls ``queue_name``, ``None`` where there is none."""
        now = self._clock.monotonic()
        kept = self._kept.get(queue_name)
        if kept is None or now - kept[0] >= _PERIOD.total_seconds():
            kept = self._kept[queue_name] = (now, await self._ask(queue_name))
        return kept[1]

    async def _ask(self, queue_name: str) -> timedelta | None:
        end = self._clock.now()
        try:
            answer = await self._cloudwatch.get_metric_statistics(
                Namespace="AWS/SQS",
                MetricName="ApproximateAgeOfOldestMessage",
                Dimensions=[{"Name": "QueueName", "Value": queue_name}],
                StartTime=end - _WINDOW,
                EndTime=end,
                Period=int(_PERIOD.total_seconds()),
                Statistics=["Maximum"],
            )
        except (BotoCoreError, ClientError) as error:
            logger.warning("CloudWatch gives no age: %s", error, extra={"queue": queue_name})
            return None
        points = sorted(answer["Datapoints"], key=lambda point: point["Timestamp"])
        return timedelta(seconds=points[-1]["Maximum"]) if points else None
