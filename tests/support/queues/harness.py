"""Queues of every backend behind one face, for the suite that states what a queue promises."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import pytest

from mcp_queue.adapters.clock import SystemClock
from mcp_queue.adapters.sqlite import SqliteBackend
from mcp_queue.domain.delivery import Delivery
from mcp_queue.domain.formats.serialization import JsonTaskSerializer
from mcp_queue.domain.queues import Backend, QueueKind, QueueSpec
from mcp_queue.domain.task import Task
from mcp_queue.ports import Clock, PauseSwitch, Queue
from mcp_queue.testing import FakeClock, InMemoryQueue
from mcp_queue.testing.pauses import InMemoryPauseSwitch
from tests.support.clock import NOW, SECOND, START
from tests.support.sqs.client import create_queue, sqs_backend, sqs_client
from tests.support.tasks import a_task, make_spec

if TYPE_CHECKING:
    from types_aiobotocore_sqs import SQSClient

#: How long a receive of the suite hides a message, unless a test says otherwise: short, for backends on a real clock.
LEASE = 2 * SECOND
_RAW = "raw"
#: How much later than asked for the emulator ends a lease or a delay.
_LATE = timedelta(milliseconds=300)
_TRIES = 20


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


def spec_of(name: str, **members: Any) -> QueueSpec:
    """Return the spec of a queue whose leases are short; ``members`` replace the defaults."""
    return make_spec(name, **{"visibility_timeout": LEASE, **members})


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
        await queue.enqueue(a_task("raw", type=_RAW, payload=body))

    async def pass_time(self, duration: timedelta) -> None:
        await self.clock.advance(duration)

    async def eventually(self, check: Callable[[], Awaitable[bool]]) -> None:
        assert await check()

    def _specs(self, overrides: dict[str, Any]) -> tuple[QueueSpec, QueueSpec]:
        number = next(self._numbers)
        kind = overrides.get("kind", QueueKind.STANDARD)
        dead_letters = spec_of(f"dlq-{number}", kind=kind, backend=self.backend_kind)
        defaults = {"name": f"work-{number}", "dead_letter_queue": dead_letters.name, "backend": self.backend_kind}
        members = defaults | overrides
        return spec_of(**members), dead_letters


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


class SqsHarness:
    """Queues at SQS, on the machine's clock."""

    name = "sqs"
    capabilities = Capabilities(
        exact_counts=False,
        stale_receipts_raise=False,
        release_uncounts=False,
        any_delay=False,
        names_first_copy=False,
        ends_receives=False,
        fake_time=False,
    )
    patience = timedelta(seconds=3)

    def __init__(self, sqs: "SQSClient", stack: AsyncExitStack) -> None:
        """Create queues by ``sqs``; ``stack`` closes their backends."""
        self.clock = SystemClock()
        self._sqs = sqs
        self._stack = stack

    @property
    def pauses(self) -> PauseSwitch:
        """SQS remembers no paused queues: the ledger does."""
        pytest.skip("SQS has no pause switch")

    async def queue(self, **overrides: Any) -> tuple[Queue, Queue]:
        """Create a pair of queues, the first with a redrive policy to the second."""
        fifo = overrides.get("kind") is QueueKind.FIFO
        dlq_url = await create_queue(self._sqs, "dlq", fifo=fifo)
        spec = spec_of(**({"name": "work", "dead_letter_queue": "dlq"} | overrides | {"backend": Backend.SQS}))
        url = await create_queue(
            self._sqs,
            "work",
            fifo=fifo,
            dead_letters=dlq_url if spec.dead_letter_queue else None,
            max_receive_count=spec.backend_receives,
        )
        spec = replace(spec, url=url)
        dlq_spec = spec_of("dlq", kind=spec.kind, backend=Backend.SQS, url=dlq_url)
        backend = sqs_backend(spec, dlq_spec, clock=self.clock, serializer=RawSerializer())
        await self._stack.enter_async_context(backend)
        return backend.queue("work"), backend.queue("dlq")

    async def put_raw(self, queue: Queue, body: str) -> None:
        """Send a body that is no task."""
        await queue.enqueue(a_task("raw", type="raw", payload=body))

    async def pass_time(self, duration: timedelta) -> None:
        """Wait: this backend's time is everybody's."""
        await self.clock.sleep((duration + _LATE).total_seconds())

    async def eventually(self, check: Callable[[], Awaitable[bool]]) -> None:
        """Look again until it holds: counts lag."""
        for _ in range(_TRIES):
            if await check():
                return
            await self.clock.sleep(_LATE.total_seconds())
        pytest.fail("it never came to hold")


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


@asynccontextmanager
async def sqs_harness() -> AsyncIterator[QueueHarness]:
    """Provide queues at the emulator that the environment names."""
    async with AsyncExitStack() as stack:
        sqs = await stack.enter_async_context(sqs_client())
        yield SqsHarness(sqs, stack)


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
