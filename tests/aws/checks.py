"""What is tried on an account: each check raises where the account answers otherwise than expected."""

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from botocore.exceptions import ClientError

from tests.aws.account import Account
from tests.support.aws.recorded import RECORDED, Recorded

MEBIBYTE: Final = 1_048_576
#: More sends a second than the 300 that a FIFO queue without high throughput takes.
BURST: Final = 400
_MOVE_LIMIT = 180.0

Check = Callable[[Account], None]


def refused(code: str, call: Callable[..., Any], **parameters: Any) -> None:
    """Check that a call is refused with ``code``, in either spelling.

    Raises:
        AssertionError: it is not.

    """
    try:
        call(**parameters)
    except ClientError as error:
        described = error.response["Error"]
        assert code in (described.get("Code"), described.get("QueryErrorCode")), f"{code} expected, not {described}"
    else:
        message = f"{code} expected, and it was accepted"
        raise AssertionError(message)


def recorded_errors(account: Account) -> None:
    """Errors are still those of the table: status, older code and shape, with the header and without."""
    standard = account.create("errors", VisibilityTimeout="30")
    fifo = account.create("errors.fifo")
    ids = {"MessageGroupId": "g", "MessageDeduplicationId": "d"}
    calls: dict[str, tuple[str, dict[str, Any]]] = {
        "the queue does not exist": ("get_queue_url", {"QueueName": f"{account.run}not-there"}),
        "more than 10 entries": ("send_message_batch", _entries(standard, 11, 1)),
        "a batch over 1,048,576 bytes": ("send_message_batch", _entries(standard, 2, 600_000)),
        "a bad batch entry id": (
            "send_message_batch",
            {"QueueUrl": standard, "Entries": [{"Id": "a b", "MessageBody": "x"}]},
        ),
        "a delay of one message on a FIFO queue": (
            "send_message",
            {"QueueUrl": fifo, "MessageBody": "x", "DelaySeconds": 2, **ids},
        ),
        "a bad deduplication id": (
            "send_message",
            {"QueueUrl": fifo, "MessageBody": "x", **ids, "MessageDeduplicationId": "é"},
        ),
        "a FIFO message without a group, or an empty body": (
            "send_message",
            {"QueueUrl": fifo, "MessageBody": "x", "MessageDeduplicationId": "d"},
        ),
        "a queue of that name with other attributes": (
            "create_queue",
            {"QueueName": f"{account.run}errors", "Attributes": {"VisibilityTimeout": "31"}},
        ),
        "a FIFO attribute on a standard queue": (
            "create_queue",
            {"QueueName": account.name("attribute"), "Attributes": {"FifoQueue": "false"}},
        ),
    }
    without = account.client(query_mode=False)
    for recorded in RECORDED:
        if recorded.condition in calls:
            operation, parameters = calls[recorded.condition]
            _as_recorded(recorded, getattr(account.sqs, operation), parameters, recorded.error.code)
            _as_recorded(recorded, getattr(without, operation), parameters, recorded.error.shape)


def _entries(url: str, number: int, size: int) -> dict[str, Any]:
    return {"QueueUrl": url, "Entries": [{"Id": str(one), "MessageBody": "x" * size} for one in range(number)]}


def _as_recorded(recorded: Recorded, call: Callable[..., Any], parameters: dict[str, Any], code: str) -> None:
    try:
        call(**parameters)
    except ClientError as error:
        found = error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]
        assert found == (code, recorded.error.status), f"{recorded.condition}: {found}"
    else:
        message = f"{recorded.condition}: accepted"
        raise AssertionError(message)


def limits_of_messages(account: Account) -> None:
    """What SQS does not take, and emulators do."""
    url = account.create("limits")
    refused("InvalidParameterValue", account.sqs.send_message, QueueUrl=url, MessageBody="x", DelaySeconds=901)
    attributes = {f"a{number}": {"DataType": "String", "StringValue": "x"} for number in range(11)}
    refused(
        "InvalidParameterValue", account.sqs.send_message, QueueUrl=url, MessageBody="x", MessageAttributes=attributes
    )
    refused("InvalidMessageContents", account.sqs.send_message, QueueUrl=url, MessageBody="\x00")


