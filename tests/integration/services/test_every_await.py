"""Work that is cancelled, or whose process dies, at any await whatever: what was promised holds all the same."""

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from mcp_queue.domain.dead_letters.dead_letter import DeadLetterFilter, Redrive, RedriveStatus
from mcp_queue.domain.errors import (
    BackendUnavailableError,
    IdempotencyInProgressError,
    PermanentError,
    RetryableError,
    TaskTooLargeError,
)
from mcp_queue.domain.task import JsonValue, Task, TaskStatus
from mcp_queue.services.dead_letters import redrive as redriving
from mcp_queue.services.enqueueing.submission import Enqueued, IdempotencyKey
from tests.support.clock import HOUR, MINUTE, SECOND, START
from tests.support.interruption.processes import LAPSE, Place, Process, Shared, shared_by_processes
from tests.support.interruption.stepping import Ended, Interruption, interrupt
from tests.support.ledger import ledger_harness
from tests.support.tasks import a_dead_letter

#: More awaits than any of this work has.
MANY = 400

Work = Callable[[Shared, Process], Coroutine[Any, Any, Any]]
Prepare = Callable[[Shared, Process], Awaitable[None]]
Check = Callable[[Shared, Ended[Any]], Awaitable[None]]

everywhere = pytest.mark.parametrize("place", Place)


class Script:
    """A handler that does with each attempt what a test says, by default succeed."""

    def __init__(self, *outcomes: Exception | None) -> None:
        """End the first attempts of ``t1`` with ``outcomes``, one each; everything else succeeds."""
        self._outcomes = outcomes
        self.shared: Shared | None = None

    async def __call__(self, task: Task) -> JsonValue:
        """Run one attempt."""
        assert self.shared is not None, "the queues are there"
        _, attempt = self.shared.dispatcher.ran[-1]
        error = self._outcomes[attempt - 1] if task.id == "t1" and attempt <= len(self._outcomes) else None
        if error is not None:
            raise error
        return task.payload


class Laboratory:
    """Makes the same beginning again and again, and interrupts the same work one await later each time."""

    def __init__(self, directory: Path) -> None:
        """Keep ledgers in ``directory``."""
        self._directory = directory
        self._numbers = count()
        self._script = Script()

    def script(self, *outcomes: Exception | None) -> None:
        """End the first attempts of ``t1`` with ``outcomes``."""
        self._script = Script(*outcomes)

    @asynccontextmanager
    async def shared(self, place: Place) -> AsyncIterator[Shared]:
        """Provide empty queues and an empty ledger: a copy of the first, which is quicker to make."""
        template = self._directory / "template.db"
        if not template.exists():
            async with ledger_harness(f"sqlite+aiosqlite:///{template}"):
                pass
        ledger_file = self._directory / f"ledger-{next(self._numbers)}.db"
        shutil.copy(template, ledger_file)
        async with shared_by_processes(place, ledger_file, self._script) as shared:
            self._script.shared = shared
            yield shared

    async def interrupt_everywhere(self, place: Place, prepare: Prepare, work: Work, check: Check) -> None:
        """Interrupt ``work`` at each of its awaits, in both ways, and let it end once; check after each.

        A crash inside a transaction is one before it. A cancellation there is tried at one place, since the ledger is
        the same for all.
        """
        for how in Interruption:
            deep = how is Interruption.CANCEL and place is Place.SQS_FIFO
            for at in range(1, MANY):
                async with self.shared(place) as shared:
                    await prepare(shared, await shared.start())
                    victim = await shared.start()
                    ended = await interrupt(work(shared, victim), at, how, victim.life, in_transactions=deep)
                    assert ended.interrupted or ended.finished, ended
                    await shared.written()
                    try:
                        await check(shared, ended)
                    except Exception as error:
                        error.add_note(f"{how.name} at await {at}, {ended}")
                        raise
                    assert 0 == shared.metrics.twice, "no delivery is settled twice"
                if not ended.interrupted:
                    break
            assert 2 < at < MANY - 1, "it was interrupted at each of its awaits"


@pytest.fixture
def laboratory(tmp_path: Path) -> Laboratory:
    """Return a laboratory."""
    return Laboratory(tmp_path)


async def nothing(shared: Shared, process: Process) -> None:
    """Begin with empty queues."""


