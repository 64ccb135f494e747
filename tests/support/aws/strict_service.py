"""The strict SQS in memory as a whole service: long polls, redrive policies, move tasks, and the calls on queues.

Where it differs from the real service is said in docs/aws.md.
"""

import asyncio
import json
from collections import defaultdict
from typing import Any

from mcp_queue.ports import Clock
from tests.support.sqs.strict_server import MAX_VISIBILITY, Json, Stored, StoredQueue, StrictSqs, client_error

DEDUPLICATION_SECONDS = 300
#: Attributes that SQS takes, with the bounds of numbers.
_NUMBERS = {
    "DelaySeconds": (0, 900),
    "MaximumMessageSize": (1024, 1_048_576),
    "MessageRetentionPeriod": (60, 1_209_600),
    "ReceiveMessageWaitTimeSeconds": (0, 20),
    "VisibilityTimeout": (0, 43_200),
    "KmsDataKeyReusePeriodSeconds": (60, 86_400),
}
_TEXTS = {
    "Policy",
    "RedrivePolicy",
    "RedriveAllowPolicy",
    "KmsMasterKeyId",
    "SqsManagedSseEnabled",
}
_FIFO = {"FifoQueue", "ContentBasedDeduplication", "DeduplicationScope", "FifoThroughputLimit"}
#: Stands for a key that exists. SQS asks KMS only when a message comes.
KNOWN_KEYS = {"alias/aws/sqs"}


