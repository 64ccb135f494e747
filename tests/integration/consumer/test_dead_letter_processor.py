"""From the dead-letter queue into the ledger."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from mcp_queue.consumer.dead_letter_processor import DeadLetterProcessor
from mcp_queue.domain.dead_letters.dead_letter import DeadLetter, DeadLetterFilter
from mcp_queue.domain.errors import BackendUnavailableError, LedgerUnavailableError
from mcp_queue.domain.execution.retry import dead_letter_message
from mcp_queue.domain.formats.serialization import JsonTaskSerializer
from mcp_queue.domain.task import Task
from mcp_queue.services.queues.long_polling import LongPolling
from mcp_queue.testing import InMemoryQueue
from tests.support.ledger import LedgerHarness, ledger_harness
from tests.support.tasks import standard


class Stage:
    """A dead-letter queue, its source, and what processes it."""

    def __init__(self, harness: LedgerHarness, sources: Sequence[str] = ("tasks", "orders")) -> None:
        """Start with empty queues."""
        self.harness = harness
        serializer = JsonTaskSerializer()
        self.dead = InMemoryQueue(standard("dlq", dead_letter_queue=None), clock=harness.clock, serializer=serializer)
        self.source = InMemoryQueue(
            standard(max_receive_count=1), clock=harness.clock, serializer=serializer, dead_letters=self.dead
        )
        self.sources = sources

    def processor(self, wait: timedelta = timedelta(seconds=1)) -> DeadLetterProcessor:
        """Make a processor, which is good for one run."""
        return DeadLetterProcessor(
            self.dead,
            sources=self.sources,
            store=self.harness.ledger.dead_letters,
            clock=self.harness.clock,
            random=lambda: 1.0,
            wait=wait,
        )

    def task(self, task_id: str = "t1", **members: Any) -> Task:
        """Make a task."""
        return Task(id=task_id, type="job", queue="tasks", created_at=self.harness.clock.now(), **members)

    async def bury(self, task: Task, reason: str = "broken") -> None:
        """Dead-letter a task as the consumer does."""
        await self.source.enqueue(task)
        (delivery,) = await self.source.receive(1, timedelta(0))
        await self.source.dead_letter(delivery, dead_letter_message(task, reason, self.harness.clock.now(), "tasks"))

    async def process(self, seconds: float = 0) -> None:
        """Let the processor run for a while."""
        async with self.processor().running(asyncio.Event()):
            await self.harness.clock.advance(timedelta(seconds=seconds))
        self.dead._polling = LongPolling(self.harness.clock)  # in the next process, receives wait again

    async def dead_letters(self, queue: str = "tasks") -> tuple[DeadLetter, ...]:
        """Return what is stored."""
        query = DeadLetterFilter(queue=queue)
        return (await self.harness.ledger.dead_letters.read_dead_letters(query, limit=100)).items

    async def left(self) -> int:
        """Count what is still in the queue."""
        stats = await self.dead.stats()
        return stats.approximate_messages + stats.inflight_messages


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """Return queues over a ledger in a file of its own."""
    async with ledger_harness(f"sqlite+aiosqlite:///{tmp_path / 'ledger.db'}") as harness:
        yield Stage(harness)


async def test_a_dead_letter_is_stored_and_then_completed(stage: Stage) -> None:
    """Reason and source come from our own notes, which do not stay in the task."""
    await stage.bury(stage.task(metadata={"team": "a"}))
    await stage.process()

    (dead_letter,) = await stage.dead_letters()
    assert ("t1", "broken") == (dead_letter.task_id, dead_letter.failure_reason)
    assert dead_letter.task is not None
    assert dead_letter.task.metadata == {"team": "a"}
    assert await stage.left() == 0


async def test_what_is_not_stored_stays_in_the_queue(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ledger that is away loses no dead letter; they are stored when it is back."""
    store, failures = stage.harness.ledger.dead_letters, [LedgerUnavailableError()]
    original = store.store_dead_letters

    async def unreliable(dead_letters: Sequence[DeadLetter]) -> Sequence[bool]:
        if failures:
            raise failures.pop()
        return await original(dead_letters)

    monkeypatch.setattr(store, "store_dead_letters", unreliable)
    await stage.bury(stage.task())
    await stage.process(seconds=0)
    assert await stage.left() == 1
    await stage.process(seconds=5)

    assert await stage.left() == 0
    assert len(await stage.dead_letters()) == 1