def one_mebibyte(account: Account) -> None:
    """A message of 1,048,576 bytes goes through; one byte more does not."""
    url = account.create("large", MaximumMessageSize=str(MEBIBYTE))
    account.sqs.send_message(QueueUrl=url, MessageBody="x" * MEBIBYTE)
    message = account.receive_one(url)
    assert len(message["Body"]) == MEBIBYTE
    refused("InvalidParameterValue", account.sqs.send_message, QueueUrl=url, MessageBody="x" * (MEBIBYTE + 1))


def expired_handle(account: Account) -> None:
    """A FIFO message whose lease has ended is not deleted; a standard one is."""
    fifo, standard = account.create("expired.fifo"), account.create("expired")
    account.sqs.send_message(QueueUrl=fifo, MessageBody="x", MessageGroupId="g", MessageDeduplicationId="d")
    account.sqs.send_message(QueueUrl=standard, MessageBody="x")
    ordered, plain = account.receive_one(fifo, lease=1), account.receive_one(standard, lease=1)
    wait(3)
    refused("InvalidParameterValue", account.sqs.delete_message, QueueUrl=fifo, ReceiptHandle=ordered["ReceiptHandle"])
    account.sqs.delete_message(QueueUrl=standard, ReceiptHandle=plain["ReceiptHandle"])


def twelve_hours(account: Account) -> None:
    """A lease cannot reach beyond 12 hours from its receive; a little less is taken."""
    url = account.create("hours")
    account.sqs.send_message(QueueUrl=url, MessageBody="x")
    message = account.receive_one(url)
    handle = {"QueueUrl": url, "ReceiptHandle": message["ReceiptHandle"]}
    refused("InvalidParameterValue", account.sqs.change_message_visibility, **handle, VisibilityTimeout=43_200)
    account.sqs.change_message_visibility(**handle, VisibilityTimeout=43_190)


def purge_twice(account: Account) -> None:
    """The second purge within a minute is refused."""
    url = account.create("purged")
    account.sqs.purge_queue(QueueUrl=url)
    refused("AWS.SimpleQueueService.PurgeQueueInProgress", account.sqs.purge_queue, QueueUrl=url)


def move_task(account: Account) -> None:
    """SQS moves a message to the dead-letter queue by itself, and back when told to."""
    dlq = account.create("moved-dlq")
    policy = json.dumps({"deadLetterTargetArn": account.arn(dlq), "maxReceiveCount": 1})
    url = account.create("moved", RedrivePolicy=policy)
    account.sqs.send_message(QueueUrl=url, MessageBody="x")
    account.receive_one(url, lease=0)
    wait(1)
    assert [] == account.receive(url, wait=5), "the second receive moves it"
    account.sqs.start_message_move_task(SourceArn=account.arn(dlq))
    end = time.monotonic() + _MOVE_LIMIT
    while (status := _move_status(account, dlq)) == "RUNNING":
        assert time.monotonic() < end, "the move task does not end"
        wait(2)
    assert "COMPLETED" == status, status
    account.receive_one(url)


def _move_status(account: Account, dlq: str) -> str:
    answer = account.sqs.list_message_move_tasks(SourceArn=account.arn(dlq))
    return str(answer["Results"][0]["Status"])


def keys(account: Account) -> None:
    """The key of AWS's own encrypts; one that is not there refuses the message, and not the queue."""
    url = account.create("key", KmsMasterKeyId="alias/aws/sqs")
    account.sqs.send_message(QueueUrl=url, MessageBody="x")
    account.receive_one(url)
    url = account.create("no-key", KmsMasterKeyId=f"alias/{account.run}not-there")
    refused("KMS.NotFoundException", account.sqs.send_message, QueueUrl=url, MessageBody="x")


def throttling(account: Account) -> None:
    """A burst on a FIFO queue without high throughput may be throttled, and is told so in words that are known."""
    url = account.create("burst.fifo")
    client = account.client(tries=1)

    def send(number: int) -> None:
        try:
            client.send_message(
                QueueUrl=url, MessageBody="x", MessageGroupId=f"g{number}", MessageDeduplicationId=f"d{number}"
            )
        except ClientError as error:
            text = str(error).lower()
            assert "throttl" in text or "rate" in text, text

    with ThreadPoolExecutor(40) as threads:
        list(threads.map(send, range(BURST)))


def wait(seconds: float) -> None:
    """Let time pass at AWS, which nothing else can make pass."""
    time.sleep(seconds)
