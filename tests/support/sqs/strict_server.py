"""SQS in memory, as strict as its documentation: what emulators let pass is refused here."""

import re
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from botocore.exceptions import ClientError, EndpointConnectionError

from mcp_queue.testing import FakeClock

Json = dict[str, Any]

MAX_VISIBILITY = 43_200
_ALLOWED = re.compile("[\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]+")
_ID = re.compile(r"[A-Za-z0-9_-]{1,80}")
_NAME = re.compile(r"(?!AWS\.|Amazon\.)[A-Za-z0-9_.-]{1,256}")
_GROUP = re.compile(r"[!-~]{1,128}")
_ATTRIBUTES = {
    "All",
    "QueueArn",
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
}


def client_error(code: str, message: str = "no", status: int = 400) -> ClientError:
    """Return what botocore raises for an error answer."""
    answer: Any = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, "Operation")


@dataclass(eq=False)
class Stored:
    """One message."""

    id: str
    entry: Json
    sent_ms: int
    visible_at: float
    receives: int = 0
    handle: str | None = None
    received_at: float = 0.0
    source: str | None = None


@dataclass(eq=False)
class StoredQueue:
    """One queue, its messages in the order sent."""

    name: str
    attributes: dict[str, str]
    messages: list[Stored] = field(default_factory=list)
    seen: dict[str, str] = field(default_factory=dict)
    purged_at: float | None = None

    @property
    def fifo(self) -> bool:
        """Whether it is a FIFO queue."""
        return self.name.endswith(".fifo")


