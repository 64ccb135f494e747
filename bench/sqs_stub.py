"""A fast in-memory stand-in for SQS, for load measurements.

Speaks the AWS JSON 1.0 protocol on a loopback port: standard queues, batches, delays, visibility timeouts and long
polling. It checks no signature, no limit and no FIFO rule: measure with it, test with an emulator.

    python bench/sqs_stub.py 9324 tasks dlq       # listens, makes the queues, prints its address, runs until SIGTERM
    curl http://127.0.0.1:9324/counts             # {"SendMessageBatch": 100, …}: calls so far
"""

import asyncio
import hashlib
import heapq
import itertools
import json
import signal
import sys
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any, cast

import httptools
import uvloop

Json = dict[str, Any]
ACCOUNT = "000000000000"
REGION = "us-east-1"


@dataclass(slots=True)
class Message:
    """One stored message, its parts as the answers spell them."""

    id: str
    body: str
    md5: str
    attributes: Json
    group: str | None
    sent_ms: int
    receives: int = 0
    receipt: int = 0
    gone: bool = False


@dataclass(slots=True)
class InMemoryQueue:
    """A standard queue: what can be received, what comes back later, and who waits."""

    name: str
    attributes: dict[str, str] = field(default_factory=dict)
    ready: deque[Message] = field(default_factory=deque)
    hidden: dict[str, tuple[Message, float]] = field(default_factory=dict)
    delayed: int = 0
    timers: list[tuple[float, int, Message, str]] = field(default_factory=list)
    waiters: deque[asyncio.Future[None]] = field(default_factory=deque)


class SqsStub:
    """All queues, and one method for each operation that is known."""

    def __init__(self) -> None:
        """Start empty."""
        self.queues: dict[str, InMemoryQueue] = {}
        self.calls: Counter[str] = Counter()
        self._serial = itertools.count(1)

    def create(self, name: str, attributes: dict[str, str] | None = None) -> InMemoryQueue:
        """Make a queue, or return the one that is there."""
        return self.queues.setdefault(name, InMemoryQueue(name, dict(attributes or {})))

    async def call(self, operation: str, body: bytes, host: str) -> tuple[int, Json]:
        """Answer one request."""
        self.calls[operation] += 1
        request = json.loads(body)
        if operation == "CreateQueue":
            self.create(request["QueueName"], request.get("Attributes"))
        name = request.get("QueueName") or request["QueueUrl"].rpartition("/")[2]
        queue = self.queues.get(name)
        if queue is None:
            return 400, {"__type": "com.amazonaws.sqs#QueueDoesNotExist", "message": f"no queue {name}"}
        if operation in ("CreateQueue", "GetQueueUrl"):
            return 200, {"QueueUrl": f"http://{host}/{ACCOUNT}/{name}"}
        if operation == "ReceiveMessage":
            return 200, await self._receive(queue, request)
        return 200, getattr(self, f"_{operation}")(queue, request)

    def _SendMessage(self, queue: InMemoryQueue, request: Json) -> Json:  # noqa: N802  # the operation's own name
        message = self._store(queue, request)
        return {"MessageId": message.id, "MD5OfMessageBody": message.md5}

    def _SendMessageBatch(self, queue: InMemoryQueue, request: Json) -> Json:  # noqa: N802  # the operation's own name
        answers = []
        for entry in request["Entries"]:
            message = self._store(queue, entry)
            answers.append({"Id": entry["Id"], "MessageId": message.id, "MD5OfMessageBody": message.md5})
        return {"Successful": answers}

    def _DeleteMessage(self, queue: InMemoryQueue, request: Json) -> Json:  # noqa: N802  # the operation's own name
        if found := queue.hidden.pop(request["ReceiptHandle"], None):
            found[0].gone = True
        return {}

    def _DeleteMessageBatch(self, queue: InMemoryQueue, request: Json) -> Json:  # noqa: N802  # the operation's own name
        for entry in request["Entries"]:
            self._DeleteMessage(queue, entry)
        return {"Successful": [{"Id": entry["Id"]} for entry in request["Entries"]]}

    def _ChangeMessageVisibility(self, queue: InMemoryQueue, request: Json) -> Json:  # noqa: N802  # the operation's own name
        handle, seconds = request["ReceiptHandle"], request["VisibilityTimeout"]
        if found := queue.hidden.get(handle):
            self._hide(queue, found[0], handle, seconds)
        return {}

    def _ChangeMessageVisibilityBatch(self, queue: InMemoryQueue, request: Json) -> Json:  # noqa: N802  # the operation's own name
        for entry in request["Entries"]:
            self._ChangeMessageVisibility(queue, entry)
        return {"Successful": [{"Id": entry["Id"]} for entry in request["Entries"]]}

    def _PurgeQueue(self, queue: InMemoryQueue, _request: Json) -> Json:  # noqa: N802  # the operation's own name
        queue.ready.clear()
        queue.hidden.clear()
        queue.timers.clear()
        queue.delayed = 0
        return {}

    def _GetQueueAttributes(self, queue: InMemoryQueue, _request: Json) -> Json:  # noqa: N802  # the operation's own name
        self._wake(queue)
        counts = {
            "ApproximateNumberOfMessages": str(len(queue.ready)),
            "ApproximateNumberOfMessagesNotVisible": str(len(queue.hidden)),
            "ApproximateNumberOfMessagesDelayed": str(queue.delayed),
            "QueueArn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{queue.name}",
            "MaximumMessageSize": "1048576",
            "VisibilityTimeout": "30",
        }
        return {"Attributes": counts | queue.attributes}

    def _store(self, queue: InMemoryQueue, entry: Json) -> Message:
        body = entry["MessageBody"]
        message = Message(
            id=f"{next(self._serial):032x}",
            body=body,
            md5=hashlib.md5(body.encode()).hexdigest(),
            attributes=entry.get("MessageAttributes", {}),
            group=entry.get("MessageGroupId"),
            sent_ms=int(time.time() * 1000),
        )
        if delay := entry.get("DelaySeconds", 0):
            queue.delayed += 1
            heapq.heappush(queue.timers, (time.monotonic() + delay, next(self._serial), message, ""))
        else:
            queue.ready.append(message)
        self._notify(queue)
        return message

    async def _receive(self, queue: InMemoryQueue, request: Json) -> Json:
        deadline = time.monotonic() + request.get("WaitTimeSeconds", 0)
        while True:
            self._wake(queue)
            if queue.ready or (left := deadline - time.monotonic()) <= 0:
                break
            waiter = asyncio.get_running_loop().create_future()
            queue.waiters.append(waiter)
            due = queue.timers[0][0] - time.monotonic() if queue.timers else left
            await asyncio.wait([waiter], timeout=max(0.001, min(left, due)))
            waiter.cancel()
        lease = request.get("VisibilityTimeout", 30)
        messages = [self._deliver(queue, lease) for _ in range(min(len(queue.ready), request["MaxNumberOfMessages"]))]
        self._notify(queue)
        return {"Messages": messages} if messages else {}

    def _deliver(self, queue: InMemoryQueue, lease: int) -> Json:
        message = queue.ready.popleft()
        message.receives += 1
        message.receipt = next(self._serial)
        handle = f"{message.id}:{message.receipt}"
        self._hide(queue, message, handle, lease)
        system = {"ApproximateReceiveCount": str(message.receives), "SentTimestamp": str(message.sent_ms)}
        if message.group:
            system["MessageGroupId"] = message.group
        return {
            "MessageId": message.id,
            "ReceiptHandle": handle,
            "Body": message.body,
            "MD5OfBody": message.md5,
            "Attributes": system,
            "MessageAttributes": message.attributes,
        }

    def _hide(self, queue: InMemoryQueue, message: Message, handle: str, seconds: int) -> None:
        until = time.monotonic() + seconds
        queue.hidden[handle] = (message, until)
        heapq.heappush(queue.timers, (until, next(self._serial), message, handle))

    def _wake(self, queue: InMemoryQueue) -> None:
        now = time.monotonic()
        while queue.timers and queue.timers[0][0] <= now:
            _due, _order, message, handle = heapq.heappop(queue.timers)
            if not handle:
                queue.delayed -= 1
                queue.ready.append(message)
            elif (held := queue.hidden.get(handle)) and held[1] <= now:
                del queue.hidden[handle]
                queue.ready.append(message)

    @staticmethod
    def _notify(queue: InMemoryQueue) -> None:
        # One arrival wakes one poll, as in SQS: waking all would measure the stub and not its client.
        while queue.waiters and (queue.ready or queue.timers):
            waiter = queue.waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return


