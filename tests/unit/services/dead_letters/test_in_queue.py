"""Dead letters without a ledger: counted, sampled and taken out of their queue."""

import asyncio
from dataclasses import replace

import pytest

from mcp_queue.domain.dead_letters.dead_letter import DeadLetterFilter, RedriveStatus
from mcp_queue.domain.dead_letters.reading import RedriveOutcome, RedriveProgress
from mcp_queue.domain.errors import (
    BackendUnavailableError,
    InvalidTaskError,
    LedgerDisabledError,
    NotFoundError,
    NotSupportedError,
    QueueFullError,
    RateLimitedError,
    TaskNotFoundError,
    VisibilityTimeoutError,
)
from mcp_queue.services.dead_letters import search
from mcp_queue.services.dead_letters.edits import DeadLetterEdits
from mcp_queue.services.dead_letters.topology import DeadLetterTopology
from mcp_queue.testing import FakeClock
from tests.support.clock import NOW, SECOND
from tests.support.dead_letters import DeadLetterKit
from tests.support.tasks import a_task, standard

ALL = DeadLetterFilter(queue="tasks")
AS_IT_WAS = DeadLetterEdits()


@pytest.fixture
def kit() -> DeadLetterKit:
    """Return queues in memory."""
    return DeadLetterKit(FakeClock())


class PretendedMover:
    """A backend that moves by itself, as a test says how far."""

    def __init__(self) -> None:
        """Have moved nothing yet."""
        self.rates: list[float | None] = []
        self.status: RedriveStatus | None = None

    async def start(self, max_per_second: float | None) -> None:
        """Begin."""
        if self.status is RedriveStatus.RUNNING:
            raise RateLimitedError
        self.rates.append(max_per_second)
        self.status = RedriveStatus.RUNNING

    async def progress(self, redrive_id: str) -> RedriveProgress | None:
        """Have moved two of five."""
        if self.status is None:
            return None
        return RedriveProgress(id=redrive_id, status=self.status, matched=5, redriven=2)

    async def cancel(self) -> None:
        """Stop."""
        self.status = RedriveStatus.CANCELED


@pytest.fixture
def moving_kit() -> tuple[DeadLetterKit, PretendedMover]:
    """Return queues that say to be at SQS, and what moves dead letters back to ``jobs`` there."""
    mover = PretendedMover()
    kit = DeadLetterKit(FakeClock(), movers={"jobs": mover})
    kit.dlq.at_sqs = kit.jobs_dlq.at_sqs = True
    return kit, mover


async def test_summary_is_the_count_of_the_queue(kit: DeadLetterKit) -> None:
    """Since when nobody can tell without looking."""
    await kit.bury(a_task())
    await kit.bury(a_task(queue="orders"))
    summary = await kit.unstored().summary("tasks")
    assert ("tasks", 1, None) == (summary.queue, summary.waiting, summary.oldest_failed_at)


async def test_list_is_a_sample_that_says_so(kit: DeadLetterKit) -> None:
    """The newest come first; there is no second page to ask for."""
    for number in range(15):
        await kit.bury(a_task(f"t{number:02}"))
        await kit.clock.advance(SECOND)
    page = await kit.unstored().list_dead_letters(ALL, limit=3)
    assert (True, None) == (page.sampled, page.next_cursor)
    assert ["t14", "t13", "t12"] == [dead_letter.task_id for dead_letter in page.dead_letters]
    with pytest.raises(LedgerDisabledError):
        await kit.unstored().list_dead_letters(ALL, limit=3, cursor="c")


async def test_looking_changes_nothing(kit: DeadLetterKit) -> None:
    """What was looked at can be received at once, and all of it."""
    for _ in range(12):
        await kit.bury(a_task())
    unstored = kit.unstored()
    for _ in range(5):
        assert 12 == len((await unstored.list_dead_letters(ALL, limit=50)).dead_letters)
    stats = await kit.dlq.stats()
    assert (12, 0, 0) == (stats.approximate_messages, stats.inflight_messages, stats.delayed_messages)


async def test_list_shows_the_queues_own_dead_letters_and_filters_them(kit: DeadLetterKit) -> None:
    """Those that nobody can place are in every view of that dead-letter queue."""
    await kit.bury(a_task("mine"), reason="it timed out")
    await kit.bury(a_task("theirs", queue="orders"))
    kit.dlq._add("{oops", {}, None)
    unstored = kit.unstored()
    shown = {dead_letter.task_id for dead_letter in (await unstored.list_dead_letters(ALL, limit=9)).dead_letters}
    assert "mine" in shown
    assert 2 == len(shown)
    filtered = await unstored.list_dead_letters(replace(ALL, reason="TIMED"), limit=9)
    assert ["mine"] == [dead_letter.task_id for dead_letter in filtered.dead_letters]
    assert [1] == [dead_letter.attempts for dead_letter in filtered.dead_letters]


