"""A consumer put together in memory, on a clock that tests move."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from mcp_queue.consumer.call_limits import DestinationRegistry
from mcp_queue.consumer.deferrals import Deferrals
from mcp_queue.consumer.polled_queue import PolledQueue
from mcp_queue.consumer.receiver import Receiver
from mcp_queue.consumer.visibility import VisibilityExtender
from mcp_queue.consumer.worker_pool import WorkerPool
from mcp_queue.domain.callbacks.destinations import LimitRule, Target, target_of
from mcp_queue.domain.delivery import DeadLetterMessage, Delivery, Requeued
from mcp_queue.domain.errors import LedgerUnavailableError
from mcp_queue.domain.execution.retry import ExponentialBackoff, RetryPolicy
from mcp_queue.domain.formats.serialization import JsonTaskSerializer
from mcp_queue.domain.queues import Backend, QueueKind, QueueSpec, QueueStats, QueueTraits
from mcp_queue.domain.task import JsonValue, Task, TaskStatus
from mcp_queue.ports import Admission, AttemptRecord, AttemptStart, ExecutionLog, Tracer
from mcp_queue.services.execution.admission import Admitter
from mcp_queue.services.execution.attempt_memory import ExecutionMemory
from mcp_queue.services.execution.attempts import AttemptRunner
from mcp_queue.services.execution.settlement import Settlement
from mcp_queue.services.tracing import NO_TRACER
from mcp_queue.testing import FakeClock, InMemoryQueue

SECOND = timedelta(seconds=1)


class CountingMetrics:
    """A ``Metrics`` that remembers what it was told."""

    def __init__(self) -> None:
        """Start at nothing."""
        self.statuses: list[TaskStatus] = []
        self.lost = 0
        self.twice = 0
        self.received = 0
        self.observed: list[QueueStats] = []
        self.deferrals: list[tuple[str, str]] = []
        self.open: list[str] = []

    def enqueued(self, queue: str, task_type: str) -> None:
        """Ignore it: consumers enqueue nothing."""

    def dequeued(self, queue: str, task_type: str) -> None:
        """Count it."""
        self.received += 1

    def completed(self, queue: str, task_type: str, status: TaskStatus) -> None:
        """Remember the status."""
        self.statuses.append(status)

    def processed(self, queue: str, task_type: str, duration: timedelta) -> None:
        """Ignore it."""

    def lease_lost(self, queue: str) -> None:
        """Count it."""
        self.lost += 1

    def settled_twice(self, queue: str) -> None:
        """Count it."""
        self.twice += 1

    def callback(self, outcome: str) -> None:
        """Ignore it."""

    def observe_queue(self, stats: QueueStats) -> None:
        """Remember the statistics."""
        self.observed.append(stats)

    def deferred(self, destination: str, reason: str) -> None:
        """Remember the deferral."""
        self.deferrals.append((destination, reason))

    def breaker_opened(self, destination: str) -> None:
        """Remember it as open."""
        self.open.append(destination)

    def breaker_closed(self, destination: str) -> None:
        """Forget it."""
        self.open.remove(destination)


class RecordingLog(ExecutionMemory):
    """An ``ExecutionLog`` that keeps every record, answers what a test prepared, and can be down."""

    def __init__(self) -> None:
        """Admit everything."""
        super().__init__()
        self.records: list[AttemptRecord] = []
        self.starts: list[int] = []
        self.answers: dict[str, Admission] = {}
        self.down = False

    async def start(self, starts: Sequence[AttemptStart]) -> Sequence[Admission]:
        """Answer as prepared, else admit."""
        if self.down:
            raise LedgerUnavailableError
        self.starts.append(len(starts))
        admitted = await super().start(starts)
        return [self.answers.get(start.task.id, admission) for start, admission in zip(starts, admitted, strict=True)]

    async def record(self, attempt: AttemptRecord) -> None:
        """Keep the record."""
        await super().record(attempt)
        self.records.append(attempt)


Handler = Callable[[Task], Awaitable[JsonValue]]


class ScriptedDispatcher:
    """Runs one handler for every task and remembers what ran."""

    def __init__(self, handler: Handler) -> None:
        """Run ``handler``."""
        self.handler = handler
        self.threaded = False
        self.ran: list[tuple[str, int]] = []
        self.running: set[str] = set()

    async def run(self, task: Task, queue: str, attempt: int) -> JsonValue:
        """Run the handler."""
        self.ran.append((task.id, attempt))
        self.running.add(task.id)
        try:
            return await self.handler(task)
        finally:
            self.running.discard(task.id)

    def in_thread(self, task: Task) -> bool:
        """Answer as the test set it."""
        return self.threaded

    def target(self, task: Task) -> Target | None:
        """Return where the task's own URL leads."""
        return None if task.callback_url is None else target_of(task.callback_url)