class Client:
    """Asks for the same task again until it is answered, under one key, as clients do."""

    def __init__(self, **members: object) -> None:
        """Ask for a task with these members."""
        self._members = members
        self._numbers = count(1)
        self._key = IdempotencyKey("k", "hash", lambda enqueued: enqueued.task.id.encode())

    async def ask(self, shared: Shared, process: Process) -> str:
        """Return the id that the answer 202 names."""
        task = shared.task(f"draft-{next(self._numbers)}", **self._members)
        verdict = await process.submission.submit(process.queue, task, self._key)
        return verdict.task.id if isinstance(verdict, Enqueued) else verdict.answer.decode()

    async def insist(self, shared: Shared, process: Process) -> str:
        """Ask until there is an answer; the claim of the request before may have to lapse first, once."""
        try:
            return await self.ask(shared, process)
        except IdempotencyInProgressError:
            await shared.clock.advance(31 * SECOND)
            return await self.ask(shared, process)


async def depth(process: Process) -> int:
    """Count what lies in the queue."""
    stats = await process.queue.stats()
    return stats.approximate_messages + stats.inflight_messages + stats.delayed_messages


@everywhere
@pytest.mark.parametrize("delay", [0, 1], ids=["now", "in an hour"])
async def test_enqueue(laboratory: Laboratory, place: Place, delay: int) -> None:
    """An answered task is there; one that was not answered may be asked for again, and runs once."""
    members: dict[str, object] = {"deduplication_id": "d"} if place.fifo else {}
    client = Client(**members, scheduled_for=START + HOUR if delay else None)

    async def check(shared: Shared, ended: Ended[str]) -> None:
        other = await shared.start()
        if ended.finished:
            held = await shared.status(str(ended.answer)) is TaskStatus.SCHEDULED
            assert held or await depth(other) == 1, "202 means that the task is there"
        task_id = await client.insist(shared, other)
        assert ended.answer in {None, task_id}
        await shared.clock.advance(delay * HOUR + SECOND)
        await other.promoter.promote()
        await shared.consume_all(other)
        assert ([task_id], [1]) == (shared.ran, shared.attempts(task_id))
        assert TaskStatus.COMPLETED is await shared.status(task_id)

    await laboratory.interrupt_everywhere(place, nothing, client.ask, check)


@everywhere
async def test_refused_enqueue(laboratory: Laboratory, place: Place) -> None:
    """A refusal frees its key before it is told; one that was not told frees it after 30 s at the latest."""
    client = Client(payload="x" * 2**21)
    smaller = Client()

    async def ask(shared: Shared, victim: Process) -> str:
        with pytest.raises(TaskTooLargeError):
            await client.ask(shared, victim)
        return "refused"

    async def check(shared: Shared, ended: Ended[str]) -> None:
        other = await shared.start()
        task_id = await (smaller.ask if ended.finished else smaller.insist)(shared, other)
        await shared.consume_all(other)
        assert [task_id] == shared.ran

    await laboratory.interrupt_everywhere(place, nothing, ask, check)


@everywhere
@pytest.mark.parametrize(
    ("outcomes", "attempts", "status"),
    [
        ([], [1], TaskStatus.COMPLETED),
        ([RetryableError("again")], [1, 2], TaskStatus.COMPLETED),
        ([PermanentError("no")], [1], TaskStatus.DEAD_LETTERED),
    ],
    ids=["success", "failure", "last failure"],
)
async def test_settle(
    laboratory: Laboratory, place: Place, outcomes: list[Exception], attempts: list[int], status: TaskStatus
) -> None:
    """A task ends once, and as it would have; only an attempt whose process died may run again."""
    laboratory.script(*outcomes)

    async def prepare(shared: Shared, process: Process) -> None:
        await process.submission.submit_all(process.queue, [(shared.task(name), None) for name in ("t1", "t2")])

    async def check(shared: Shared, ended: Ended[bool]) -> None:
        await shared.lapse()
        await shared.consume_all(await shared.start())
        ran, dead = shared.attempts("t1"), await shared.ledger.dead_letters.summaries()
        assert (status, TaskStatus.COMPLETED) == (await shared.status("t1"), await shared.status("t2"))
        assert (status is TaskStatus.DEAD_LETTERED) == ("tasks" in dead)
        assert sum(summary.waiting for summary in dead.values()) <= 1
        assert ran == sorted(ran)
        assert shared.attempts("t2") == [1]
        assert ran == attempts or (not ended.finished and len(ran) == len(attempts) + 1)
        assert not shared.place.fifo or shared.ran == ["t1"] * len(ran) + ["t2"]

    await laboratory.interrupt_everywhere(place, prepare, lambda _, victim: victim.consume(), check)