class StrictService(StrictSqs):
    """Stands for botocore's client, and for the service behind ``strict_http``."""

    def __init__(self, clock: Clock) -> None:
        """Go by ``clock``."""
        super().__init__(clock)  # type: ignore[arg-type]  # it only reads the time
        self._time = clock
        self._changed: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._accepted_at: dict[tuple[str, str], float] = {}
        self._moves: dict[str, list[Json]] = {}

    async def create_queue(self, **request: Any) -> Json:
        """Create a queue, or find one that is like it."""
        self._note("CreateQueue", request)
        name, attributes = request["QueueName"], dict(request.get("Attributes", {}))
        _check_attributes(attributes, fifo=name.endswith(".fifo"))
        if name.endswith(".fifo") != (attributes.get("FifoQueue") == "true"):
            raise client_error("InvalidParameterValue", "The name of a FIFO queue can only end in .fifo.")
        there = self.queues.get(name)
        if there is None:
            url = self.create(name, **attributes)
            self.queues[name].attributes.setdefault("MessageRetentionPeriod", "345600")
            return {"QueueUrl": url}
        if different := [key for key, value in attributes.items() if there.attributes.get(key) != value]:
            raise client_error(
                "QueueAlreadyExists",
                f"A queue already exists with the same name and a different value for attribute {different[0]}",
            )
        return await self.get_queue_url(QueueName=name)

    async def delete_queue(self, **request: Any) -> Json:
        """Delete a queue."""
        queue = self._queue("DeleteQueue", request)
        del self.queues[queue.name]
        return {}

    async def list_queues(self, **request: Any) -> Json:
        """List queues by the beginning of their names."""
        self._note("ListQueues", request)
        names = [name for name in self.queues if name.startswith(request.get("QueueNamePrefix", ""))]
        return {"QueueUrls": [(await self.get_queue_url(QueueName=name))["QueueUrl"] for name in names]}

    async def list_queue_tags(self, **request: Any) -> Json:
        """Tell that a queue has no tags."""
        self._queue("ListQueueTags", request)
        return {}

    async def set_queue_attributes(self, **request: Any) -> Json:
        """Change a queue."""
        queue = self._queue("SetQueueAttributes", request)
        _check_attributes(request["Attributes"], fifo=queue.fifo)
        if "FifoQueue" in request["Attributes"]:
            raise client_error("InvalidAttributeValue", "Invalid value for the parameter FifoQueue.")
        queue.attributes.update(request["Attributes"])
        return {}

    async def send_message(self, **request: Any) -> Json:
        """Take one message."""
        queue = self._queue("SendMessage", request)
        answer = self._send(queue, {"MessageAttributes": {}, **request})
        return dict(answer)

    async def send_message_batch(self, **request: Any) -> Json:
        """Take messages, each for itself."""
        answer = await super().send_message_batch(**request)
        self._wake()
        return answer

    async def delete_message(self, **request: Any) -> Json:
        """Delete one message."""
        return await self._single(self.delete_message_batch, request)

    async def delete_message_batch(self, **request: Any) -> Json:
        """Delete messages; the next of a FIFO group may come then."""
        answer = await super().delete_message_batch(**request)
        self._wake()
        return answer

    async def change_message_visibility(self, **request: Any) -> Json:
        """Hide one message, or show it."""
        return await self._single(self.change_message_visibility_batch, request)

    async def change_message_visibility_batch(self, **request: Any) -> Json:
        """Hide messages, or show them."""
        answer = await super().change_message_visibility_batch(**request)
        self._wake()
        return answer

    async def receive_message(self, **request: Any) -> Json:
        """Give what is visible, and wait for it as long as asked."""
        queue = self._queue("ReceiveMessage", request)
        request = {"MaxNumberOfMessages": 1, "WaitTimeSeconds": 0, **request}
        request.setdefault("VisibilityTimeout", int(queue.attributes["VisibilityTimeout"]))
        if not 0 <= request["VisibilityTimeout"] <= MAX_VISIBILITY:
            raise client_error("InvalidParameterValue", "Value for parameter VisibilityTimeout is invalid.")
        deadline = self._time.monotonic() + request["WaitTimeSeconds"]
        while True:
            self._redrive(queue)
            answer = await super().receive_message(**request)
            self.requests.pop()  # it was noted already
            if answer["Messages"] or self._time.monotonic() >= deadline or queue.name not in self.queues:
                return {name: value for name, value in answer.items() if value}
            await self._wait(queue, deadline)

    async def start_message_move_task(self, **request: Any) -> Json:
        """Move every message of a dead-letter queue to where it came from, or to the queue that is named."""
        self._note("StartMessageMoveTask", request)
        queue = self._by_arn(request["SourceArn"])
        sources = [one for one in self.queues.values() if self._dead_letters_of(one) is queue]
        if not sources:
            raise client_error("InvalidParameterValue", "Source queue must be configured as a Dead Letter Queue.")
        moved = list(queue.messages)
        for message in moved:
            target = request.get("DestinationArn") or message.source or sources[0].attributes["QueueArn"]
            queue.messages.remove(message)
            message.receives, message.source = 0, None
            self._by_arn(target).messages.append(message)
        result = {
            "Status": "COMPLETED",
            "ApproximateNumberOfMessagesMoved": len(moved),
            "SourceArn": request["SourceArn"],
        }
        self._moves.setdefault(queue.name, []).insert(0, result)
        self._wake()
        return {"TaskHandle": f"move-{queue.name}"}

    async def list_message_move_tasks(self, **request: Any) -> Json:
        """List the move tasks of a dead-letter queue, the last first."""
        self._note("ListMessageMoveTasks", request)
        return {"Results": self._moves.get(self._by_arn(request["SourceArn"]).name, [])}

    async def _single(self, batch: Any, request: Json) -> Json:
        entry = {name: value for name, value in request.items() if name != "QueueUrl"}
        answer = await batch(QueueUrl=request["QueueUrl"], Entries=[{"Id": "0", **entry}])
        for failed in answer["Failed"]:
            raise client_error(failed["Code"], failed["Message"])
        return {}

    def _send(self, queue: StoredQueue, entry: Json) -> Json:
        key = queue.attributes.get("KmsMasterKeyId")
        if key is not None and key not in KNOWN_KEYS:
            raise client_error("KMS.NotFoundException", f"Alias or key {key} is not found.")
        if not entry["MessageBody"]:
            raise client_error("MissingParameter", "The request must contain the parameter MessageBody.")
        now = self._time.monotonic()
        identity = entry.get("MessageDeduplicationId")
        if identity is not None and now - self._accepted_at.get((queue.name, identity), now) >= DEDUPLICATION_SECONDS:
            del queue.seen[identity]
        known = identity in queue.seen
        answer: Json = super()._send(queue, entry)
        if identity is not None and not known:
            self._accepted_at[queue.name, identity] = now
        self._wake()
        return answer

    def _redrive(self, queue: StoredQueue) -> None:
        target = self._dead_letters_of(queue)
        if target is None:
            return
        limit = int(json.loads(queue.attributes["RedrivePolicy"])["maxReceiveCount"])
        now = self._time.monotonic()
        for message in [one for one in queue.messages if one.visible_at <= now and one.receives >= limit]:
            queue.messages.remove(message)
            message.source = queue.attributes["QueueArn"]
            target.messages.append(message)
        self._wake()

    def _dead_letters_of(self, queue: StoredQueue) -> StoredQueue | None:
        policy = queue.attributes.get("RedrivePolicy")
        return self._by_arn(json.loads(policy)["deadLetterTargetArn"]) if policy else None

    def _by_arn(self, arn: str) -> StoredQueue:
        queue = self.queues.get(arn.rpartition(":")[2])
        if queue is None:
            raise client_error("ResourceNotFoundException", "The resource that you specified does not exist.")
        return queue

    def _wake(self) -> None:
        for event in self._changed.values():
            event.set()

    async def _wait(self, queue: StoredQueue, deadline: float) -> None:
        """Return when something changed, a message comes due, or the poll is over."""
        now = self._time.monotonic()
        due = min((one.visible_at for one in self._hidden(now)), default=deadline)
        event = self._changed[queue.name]
        event.clear()
        waiting = [
            asyncio.ensure_future(event.wait()),
            asyncio.ensure_future(self._time.sleep(min(due, deadline) - now)),
        ]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waiting:
                one.cancel()

    def _hidden(self, now: float) -> list[Stored]:
        """Return every hidden message: one that another queue moves comes due here too."""
        return [one for queue in self.queues.values() for one in queue.messages if one.visible_at > now]


def _check_attributes(attributes: Json, *, fifo: bool) -> None:
    for name, value in attributes.items():
        if name in _NUMBERS:
            low, high = _NUMBERS[name]
            if not value.isdecimal() or not low <= int(value) <= high:
                raise client_error("InvalidAttributeValue", f"Invalid value for the parameter {name}.")
        elif name not in _TEXTS and not (fifo and name in _FIFO):
            raise client_error("InvalidAttributeName", f"Unknown Attribute {name}.")
