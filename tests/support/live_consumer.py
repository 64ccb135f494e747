"""A consumer on the embedded queue that calls real receivers, in a time that runs faster than ours."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from mcp_queue.adapters.callbacks.sender import AiohttpCallbackSender
from mcp_queue.adapters.sqlite.backend import SqliteBackend
from mcp_queue.consumer.call_limits import DestinationRegistry
from mcp_queue.consumer.deferrals import Deferrals
from mcp_queue.consumer.polled_queue import PolledQueue
from mcp_queue.consumer.receiver import Receiver
from mcp_queue.consumer.visibility import VisibilityExtender
from mcp_queue.consumer.worker_pool import WorkerPool
from mcp_queue.domain.execution.retry import ExponentialBackoff, RetryPolicy
from mcp_queue.domain.formats.serialization import JsonTaskSerializer
from mcp_queue.domain.queues import Backend, QueueSpec
from mcp_queue.ports import CallbackSender, Queue
from mcp_queue.services.execution.admission import Admitter
from mcp_queue.services.execution.attempt_memory import ExecutionMemory
from mcp_queue.services.execution.attempts import AttemptRunner
from mcp_queue.services.execution.callbacks import CallbackTimeouts
from mcp_queue.services.execution.dispatch import TaskDispatcher
from mcp_queue.services.execution.router import TaskRouter
from mcp_queue.services.execution.settlement import Settlement
from tests.support.callbacks import LOOPBACK
from tests.support.clock import START
from tests.support.consumer import CountingMetrics, RecordingLog, standard


class HurriedClock:
    """A clock that runs ``speed`` times as fast as the machine's."""

    def __init__(self, speed: float) -> None:
        """Begin at the start of the year."""
        self._speed = speed
        self._began = time.monotonic()

    def now(self) -> datetime:
        """Return the time of day."""
        return START + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        """Return how many of its seconds have passed."""
        return (time.monotonic() - self._began) * self._speed

    async def sleep(self, seconds: float) -> None:
        """Return after ``seconds`` of its own."""
        await asyncio.sleep(seconds / self._speed)


@dataclass
class LiveConsumer:
    """What a test needs of it."""

    clock: HurriedClock
    queue: Queue
    log: RecordingLog
    metrics: CountingMetrics
    destinations: DestinationRegistry
    pool: WorkerPool
    extender: VisibilityExtender


@contextlib.asynccontextmanager
async def live_consumer(file: Path, spec: QueueSpec, *, slots: int, speed: float) -> AsyncIterator[LiveConsumer]:
    """Consume from the queue of ``spec`` in ``file`` while the context is open, then drain."""
    clock, metrics = HurriedClock(speed), CountingMetrics()
    async with (
        SqliteBackend(file, clock=clock, serializer=JsonTaskSerializer()) as backend,
        AiohttpCallbackSender(LOOPBACK, clock, metrics) as sender,
    ):
        backend.queue(standard("dlq", backend=Backend.SQLITE))
        consumer = _consumer(backend.queue(spec), sender, clock, metrics, slots)
        async with consumer.extender.running(consumer.pool.lose):
            consumer.pool.start()
            try:
                yield consumer
            finally:
                await consumer.pool.drain(timedelta(seconds=30), asyncio.Event())


def _consumer(
    queue: Queue, sender: CallbackSender, clock: HurriedClock, metrics: CountingMetrics, slots: int
) -> LiveConsumer:
    log, extender = RecordingLog(), VisibilityExtender(clock, metrics)
    dispatcher = TaskDispatcher(
        router=TaskRouter(), services={}, routes=(), sender=sender, timeouts=CallbackTimeouts({})
    )
    settlement = Settlement(
        clock=clock,
        random=random.random,
        metrics=metrics,
        log=log,
        policy=RetryPolicy(ExponentialBackoff(timedelta(seconds=1), timedelta(seconds=8))),
    )
    registry = DestinationRegistry(clock=clock, metrics=metrics)
    deferrals = Deferrals(clock=clock, random=random.random, registry=registry, locate=dispatcher.target)
    pool = WorkerPool(
        [PolledQueue(queue, timedelta(seconds=20))],
        slots=slots,
        batch_size=10,
        clock=clock,
        receiver=Receiver(clock=clock, random=random.random, metrics=metrics, extender=extender),
        admitter=Admitter(clock=clock, log=log, fallback=ExecutionMemory()),
        runner=AttemptRunner(
            clock=clock,
            metrics=metrics,
            dispatcher=dispatcher,
            settlement=settlement,
            processing_timeout=timedelta(minutes=5),
            executed=deferrals.executed,
        ),
        settlement=settlement,
        extender=extender,
        deferrals=deferrals,
    )
    return LiveConsumer(clock, queue, log, metrics, registry, pool, extender)