@everywhere
async def test_promote(laboratory: Laboratory, place: Place) -> None:
    """Each due task is sent, in the order of its group, and runs once."""
    names = [f"t{number}" for number in range(1, 4)]

    async def prepare(shared: Shared, process: Process) -> None:
        due = shared.clock.now() + MINUTE
        await shared.ledger.held.hold([shared.task(name, scheduled_for=due) for name in names])
        await shared.clock.advance(MINUTE)

    async def check(shared: Shared, _: Ended[None]) -> None:
        await shared.lapse()
        other = await shared.start()
        await other.promoter.promote()
        await shared.consume_all(other)
        assert names == (shared.ran if place.fifo else sorted(shared.ran))
        assert [TaskStatus.COMPLETED] * 3 == [await shared.status(name) for name in names]

    await laboratory.interrupt_everywhere(place, prepare, lambda _, victim: victim.promoter.promote(), check)


@everywhere
async def test_redrive(laboratory: Laboratory, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each dead letter goes back and runs once; none is left behind, whichever process ends the work."""
    monkeypatch.setattr(redriving, "PAGE", 2)  # two pages
    names = [f"t{number}" for number in range(1, 4)]

    async def prepare(shared: Shared, process: Process) -> None:
        now = shared.clock.now()
        failed = [
            a_dead_letter(shared.task(name), failed_at=now + number * SECOND) for number, name in enumerate(names)
        ]
        await shared.ledger.dead_letters.store_dead_letters(failed)
        await shared.clock.advance(MINUTE)
        job = Redrive(
            id="job",
            filter=DeadLetterFilter(queue="tasks"),
            actor="ann",
            created_at=shared.clock.now(),
            matched=3,
        )
        await shared.ledger.redrives.create(job)

    async def check(shared: Shared, ended: Ended[bool]) -> None:
        await shared.lapse()
        other = await shared.start()
        while await other.redrive():
            pass
        await shared.consume_all(other)
        job = await shared.ledger.redrives.get("job")
        assert job is not None
        assert RedriveStatus.COMPLETED is job.status
        assert {} == await shared.ledger.dead_letters.summaries()
        assert names == (shared.ran if place.fifo else sorted(shared.ran))
        assert [TaskStatus.COMPLETED] * 3 == [await shared.status(name) for name in names]

    await laboratory.interrupt_everywhere(place, prepare, lambda _, victim: victim.redrive(), check)


@everywhere
async def test_purge(laboratory: Laboratory, place: Place) -> None:
    """A task that was accepted after it is not lost, and a second purge ends whatever the first left behind."""

    async def prepare(shared: Shared, process: Process) -> None:
        await process.submission.submit_all(process.queue, [(shared.task(name), None) for name in ("w1", "w2")])
        await shared.ledger.held.hold([shared.task("h1", scheduled_for=shared.clock.now() + HOUR)])
        await shared.clock.advance(SECOND)

    async def check(shared: Shared, ended: Ended[int | None]) -> None:
        other = await shared.start()
        await accept_when_open(shared, other, shared.task("n1"))
        await shared.consume_all(other)
        assert TaskStatus.COMPLETED is await shared.status("n1")
        assert not ended.finished or shared.ran == ["n1"]
        await shared.lapse()
        await other.manager.purge("tasks")
        await shared.written()
        for name in ("w1", "w2", "h1"):
            expected = TaskStatus.COMPLETED if name in shared.ran else TaskStatus.CANCELED
            assert expected is await shared.status(name)

    await laboratory.interrupt_everywhere(place, prepare, lambda _, victim: victim.manager.purge("tasks"), check)


async def accept_when_open(shared: Shared, process: Process, task: Task) -> None:
    """Enqueue ``task`` once its queue takes tasks again."""
    await process.purges.refresh()
    try:
        process.purges.check_open("tasks")
    except BackendUnavailableError:
        await shared.clock.advance(LAPSE)
        await process.purges.refresh()
        process.purges.check_open("tasks")
    assert isinstance(await process.submission.submit(process.queue, task, None), Enqueued)
    assert not shared.purging, "SQS may drop what was accepted"
