"""Queues in memory that promise less than they could, or fail when a test says so."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from mcp_queue.adapters.sqs.api.limits import TRAITS
from mcp_queue.domain.delivery import Accepted, DeadLetterMessage, Delivery, Requeued
from mcp_queue.domain.errors import QueueError
from mcp_queue.domain.formats.serialization import JsonTaskSerializer
from mcp_queue.domain.queues import Backend, QueueKind, QueueSpec, QueueStats, QueueTraits
from mcp_queue.domain.task import Task
from mcp_queue.testing import FakeClock, InMemoryQueue
from tests.support.clock import NOW


class SqsLike(InMemoryQueue):
    """Holds no long delay, on FIFO none at all, and drops a duplicate without a word.

    The next sends end with ``answers``, one each: an error, or ``None``, which lets it through.
    """

    def __init__(self, clock: FakeClock, name: str = "orders", *, fifo: bool = True, **members: object) -> None:
        """Be empty."""
        kind = QueueKind.FIFO if fifo else QueueKind.STANDARD
        spec = QueueSpec(name=name, kind=kind, backend=Backend.SQS, **members)  # type: ignore[arg-type]  # named by tests
        super().__init__(spec, clock=clock, serializer=JsonTaskSerializer())
        self.answers: list[QueueError | None] = []
        self.sends: list[Task] = []
        self.by_group = False  #: whether a deduplication id counts within its group alone

    @property
    def traits(self) -> QueueTraits:
        """What SQS does by itself."""
        traits = replace(TRAITS, deduplicates_by_group=self.by_group)
        return replace(traits, max_delay=NOW, rewrites=False) if self.spec.fifo else traits

    async def enqueue(self, task: Task) -> Accepted:
        """Answer as the test says."""
        self.sends.append(task)
        error = self.answers.pop(0) if self.answers else None
        if error is not None:
            raise error
        return Accepted((await super().enqueue(task)).message_id)

    async def waiting(self) -> list[str]:
        """Return the ids of the tasks that can be received, each once."""
        received = await self.receive(10, timedelta(0))
        return [delivery.task.id for delivery in received if delivery.task is not None]


class FailingQueue(InMemoryQueue):
    """A queue whose sends go as a test says: an error for all, or one for each task of some ids."""

    def __init__(self, spec: QueueSpec, *, clock: FakeClock, dead_letters: InMemoryQueue | None) -> None:
        """Take everything at first."""
        super().__init__(spec, clock=clock, serializer=JsonTaskSerializer(), dead_letters=dead_letters)
        self.clock = clock
        self.at_sqs = False  #: whether it promises as little as a queue at SQS
        self.outage: QueueError | None = None
        self.refusals: Mapping[str, QueueError] = {}
        self.sends: list[tuple[float, int]] = []  #: when, on the monotonic clock, and how many
        self.reached = asyncio.Event()  #: set by the first send

    @property
    def traits(self) -> QueueTraits:
        """Promise what a queue in memory does, or what SQS does."""
        return TRAITS if self.at_sqs else super().traits

    async def enqueue_batch(self, tasks: Sequence[Task]) -> list[Accepted | QueueError]:
        """Take what is not refused."""
        self.sends.append((self.clock.monotonic(), len(tasks)))
        self.reached.set()
        if self.outage is not None:
            raise self.outage
        return [self.refusals.get(task.id) or await self.enqueue(task) for task in tasks]


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
