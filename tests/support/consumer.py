"""A consumer put together in memory, on a clock that tests move."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from mcp_queue.consumer.call_limits import DestinationRegistry
from mcp_queue.consumer.deferrals import Deferrals
from mcp_queue.consumer.polled_queue import PolledQueue
from mcp_queue.consumer.receiver import Receiver
from mcp_queue.consumer.visibility import VisibilityExtender
from mcp_queue.consumer.worker_pool import WorkerPool
from mcp_queue.domain.callbacks.destinations import LimitRule, Target, target_of
from mcp_queue.domain.delivery import Delivery
from mcp_queue.domain.errors import LedgerUnavailableError
from mcp_queue.domain.execution.retry import ExponentialBackoff, RetryPolicy
from mcp_queue.domain.formats.serialization import JsonTaskSerializer
from mcp_queue.domain.queues import QueueSpec, QueueTraits
from mcp_queue.domain.task import JsonValue, Task
from mcp_queue.ports import Admission, AttemptRecord, AttemptStart, Clock, Tracer
from mcp_queue.services.execution.admission import Admitter
from mcp_queue.services.execution.attempt_memory import ExecutionMemory, OutageProofLog
from mcp_queue.services.execution.attempts import AttemptRunner, Dispatcher
from mcp_queue.services.execution.settlement import Settlement
from mcp_queue.services.tracing import NO_TRACER
from mcp_queue.testing import FakeClock, InMemoryQueue
from tests.support.metrics import CountingMetrics
from tests.support.queues.doubles import Faulty
from tests.support.tasks import make_spec, standard


class RecordingLog(ExecutionMemory):
    """An ``ExecutionLog`` that keeps every record, answers what a test prepared, and can be down."""

    def __init__(self) -> None:
        """Admit everything."""
        super().__init__()
        self.records: list[AttemptRecord] = []
        self.starts: list[int] = []
        self.answers: dict[str, Admission] = {}
        self.down = False
        self.counting = False

    @property
    def counts_crashes(self) -> bool:
        """Answer as the test says."""
        return self.counting

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

    def in_process(self, task: Task) -> bool:
        """Whether the task calls nobody."""
        return task.callback_url is None

    def in_thread(self, task: Task) -> bool:
        """Answer as the test set it."""
        return self.threaded

    def target(self, task: Task) -> Target | None:
        """Return where the task's own URL leads."""
        return None if task.callback_url is None else target_of(task.callback_url)


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


def make_kit(
    handler: Handler,
    *,
    specs: Sequence[QueueSpec] = (),
    levels: Sequence[tuple[str, int]] = (),
    slots: int = 2,
    traits: QueueTraits | None = None,
    processing_timeout: timedelta = timedelta(seconds=300),
    limits: Sequence[LimitRule] = (),
    tracer: Tracer = NO_TRACER,
    withdrawn: Callable[[Task, Delivery], bool] = lambda *_: False,
) -> ConsumerKit:
    """Put a consumer together; nothing runs yet."""
    clock, serializer = FakeClock(), JsonTaskSerializer()
    dead = InMemoryQueue(make_spec("dlq"), clock=clock, serializer=serializer)
    specs = specs or (standard(),)
    queues = {
        spec.name: Faulty(InMemoryQueue(spec, clock=clock, serializer=serializer, dead_letters=dead)) for spec in specs
    }
    for queue in queues.values():
        queue.traits_override = traits
    dispatcher = ScriptedDispatcher(handler)
    polled = [
        PolledQueue(queues[name], timedelta(seconds=20), level)  # type: ignore[arg-type]  # the double has what consumers call
        for name, level in levels or [(spec.name, 0) for spec in specs]
    ]
    parts = assemble(
        polled,
        dispatcher,
        clock,
        dispatcher.target,
        slots=slots,
        random=lambda: 1.0,
        processing_timeout=processing_timeout,
        limits=limits,
        tracer=tracer,
        withdrawn=withdrawn,
    )
    return ConsumerKit(
        clock, queues, dead, parts.metrics, parts.log, dispatcher, parts.pool, parts.destinations, parts.extender
    )


@dataclass
class Assembled:
    """A worker pool and those of its parts that tests look at."""

    metrics: CountingMetrics
    log: RecordingLog
    destinations: DestinationRegistry
    pool: WorkerPool
    extender: VisibilityExtender


def assemble(
    polled: Sequence[PolledQueue],
    dispatcher: Dispatcher,
    clock: Clock,
    locate: Callable[[Task], Target | None],
    *,
    slots: int,
    random: Callable[[], float],
    metrics: CountingMetrics | None = None,
    processing_timeout: timedelta = timedelta(minutes=5),
    limits: Sequence[LimitRule] = (),
    tracer: Tracer = NO_TRACER,
    withdrawn: Callable[[Task, Delivery], bool] = lambda *_: False,
) -> Assembled:
    """Put a worker pool together as the product does, with a log and metrics that remember."""
    metrics, log = metrics or CountingMetrics(), RecordingLog()
    outage_proof = OutageProofLog(log)
    extender = VisibilityExtender(clock, metrics)
    settlement = Settlement(
        clock=clock,
        random=random,
        metrics=metrics,
        log=outage_proof,
        policy=RetryPolicy(ExponentialBackoff(timedelta(seconds=1), timedelta(seconds=8))),
        withdrawn=withdrawn,
    )
    destinations = DestinationRegistry(clock=clock, metrics=metrics, rules=limits)
    deferrals = Deferrals(clock=clock, random=random, registry=destinations, locate=locate)
    pool = WorkerPool(
        polled,
        slots=slots,
        batch_size=10,
        clock=clock,
        receiver=Receiver(clock=clock, random=random, metrics=metrics, extender=extender, tracer=tracer),
        admitter=Admitter(clock=clock, log=outage_proof),
        runner=AttemptRunner(
            clock=clock,
            metrics=metrics,
            dispatcher=dispatcher,
            settlement=settlement,
            log=outage_proof,
            processing_timeout=processing_timeout,
            executed=deferrals.executed,
            tracer=tracer,
        ),
        settlement=settlement,
        extender=extender,
        deferrals=deferrals,
    )
    return Assembled(metrics, log, destinations, pool, extender)


KitFactory = Callable[..., Any]


class GroupedReceive:
    """Makes a FIFO queue hand out several messages of one group at once, as SQS does."""

    def __init__(self, kit: ConsumerKit) -> None:
        """Take over the receive of the queue."""
        self.inner = kit.queues["orders"].inner
        self.given: list[str] = []
        self.inner.receive = self.receive  # type: ignore[method-assign]  # the point of this double

    async def receive(self, limit: int, wait: timedelta) -> list[Delivery]:
        """Deliver all messages of the queue in order, once."""
        now, started = self.inner._clock.now(), self.inner._clock.monotonic()
        if not self.inner._messages or any(message.in_flight(now) for message in self.inner._messages):
            await self.inner._clock.sleep(wait.total_seconds())
            return []
        deliveries = [self.inner._deliver(message, now, started) for message in self.inner._messages]
        self.given += [delivery.message_id for delivery in deliveries]
        return deliveries


async def drain_now(kit: ConsumerKit, hurry: asyncio.Event) -> None:
    """Stop a consumer without waiting for its open polls."""
    draining = asyncio.create_task(kit.pool.drain(timedelta(seconds=1), hurry))
    while not draining.done():
        await kit.pass_time(25)
    await draining


async def forever(_task: Task) -> JsonValue:
    """Run until cancelled."""
    await asyncio.Event().wait()
    return None


async def succeed(task: Task) -> JsonValue:
    """Succeed with the payload."""
    return task.payload
