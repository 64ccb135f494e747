"""Dead letters: queues in memory, a ledger where one is wanted, and the services that act on both."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

from mcp_queue.adapters.ledger.disabled import NoLedger
from mcp_queue.adapters.ledger.ledger import Ledger
from mcp_queue.domain.callbacks.addresses import EgressPolicy
from mcp_queue.domain.dead_letters.dead_letter import DeadLetter
from mcp_queue.domain.enqueueing.payloads import common_payloads
from mcp_queue.domain.execution.retry import dead_letter_message
from mcp_queue.domain.queues import QueueSpec
from mcp_queue.domain.task import Task
from mcp_queue.ports import MessageMover
from mcp_queue.services.dead_letters.in_ledger import LedgerDeadLetters, counting
from mcp_queue.services.dead_letters.in_queue import QueueDeadLetters
from mcp_queue.services.dead_letters.redrive import Redriver, RedriveSender
from mcp_queue.services.dead_letters.redrive_runner import RedriveRunner
from mcp_queue.services.dead_letters.topology import DeadLetterTopology
from mcp_queue.services.enqueueing.rules import EnqueueRules
from mcp_queue.services.enqueueing.submission import Submission
from mcp_queue.services.queues.manager import QueueManager
from mcp_queue.services.queues.purges import Purges
from mcp_queue.services.queues.stats import only_queued
from mcp_queue.testing import FakeClock, InMemoryQueue
from tests.support.clock import MINUTE, START
from tests.support.ledger import ledger_harness
from tests.support.metrics import CountingMetrics, DeadLetterCounts
from tests.support.queues.doubles import FailingQueue
from tests.support.tasks import a_dead_letter, a_task, fifo, standard

RULES = EnqueueRules(payload_models=common_payloads(), egress=EgressPolicy())


@dataclass
class DeadLetterKit:
    """``tasks`` (standard) and ``orders`` (FIFO) share the dead-letter queue ``dlq``; ``jobs`` has ``jobs-dlq`` alone.

    Without a ``ledger``, dead letters stay in their queues.
    """

    clock: FakeClock
    ledger: Ledger | None = None
    movers: Mapping[str, MessageMover] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Put everything together."""
        self.metrics = DeadLetterCounts()
        self.dlq, self.jobs_dlq = (
            self._queue(standard("dlq", dead_letter_queue=None)),
            self._queue(standard("jobs-dlq", dead_letter_queue=None)),
        )
        self.tasks = self._queue(standard(), self.dlq)
        self.orders = self._queue(fifo(), self.dlq)
        self.jobs = self._queue(standard("jobs", dead_letter_queue="jobs-dlq"), self.jobs_dlq)
        self.queues = {
            queue.spec.name: queue for queue in (self.tasks, self.orders, self.jobs, self.dlq, self.jobs_dlq)
        }
        ledger = self.ledger or NoLedger(self.clock)
        self.purges = Purges({"tasks": MINUTE}, NoLedger(self.clock).queues, self.clock)
        self.sources = DeadLetterTopology(self.queues, self.queues)
        self.sender = RedriveSender(purges=self.purges, metrics=self.metrics)
        numbers = count(1)
        counted = CountingMetrics()
        self.manager = QueueManager(
            self.queues,
            pauses=dict.fromkeys(self.queues, ledger.queues),
            rules=RULES,
            clock=self.clock,
            metrics=counted,
            random_bits=lambda _: next(numbers),
            submission=Submission(counted),
            purges=self.purges,
            store=NoLedger(self.clock).tasks,
            dead_letters=only_queued if self.ledger is None else counting(self.ledger.dead_letters, self.sources),
        )
        self._numbers = numbers

    def stored(self) -> tuple[LedgerDeadLetters, RedriveRunner]:
        """Return the dead letters of the ledger, and what redrives many of them."""
        assert self.ledger is not None, "the kit has a ledger"
        redriver = Redriver(self.ledger.dead_letters, self.sources, self.sender)
        runner = RedriveRunner(self.ledger.redrives, redriver, clock=self.clock, random=lambda: 1.0)
        stored = LedgerDeadLetters(
            self.ledger.dead_letters,
            self.ledger.redrives,
            self.ledger.tasks,
            self.sources,
            redriver,
            depth=self.depth,
            rules=RULES,
            clock=self.clock,
            random_bits=lambda _: next(self._numbers),
            wake=runner.wake,
        )
        return stored, runner

    def unstored(self) -> QueueDeadLetters:
        """Return the dead letters of the queues."""
        return QueueDeadLetters(
            self.sources, self.movers, {}, self.sender, depth=self.depth, rules=RULES, clock=self.clock
        )

    async def depth(self, queue: str) -> int | None:
        """Return how many dead letters of ``queue`` wait."""
        return (await self.manager.stats(queue)).dead_letters

    async def store(self, *dead_letters: DeadLetter) -> None:
        """Put dead letters into the ledger."""
        assert self.ledger is not None, "the kit has a ledger"
        for start in range(0, len(dead_letters), 200):
            await self.ledger.dead_letters.store_dead_letters(dead_letters[start : start + 200])

    async def written(self) -> None:
        """Return when what was to be written into the ledger is: it takes one write after the other."""
        assert self.ledger is not None, "the kit has a ledger"
        await self.ledger.queues.resume("nothing")

    async def bury(self, task: Task, reason: str = "it broke") -> None:
        """Dead-letter ``task`` as the consumer does."""
        queue = self.queues[task.queue]
        await queue.enqueue(task)
        (delivery,) = await queue.receive(1, timedelta(0))
        await queue.dead_letter(delivery, dead_letter_message(task, reason, self.clock.now(), task.queue))

    async def sent(self, queue: str) -> list[Task]:
        """Take the tasks that lie in ``queue``."""
        found: list[Task] = []
        while deliveries := await self.queues[queue].receive(10, timedelta(0)):
            found += [delivery.task for delivery in deliveries if delivery.task is not None]
            for delivery in deliveries:
                await self.queues[queue].complete(delivery)
        return found

    def _queue(self, spec: QueueSpec, dead_letters: InMemoryQueue | None = None) -> FailingQueue:
        return FailingQueue(spec, clock=self.clock, dead_letters=dead_letters)


@asynccontextmanager
async def kit_with_ledger(directory: Path) -> AsyncIterator[DeadLetterKit]:
    """Provide a kit whose ledger is a new file."""
    async with ledger_harness(f"sqlite+aiosqlite:///{directory / 'ledger.db'}") as harness:
        yield DeadLetterKit(harness.clock, harness.ledger)


def dead_letters(number: int, **members: Any) -> list[DeadLetter]:
    """Return dead letters that failed one second after the other."""
    return [
        a_dead_letter(a_task(**members), failed_at=START - timedelta(seconds=number - index)) for index in range(number)
    ]
