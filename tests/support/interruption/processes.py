"""Processes that share a ledger and a pair of queues, put together as the product does, on a clock that tests move."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import Enum
from itertools import count
from pathlib import Path
from typing import Any

from mcp_queue.adapters.ledger.ledger import Ledger, open_ledger
from mcp_queue.adapters.sqs.api.client import SqsClient
from mcp_queue.consumer.dead_letter_processor import DeadLetterProcessor
from mcp_queue.domain.execution.retry import ExponentialBackoff, RetryPolicy
from mcp_queue.domain.formats.serialization import JsonTaskSerializer
from mcp_queue.domain.queues import Backend, QueueKind
from mcp_queue.domain.task import Task, TaskStatus
from mcp_queue.ports import Queue
from mcp_queue.services.dead_letters.redrive import Redriver, RedriveSender
from mcp_queue.services.dead_letters.redrive_runner import LEASE, RedriveRunner
from mcp_queue.services.dead_letters.topology import DeadLetterTopology
from mcp_queue.services.enqueueing.submission import LedgerSubmission
from mcp_queue.services.execution.admission import Admitter, Received
from mcp_queue.services.execution.attempt_memory import OutageProofLog
from mcp_queue.services.execution.attempts import AttemptRunner, Stop
from mcp_queue.services.execution.settlement import Settlement
from mcp_queue.services.queues.manager import QueueManager
from mcp_queue.services.queues.purges import Purges, purge_times
from mcp_queue.services.queues.stats import only_queued
from mcp_queue.services.schedules.promotion import Promoter
from mcp_queue.testing import InMemoryQueue
from tests.support.aws.strict_world import ServiceWorld, redrive_policy
from tests.support.clock import MINUTE, NOW, SECOND
from tests.support.consumer import Handler, ScriptedDispatcher
from tests.support.dead_letters import RULES
from tests.support.interruption.stepping import Life, gated
from tests.support.metrics import CountingMetrics, DeadLetterCounts, LedgerCounts
from tests.support.tasks import a_task, make_spec

#: How long a message is hidden, a held task is leased, and more: after this, others may act.
LAPSE = 61 * SECOND
#: More receives than a task needs.
_RECEIVES = 1000


class Place(Enum):
    """Where the queue lies, and of which kind it is."""

    EMBEDDED = (Backend.MEMORY, QueueKind.STANDARD)
    EMBEDDED_FIFO = (Backend.MEMORY, QueueKind.FIFO)
    SQS = (Backend.SQS, QueueKind.STANDARD)
    SQS_FIFO = (Backend.SQS, QueueKind.FIFO)

    def __init__(self, backend: Backend, kind: QueueKind) -> None:
        """Name the backend and the kind."""
        self.backend = backend
        self.kind = kind

    @property
    def fifo(self) -> bool:
        """Whether it keeps order."""
        return self.kind is QueueKind.FIFO


class Holder:
    """Holds a delivery, and never stops its attempt."""

    stop: Stop | None = None
    interruptible = False


@dataclass
class Process:
    """The services of one process; ``queue`` and ``dead_letters`` are a pair."""

    life: Life
    queue: Queue
    dead_letters: Queue
    submission: LedgerSubmission
    promoter: Promoter
    purges: Purges
    manager: QueueManager
    admitter: Admitter
    runner: AttemptRunner
    redrives: RedriveRunner
    processor: DeadLetterProcessor

    async def consume(self) -> bool:
        """Receive one message and carry its attempt to its settlement; return false where there was none."""
        deliveries = await self.queue.receive(1, NOW)
        for attempt in await self.admitter.admit([Received(self.queue, delivery) for delivery in deliveries]):
            await self.runner.run(attempt, Holder())
        return bool(deliveries)

    async def redrive(self) -> bool:
        """Adopt one redrive and carry it on; return false where there was none."""
        job = await self.redrives._store.adopt(LEASE)
        if job is not None:
            await self.redrives._carry_on(job)
        return job is not None

    async def store_dead_letters(self) -> None:
        """Move what lies in the dead-letter queue into the ledger."""
        while deliveries := await self.dead_letters.receive(10, NOW):
            await self.processor._process(deliveries)


class Shared:
    """What processes share: the ledger, the queues, and the handler with its memory of what ran."""

    def __init__(
        self, place: Place, world: ServiceWorld, ledger: Ledger, handler: Handler, *, lease: timedelta
    ) -> None:
        """Make empty queues: ``tasks`` and ``dlq``; a receive hides messages for ``lease``."""
        self.place = place
        self.world = world
        self.clock = world.clock
        self.ledger = ledger
        self.dispatcher = ScriptedDispatcher(handler)
        self.metrics = CountingMetrics()
        self._numbers = count(1)
        backend, kind = place.backend, place.kind
        members: dict[str, Any] = {"backend": backend, "visibility_timeout": lease}
        self._dlq_spec = make_spec("dlq", kind, **members)
        self._spec = make_spec("tasks", kind, dead_letter_queue="dlq", max_receive_count=_RECEIVES, **members)
        serializer = JsonTaskSerializer()
        self._dlq_in_memory = InMemoryQueue(self._dlq_spec, clock=self.clock, serializer=serializer)
        self._in_memory = InMemoryQueue(
            self._spec, clock=self.clock, serializer=serializer, dead_letters=self._dlq_in_memory
        )
        if backend is Backend.SQS:
            suffix = ".fifo" if place.fifo else ""
            self._dlq_spec = replace(self._dlq_spec, url=world.sqs.create(f"dlq{suffix}"))
            policy = redrive_policy(f"dlq{suffix}", _RECEIVES)
            self._spec = replace(self._spec, url=world.sqs.create(f"tasks{suffix}", RedrivePolicy=policy))
            world.name_queue(str(self._spec.url), "tasks")

    @property
    def ran(self) -> list[str]:
        """The ids of the tasks that handlers ran, in their order."""
        return [task_id for task_id, _ in self.dispatcher.ran]

    def attempts(self, task_id: str) -> list[int]:
        """Return the attempts of a task, in the order in which they ran."""
        return [attempt for ran, attempt in self.dispatcher.ran if ran == task_id]

    def task(self, task_id: str, **members: Any) -> Task:
        """Make a task of now."""
        group = {"group": "g"} if self.place.fifo else {}
        return a_task(task_id, **{"created_at": self.clock.now(), **group, **members})

    @property
    def purging(self) -> bool:
        """Whether SQS may still drop what arrives, since it was asked to purge less than a minute ago."""
        purged_at = [queue.purged_at for queue in self.world.sqs.queues.values() if queue.purged_at is not None]
        return any(self.clock.monotonic() < moment + 60 for moment in purged_at)

    async def status(self, task_id: str) -> TaskStatus | None:
        """Return what the ledger says of a task."""
        recorded = await self.ledger.tasks.get(task_id)
        return None if recorded is None else recorded.status

    async def written(self) -> None:
        """Return when what was asked of the ledger before is written: it takes one write after the other."""
        await self.ledger.queues.resume("nothing")

    async def lapse(self) -> None:
        """Let every lease end."""
        await self.written()
        await self.clock.advance(LAPSE)

    async def start(self) -> Process:
        """Start a process."""
        life = Life()
        queue, dlq = await self._queues(life)
        ledger = self.ledger
        tasks = gated(ledger.tasks, life, transactional=True)
        held = gated(ledger.held, life, transactional=True)
        stored = gated(ledger.dead_letters, life, transactional=True)
        queues = {"tasks": queue, "dlq": dlq}
        submission = LedgerSubmission(
            tasks, gated(self.ledger.claims, life, transactional=True), held, clock=self.clock, metrics=self.metrics
        )
        purges = Purges(purge_times(queues), gated(self.ledger.queues, life, transactional=True), self.clock)
        sender = RedriveSender(purges=purges, metrics=DeadLetterCounts())
        redriver = Redriver(stored, DeadLetterTopology(queues, queues), sender)
        admitter, runner = self._execution(life, purges)
        return Process(
            life=life,
            queue=queue,
            dead_letters=dlq,
            submission=submission,
            promoter=Promoter(
                held,
                stored,
                {"tasks": queue},
                clock=self.clock,
                metrics=self.metrics,
                closed=purges.closed,
            ),
            purges=purges,
            manager=QueueManager(
                queues,
                pauses=dict.fromkeys(queues, self.ledger.queues),
                rules=RULES,
                clock=self.clock,
                metrics=self.metrics,
                random_bits=lambda _: next(self._numbers),
                submission=submission,
                purges=purges,
                store=tasks,
                dead_letters=only_queued,
            ),
            admitter=admitter,
            runner=runner,
            redrives=RedriveRunner(
                gated(self.ledger.redrives, life, transactional=True), redriver, clock=self.clock, random=lambda: 1.0
            ),
            processor=DeadLetterProcessor(
                dlq, sources={"tasks"}, store=stored, clock=self.clock, random=lambda: 1.0, wait=NOW
            ),
        )

    async def consume_all(self, process: Process) -> None:
        """Let ``process`` consume until nothing is left, retries and lapsed leases included."""
        for _ in range(20):
            while await process.consume():
                pass
            stats = await process.queue.stats()
            if not stats.approximate_messages + stats.inflight_messages + stats.delayed_messages:
                break
            await self.clock.advance(LAPSE)
        else:
            message = f"messages are left after 20 minutes: {stats}"
            raise AssertionError(message)
        await process.store_dead_letters()
        await self.written()

    def _execution(self, life: Life, purges: Purges) -> tuple[Admitter, AttemptRunner]:
        log = OutageProofLog(gated(self.ledger.executions, life, transactional=True))
        settlement = Settlement(
            clock=self.clock,
            random=lambda: 1.0,
            metrics=self.metrics,
            log=log,
            policy=RetryPolicy(ExponentialBackoff(SECOND, 8 * SECOND)),
            withdrawn=purges.withdrew,
        )
        runner = AttemptRunner(
            clock=self.clock,
            metrics=self.metrics,
            dispatcher=self.dispatcher,
            settlement=settlement,
            log=log,
            processing_timeout=60 * SECOND,
        )
        return Admitter(clock=self.clock, log=log), runner

    async def _queues(self, life: Life) -> tuple[Queue, Queue]:
        if self.place.backend is Backend.MEMORY:
            return gated(self._in_memory, life), gated(self._dlq_in_memory, life)
        sqs: Any = gated(self.world.sqs, life)
        self.world.client = SqsClient(sqs, self.world.metrics, _nothing)
        return await self.world.open(self._spec, self._dlq_spec), await self.world.open(self._dlq_spec, None)


async def _nothing() -> None:
    return


@asynccontextmanager
async def shared_by_processes(
    place: Place, ledger_file: Path, handler: Handler, *, lease: timedelta = MINUTE
) -> AsyncIterator[Shared]:
    """Provide empty queues at ``place`` and the ledger in ``ledger_file``."""
    world = ServiceWorld()
    url = f"sqlite+aiosqlite:///{ledger_file}"
    async with open_ledger(url, clock=world.clock, metrics=LedgerCounts()) as ledger:
        yield Shared(place, world, ledger, handler, lease=lease)