class Connection(asyncio.Protocol):
    """One HTTP/1.1 connection, its requests answered in turn."""

    def __init__(self, stub: SqsStub) -> None:
        """Serve ``stub``."""
        self._stub = stub
        self._parser = httptools.HttpRequestParser(self)
        self._body = bytearray()
        self._url = self._operation = self._host = ""
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where answers go."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's transports are no subclass of it

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # the protocol's signature
        """Give up polls whose client is gone."""
        for task in self._tasks:
            task.cancel()

    def data_received(self, data: bytes) -> None:
        """Feed the parser, which calls the ``on_`` methods."""
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        """Take the path."""
        self._url = url.decode()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take the two headers that matter."""
        match name.lower():
            case b"x-amz-target":
                self._operation = value.decode().rpartition(".")[2]
            case b"host":
                self._host = value.decode()

    def on_body(self, data: bytes) -> None:
        """Collect the body."""
        self._body += data

    def on_message_complete(self) -> None:
        """Answer the request."""
        body, self._body = bytes(self._body), bytearray()
        if self._url == "/counts":
            self._answer(200, dict(self._stub.calls))
            return
        task = asyncio.get_running_loop().create_task(self._serve(self._operation, body, self._host))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, operation: str, body: bytes, host: str) -> None:
        status, answer = await self._stub.call(operation, body, host)
        self._answer(status, answer)

    def _answer(self, status: int, answer: Json) -> None:
        content = json.dumps(answer, separators=(",", ":")).encode()
        head = (
            f"HTTP/1.1 {status} X\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        self._transport.write(head.encode() + content)


async def serve(port: int, names: list[str]) -> None:
    """Serve on 127.0.0.1 until SIGTERM or SIGINT; port 0 takes a free one."""
    stub = SqsStub()
    for name in names:
        stub.create(name)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(stub), "127.0.0.1", port)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with server:
        await stop.wait()
        server.close()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), sys.argv[2:]))
