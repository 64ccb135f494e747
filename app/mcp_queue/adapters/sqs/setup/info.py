"""Reads at start what SQS says of a queue, and warns of what is odd about it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from mcp_queue.adapters.sqs.api.client import SqsClient
from mcp_queue.adapters.sqs.api.errors import MissingQueueError
from mcp_queue.adapters.sqs.api.limits import MAX_MESSAGE_BYTES, MAX_WAIT
from mcp_queue.adapters.sqs.setup.addresses import address_of
from mcp_queue.domain.errors import QueueError, QueueSetupError
from mcp_queue.domain.queues import FIFO_RECEIVES_PER_ATTEMPT, RECEIVES_HEADROOM, QueueSpec, fifo_receives_needed

#: A poll lasts at most this part of the lease of what it brings.
POLLS_PER_LEASE: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class RedrivePolicy:
    """When SQS itself moves a message, and to which queue."""

    target_arn: str
    max_receive_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueInfo:
    """One queue as SQS describes it."""

    url: str
    arn: str
    fifo: bool
    max_message_bytes: int = MAX_MESSAGE_BYTES
    redrive: RedrivePolicy | None = None
    deduplicates_by_group: bool = False


async def resolve(client: SqsClient, spec: QueueSpec) -> QueueInfo:
    """Find the queue of ``spec``, by URL, ARN or name.

    Raises:
        QueueSetupError: it cannot be reached, is another one than its address says, or of another kind than configured.

    """
    try:
        url = await url_of(client, spec.url or spec.name)
        answer = await client.call("GetQueueAttributes", {"QueueUrl": url, "AttributeNames": ["All"]})
        info = _info(url, answer["Attributes"])
    except QueueError as error:
        hint = "; mcp-queue queues apply creates it" if isinstance(error, MissingQueueError) else ""
        message = f"queue {spec.name!r} ({spec.url}): {error}{hint}"
        raise QueueSetupError(message) from error
    refuse_another(spec, info.arn)
    if info.fifo != spec.fifo:
        found, wanted = ("fifo", "standard") if info.fifo else ("standard", "fifo")
        message = f"queue {spec.name!r} is configured as {wanted}, but {info.arn} is {found}"
        raise QueueSetupError(message)
    return info


def refuse_another(spec: QueueSpec, arn: str) -> None:
    """Check that the queue which SQS found is the one of ``spec``: it goes by the name, in the region of the settings.

    Raises:
        QueueSetupError: it is another one.

    """
    wanted, found = address_of(spec.url or spec.name), address_of(arn)
    if not wanted.same_as(found):
        message = f"queue {spec.name!r} ({spec.url}) is {wanted}, but SQS answers with {found}: compare AWS_REGION"
        raise QueueSetupError(message)


def warnings_of(
    spec: QueueSpec, info: QueueInfo, dead_letters: QueueInfo | None, *, wait: timedelta = MAX_WAIT
) -> list[str]:
    """Return warnings for the operator about a queue that tasks are consumed from, in polls of ``wait``."""
    name = f"queue {spec.name!r}"
    if info.redrive is None:
        found = [f"{name} has no redrive policy at SQS: a task that kills every consumer is caught by them alone"]
    else:
        found = _policy_warnings(name, spec, info, info.redrive)
    if dead_letters is not None and dead_letters.max_message_bytes < info.max_message_bytes:
        found.append(f"{name} takes larger messages than its dead-letter queue")
    if spec.visibility_timeout < POLLS_PER_LEASE * wait:
        found.append(
            f"{name}: visibility_timeout {spec.visibility_timeout.total_seconds():g} s ends each poll after a third of"
            f" it, so that an idle consumer asks more often than every {wait.total_seconds():g} s"
        )
    taken = min(spec.max_task_bytes, MAX_MESSAGE_BYTES)
    if info.max_message_bytes < taken and spec.payload_bucket is None:
        found.append(
            f"{name}: MaximumMessageSize is {info.max_message_bytes}, so that tasks of {taken} bytes are refused;"
            " mcp-queue queues apply raises it"
        )
    return found


def _policy_warnings(name: str, spec: QueueSpec, info: QueueInfo, policy: RedrivePolicy) -> list[str]:
    found = []
    if info.fifo != policy.target_arn.endswith(".fifo"):
        found.append(f"{name}: SQS cannot move messages to {policy.target_arn}, a queue of another kind")
    wanted = fifo_receives_needed(spec.max_retries)
    if info.fifo and policy.max_receive_count < wanted:
        found.append(
            f"{name}: maxReceiveCount {policy.max_receive_count} is under {wanted}, {FIFO_RECEIVES_PER_ATTEMPT} for"
            " each attempt: healthy tasks may reach the dead-letter queue"
        )
    elif policy.max_receive_count < spec.backend_receives:
        found.append(
            f"{name}: maxReceiveCount {policy.max_receive_count} is under {spec.backend_receives}, which is"
            f" max_receive_count + {RECEIVES_HEADROOM}: a task that crashes its process may take healthy ones along"
        )
    return found


async def url_of(client: SqsClient, address: str) -> str:
    """Return the URL of a queue that is given by URL, ARN or name; SQS is asked only for the latter two.

    Raises:
        MissingQueueError: there is none of that ARN or name.

    """
    if "://" in address:
        return address
    found = address_of(address)
    named = {"QueueName": found.name} | ({"QueueOwnerAWSAccountId": found.account} if found.account else {})
    return str((await client.call("GetQueueUrl", named))["QueueUrl"])


def _info(url: str, attributes: Mapping[str, str]) -> QueueInfo:
    return QueueInfo(
        url=url,
        arn=attributes["QueueArn"],
        fifo=attributes.get("FifoQueue") == "true",
        max_message_bytes=int(attributes.get("MaximumMessageSize", MAX_MESSAGE_BYTES)),
        redrive=read_redrive(attributes.get("RedrivePolicy")),
        deduplicates_by_group=attributes.get("DeduplicationScope") == "messageGroup",
    )


def read_redrive(text: str | None) -> RedrivePolicy | None:
    """Return the redrive policy that SQS writes as ``text``."""
    if not text:
        return None
    policy = json.loads(text)
    # SQS writes the count as a number, other context that speak its protocol as a string.
    return RedrivePolicy(target_arn=policy["deadLetterTargetArn"], max_receive_count=int(policy["maxReceiveCount"]))
