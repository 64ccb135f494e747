"""The queue in memory and the one in a file, asked the same things, give the same answers."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_queue.adapters.sqlite import SqliteBackend
from mcp_queue.domain.delivery import Accepted, Delivery
from mcp_queue.domain.errors import QueueError
from mcp_queue.domain.execution.retry import dead_letter_message
from mcp_queue.domain.formats.serialization import JsonTaskSerializer
from mcp_queue.domain.queues import RECEIVES_HEADROOM, QueueKind
from mcp_queue.ports import Queue
from mcp_queue.testing import FakeClock, InMemoryQueue
from tests.support.clock import NOW, SECOND, START
from tests.support.tasks import a_task, make_spec

Step = Callable[["Twins"], Awaitable[None]]


@dataclass
class Twins:
    """Two queues with their dead-letter queues, and the pairs of deliveries that both gave."""

    clock: FakeClock
    queues: list[Queue]
    graves: list[Queue]
    held: list[list[Delivery]] = field(default_factory=list)

    async def ask(self, question: Callable[[Queue], Awaitable[object]]) -> None:
        """Ask both, one after the other at the same moment, and compare."""
        answers = [await _answer(question(queue)) for queue in self.queues]
        assert answers[0] == answers[1]

    async def settle(self, index: int, settlement: Callable[[Queue, Delivery], Awaitable[None]]) -> None:
        """Settle the same delivery of both; one that was settled before, too."""
        if self.held:
            pair = self.held[index % len(self.held)]
            answers = [await _answer(settlement(queue, of)) for queue, of in zip(self.queues, pair, strict=True)]
            assert answers[0] == answers[1]


async def _answer(asked: Awaitable[object]) -> object:
    try:
        value = await asked
    except QueueError as error:
        return type(error)
    return value.duplicate_of if isinstance(value, Accepted) else value


def _facts(deliveries: list[Delivery]) -> list[tuple[object, ...]]:
    return [
        (of.queue, of.task, of.receive_count, of.group, of.sent_at, of.source_queue, of.attributes, of.leased_at)
        for of in deliveries
    ]


def enqueue(name: int, group: str, delay: int) -> Step:
    """Enqueue a task, perhaps a copy of an earlier one."""

    async def step(twins: Twins) -> None:
        due = twins.clock.now() + delay * SECOND if delay else None
        task = a_task(f"t-{name}", group=group, scheduled_for=due)
        await twins.ask(lambda queue: queue.enqueue(task))

    return step


def receive() -> Step:
    """Receive as many as there are, in an order that only a standard queue has to keep among its groups."""

    async def step(twins: Twins) -> None:
        received = [await queue.receive(10, NOW) for queue in twins.queues]
        if twins.queues[0].spec.fifo:
            received = [sorted(deliveries, key=lambda of: of.group or "") for deliveries in received]
        assert _facts(received[0]) == _facts(received[1])
        twins.held += [list(pair) for pair in zip(*received, strict=True)]

    return step


def settle(how: str, index: int) -> Step:
    """End a lease, or extend it."""

    async def settlement(queue: Queue, delivery: Delivery) -> None:
        assert delivery.task is not None
        match how:
            case "complete":
                await queue.complete(delivery)
            case "release":
                await queue.release(delivery)
            case "extend":
                await queue.extend(delivery, 3 * SECOND)
            case "retry":
                await queue.retry(delivery, delivery.task.next_attempt(), 3 * SECOND)
            case _:
                await queue.dead_letter(delivery, dead_letter_message(delivery.task, "boom", START, queue.spec.name))

    async def step(twins: Twins) -> None:
        await twins.settle(index, settlement)

    return step


def pass_time(seconds: int) -> Step:
    """Let time pass."""

    async def step(twins: Twins) -> None:
        await twins.clock.advance(seconds * SECOND)

    return step


def purge() -> Step:
    """Purge."""

    async def step(twins: Twins) -> None:
        await twins.ask(lambda queue: queue.purge())

    return step


STEPS = st.one_of(
    st.builds(enqueue, st.integers(0, 9), st.sampled_from(["a", "a\0b", "雪"]), st.sampled_from([0, 0, 0, 1, 4, 9])),
    st.builds(receive),
    st.builds(
        settle, st.sampled_from(["complete", "complete", "release", "extend", "retry", "bury"]), st.integers(0, 9)
    ),
    st.builds(pass_time, st.sampled_from([0, 1, 2, 5, 301])),
    st.builds(purge),
)


async def compare(kind: QueueKind, steps: list[Step], directory: Path) -> None:
    """Take all steps with both queues, comparing their statistics after each."""
    clock, serializer = FakeClock(START), JsonTaskSerializer()
    grave = make_spec("dlq", kind=kind)
    spec = make_spec(kind=kind, dead_letter_queue="dlq", max_receive_count=2 - RECEIVES_HEADROOM, max_depth=6)
    in_memory = InMemoryQueue(grave, clock=clock, serializer=serializer)
    async with SqliteBackend(directory / "queue.db", clock=clock, serializer=serializer) as backend:
        in_file = backend.queue(grave)
        queues: list[Queue] = [
            InMemoryQueue(spec, clock=clock, serializer=serializer, dead_letters=in_memory),
            backend.queue(spec),
        ]
        twins = Twins(clock, queues, [in_memory, in_file])
        for step in steps:
            await step(twins)
            await twins.ask(lambda queue: queue.stats())
        dead = [await queue.receive(10, timedelta(0)) for queue in twins.graves]
        if kind is QueueKind.FIFO:
            dead = [sorted(deliveries, key=lambda of: of.group or "") for deliveries in dead]
        assert _facts(dead[0]) == _facts(dead[1])


@settings(max_examples=60, deadline=None)
@given(kind=st.sampled_from([QueueKind.STANDARD, QueueKind.FIFO]), steps=st.lists(STEPS, max_size=40))
def test_both_embedded_queues_answer_alike(kind: QueueKind, steps: list[Step]) -> None:
    """Whatever is asked in whatever order, messages, verdicts and counts are the same."""
    with TemporaryDirectory() as directory:
        asyncio.run(compare(kind, steps, Path(directory)))
