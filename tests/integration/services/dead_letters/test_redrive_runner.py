"""Redrives in the background: at their rate, by whoever is there, until they are done or stopped."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from mcp_queue.domain.dead_letters.dead_letter import DeadLetterFilter, Redrive, RedriveStatus
from mcp_queue.domain.dead_letters.reading import RedriveProgress
from mcp_queue.domain.errors import BackendUnavailableError, InvalidTaskError, LedgerUnavailableError
from mcp_queue.services.dead_letters.in_ledger import LedgerDeadLetters
from mcp_queue.services.dead_letters.redrive_runner import LEASE
from tests.support.clock import MINUTE, SECOND, START
from tests.support.dead_letters import DeadLetterKit, dead_letters
from tests.support.tasks import a_dead_letter

ALL = DeadLetterFilter(queue="tasks")


async def begin(kit: DeadLetterKit, stored: LedgerDeadLetters, number: int, rate: float = 10) -> str:
    """Store dead letters and begin to redrive them; return the id of the redrive."""
    await kit.store(*dead_letters(number))
    progress = await stored.redrive_many(ALL, "ann", max_per_second=rate)
    assert isinstance(progress, RedriveProgress)
    assert (RedriveStatus.RUNNING, number, 0) == (progress.status, progress.matched, progress.redriven)
    return progress.id


async def reach(
    kit: DeadLetterKit, stored: LedgerDeadLetters, redrive_id: str, goal: Callable[[RedriveProgress], bool]
) -> RedriveProgress:
    """Let time pass until the redrive has come so far."""
    for _ in range(4000):
        progress = await stored.redrive(redrive_id)
        if goal(progress):
            return progress
        await kit.written()
        await kit.clock.advance(SECOND / 4)
    pytest.fail(f"it never came so far: {progress}")


def completed(progress: RedriveProgress) -> bool:
    """Whether a redrive has sent everything."""
    return progress.status is RedriveStatus.COMPLETED


def begun(progress: RedriveProgress) -> bool:
    """Whether a redrive has sent something."""
    return progress.redriven > 0


async def pass_time(
    kit: DeadLetterKit, stored: LedgerDeadLetters, redrive_id: str, duration: timedelta
) -> RedriveProgress:
    """Let time pass, and return how the redrive stands then."""
    end = kit.clock.now() + duration
    return await reach(kit, stored, redrive_id, lambda _: kit.clock.now() >= end)


async def test_rate_is_kept(kit: DeadLetterKit) -> None:
    """At no moment more was sent than the rate allows, but for the page that begins it."""
    stored, runner = kit.stored()
    redrive_id = await begin(kit, stored, 35)
    async with runner.running():
        began = kit.clock.monotonic()
        await reach(kit, stored, redrive_id, completed)
    sent = 0
    for moment, number in kit.tasks.sends:
        assert sent <= 10 * (moment - began) + 1e-6
        sent += number
        assert number <= 3
    assert 35 == sent


async def test_job_of_a_killed_process_goes_on_where_it_stopped(kit: DeadLetterKit) -> None:
    """Another process takes it over once its lease has ended, and sends nothing a second time."""
    stored, runner = kit.stored()
    redrive_id = await begin(kit, stored, 20, rate=1)
    dying = asyncio.create_task(runner._run())
    before = await reach(kit, stored, redrive_id, begun)
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)

    heir, second = kit.stored()
    async with second.running():
        assert before == await pass_time(kit, heir, redrive_id, LEASE - SECOND)
        assert 20 == (await reach(kit, heir, redrive_id, completed)).redriven
    ids = [task.id for task in await kit.sent("tasks")]
    assert 20 == len(ids) == len(set(ids))


async def test_process_that_ends_gives_its_job_back(kit: DeadLetterKit) -> None:
    """Another one goes on at once, without waiting for a lease to end."""
    stored, runner = kit.stored()
    redrive_id = await begin(kit, stored, 20, rate=1)
    async with runner.running():
        await reach(kit, stored, redrive_id, begun)
    before = await stored.redrive(redrive_id)
    heir, second = kit.stored()
    ended = kit.clock.now()
    async with second.running():
        await reach(kit, heir, redrive_id, lambda progress: progress.redriven > before.redriven)
    assert kit.clock.now() - ended < LEASE / 2


async def test_process_that_ends_finishes_its_page_without_a_rate_too(kit: DeadLetterKit) -> None:
    """A redrive that never pauses stops between two pages."""
    stored, runner = kit.stored()
    await kit.store(*dead_letters(1001))
    progress = await stored.redrive_many(ALL, "ann")
    assert isinstance(progress, RedriveProgress)
    async with runner.running():
        await kit.tasks.reached.wait()
    after = await stored.redrive(progress.id)
    assert RedriveStatus.RUNNING is after.status
    assert after.redriven == len(await kit.sent("tasks")) < 1001


async def test_canceled_job_stops(kit: DeadLetterKit) -> None:
    """What was sent stays sent and is counted; the rest still waits."""
    stored, runner = kit.stored()
    redrive_id = await begin(kit, stored, 20, rate=1)
    async with runner.running():
        await reach(kit, stored, redrive_id, begun)
        await stored.cancel_redrive(redrive_id)
        after = await pass_time(kit, stored, redrive_id, MINUTE)
    assert RedriveStatus.CANCELED is after.status
    assert after.redriven == len(await kit.sent("tasks")) < 20
    assert 20 - after.redriven == (await stored.summary("tasks")).waiting
    assert after == await stored.cancel_redrive(redrive_id)


async def test_dead_letters_wait_for_a_queue_that_takes_none(kit: DeadLetterKit) -> None:
    """An outage costs a job nothing but time, and no dead letter is passed over."""
    stored, runner = kit.stored()
    kit.tasks.outage = BackendUnavailableError()
    redrive_id = await begin(kit, stored, 5, rate=100)
    async with runner.running():
        progress = await pass_time(kit, stored, redrive_id, MINUTE)
        assert (RedriveStatus.RUNNING, 0, 0) == (progress.status, progress.redriven, progress.failed)
        kit.tasks.outage = None
        progress = await reach(kit, stored, redrive_id, completed)
    assert (RedriveStatus.COMPLETED, 5, 0) == (progress.status, progress.redriven, progress.failed)


async def test_job_that_waits_for_its_queue_can_be_stopped(kit: DeadLetterKit) -> None:
    """Also while nothing can be sent."""
    stored, runner = kit.stored()
    kit.tasks.outage = BackendUnavailableError()
    redrive_id = await begin(kit, stored, 5)
    async with runner.running():
        await reach(kit, stored, redrive_id, lambda _: bool(kit.tasks.sends))
        await stored.cancel_redrive(redrive_id)
        await pass_time(kit, stored, redrive_id, MINUTE)
        kit.tasks.outage = None
        assert RedriveStatus.CANCELED is (await pass_time(kit, stored, redrive_id, MINUTE)).status
    assert [] == await kit.sent("tasks")


async def test_refused_dead_letters_are_counted_and_passed_over(kit: DeadLetterKit) -> None:
    """They wait for a person still."""
    stored, runner = kit.stored()
    batch = dead_letters(5)
    await kit.store(*batch)
    kit.tasks.refusals = {dead_letter.task_id: InvalidTaskError("no") for dead_letter in batch[:2]}
    progress = await stored.redrive_many(ALL, "ann", max_per_second=1000)
    assert isinstance(progress, RedriveProgress)
    async with runner.running():
        progress = await reach(kit, stored, progress.id, completed)
    assert (RedriveStatus.COMPLETED, 3, 2) == (progress.status, progress.redriven, progress.failed)
    assert 2 == (await stored.summary("tasks")).waiting


async def test_what_fails_during_a_redrive_is_not_part_of_it(kit: DeadLetterKit) -> None:
    """A task that fails again at once would be redriven for ever."""
    stored, runner = kit.stored()
    redrive_id = await begin(kit, stored, 20)
    async with runner.running():
        await reach(kit, stored, redrive_id, begun)
        [again, *_] = await kit.sent("tasks")
        await kit.store(a_dead_letter(again, failed_at=kit.clock.now()))
        progress = await reach(kit, stored, redrive_id, completed)
    assert 20 == progress.redriven
    assert 1 == (await stored.summary("tasks")).waiting


async def test_job_for_a_queue_that_is_gone_ends(kit: DeadLetterKit) -> None:
    """Its dead letters are refused, every one."""
    stored, runner = kit.stored()
    assert kit.ledger is not None
    await kit.store(*dead_letters(2, queue="former"))
    job = Redrive(
        id="job", filter=DeadLetterFilter(queue="former"), actor="ann", created_at=START, matched=2, max_per_second=10
    )
    await kit.ledger.redrives.create(job)
    async with runner.running():
        progress = await reach(kit, stored, "job", completed)
    assert (RedriveStatus.COMPLETED, 0, 2) == (progress.status, progress.redriven, progress.failed)


@pytest.mark.parametrize("error", [LedgerUnavailableError(), RuntimeError("a defect")])
async def test_interrupted_job_is_taken_up_again(
    kit: DeadLetterKit, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Whatever went wrong, its lease ends, and somebody goes on."""
    stored, runner = kit.stored()
    assert kit.ledger is not None
    original, failures = kit.ledger.dead_letters.read_dead_letters, [error]

    async def unreliable(*arguments: object, **named: object) -> object:
        if failures:
            raise failures.pop()
        return await original(*arguments, **named)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(kit.ledger.dead_letters, "read_dead_letters", unreliable)
    redrive_id = await begin(kit, stored, 3, rate=1000)
    async with runner.running():
        assert 0 == (await pass_time(kit, stored, redrive_id, LEASE - SECOND)).redriven
        assert 3 == (await reach(kit, stored, redrive_id, completed)).redriven


