"""Opens the queues at SQS, over connections that are made once."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from types import TracebackType
from typing import Final, Self

from botocore.exceptions import BotoCoreError

from mcp_queue.adapters.sqs.api.channel import Channel
from mcp_queue.adapters.sqs.api.client import POLL_GRACE, CallMetrics, ClientFactory, PollingClient, SqsClient
from mcp_queue.adapters.sqs.api.limits import MAX_WAIT
from mcp_queue.adapters.sqs.cloudwatch import CloudWatchAges
from mcp_queue.adapters.sqs.dead_letters import DeadLetterWriter
from mcp_queue.adapters.sqs.fifo import FifoQueue
from mcp_queue.adapters.sqs.moving import SqsMover
from mcp_queue.adapters.sqs.payloads import Payloads
from mcp_queue.adapters.sqs.queue import SqsContext, SqsQueue
from mcp_queue.adapters.sqs.setup.addresses import region_of
from mcp_queue.adapters.sqs.setup.info import QueueInfo, resolve, warnings_of
from mcp_queue.adapters.sqs.standard import StandardQueue
from mcp_queue.domain.errors import QueueNotFoundError, QueueSetupError
from mcp_queue.domain.formats.serialization import TaskSerializer
from mcp_queue.domain.queues import Backend, QueueKind, QueueSpec
from mcp_queue.ports import Clock, DeadLetterSink, MessageMover, PayloadStore, Queue

# Calls of one queue come in batches, so that even the busiest has few of them under way.
_CALLS_PER_QUEUE: Final = 20


class SqsBackend:
    """Connections to SQS and the queues behind them, open between entering and leaving."""

    def __init__(
        self,
        specs: Sequence[QueueSpec],
        *,
        clock: Clock,
        random: Callable[[], float],
        serializer: TaskSerializer,
        metrics: CallMetrics,
        region: str | None = None,
        endpoint_url: str | None = None,
        worker_count: int = 1,
        wait_time: timedelta = MAX_WAIT,
        payload_store: PayloadStore | None = None,
        delete_linger: timedelta = timedelta(0),
    ) -> None:
        """Serve those of ``specs`` that lie at SQS; ``worker_count`` and ``wait_time`` size the pool of the polls.

        On standard queues, deletes wait for company for ``delete_linger``: that takes a ledger, which drops duplicates.
        """
        self._specs = [spec for spec in specs if spec.backend is Backend.SQS and spec.kind is not QueueKind.PRIORITY]
        self._clock = clock
        self._random = random
        self._serializer = serializer
        self._metrics = metrics
        self._connections = ClientFactory(
            region=region,
            endpoint_url=endpoint_url,
            metrics=metrics,
            clock=clock,
            random=random,
            queues_region=region_of(spec.url or "" for spec in self._specs),
        )
        self._polls = worker_count + len(self._specs)
        self._wait_time = wait_time
        self._store = payload_store
        self._channels: dict[str, Channel] = {}
        self._delete_linger = delete_linger
        self._queues: dict[str, SqsQueue] = {}
        self._movers: dict[str, SqsMover] = {}
        self.warnings: list[str] = []  #: what is odd about the queues, for the operator

    async def __aenter__(self) -> Self:
        """Connect, and read the attributes of each queue.

        Raises:
            QueueSetupError: a queue cannot be reached or is of another kind, or AWS knows no region or credentials.

        """
        async with AsyncExitStack() as stack:
            try:
                calls = await self._connections.client(connections=_CALLS_PER_QUEUE * max(1, len(self._specs)))
                stack.push_async_callback(calls.aclose)
                polls = await stack.enter_async_context(PollingClient(self._polling_client, self._metrics))
                ages = await self._ages(stack)
            except BotoCoreError as error:
                message = f"no connection to SQS: {error}"
                raise QueueSetupError(message) from error
            await self._open(stack, calls, polls, ages)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def queue(self, name: str) -> Queue:
        """Return the queue that is configured as ``name``.

        Raises:
            QueueNotFoundError: there is none, or not at SQS.

        """
        try:
            return self._queues[name]
        except KeyError:
            raise QueueNotFoundError(name) from None

    def dead_letter_sink(self, name: str) -> DeadLetterSink:
        """Return the dead-letter queue ``name`` for the dead letters of other backends.

        Raises:
            QueueNotFoundError: there is none, or not at SQS.

        """
        queue = self.queue(name)
        return self._writer(queue.spec, Payloads(self._store, queue.spec.payload_bucket), shared=True)

    @property
    def movers(self) -> Mapping[str, MessageMover]:
        """Return the movers of dead letters by the name of the queue that they move to; levels have none."""
        return self._movers

    async def _polling_client(self) -> SqsClient:
        # A poll that hangs is noticed by its own deadline, before its socket's.
        timeout = (self._wait_time + 2 * POLL_GRACE).total_seconds()
        return await self._connections.client(connections=self._polls, retry=False, read_timeout=timeout)

    async def _ages(self, stack: AsyncExitStack) -> CloudWatchAges | None:
        if not any(spec.cloudwatch_age for spec in self._specs):
            return None
        return CloudWatchAges(await stack.enter_async_context(self._connections.cloudwatch()), self._clock)

    async def _open(
        self, stack: AsyncExitStack, calls: SqsClient, polls: PollingClient, ages: CloudWatchAges | None
    ) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                found = {spec.name: group.create_task(resolve(calls, spec)) for spec in self._specs}
        except* QueueSetupError as errors:
            raise errors.exceptions[0] from None
        infos = {name: task.result() for name, task in found.items()}
        self._channels = {
            name: Channel(
                info,
                calls,
                polls,
                clock=self._clock,
                metrics=self._metrics,
                random=self._random,
                delete_linger=timedelta(0) if info.fifo else self._delete_linger,
            )
            for name, info in infos.items()
        }
        for channel in self._channels.values():
            stack.push_async_callback(channel.aclose)
        context = SqsContext(
            serializer=self._serializer,
            store=self._store,
            clock=self._clock,
            names={infos[spec.name].arn: spec.public_name for spec in self._specs},
            ages=ages,
        )
        users = Counter(spec.dead_letter_queue for spec in self._specs)
        for spec in self._specs:
            queue = self._make(spec, context, shared=users[spec.dead_letter_queue] > 1)
            self._queues[spec.name] = queue
            stack.push_async_callback(queue.aclose)
            self._collect_warnings(spec, infos)
        self._movers = {
            spec.name: SqsMover(calls, dead_letters=infos[spec.dead_letter_queue], target=infos[spec.name])
            for spec in self._specs
            if spec.dead_letter_queue is not None and spec.name == spec.public_name
        }

    def _make(self, spec: QueueSpec, context: SqsContext, *, shared: bool) -> SqsQueue:
        dead_letters = None
        if spec.dead_letter_queue is not None:
            target = next(other for other in self._specs if other.name == spec.dead_letter_queue)
            dead_letters = self._writer(target, Payloads(self._store, spec.payload_bucket), shared=shared)
        kind = FifoQueue if spec.fifo else StandardQueue
        return kind(spec, self._channels[spec.name], dead_letters, context)

    def _writer(self, target: QueueSpec, payloads: Payloads, *, shared: bool) -> DeadLetterWriter:
        channel = self._channels[target.name]
        return DeadLetterWriter(target, channel, shared=shared, serializer=self._serializer, payloads=payloads)

    def _collect_warnings(self, spec: QueueSpec, infos: dict[str, QueueInfo]) -> None:
        if spec.dead_letter_queue is not None:  # dead-letter queues have none themselves, and need no redrive policy
            dead_letters = infos[spec.dead_letter_queue]
            self.warnings += warnings_of(spec, infos[spec.name], dead_letters, wait=self._wait_time)
