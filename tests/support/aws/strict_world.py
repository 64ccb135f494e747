"""Queues of the adapter on the strict service in memory, and a clock that a test moves."""

import json

from mcp_queue.adapters.sqs.api.client import SqsClient
from tests.support.aws.strict_service import StrictService
from tests.support.sqs.strict_queues import StrictWorld


class ServiceWorld(StrictWorld):
    """A strict world whose SQS waits in long polls and moves dead letters by itself."""

    def __init__(self) -> None:
        """Start with no queue."""
        super().__init__()
        self.sqs: StrictService = StrictService(self.clock)
        self.client = SqsClient(self.sqs, self.metrics, _nothing)  # type: ignore[arg-type]  # it stands for botocore's

    def name_queue(self, url: str, public_name: str) -> None:
        """Let messages that come from the queue at ``url`` bear its name."""
        self.names[self.sqs.queues[url.rpartition("/")[2]].attributes["QueueArn"]] = public_name


def redrive_policy(dead_letters: str, max_receive_count: int) -> str:
    """Return the attribute that names a dead-letter queue."""
    arn = f"arn:aws:sqs:us-east-1:111122223333:{dead_letters}"
    return json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": max_receive_count})


async def _nothing() -> None:
    return
