"""What the emulators do otherwise than SQS, each point by name: a test that meets one knows what it can show."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession
from botocore.exceptions import ClientError

from tests.support.aws.emulators import moto_of_session, use_endpoint
from tests.support.aws.strict_http import strict_server
from tests.support.sqs.localstack import of_session

if TYPE_CHECKING:
    from types_aiobotocore_sqs import SQSClient


@dataclass(frozen=True)
class Bench:
    """A client of an emulator."""

    sqs: Any

    async def queue(self, *, fifo: bool = False, **attributes: str) -> str:
        """Create a queue; return its URL."""
        kind = {"FifoQueue": "true"} if fifo else {}
        name = f"q-{uuid4().hex[:12]}{'.fifo' if fifo else ''}"
        answer = await self.sqs.create_queue(QueueName=name, Attributes={**kind, **attributes})
        return str(answer["QueueUrl"])

    async def pair(self, receives: int) -> tuple[str, str, str]:
        """Create a queue with a dead-letter queue; return both URLs and the first one's ARN."""
        dlq = await self.queue()
        policy = json.dumps({"deadLetterTargetArn": await self.arn(dlq), "maxReceiveCount": receives})
        url = await self.queue(RedrivePolicy=policy)
        return url, dlq, await self.arn(url)

    async def arn(self, url: str) -> str:
        """Return a queue's ARN."""
        answer = await self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        return str(answer["Attributes"]["QueueArn"])

    async def send(self, url: str, **members: Any) -> None:
        """Send a message."""
        await self.sqs.send_message(QueueUrl=url, **({"MessageBody": "x"} | members))

    async def receive(self, url: str, lease: int = 30, wait: int = 2, **members: Any) -> list[Any]:
        """Receive up to ten messages."""
        answer = await self.sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=lease, WaitTimeSeconds=wait, **members
        )
        return list(answer.get("Messages", []))

    async def refuses(self, call: Awaitable[Any], code: str, status: int = 400) -> bool:
        """Whether a call is refused with ``code``, in either spelling."""
        try:
            await call
        except ClientError as error:
            described = error.response["Error"]
            codes = {str(described.get("Code")), str(described.get("QueryErrorCode"))}
            return code in codes and status == error.response["ResponseMetadata"]["HTTPStatusCode"]
        return False


Check = Callable[[Bench], Awaitable[bool]]


async def _a_delay_over_900_seconds_is_refused(bench: Bench) -> bool:
    return await bench.refuses(bench.send(await bench.queue(), DelaySeconds=901), "InvalidParameterValue")


async def _eleven_attributes_are_refused(bench: Bench) -> bool:
    attributes = {f"a{number}": {"DataType": "String", "StringValue": "x"} for number in range(11)}
    return await bench.refuses(bench.send(await bench.queue(), MessageAttributes=attributes), "InvalidParameterValue")


async def _a_character_outside_xml_is_refused(bench: Bench) -> bool:
    return await bench.refuses(bench.send(await bench.queue(), MessageBody="\x00"), "InvalidMessageContents")


async def _an_empty_body_is_refused(bench: Bench) -> bool:
    return await bench.refuses(bench.send(await bench.queue(), MessageBody=""), "MissingParameter")


async def _a_batch_over_a_mebibyte_is_refused(bench: Bench) -> bool:
    entries = [{"Id": str(number), "MessageBody": "x" * 600_000} for number in range(2)]
    call = bench.sqs.send_message_batch(QueueUrl=await bench.queue(), Entries=entries)
    return await bench.refuses(call, "AWS.SimpleQueueService.BatchRequestTooLong")


async def _a_lease_over_12_hours_is_refused(bench: Bench) -> bool:
    return await bench.refuses(bench.receive(await bench.queue(), lease=43_201), "InvalidParameterValue")


async def _twelve_hours_count_from_the_receive(bench: Bench) -> bool:
    url = await bench.queue()
    await bench.send(url)
    (message,) = await bench.receive(url)
    call = bench.sqs.change_message_visibility(
        QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=43_200
    )
    return await bench.refuses(call, "InvalidParameterValue")


