"""Queues of every backend behind one face, for the suite that states what a queue promises."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any, Protocol, cast

from mcp_queue.adapters.sqlite import SqliteBackend
from mcp_queue.domain.delivery import Delivery
from mcp_queue.domain.formats.serialization import JsonTaskSerializer
from mcp_queue.domain.queues import Backend, QueueKind, QueueSpec
from mcp_queue.domain.task import Task
from mcp_queue.ports import Clock, PauseSwitch, Queue
from mcp_queue.testing import FakeClock, InMemoryQueue
from mcp_queue.testing.pauses import InMemoryPauseSwitch
from tests.support.clock import NOW, SECOND, START

#: How long a receive of the suite hides a message, unless a test says otherwise: short, for backends on a real clock.
LEASE = 2 * SECOND
_RAW = "raw"


@dataclass(frozen=True, slots=True)
class Capabilities:
    """Where backends may differ. The suite asks before it asserts."""

    #: Counts, purges and ages are true at once, and a full queue says so.
    exact_counts: bool = True
    #: Whoever uses a receipt that is no longer good is told.
    stale_receipts_raise: bool = True
    #: A release takes back the receive that it ends.
    release_uncounts: bool = True
    #: Any delay is held, on FIFO queues too.
    any_delay: bool = True
    #: A duplicate learns the id of the first task.
    names_first_copy: bool = True
    #: A receive that waits can be ended.
    ends_receives: bool = True
    #: Minutes and hours pass in no time.
    fake_time: bool = True


class QueueHarness(Protocol):
    """A backend under test."""

    name: str
    capabilities: Capabilities
    #: How long a receive may have to wait for a message that is there.
    patience: timedelta

    @property
    def clock(self) -> Clock:
        """The clock that the queues go by."""
        ...

    @property
    def pauses(self) -> PauseSwitch:
        """The backend's memory of paused queues."""
        ...

    async def queue(self, **overrides: object) -> tuple[Queue, Queue]:
        """Return a new, empty queue with these members of its spec, and its dead-letter queue of the same kind."""
        ...

    async def put_raw(self, queue: Queue, body: str) -> None:
        """Put a message into ``queue`` whose body is no task."""
        ...

    async def pass_time(self, duration: timedelta) -> None:
        """Return when ``duration`` has passed for the backend."""
        ...

    async def eventually(self, check: Callable[[], Awaitable[bool]]) -> None:
        """Return when ``check`` holds; fail when it does not within the time that the backend may take."""
        ...


def make_task(task_id: str = "t-1", **members: Any) -> Task:
    """Return a task; ``members`` replace the defaults."""
    return replace(Task(id=task_id, type="echo", queue="work", created_at=START), **members)


def make_spec(name: str = "work", **members: Any) -> QueueSpec:
    """Return the spec of a standard queue; ``members`` replace the defaults."""
    defaults: dict[str, Any] = {"kind": QueueKind.STANDARD, "backend": Backend.MEMORY, "visibility_timeout": LEASE}
    return QueueSpec(name=name, **(defaults | members))


class RawSerializer(JsonTaskSerializer):
    """Writes the payload of a task of type ``raw`` as the whole body."""

    def dumps(self, task: Task) -> str:
        """Return the body."""
        return cast("str", task.payload) if task.type == _RAW else super().dumps(task)


class _EmbeddedHarness:
    """What the backends on a fake clock have in common."""

    capabilities = Capabilities()
    patience = NOW
    backend_kind: Backend

    def __init__(self) -> None:
        self.clock = FakeClock(START)
        self.serializer = RawSerializer()
        self._numbers = count(1)

    async def put_raw(self, queue: Queue, body: str) -> None:
        await queue.enqueue(make_task("raw", type=_RAW, payload=body))

    async def pass_time(self, duration: timedelta) -> None:
        await self.clock.advance(duration)

    async def eventually(self, check: Callable[[], Awaitable[bool]]) -> None:
        assert await check()

    def _specs(self, overrides: dict[str, Any]) -> tuple[QueueSpec, QueueSpec]:
        number = next(self._numbers)
        kind = overrides.get("kind", QueueKind.STANDARD)
        dead_letters = make_spec(f"dlq-{number}", kind=kind, backend=self.backend_kind)
        defaults = {"name": f"work-{number}", "dead_letter_queue": dead_letters.name, "backend": self.backend_kind}
        members = defaults | overrides
        return make_spec(**members), dead_letters


class MemoryHarness(_EmbeddedHarness):
    """Queues in memory."""

    name = "memory"
    backend_kind = Backend.MEMORY

    def __init__(self) -> None:
        """Start with no queue."""
        super().__init__()
        self.pauses: PauseSwitch = InMemoryPauseSwitch()

    async def queue(self, **overrides: object) -> tuple[Queue, Queue]:
        """Make a pair of queues."""
        spec, dlq_spec = self._specs(overrides)
        dead_letters = InMemoryQueue(dlq_spec, clock=self.clock, serializer=self.serializer)
        target = None if spec.dead_letter_queue is None else dead_letters
        return InMemoryQueue(spec, clock=self.clock, serializer=self.serializer, dead_letters=target), dead_letters


class SqliteHarness(_EmbeddedHarness):
    """Queues in one file."""

    name = "sqlite"
    backend_kind = Backend.SQLITE

    def __init__(self, path: Path) -> None:
        """Use the file at ``path``."""
        super().__init__()
        self.backend = SqliteBackend(path, clock=self.clock, serializer=self.serializer)
        self.pauses: PauseSwitch = self.backend.pauses

    async def queue(self, **overrides: object) -> tuple[Queue, Queue]:
        """Make a pair of queues."""
        spec, dlq_spec = self._specs(overrides)
        return self.backend.queue(spec), self.backend.queue(dlq_spec)


@asynccontextmanager
async def memory_harness() -> AsyncIterator[QueueHarness]:
    """Provide queues in memory."""
    yield MemoryHarness()


@asynccontextmanager
async def sqlite_harness(directory: Path) -> AsyncIterator[QueueHarness]:
    """Provide queues in a new file."""
    harness = SqliteHarness(directory / "queue.db")
    async with harness.backend:
        yield harness


async def take(harness: QueueHarness, queue: Queue, number: int = 1) -> list[Delivery]:
    """Receive exactly ``number`` messages, in several receives where the backend gives fewer at once."""
    taken: list[Delivery] = []
    for _ in range(number + 5):
        taken += await queue.receive(min(number - len(taken), 10), harness.patience)
        if len(taken) == number:
            return taken
    message = f"expected {number} messages, got {len(taken)}"
    raise AssertionError(message)


async def take_one(harness: QueueHarness, queue: Queue) -> Delivery:
    """Receive one message."""
    (delivery,) = await take(harness, queue)
    return delivery


def ids(deliveries: Iterable[Delivery]) -> list[str]:
    """Return the ids of the tasks, in the order received."""
    return [delivery.task.id if delivery.task else delivery.message_id for delivery in deliveries]