async def test_one_comes_with_its_payload(kit: DeadLetterKit) -> None:
    """Attempts are what the message itself counts."""
    await kit.bury(a_task("other"))
    await kit.bury(a_task("t", payload={"n": 1}, retry_count=2))
    details = await kit.unstored().get("tasks", "t")
    assert details.dead_letter.task is not None
    assert ({"n": 1}, 3, ()) == (details.dead_letter.task.payload, details.dead_letter.attempts, details.attempts)
    with pytest.raises(TaskNotFoundError, match="only the first 1000"):
        await kit.unstored().get("tasks", "nobody")
    assert 2 == (await kit.dlq.stats()).approximate_messages


async def test_one_is_sent_and_then_taken_out(kit: DeadLetterKit) -> None:
    """It goes back as the next generation, edited."""
    await kit.bury(a_task("t", type="job", payload=1, retry_count=2, metadata={"a": "1"}))
    edits = DeadLetterEdits.model_validate({"payload": 2})
    enqueued = await kit.unstored().redrive_one("tasks", "t", edits, "ann")
    [sent] = await kit.sent("tasks")
    assert (2, 0, 1, {"a": "1"}) == (sent.payload, sent.retry_count, sent.redrive_count, sent.metadata)
    assert "t" == enqueued.task.id
    assert 0 == await kit.depth("tasks")


async def test_one_that_cannot_be_sent_stays(kit: DeadLetterKit) -> None:
    """Its dead letter is still there, for everybody to see."""
    await kit.bury(a_task("t"))
    kit.tasks.refusals = {"t": QueueFullError()}
    with pytest.raises(QueueFullError):
        await kit.unstored().redrive_one("tasks", "t", AS_IT_WAS, "ann")
    assert 1 == (await kit.dlq.stats()).approximate_messages


async def test_many_are_taken_out_page_by_page(kit: DeadLetterKit) -> None:
    """Letters of others, and those that the filter does not mean, stay."""
    for number in range(25):
        await kit.bury(a_task(f"t{number}"), reason="timeout" if number % 5 else "gone")
        await kit.bury(a_task(queue="orders"))
    unstored = kit.unstored()
    timeouts = replace(ALL, reason="timeout")
    assert RedriveOutcome(matched=20, sampled=True) == await unstored.redrive_many(timeouts, "ann", dry_run=True)
    assert RedriveOutcome(matched=20, redriven=20, sampled=True) == await unstored.redrive_many(timeouts, "ann")
    assert RedriveOutcome(matched=5, redriven=5, sampled=True) == await unstored.redrive_many(ALL, "ann")
    assert 25 == len(await kit.sent("tasks"))
    assert (0, 25) == (await kit.depth("tasks"), await kit.depth("orders"))


async def test_what_is_refused_is_told_of_and_stays(kit: DeadLetterKit) -> None:
    """A body that is no task can only be deleted."""
    kit.jobs_dlq._add("{oops", {}, None)
    await kit.bury(a_task("no", queue="jobs"))
    await kit.bury(a_task("yes", queue="jobs"))
    kit.jobs.refusals = {"no": InvalidTaskError("too odd")}
    done = await kit.unstored().redrive_many(DeadLetterFilter(queue="jobs"), "ann")
    assert isinstance(done, RedriveOutcome)
    assert (3, 1) == (done.matched, done.redriven)
    assert ["can only be deleted", "too odd"] == [
        text for refusal in done.refused for text in ("can only be deleted", "too odd") if text in str(refusal.error)
    ]
    assert 2 == (await kit.jobs_dlq.stats()).approximate_messages


async def test_outage_ends_it_early(kit: DeadLetterKit) -> None:
    """Where nothing was sent the caller is told to try later; else, what was."""
    for number in range(20):
        await kit.bury(a_task(f"t{number:02}"))
    kit.tasks.outage = BackendUnavailableError()
    with pytest.raises(BackendUnavailableError):
        await kit.unstored().redrive_many(ALL, "ann")
    kit.tasks.outage, kit.tasks.refusals = None, {f"t{number}": QueueFullError() for number in range(10, 20)}
    done = await kit.unstored().redrive_many(ALL, "ann")
    assert isinstance(done, RedriveOutcome)
    assert (20, 10, 10) == (done.matched, done.redriven, len(done.refused))
    assert 10 == (await kit.dlq.stats()).approximate_messages