async def _a_message_that_is_not_in_flight_cannot_be_hidden(bench: Bench) -> bool:
    url = await bench.queue()
    await bench.send(url)
    (message,) = await bench.receive(url, lease=0)
    call = bench.sqs.change_message_visibility(
        QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=30
    )
    return await bench.refuses(call, "AWS.SimpleQueueService.MessageNotInflight")


async def _an_expired_handle_deletes_nothing_of_a_fifo_queue(bench: Bench) -> bool:
    url = await bench.queue(fifo=True)
    await bench.send(url, MessageGroupId="g", MessageDeduplicationId="d")
    (message,) = await bench.receive(url, lease=1)
    await asyncio.sleep(1.5)  # the emulators go by the machine's clock
    call = bench.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return await bench.refuses(call, "InvalidParameterValue")


async def _a_second_purge_is_refused(bench: Bench) -> bool:
    url = await bench.queue()
    await bench.sqs.purge_queue(QueueUrl=url)
    call = bench.sqs.purge_queue(QueueUrl=url)
    return await bench.refuses(call, "AWS.SimpleQueueService.PurgeQueueInProgress", 403)


async def _a_moved_message_names_the_queue_it_came_from(bench: Bench) -> bool:
    url, dlq, arn = await bench.pair(receives=1)
    await bench.send(url)
    await bench.receive(url, lease=0)
    await bench.receive(url, lease=0, wait=0)
    (message,) = await bench.receive(dlq, MessageSystemAttributeNames=["DeadLetterQueueSourceArn"])
    return bool(arn == message.get("Attributes", {}).get("DeadLetterQueueSourceArn"))


async def _an_open_poll_gets_the_next_of_a_group(bench: Bench) -> bool:
    url = await bench.queue(fifo=True)
    await bench.send(url, MessageBody="a", MessageGroupId="g", MessageDeduplicationId="a")
    (head,) = await bench.receive(url)
    await bench.send(url, MessageBody="b", MessageGroupId="g", MessageDeduplicationId="b")
    poll = asyncio.ensure_future(bench.receive(url, wait=3))
    await asyncio.sleep(0.5)  # the poll has reached the emulator
    await bench.sqs.delete_message(QueueUrl=url, ReceiptHandle=head["ReceiptHandle"])
    return ["b"] == [message["Body"] for message in await poll]


async def _a_copy_is_dropped_after_the_first_is_gone(bench: Bench) -> bool:
    url = await bench.queue(fifo=True)
    await bench.send(url, MessageGroupId="g", MessageDeduplicationId="d")
    (message,) = await bench.receive(url)
    await bench.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    await bench.send(url, MessageGroupId="g", MessageDeduplicationId="d")
    return [] == await bench.receive(url, wait=1)


async def _one_message_of_a_fifo_queue_has_no_delay(bench: Bench) -> bool:
    url = await bench.queue(fifo=True)
    call = bench.send(url, MessageGroupId="g", MessageDeduplicationId="d", DelaySeconds=2)
    return await bench.refuses(call, "InvalidParameterValue")


async def _a_fifo_message_needs_a_group(bench: Bench) -> bool:
    url = await bench.queue(fifo=True)
    return await bench.refuses(bench.send(url, MessageDeduplicationId="d"), "MissingParameter")


async def _a_name_with_other_attributes_is_taken(bench: Bench) -> bool:
    name = (await bench.queue(VisibilityTimeout="30")).rpartition("/")[2]
    call = bench.sqs.create_queue(QueueName=name, Attributes={"VisibilityTimeout": "31"})
    return await bench.refuses(call, "QueueAlreadyExists")


async def _a_key_that_is_not_there_refuses_sends(bench: Bench) -> bool:
    url = await bench.queue(KmsMasterKeyId="alias/not-there")
    return await bench.refuses(bench.send(url), "KMS.NotFoundException")


