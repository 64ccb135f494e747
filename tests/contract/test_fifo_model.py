"""FIFO queues against a model, over long random runs: two processes, held tasks, dead letters, copies and purges."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from random import Random

import pytest

from mcp_queue.adapters.sqlite import SqliteBackend
from mcp_queue.domain.delivery import Delivery
from mcp_queue.domain.errors import VisibilityTimeoutError
from mcp_queue.domain.execution.retry import dead_letter_message
from mcp_queue.domain.formats.serialization import JsonTaskSerializer
from mcp_queue.domain.queues import DEDUPLICATION_WINDOW, QueueKind
from mcp_queue.domain.task import Task
from mcp_queue.ports import Queue
from mcp_queue.services.schedules.promotion import Promoter
from mcp_queue.testing import FakeClock, InMemoryQueue
from tests.support.clock import NOW, SECOND, START
from tests.support.consumer import succeed
from tests.support.interruption.processes import Place, shared_by_processes
from tests.support.tasks import a_task, make_spec

STEPS = 400
SEEDS = range(6)
LEASE = 20 * SECOND
GROUPS = ["a", "b", "c"]
#: Of the embedded queue. At SQS no task is received as often as its queue allows.
SPEC = make_spec(
    kind=QueueKind.FIFO,
    dead_letter_queue="dlq",
    visibility_timeout=LEASE,
    max_receive_count=1,
)
DLQ = make_spec("dlq", kind=QueueKind.FIFO)


@dataclass(eq=False)
class Message:
    """What the model knows of a message. ``due`` is ``None`` once it stands in its group."""

    task: Task
    visible_at: datetime
    due: datetime | None = None
    receives: int = 0
    delivery: Delivery | None = None


@dataclass
class Model:
    """The messages of each group, in their order, those that wait for their time, and the dead letters."""

    embedded: bool
    groups: dict[str, list[Message]] = field(default_factory=lambda: {group: [] for group in GROUPS})
    held: list[Message] = field(default_factory=list)
    dead: dict[str, list[str]] = field(default_factory=lambda: {group: [] for group in GROUPS})
    seen: dict[str, datetime] = field(default_factory=dict)

    def enqueue(self, task: Task, now: datetime) -> None:
        """Append a task to its group, unless it is a copy."""
        if self.embedded:
            self.promote(now)
        if task.id in self.seen and now < self.seen[task.id] + DEDUPLICATION_WINDOW:
            return
        self.seen[task.id] = now
        if task.scheduled_for is None:
            self.groups[group_of(task)].append(Message(task, now))
        else:
            self.hold(task, task.scheduled_for)

    def hold(self, task: Task, due: datetime) -> None:
        """Keep a task until it is due."""
        self.held.append(Message(task, due, due))

    def promote(self, now: datetime) -> None:
        """Append what is due to its groups; an embedded queue does so by itself, before anything else."""
        for message in sorted(self.held, key=lambda each: each.visible_at):
            if message.visible_at <= now:
                self.held.remove(message)
                message.due = None
                self.groups[group_of(message.task)].append(message)

    def receive(self, deliveries: Sequence[Delivery], now: datetime) -> None:
        """Check a receive of ten: every free group gives its first messages, in order, and no other group gives any."""
        given: dict[str, list[Delivery]] = {}
        for delivery in deliveries:
            given.setdefault(str(delivery.group), []).append(delivery)
        free = {group for group in GROUPS if self._free(group, now)}
        assert given.keys() <= free
        assert given.keys() == free or len(deliveries) == 10
        for group, received in given.items():
            messages = self.groups[group][: len(received)]
            assert [message.task.id for message in messages] == [task_id(delivery) for delivery in received]
            for message, delivery in zip(messages, received, strict=True):
                message.delivery, message.visible_at = delivery, now + LEASE
                message.receives += 1

    def leased(self, now: datetime) -> list[Message]:
        """Return what is in flight."""
        everything = [message for messages in self.groups.values() for message in messages]
        return [message for message in everything if message.delivery is not None and message.visible_at > now]

    def remove(self, message: Message) -> None:
        """Forget a message."""
        self.groups[group_of(message.task)].remove(message)

    def bury(self, message: Message) -> None:
        """Make a message a dead letter."""
        self.remove(message)
        self.dead[group_of(message.task)].append(message.task.id)

    def give_back(self, message: Message, task: Task, visible_at: datetime, *, counted: bool) -> None:
        """End a lease."""
        message.delivery, message.visible_at = None, visible_at
        if self.embedded:
            message.task, message.receives = task, 0 if counted else message.receives - 1

    def purge(self, now: datetime) -> None:
        """Forget what waits; SQS forgets what is in flight as well, and nothing that the ledger holds."""
        kept = set(self.leased(now)) if self.embedded else set()
        for group, messages in self.groups.items():
            self.groups[group] = [message for message in messages if message in kept]
        if self.embedded:
            self.held.clear()

    @property
    def size(self) -> int:
        """How many messages the queue has."""
        return sum(map(len, self.groups.values())) + (len(self.held) if self.embedded else 0)

    def _free(self, group: str, now: datetime) -> bool:
        """Whether a group gives its head; what was received too often is buried on the way."""
        messages = self.groups[group]
        while messages and all(message.visible_at <= now for message in messages):
            if not self.embedded or messages[0].receives < SPEC.backend_receives:
                return True
            self.bury(messages[0])
        return False


@dataclass
class Rig:
    """The same queue in two processes, its dead-letter queue, and what promotes held tasks where the ledger holds."""

    clock: FakeClock
    queues: list[Queue]
    dead_letters: Queue
    promoters: list[Promoter] = field(default_factory=list)

    async def hold(self, task: Task, queue: Queue) -> None:
        """Keep a task until it is due."""
        if self.promoters:
            await self.promoters[0]._held.hold([task])
        else:
            await queue.enqueue(task)


class Run:
    """One random run."""

    def __init__(self, rig: Rig, seed: int) -> None:
        """Decide by ``seed``."""
        self.rig = rig
        self.random = Random(seed)
        self.model = Model(embedded=not rig.promoters)
        self.tasks: list[Task] = []
        self.stale: list[tuple[Message, Delivery]] = []
        self._numbers = count()
        self._purged_at = START - 60 * SECOND

    async def step(self) -> None:
        """Do something at random, in one of the processes, and compare the counts."""
        queue = self.random.choice(self.rig.queues)
        steps = [self.enqueue, self.copy, self.hold, self.promote, self.receive, self.settle, self.stale_settle]
        weights = [30, 4, 8, 8, 25, 40, 4]
        (chosen,) = self.random.choices([*steps, self.purge], [*weights, 1])
        await chosen(queue)
        if self.random.random() < 0.5:
            await self.rig.clock.advance(self.random.choice([1, 1, 1, 2, 5, 25, 61]) * SECOND)
        stats = await queue.stats()
        assert self.model.size == stats.approximate_messages + stats.inflight_messages + stats.delayed_messages

    @property
    def now(self) -> datetime:
        """The time."""
        return self.rig.clock.now()

    def task(self, scheduled_for: datetime | None = None) -> Task:
        """Make a task of a group at random."""
        name, group = f"t-{next(self._numbers):04}", self.random.choice(GROUPS)
        return a_task(name, group=group, created_at=self.now, scheduled_for=scheduled_for, queue="tasks")

    async def enqueue(self, queue: Queue) -> None:
        """Enqueue a task."""
        task = self.task()
        self.tasks.append(task)
        self.model.enqueue(task, self.now)
        await queue.enqueue(task)

    async def copy(self, queue: Queue) -> None:
        """Enqueue a task again, to which the queue gives its own answer for five minutes."""
        if self.tasks:
            task = self.random.choice(self.tasks[-10:])
            self.model.enqueue(task, self.now)
            await queue.enqueue(task)

    async def hold(self, queue: Queue) -> None:
        """Enqueue a task for later."""
        due = self.now + self.random.randint(1, 40) * SECOND
        task = self.task(due)
        if self.model.embedded:
            self.model.enqueue(task, self.now)
        else:
            self.model.hold(task, due)
        await self.rig.hold(task, queue)

    async def promote(self, queue: Queue) -> None:
        """Let one process send what is due."""
        self.model.promote(self.now)
        if self.rig.promoters:
            await self.rig.promoters[self.rig.queues.index(queue)].promote()

    async def receive(self, queue: Queue) -> None:
        """Receive ten."""
        if self.model.embedded:
            self.model.promote(self.now)
        before = {message: message.delivery for messages in self.model.groups.values() for message in messages}
        self.model.receive(await queue.receive(10, NOW), self.now)
        for message, delivery in before.items():
            if delivery is not None and message.delivery is not delivery:
                self.stale.append((message, delivery))

    async def settle(self, queue: Queue) -> None:
        """End a lease, or extend it, in whichever process."""
        leased = [message for message in self.model.leased(self.now) if not self.never_settled(message)]
        if not leased:
            return
        message = self.random.choice(leased)
        delivery, delay = message.delivery, self.random.randint(0, 9) * SECOND
        assert delivery is not None
        assert delivery.task is not None
        match self.random.choice(["complete", "complete", "complete", "release", "extend", "retry", "bury"]):
            case "complete":
                self.model.remove(message)
                await queue.complete(delivery)
            case "release":
                self.model.give_back(message, message.task, self.now, counted=False)
                await queue.release(delivery)
            case "extend":
                message.visible_at = self.now + LEASE
                await queue.extend(delivery, LEASE)
            case "retry":
                self.model.give_back(message, message.task, self.now + delay, counted=True)
                await queue.retry(delivery, delivery.task.next_attempt(), delay)
            case _:
                self.model.bury(message)
                await queue.dead_letter(delivery, dead_letter_message(delivery.task, "boom", self.now, "tasks"))

    def never_settled(self, message: Message) -> bool:
        """Whether each attempt of a task loses its lease, until an embedded queue makes it a dead letter by itself."""
        return self.model.embedded and message.task.id.endswith("7")

    async def stale_settle(self, queue: Queue) -> None:
        """Complete by a receipt that was good once: the message was received again, and nothing happens to it."""
        if self.stale:
            _, delivery = self.stale.pop(self.random.randrange(len(self.stale)))
            with suppress(VisibilityTimeoutError):
                await queue.complete(delivery)

    async def purge(self, queue: Queue) -> None:
        """Purge; SQS allows it once a minute."""
        if self.now - self._purged_at >= 60 * SECOND:
            self._purged_at = self.now
            self.model.purge(self.now)
            await queue.purge()

    async def finish(self) -> None:
        """Take everything that is left: each task once, in the order of its group, and the dead letters likewise."""
        await self.rig.clock.advance(timedelta(minutes=2))
        await self.promote(self.rig.queues[0])
        while self.model.size:
            await self.receive(self.random.choice(self.rig.queues))
            for message in self.model.leased(self.now):
                assert message.delivery is not None
                self.model.remove(message)
                await self.rig.queues[0].complete(message.delivery)
        assert [] == await self.rig.queues[1].receive(10, NOW)
        dead: dict[str, list[str]] = {group: [] for group in GROUPS}
        while deliveries := await self.rig.dead_letters.receive(10, NOW):
            for delivery in deliveries:
                dead[str(delivery.group)].append(task_id(delivery))
                await self.rig.dead_letters.complete(delivery)
        assert self.model.dead == dead


def group_of(task: Task) -> str:
    """Return the group of a task that has one."""
    assert task.group is not None
    return task.group


def task_id(delivery: Delivery) -> str:
    """Return the id of a delivered task."""
    assert delivery.task is not None
    return delivery.task.id


@asynccontextmanager
async def in_memory(directory: Path) -> AsyncIterator[Rig]:
    """Provide the queue in memory: its processes are one."""
    clock, serializer = FakeClock(START), JsonTaskSerializer()
    dlq = InMemoryQueue(DLQ, clock=clock, serializer=serializer)
    queue = InMemoryQueue(SPEC, clock=clock, serializer=serializer, dead_letters=dlq)
    yield Rig(clock, [queue, queue], dlq)


@asynccontextmanager
async def in_file(directory: Path) -> AsyncIterator[Rig]:
    """Provide the queue in a file that two processes have open."""
    clock, serializer = FakeClock(START), JsonTaskSerializer()
    async with AsyncExitStack() as stack:
        backends = [
            await stack.enter_async_context(SqliteBackend(directory / "queue.db", clock=clock, serializer=serializer))
            for _ in range(2)
        ]
        dead_letters = [backend.queue(DLQ) for backend in backends]
        yield Rig(clock, [backend.queue(SPEC) for backend in backends], dead_letters[0])


@asynccontextmanager
async def at_sqs(directory: Path) -> AsyncIterator[Rig]:
    """Provide the queue at a strict SQS in memory, with a ledger that holds tasks."""
    async with shared_by_processes(Place.SQS_FIFO, directory / "ledger.db", succeed, lease=LEASE) as shared:
        processes = [await shared.start() for _ in range(2)]
        queues = [process.queue for process in processes]
        promoters = [process.promoter for process in processes]
        yield Rig(shared.clock, queues, processes[0].dead_letters, promoters)


Backend = Callable[[Path], AbstractAsyncContextManager[Rig]]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("backend", [in_memory, in_file, at_sqs])
async def test_random_runs_agree_with_the_model(backend: Backend, seed: int, tmp_path: Path) -> None:
    """Nothing is lost, nothing runs out of its order, and no receipt that was taken over does anything."""
    async with backend(tmp_path) as rig:
        run = Run(rig, seed)
        for number in range(STEPS):
            try:
                await run.step()
            except Exception as error:
                error.add_note(f"in step {number} of seed {seed}")
                raise
        await run.finish()