class Faulty:
    """A queue whose calls fail as often as a test says, with what it says; else it is the queue it wraps."""

    def __init__(self, queue: InMemoryQueue) -> None:
        """Fail nothing yet."""
        self.inner = queue
        self.faults: dict[str, list[Exception]] = {}
        self.calls: list[str] = []
        self.requeued: list[str] = []
        self.traits_override: QueueTraits | None = None
        self.spec_override: QueueSpec | None = None

    @property
    def spec(self) -> QueueSpec:
        """The test's, else the inner queue's."""
        return self.spec_override or self.inner.spec

    @property
    def traits(self) -> QueueTraits:
        """The test's, else the inner queue's."""
        return self.traits_override or self.inner.traits

    def _maybe_fail(self, call: str) -> None:
        self.calls.append(call)
        if self.faults.get(call):
            raise self.faults[call].pop(0)

    async def enqueue(self, task: Task) -> object:
        """Pass on."""
        return await self.inner.enqueue(task)

    async def receive(self, limit: int, wait: timedelta) -> list[Delivery]:
        """Fail or pass on."""
        self._maybe_fail("receive")
        return await self.inner.receive(limit, wait)

    def stop_waiting(self) -> None:
        """Pass on."""
        self.inner.stop_waiting()

    async def complete(self, delivery: Delivery) -> None:
        """Fail or pass on."""
        self._maybe_fail("complete")
        await self.inner.complete(delivery)

    async def retry(self, delivery: Delivery, task: Task, delay: timedelta) -> Requeued:
        """Fail or pass on."""
        return await self._requeue("retry", delivery, task, delay)

    async def defer(self, delivery: Delivery, task: Task, delay: timedelta) -> Requeued:
        """Fail or pass on."""
        return await self._requeue("defer", delivery, task, delay)

    async def _requeue(self, call: str, delivery: Delivery, task: Task, delay: timedelta) -> Requeued:
        self._maybe_fail(call)
        self.requeued.append(delivery.task.id if delivery.task else "")
        return await self.inner.retry(delivery, task, delay)

    async def release(self, delivery: Delivery) -> None:
        """Fail or pass on."""
        self._maybe_fail("release")
        await self.inner.release(delivery)

    async def extend(self, delivery: Delivery, lease: timedelta) -> None:
        """Fail or pass on."""
        self._maybe_fail("extend")
        await self.inner.extend(delivery, lease)

    async def dead_letter(self, delivery: Delivery, dead_letter: DeadLetterMessage) -> None:
        """Fail or pass on."""
        self._maybe_fail("dead_letter")
        await self.inner.dead_letter(delivery, dead_letter)

    async def stats(self) -> QueueStats:
        """Fail or pass on."""
        self._maybe_fail("stats")
        return await self.inner.stats()

    async def ping(self) -> None:
        """Fail or pass on."""
        self._maybe_fail("ping")


@dataclass
class ConsumerKit:
    """Everything of one consumer, reachable for a test."""

    clock: FakeClock
    queues: dict[str, Faulty]
    dead: InMemoryQueue
    metrics: CountingMetrics
    log: RecordingLog
    dispatcher: ScriptedDispatcher
    pool: WorkerPool
    destinations: DestinationRegistry
    extender: VisibilityExtender
    ids: list[str] = field(default_factory=list)

    def task(self, task_id: str = "t1", queue: str = "tasks", **members: object) -> Task:
        """Make a task."""
        made = Task(id=task_id, type="job", queue=queue, created_at=self.clock.now(), max_retries=2)
        return replace(made, **members)  # type: ignore[arg-type]  # members are checked by the test that names them

    async def enqueue(self, *tasks: Task, queue: str = "tasks") -> None:
        """Put tasks into a queue."""
        for task in tasks:
            await self.queues[queue].inner.enqueue(task)

    async def pass_time(self, seconds: float = 0) -> None:
        """Move the clock and let everything react."""
        await self.clock.advance(timedelta(seconds=seconds))

    async def depth(self, queue: str = "tasks") -> int:
        """Count what lies in a queue, running tasks included."""
        stats = await self.queues[queue].inner.stats()
        return stats.approximate_messages + stats.inflight_messages + stats.delayed_messages

    async def dead_letters(self) -> list[Delivery]:
        """Receive the dead letters."""
        return await self.dead.receive(10, timedelta(0))