class StrictSqs:
    """Stands for botocore's client. Every request that is made is kept, and failures can be ordered."""

    def __init__(self, clock: FakeClock) -> None:
        """Go by ``clock``."""
        self._clock = clock
        self._numbers = count(1)
        self.queues: dict[str, StoredQueue] = {}
        self.requests: list[tuple[str, Json]] = []
        self._failures: defaultdict[str, list[BaseException]] = defaultdict(list)
        self._entry_failures: defaultdict[str, list[Json | None]] = defaultdict(list)

    def create(self, name: str, **attributes: str) -> str:
        """Make a queue; return its URL."""
        base = {
            "QueueArn": f"arn:aws:sqs:us-east-1:111122223333:{name}",
            "MaximumMessageSize": "1048576",
            "VisibilityTimeout": "30",
        }
        self.queues[name] = StoredQueue(name, base | attributes)
        if name.endswith(".fifo"):
            self.queues[name].attributes["FifoQueue"] = "true"
        return f"https://sqs.us-east-1.amazonaws.com/111122223333/{name}"

    def fail(self, operation: str, *errors: BaseException) -> None:
        """Answer the next calls of ``operation`` with ``errors``."""
        self._failures[operation] += errors

    def fail_entries(self, operation: str, *verdicts: Json | None) -> None:
        """Answer the next entries of ``operation`` with ``Failed`` members; ``None`` lets one pass."""
        self._entry_failures[operation] += verdicts

    def lose_answer(self, operation: str) -> None:
        """Break the connection at the next call of ``operation``."""
        self.fail(operation, EndpointConnectionError(endpoint_url="https://sqs.us-east-1.amazonaws.com"))

    def made(self, operation: str) -> list[Json]:
        """Return the requests of ``operation``."""
        return [request for name, request in self.requests if name == operation]

    def bodies(self, name: str) -> list[str]:
        """Return the bodies that lie in a queue, in the order sent."""
        return [message.entry["MessageBody"] for message in self.queues[name].messages]

    async def get_queue_url(self, **request: Any) -> Json:
        """Find a queue by name."""
        self._note("GetQueueUrl", request)
        name = request["QueueName"]
        if name not in self.queues:
            raise client_error("AWS.SimpleQueueService.NonExistentQueue")
        return {"QueueUrl": f"https://sqs.us-east-1.amazonaws.com/111122223333/{name}"}

    async def get_queue_attributes(self, **request: Any) -> Json:
        """Count."""
        queue = self._queue("GetQueueAttributes", request)
        if unknown := set(request["AttributeNames"]) - _ATTRIBUTES:
            raise client_error("InvalidAttributeName", f"{unknown}")
        now = self._clock.monotonic()
        hidden = [message for message in queue.messages if message.visible_at > now]
        counts = {
            "ApproximateNumberOfMessages": len(queue.messages) - len(hidden),
            "ApproximateNumberOfMessagesNotVisible": sum(1 for message in hidden if message.receives),
            "ApproximateNumberOfMessagesDelayed": sum(1 for message in hidden if not message.receives),
        }
        return {"Attributes": queue.attributes | {name: str(number) for name, number in counts.items()}}

    async def send_message_batch(self, **request: Any) -> Json:
        """Take messages, each for itself."""
        queue = self._queue("SendMessageBatch", request)
        entries = self._entries(request)
        if sum(_size(entry) for entry in entries) > int(queue.attributes["MaximumMessageSize"]):
            raise client_error("BatchRequestTooLong")
        return self._each("SendMessageBatch", entries, lambda entry: self._send(queue, entry))

    async def delete_message_batch(self, **request: Any) -> Json:
        """Delete messages."""
        queue = self._queue("DeleteMessageBatch", request)

        def delete(entry: Json) -> Json:
            message = self._held(queue, entry["ReceiptHandle"], strict=queue.fifo)
            if message is not None:
                queue.messages.remove(message)
            return {}

        return self._each("DeleteMessageBatch", self._entries(request), delete)

    async def change_message_visibility_batch(self, **request: Any) -> Json:
        """Hide messages, or show them."""
        queue = self._queue("ChangeMessageVisibilityBatch", request)

        def hide(entry: Json) -> Json:
            seconds = entry["VisibilityTimeout"]
            if not 0 <= seconds <= MAX_VISIBILITY:
                raise client_error("InvalidParameterValue", f"VisibilityTimeout {seconds}")
            message = self._held(queue, entry["ReceiptHandle"], strict=True)
            assert message is not None
            now = self._clock.monotonic()
            if now + seconds - message.received_at >= MAX_VISIBILITY:
                raise client_error("InvalidParameterValue", "Total VisibilityTimeout is beyond the limit")
            message.visible_at = now + seconds
            return {}

        return self._each("ChangeMessageVisibilityBatch", self._entries(request), hide)

    async def receive_message(self, **request: Any) -> Json:
        """Give what is visible; wait for nothing."""
        queue = self._queue("ReceiveMessage", request)
        assert 1 <= request["MaxNumberOfMessages"] <= 10
        assert 0 <= request["WaitTimeSeconds"] <= 20
        now = self._clock.monotonic()
        busy = {_group(message) for message in queue.messages if message.receives and message.visible_at > now}
        ready = [
            message
            for message in queue.messages
            if message.visible_at <= now and not (queue.fifo and _group(message) in busy)
        ]
        chosen = ready[: request["MaxNumberOfMessages"]]
        return {"Messages": [self._deliver(message, request["VisibilityTimeout"]) for message in chosen]}

    async def purge_queue(self, **request: Any) -> Json:
        """Delete everything, once in 60 s."""
        queue = self._queue("PurgeQueue", request)
        now = self._clock.monotonic()
        if queue.purged_at is not None and now - queue.purged_at < 60:
            raise client_error("AWS.SimpleQueueService.PurgeQueueInProgress")
        queue.purged_at = now
        queue.messages.clear()
        return {}

    def _note(self, operation: str, request: Json) -> None:
        self.requests.append((operation, request))
        if self._failures[operation]:
            raise self._failures[operation].pop(0)

    def _queue(self, operation: str, request: Json) -> StoredQueue:
        self._note(operation, request)
        queue = self.queues.get(request["QueueUrl"].rpartition("/")[2])
        if queue is None:
            raise client_error("QueueDoesNotExist")
        return queue

    @staticmethod
    def _entries(request: Json) -> list[Json]:
        entries: list[Json] = request["Entries"]
        names = [entry["Id"] for entry in entries]
        if not entries:
            raise client_error("EmptyBatchRequest")
        if len(entries) > 10:
            raise client_error("TooManyEntriesInBatchRequest")
        if len(set(names)) != len(names):
            raise client_error("BatchEntryIdsNotDistinct")
        if not all(_ID.fullmatch(name) for name in names):
            raise client_error("InvalidBatchEntryId")
        return entries

    def _each(self, operation: str, entries: list[Json], act: Any) -> Json:
        good, bad = [], []
        for entry in entries:
            ordered = self._entry_failures[operation].pop(0) if self._entry_failures[operation] else None
            if ordered is not None:
                bad.append({"Id": entry["Id"], **ordered})
                continue
            try:
                good.append({"Id": entry["Id"], **act(entry)})
            except ClientError as error:
                described = error.response["Error"]
                bad.append({"Id": entry["Id"], "SenderFault": True, **described})
        return {"Successful": good, "Failed": bad}

    def _send(self, queue: StoredQueue, entry: Json) -> Json:
        _check_entry(queue, entry)
        key = entry.get("MessageDeduplicationId")
        if key in queue.seen:
            return {"MessageId": queue.seen[key]}
        now = self._clock.monotonic()
        message = Stored(
            id=f"m-{next(self._numbers)}",
            entry=entry,
            sent_ms=int(self._clock.now().timestamp() * 1000),
            visible_at=now + entry.get("DelaySeconds", 0),
        )
        queue.messages.append(message)
        if key is not None:
            queue.seen[key] = message.id
        return {"MessageId": message.id}

    def _deliver(self, message: Stored, seconds: int) -> Json:
        now = self._clock.monotonic()
        message.receives += 1
        message.handle = f"{message.id}/{message.receives}"
        message.received_at = now
        message.visible_at = now + seconds
        system = {"ApproximateReceiveCount": str(message.receives), "SentTimestamp": str(message.sent_ms)}
        if (group := message.entry.get("MessageGroupId")) is not None:
            system["MessageGroupId"] = group
        if message.source is not None:
            system["DeadLetterQueueSourceArn"] = message.source
        return {
            "MessageId": message.id,
            "ReceiptHandle": message.handle,
            "Body": message.entry["MessageBody"],
            "Attributes": system,
            "MessageAttributes": message.entry.get("MessageAttributes", {}),
        }

    def _held(self, queue: StoredQueue, handle: str, *, strict: bool) -> Stored | None:
        message = next((one for one in queue.messages if one.handle == handle), None)
        now = self._clock.monotonic()
        if message is not None and (message.visible_at > now or not strict):
            return message
        if not strict:
            return None
        if queue.fifo:
            raise client_error("InvalidParameterValue", "Reason: The receipt handle has expired.")
        raise client_error("AWS.SimpleQueueService.MessageNotInflight" if message else "ReceiptHandleIsInvalid")


