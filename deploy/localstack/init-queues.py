# ruff: noqa: INP001  # a script, no module
"""Creates the queues and the bucket of the compose stack. LocalStack runs it, in its own process, once it is ready.

Everything here is idempotent: with persistence switched on, LocalStack runs it again over what is there already.
"""

import json
import os
from typing import Any

import botocore.session

# Only a test sets it.
ENDPOINT = os.environ.get("AWS_ENDPOINT_URL", "http://localhost:4566")  # noqa: TID251  # no part of the product
FOURTEEN_DAYS = str(14 * 24 * 3600)


def client(service: str) -> Any:
    """Return a client of this LocalStack."""
    return botocore.session.get_session().create_client(
        service,
        region_name="us-east-1",
        endpoint_url=ENDPOINT,
        aws_access_key_id="test",
        aws_secret_access_key="test",  # noqa: S106  # LocalStack takes any
    )


def queue(name: str, **attributes: str) -> str:
    """Create a queue, or keep the one of that name; return its ARN."""
    sqs = client("sqs")
    kind = {"FifoQueue": "true"} if name.endswith(".fifo") else {}
    url = sqs.create_queue(QueueName=name, Attributes={**kind, **attributes})["QueueUrl"]
    return sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]


def redrive_policy(dead_letter_queue: str, receives: int) -> str:
    """Return the attribute that has SQS move a message after that many receives."""
    return json.dumps({"deadLetterTargetArn": dead_letter_queue, "maxReceiveCount": receives})


# A dead letter waits for a person, so its queue keeps it as long as SQS allows.
dlq = queue("dlq", MessageRetentionPeriod=FOURTEEN_DAYS)
priority_dlq = queue("priority-dlq.fifo", MessageRetentionPeriod=FOURTEEN_DAYS)
# The numbers are the defaults of max_receive_count: on FIFO queues every wait of a task is a receive.
queue("tasks", VisibilityTimeout="300", RedrivePolicy=redrive_policy(dlq, 3))
queue("priority-tasks.fifo", VisibilityTimeout="300", RedrivePolicy=redrive_policy(priority_dlq, 100))
client("s3").create_bucket(Bucket="mcp-queue-payloads")