async def test_a_dead_letter_that_cannot_be_completed_is_not_stored_twice(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes again, and its row stands already."""
    failures, original = [BackendUnavailableError()], stage.dead.complete

    async def unreliable(delivery: Any) -> None:
        if failures:
            raise failures.pop()
        await original(delivery)

    monkeypatch.setattr(stage.dead, "complete", unreliable)
    await stage.bury(stage.task())
    await stage.process()
    assert await stage.left() == 1
    await stage.harness.clock.advance(timedelta(seconds=301))
    await stage.process()

    assert await stage.left() == 0
    assert len(await stage.dead_letters()) == 1


async def test_a_dead_letter_of_the_backends_own_policy_says_so(stage: Stage) -> None:
    """A task whose worker keeps crashing was moved by the backend: its reason is not the handler's."""
    await stage.source.enqueue(stage.task())
    for _ in range(stage.source.spec.backend_receives):
        assert await stage.source.receive(1, timedelta(0))
        await stage.harness.clock.advance(timedelta(seconds=301))
    assert [] == await stage.source.receive(1, timedelta(0))
    await stage.process()

    (dead_letter,) = await stage.dead_letters()
    assert "its worker crashed, or its lease was lost" in dead_letter.failure_reason


async def test_what_other_programs_sent_is_stored_too(stage: Stage) -> None:
    """A task without notes, and a body that is no task, are readable like every other."""
    await stage.dead.enqueue(stage.task("foreign"))
    stage.dead._add("{nonsense", {"failed_at": "never"}, None)
    await stage.process()

    (foreign,) = await stage.dead_letters("tasks")
    (raw,) = await stage.dead_letters("dlq")
    assert foreign.failure_reason == "sent to the dead-letter queue by another program"
    assert ("{nonsense", None) == (raw.body, raw.task)
    assert "not JSON" in raw.failure_reason


async def test_a_dead_letter_nobody_can_place_belongs_to_the_only_source(stage: Stage) -> None:
    """With one source there is no doubt."""
    alone = Stage(stage.harness, sources=["tasks"])
    alone.dead._add("{nonsense", {}, None)
    await alone.process()

    assert len(await alone.dead_letters("tasks")) == 1


async def test_a_processor_that_is_told_to_stop_waits_for_no_dead_letter(stage: Stage) -> None:
    """What its consumer drains does not wait for a poll of the dead-letter queue on top."""
    processor = stage.processor(wait=timedelta(hours=1))
    async with processor.running(asyncio.Event()):
        await stage.harness.clock.advance(timedelta(seconds=1))
        before = stage.harness.clock.now()
        processor.stop()
    assert stage.harness.clock.now() == before
    await stage.bury(stage.task())
    assert await stage.left() == 1


async def test_a_processor_that_waits_for_its_ledger_can_be_stopped(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of a process does not wait until it would try again."""

    async def away(_dead_letters: Sequence[DeadLetter]) -> Sequence[bool]:
        raise LedgerUnavailableError

    monkeypatch.setattr(stage.harness.ledger.dead_letters, "store_dead_letters", away)
    await stage.bury(stage.task())
    processor = stage.processor()
    async with asyncio.timeout(3), processor.running(asyncio.Event()):
        await stage.harness.clock.advance(timedelta(0))
        processor.stop()
    assert await stage.left() == 1


async def test_a_hurried_processor_waits_for_no_poll(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second signal stops at once, also while SQS holds a poll open."""
    monkeypatch.setattr(stage.dead, "stop_waiting", lambda: None)  # as SQS cannot
    hurry = asyncio.Event()
    async with asyncio.timeout(3), stage.processor(wait=timedelta(hours=1)).running(hurry):
        await stage.harness.clock.advance(timedelta(0))
        hurry.set()