def _check_entry(queue: StoredQueue, entry: Json) -> None:
    attributes = entry.get("MessageAttributes", {})
    texts = [entry["MessageBody"], *(value["StringValue"] for value in attributes.values() if "StringValue" in value)]
    if not all(_ALLOWED.fullmatch(text) for text in texts):
        raise client_error("InvalidMessageContents")
    if len(attributes) > 10 or not all(_NAME.fullmatch(name) for name in attributes):
        raise client_error("InvalidParameterValue", "message attributes")
    if _size(entry) > int(queue.attributes["MaximumMessageSize"]):
        raise client_error("InvalidParameterValue", "message too long")
    if not 0 <= entry.get("DelaySeconds", 0) <= 900 or (queue.fifo and "DelaySeconds" in entry):
        raise client_error("InvalidParameterValue", "DelaySeconds")
    for name in ("MessageGroupId", "MessageDeduplicationId"):
        if name in entry and not _GROUP.fullmatch(entry[name]):
            raise client_error("InvalidParameterValue", name)
    if queue.fifo and not {"MessageGroupId", "MessageDeduplicationId"} <= entry.keys():
        raise client_error("MissingParameter")
    if not queue.fifo and "MessageDeduplicationId" in entry:
        raise client_error("InvalidParameterValue", "MessageDeduplicationId")


def _size(entry: Json) -> int:
    return len(entry["MessageBody"].encode()) + sum(
        len(name) + len(value["DataType"]) + len(value.get("StringValue", "").encode() or value.get("BinaryValue", b""))
        for name, value in entry.get("MessageAttributes", {}).items()
    )


def _group(message: Stored) -> str | None:
    group: str | None = message.entry.get("MessageGroupId")
    return group