async def test_look_ends_where_it_would_hide_too_much(kit: DeadLetterKit, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither many messages nor large ones are held in memory without a bound."""
    for number in range(30):
        await kit.bury(a_task(f"t{number}", payload="x" * 1000))
    monkeypatch.setattr(search, "MOST_BYTES", 15_000)
    assert 20 == len((await kit.unstored().list_dead_letters(ALL, limit=99)).dead_letters)
    monkeypatch.setattr(search, "TIME_LIMIT", NOW)
    assert () == (await kit.unstored().list_dead_letters(ALL, limit=99)).dead_letters


async def test_dead_letter_that_cannot_be_shown_again_comes_back_by_itself(
    kit: DeadLetterKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lease ends; nobody is told of an error for it."""

    async def lost(*_: object) -> None:
        raise VisibilityTimeoutError

    await kit.bury(a_task("t"))
    for method in ("extend", "complete"):
        monkeypatch.setattr(kit.dlq, method, lost)
    unstored = kit.unstored()
    assert 1 == len((await unstored.list_dead_letters(ALL, limit=9)).dead_letters)
    await kit.clock.advance(kit.dlq.spec.visibility_timeout)
    await unstored.redrive_one("tasks", "t", AS_IT_WAS, "ann")
    assert 1 == len(await kit.sent("tasks"))


async def test_one_is_deleted(kit: DeadLetterKit) -> None:
    """It is gone, and nothing else."""
    await kit.bury(a_task("t"))
    await kit.bury(a_task("other"))
    await kit.unstored().delete("tasks", "t", "ann")
    assert ["other"] == [
        dead_letter.task_id for dead_letter in (await kit.unstored().list_dead_letters(ALL, limit=9)).dead_letters
    ]
    with pytest.raises(TaskNotFoundError):
        await kit.unstored().delete("tasks", "t", "ann")


async def test_purge_empties_a_dead_letter_queue_of_its_own(kit: DeadLetterKit) -> None:
    """One that others share cannot be emptied without sorting it, which takes the ledger."""
    await kit.bury(a_task(queue="jobs"))
    assert 1 == await kit.unstored().purge("jobs", "ann")
    with pytest.raises(LedgerDisabledError, match="shares its dead-letter queue with orders"):
        await kit.unstored().purge("tasks", "ann")


async def test_rate_needs_somebody_who_keeps_it(kit: DeadLetterKit) -> None:
    """Redrives in the background are remembered by the ledger."""
    unstored = kit.unstored()
    with pytest.raises(LedgerDisabledError):
        await unstored.redrive_many(ALL, "ann", max_per_second=5)
    for call in (unstored.redrive, unstored.cancel_redrive):
        with pytest.raises(LedgerDisabledError):
            await call("0198")


async def test_queue_without_dead_letter_queue_has_no_letters(kit: DeadLetterKit) -> None:
    """There is nothing to look into."""
    alone = kit._queue(standard("alone", dead_letter_queue=None))
    kit.sources = DeadLetterTopology({"alone": alone}, {})
    with pytest.raises(NotSupportedError, match="no dead-letter queue"):
        await kit.unstored().list_dead_letters(DeadLetterFilter(queue="alone"), limit=1)


async def test_all_dead_letters_are_moved_by_the_backend_itself(
    moving_kit: tuple[DeadLetterKit, PretendedMover],
) -> None:
    """It does so in the background, and can be watched and stopped like any redrive."""
    kit, mover = moving_kit
    unstored = kit.unstored()
    with pytest.raises(NotFoundError):
        await unstored.redrive("move-jobs")
    progress = await unstored.redrive_many(DeadLetterFilter(queue="jobs"), "ann", max_per_second=50)
    assert (
        RedriveProgress(id="move-jobs", queue="jobs", status=RedriveStatus.RUNNING, matched=5, redriven=2) == progress
    )
    assert [50] == mover.rates
    assert progress == await unstored.redrive("move-jobs")
    assert RedriveStatus.CANCELED is (await unstored.cancel_redrive("move-jobs")).status


async def test_backend_cannot_tell_dead_letters_of_several_queues_apart(
    moving_kit: tuple[DeadLetterKit, PretendedMover],
) -> None:
    """All of them at once is impossible; those of a filter are taken out one by one."""
    kit, _ = moving_kit
    await kit.bury(a_task(), reason="timeout")
    with pytest.raises(LedgerDisabledError, match="move all of them back"):
        await kit.unstored().redrive_many(ALL, "ann")
    # A receive at SQS waits for a moment before it says that there is nothing more.
    redriving = asyncio.create_task(kit.unstored().redrive_many(replace(ALL, reason="timeout"), "ann"))
    await kit.clock.advance(2 * SECOND)
    assert RedriveOutcome(matched=1, redriven=1, sampled=True) == await redriving