async def test_runner_looks_again_after_the_ledger_was_away(
    kit: DeadLetterKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process without a ledger does not end for it."""
    stored, runner = kit.stored()
    assert kit.ledger is not None
    original, failures = kit.ledger.redrives.adopt, [LedgerUnavailableError()]

    async def unreliable(lease: object) -> Redrive | None:
        if failures:
            raise failures.pop()
        return await original(lease)  # type: ignore[arg-type]  # passed on as it came

    monkeypatch.setattr(kit.ledger.redrives, "adopt", unreliable)
    redrive_id = await begin(kit, stored, 3, rate=1000)
    async with runner.running():
        assert 3 == (await reach(kit, stored, redrive_id, completed)).redriven


async def test_slow_job_holds_up_no_other(kit: DeadLetterKit) -> None:
    """Jobs of one process run side by side."""
    stored, runner = kit.stored()
    slow = await begin(kit, stored, 20, rate=0.1)
    await kit.store(*dead_letters(3, queue="orders"))
    quick = await stored.redrive_many(replace(ALL, queue="orders"), "ann", max_per_second=1000)
    assert isinstance(quick, RedriveProgress)
    async with runner.running():
        await reach(kit, stored, quick.id, completed)
        assert RedriveStatus.RUNNING is (await stored.redrive(slow)).status