async def _only_a_dead_letter_queue_is_moved_from(bench: Bench) -> bool:
    call = bench.sqs.start_message_move_task(SourceArn=await bench.arn(await bench.queue()))
    return await bench.refuses(call, "InvalidParameterValue")


async def _older_codes_are_for_those_who_ask(bench: Bench) -> bool:
    def ask_for_none(params: Any, **_: object) -> None:
        params["headers"].pop("x-amzn-query-mode", None)

    bench.sqs.meta.events.register("before-call.sqs", ask_for_none)
    try:
        await bench.sqs.get_queue_url(QueueName="not-there")
    except ClientError as error:
        return bool(error.response["Error"]["Code"] == "QueueDoesNotExist")
    return False


CHECKS: list[Check] = [
    _a_delay_over_900_seconds_is_refused,
    _eleven_attributes_are_refused,
    _a_character_outside_xml_is_refused,
    _an_empty_body_is_refused,
    _a_batch_over_a_mebibyte_is_refused,
    _a_lease_over_12_hours_is_refused,
    _twelve_hours_count_from_the_receive,
    _a_message_that_is_not_in_flight_cannot_be_hidden,
    _an_expired_handle_deletes_nothing_of_a_fifo_queue,
    _a_second_purge_is_refused,
    _a_moved_message_names_the_queue_it_came_from,
    _an_open_poll_gets_the_next_of_a_group,
    _a_copy_is_dropped_after_the_first_is_gone,
    _one_message_of_a_fifo_queue_has_no_delay,
    _a_fifo_message_needs_a_group,
    _a_name_with_other_attributes_is_taken,
    _a_key_that_is_not_there_refuses_sends,
    _only_a_dead_letter_queue_is_moved_from,
    _older_codes_are_for_those_who_ask,
]

#: The checks that an emulator fails.
OTHERWISE: dict[str, set[Check]] = {
    "localstack": {
        _a_delay_over_900_seconds_is_refused,
        _eleven_attributes_are_refused,
        _a_lease_over_12_hours_is_refused,
        _twelve_hours_count_from_the_receive,
        _a_message_that_is_not_in_flight_cannot_be_hidden,
        _a_key_that_is_not_there_refuses_sends,
        _older_codes_are_for_those_who_ask,
    },
    "moto": {
        _eleven_attributes_are_refused,
        _a_character_outside_xml_is_refused,
        _an_empty_body_is_refused,
        _a_message_that_is_not_in_flight_cannot_be_hidden,
        _an_expired_handle_deletes_nothing_of_a_fifo_queue,
        _a_moved_message_names_the_queue_it_came_from,
        _an_open_poll_gets_the_next_of_a_group,
        _a_copy_is_dropped_after_the_first_is_gone,
        _a_key_that_is_not_there_refuses_sends,
        _only_a_dead_letter_queue_is_moved_from,
        _older_codes_are_for_those_who_ask,
    },
    "strict": set(),
}


@contextlib.asynccontextmanager
async def running(name: str, config: pytest.Config) -> AsyncIterator[str]:
    """Yield the URL of an emulator."""
    if name == "strict":
        async with strict_server() as url:
            yield url
    else:
        yield of_session(config).url if name == "localstack" else moto_of_session(config).url


# aiohttp says so of every body over a mebibyte that a client of botocore sends.
@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.strip("_").replace("_", " "))
@pytest.mark.parametrize("name", OTHERWISE)
async def test_an_emulator_does_as_sqs_does_or_is_known_not_to(
    pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch, name: str, check: Check
) -> None:
    """A new version that does better, or worse, is noticed."""
    async with AsyncExitStack() as stack:
        use_endpoint(monkeypatch, await stack.enter_async_context(running(name, pytestconfig)))
        client: AbstractAsyncContextManager[SQSClient] = AioSession().create_client(
            "sqs", config=AioConfig(retries={"total_max_attempts": 1})
        )
        bench = Bench(await stack.enter_async_context(client))
        assert (check not in OTHERWISE[name]) == await check(bench)