def make_kit(  # the knobs of a consumer, each with the value that most tests want
    handler: Handler,
    *,
    specs: Sequence[QueueSpec] = (),
    levels: Sequence[tuple[str, int]] = (),
    slots: int = 2,
    traits: QueueTraits | None = None,
    processing_timeout: timedelta = timedelta(seconds=300),
    log: ExecutionLog | None = None,
    limits: Sequence[LimitRule] = (),
    tracer: Tracer = NO_TRACER,
    withdrawn: Callable[[Task, Delivery], bool] = lambda *_: False,
) -> ConsumerKit:
    """Put a consumer together; nothing runs yet."""
    clock, serializer = FakeClock(), JsonTaskSerializer()
    dead_spec = QueueSpec(name="dlq", kind=QueueKind.STANDARD, backend=Backend.MEMORY)
    dead = InMemoryQueue(dead_spec, clock=clock, serializer=serializer)
    specs = specs or (standard(),)
    queues = {
        spec.name: Faulty(InMemoryQueue(spec, clock=clock, serializer=serializer, dead_letters=dead)) for spec in specs
    }
    for queue in queues.values():
        queue.traits_override = traits
    metrics, recording, dispatcher = CountingMetrics(), RecordingLog(), ScriptedDispatcher(handler)
    extender = VisibilityExtender(clock, metrics)
    settlement = Settlement(
        clock=clock,
        random=lambda: 1.0,
        metrics=metrics,
        log=recording,
        policy=RetryPolicy(ExponentialBackoff(SECOND, timedelta(seconds=8))),
        withdrawn=withdrawn,
    )
    destinations = DestinationRegistry(clock=clock, metrics=metrics, rules=limits)
    deferrals = Deferrals(clock=clock, random=lambda: 1.0, registry=destinations, locate=dispatcher.target)
    polled = [
        PolledQueue(queues[name], timedelta(seconds=20), level)  # type: ignore[arg-type]  # the double has what consumers call
        for name, level in levels or [(spec.name, 0) for spec in specs]
    ]
    pool = WorkerPool(
        polled,
        slots=slots,
        batch_size=10,
        clock=clock,
        receiver=Receiver(clock=clock, random=lambda: 1.0, metrics=metrics, extender=extender, tracer=tracer),
        admitter=Admitter(clock=clock, log=recording, fallback=ExecutionMemory()),
        runner=AttemptRunner(
            clock=clock,
            metrics=metrics,
            dispatcher=dispatcher,
            settlement=settlement,
            processing_timeout=processing_timeout,
            executed=deferrals.executed,
            tracer=tracer,
        ),
        settlement=settlement,
        extender=extender,
        deferrals=deferrals,
    )
    return ConsumerKit(clock, queues, dead, metrics, recording, dispatcher, pool, destinations, extender)


def standard(name: str = "tasks", **members: object) -> QueueSpec:
    """Make the spec of a standard queue with a dead-letter queue."""
    spec = QueueSpec(name=name, kind=QueueKind.STANDARD, backend=Backend.MEMORY, dead_letter_queue="dlq")
    return replace(spec, **members)  # type: ignore[arg-type]  # members are checked by the test that names them


def fifo(name: str = "orders", **members: object) -> QueueSpec:
    """Make the spec of a FIFO queue."""
    return standard(name, kind=QueueKind.FIFO, max_receive_count=100, **members)


async def forever(_task: Task) -> JsonValue:
    """Run until cancelled."""
    await asyncio.Event().wait()
    return None


async def succeed(task: Task) -> JsonValue:
    """Succeed with the payload."""
    return task.payload
