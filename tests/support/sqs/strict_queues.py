"""Queues of the SQS adapter on the strict server in memory, with a payload store beside it."""

import asyncio
from collections.abc import Coroutine, Mapping
from datetime import timedelta
from itertools import count
from typing import Any, TypeVar

from mcp_queue.adapters.sqs.api.channel import Channel
from mcp_queue.adapters.sqs.api.client import PollingClient, SqsClient
from mcp_queue.adapters.sqs.dead_letters import DeadLetterWriter
from mcp_queue.adapters.sqs.fifo import FifoQueue
from mcp_queue.adapters.sqs.payloads import Payloads
from mcp_queue.adapters.sqs.queue import SqsContext, SqsQueue
from mcp_queue.adapters.sqs.setup.info import QueueInfo, resolve
from mcp_queue.adapters.sqs.standard import StandardQueue
from mcp_queue.domain.errors import BackendUnavailableError, NotFoundError, PayloadDeniedError
from mcp_queue.domain.formats.serialization import JsonTaskSerializer
from mcp_queue.domain.queues import QueueSpec
from mcp_queue.ports import PayloadPointer, PayloadStore
from mcp_queue.testing import FakeClock
from tests.support.clock import START
from tests.support.metrics import CountedCalls
from tests.support.sqs.client import sqs_spec
from tests.support.sqs.strict_server import StrictSqs

T = TypeVar("T")


class MemoryPayloads:
    """Keeps bodies, and fails when told to."""

    def __init__(self) -> None:
        """Start empty."""
        self.bodies: dict[PayloadPointer, str] = {}
        self.kept: set[PayloadPointer] = set()
        self.down = self.denied = False
        self._numbers = count(1)

    async def put(self, bucket: str, body: str, *, keep: bool = False) -> PayloadPointer:
        """Store a body."""
        self._check()
        pointer = PayloadPointer(bucket, f"key-{next(self._numbers)}")
        self.bodies[pointer] = body
        if keep:
            self.kept.add(pointer)
        return pointer

    async def get(self, pointer: PayloadPointer) -> str:
        """Return a body."""
        self._check()
        if pointer not in self.bodies:
            raise NotFoundError
        return self.bodies[pointer]

    async def keep(self, pointer: PayloadPointer) -> None:
        """Keep a body."""
        self._check()
        self.kept.add(pointer)

    def _check(self) -> None:
        if self.down:
            raise BackendUnavailableError
        if self.denied:
            raise PayloadDeniedError


class StrictWorld:
    """Queues of the adapter on a strict SQS and a clock that a test moves."""

    def __init__(self, store: PayloadStore | None = None, *, delete_linger: timedelta = timedelta(0)) -> None:
        """Start with no queue."""
        self._delete_linger = delete_linger
        self.clock = FakeClock(START)
        self.sqs = StrictSqs(self.clock)
        self.metrics = CountedCalls()
        self.store = store
        self.names: dict[str, str] = {}
        self.client = SqsClient(self.sqs, self.metrics, _nothing)  # type: ignore[arg-type]  # it stands for botocore's

    async def queue(
        self,
        name: str = "work",
        *,
        dlq: str | None = "dlq",
        attributes: Mapping[str, str] | None = None,
        dlq_attributes: Mapping[str, str] | None = None,
        **members: Any,
    ) -> SqsQueue:
        """Make a queue with a dead-letter queue, each FIFO where its name says so; ``members`` are of its spec."""
        dlq_spec = None if dlq is None else sqs_spec("dlq", self.sqs.create(dlq, **(dlq_attributes or {})))
        url = self.sqs.create(name, **(attributes or {}))
        return await self.open(sqs_spec("work", url, dead_letter_queue=dlq and "dlq", **members), dlq_spec)

    async def open(self, spec: QueueSpec, dlq_spec: QueueSpec | None) -> SqsQueue:
        """Return the adapter's queue of ``spec``."""
        context = SqsContext(
            serializer=JsonTaskSerializer(), store=self.store, clock=self.clock, names=self.names, ages=None
        )
        dead_letters = None
        if dlq_spec is not None:
            dead_letters = DeadLetterWriter(
                dlq_spec,
                await self.channel(dlq_spec),
                shared=False,
                serializer=context.serializer,
                payloads=Payloads(self.store, spec.payload_bucket),
            )
        kind = FifoQueue if spec.fifo else StandardQueue
        return kind(spec, await self.channel(spec), dead_letters, context)

    async def channel(self, spec: QueueSpec) -> Channel:
        """Return the calls on the queue of ``spec``."""
        info: QueueInfo = await resolve(self.client, spec)
        return Channel(
            info,
            self.client,
            await self.polls(),
            clock=self.clock,
            metrics=self.metrics,
            random=lambda: 0.5,
            delete_linger=self._delete_linger,
        )

    async def put(self, name: str, body: str, **entry: Any) -> None:
        """Send a message as another client would."""
        url = f"https://sqs.us-east-1.amazonaws.com/111122223333/{name}"
        answer = await self.sqs.send_message_batch(
            QueueUrl=url, Entries=[{"Id": "0", "MessageBody": body, "MessageAttributes": {}, **entry}]
        )
        assert answer["Successful"], answer["Failed"]
        self.sqs.requests.pop()

    def run(self, call: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Start a call, to move the clock while it is under way."""
        return asyncio.create_task(call)

    async def polls(self) -> PollingClient:
        """Return the polls' side of the same client."""

        async def make() -> SqsClient:
            return self.client

        return await PollingClient(make, self.metrics).__aenter__()


async def _nothing() -> None:
    return
