"""Dead letters in the ledger: looking at them, sending them again, deleting them."""

from dataclasses import replace
from datetime import timedelta

import pytest

from mcp_queue.domain.dead_letters.dead_letter import DeadLetter, DeadLetterFilter, RedriveStatus
from mcp_queue.domain.dead_letters.reading import RedriveOutcome, RedriveProgress
from mcp_queue.domain.errors import (
    BackendUnavailableError,
    InvalidTaskError,
    LedgerUnavailableError,
    NotFoundError,
    QueueFullError,
    QueueNotFoundError,
    TaskNotFoundError,
)
from mcp_queue.domain.task import TaskStatus
from mcp_queue.services.dead_letters.edits import DeadLetterEdits
from mcp_queue.services.dead_letters.in_ledger import watch_ages
from tests.support.clock import HOUR, MINUTE, SECOND, START
from tests.support.dead_letters import DeadLetterKit, dead_letters
from tests.support.tasks import a_dead_letter, a_task, an_end

ALL = DeadLetterFilter(queue="tasks")
AS_IT_WAS = DeadLetterEdits()


def no_task(task_id: str = "message-1", queue: str = "tasks") -> DeadLetter:
    """Return a dead letter whose body is no task."""
    return DeadLetter(
        task_id=task_id, redrive_count=0, queue=queue, failure_reason="not JSON", failed_at=START, body="{oops"
    )


async def test_summary_is_what_waits_in_the_ledger_and_in_the_queue(kit: DeadLetterKit) -> None:
    """A dead letter that is still on its way into the ledger waits for a person all the same."""
    stored, _ = kit.stored()
    await kit.store(*dead_letters(2))
    await kit.bury(a_task())
    await kit.bury(a_task(queue="orders"))
    summary = await stored.summary("tasks")
    assert ("tasks", 3, START - 2 * SECOND) == (summary.queue, summary.waiting, summary.oldest_failed_at)
    assert 3 == (await kit.manager.stats("tasks")).dead_letters


async def test_summary_of_nothing(kit: DeadLetterKit) -> None:
    """Nothing waits, since never."""
    summary = await kit.stored()[0].summary("tasks")
    assert (0, None) == (summary.waiting, summary.oldest_failed_at)


async def test_every_view_knows_its_queue(kit: DeadLetterKit) -> None:
    """A queue that is none, and one that holds dead letters of others, have no view."""
    stored, _ = kit.stored()
    with pytest.raises(QueueNotFoundError):
        await stored.summary("nope")
    with pytest.raises(NotFoundError, match="look at theirs"):
        await stored.list_dead_letters(DeadLetterFilter(queue="dlq"), limit=1)


async def test_dead_letter_nobody_can_place_is_in_every_view(kit: DeadLetterKit) -> None:
    """Each queue with that dead-letter queue may have sent it, and each may delete it; others may not."""
    stored, _ = kit.stored()
    await kit.store(no_task(queue="dlq"), *dead_letters(1))
    for queue, number in (("tasks", 2), ("orders", 1), ("jobs", 0)):
        page = await stored.list_dead_letters(DeadLetterFilter(queue=queue), limit=5)
        assert number == len(page.dead_letters)
        assert number == (await stored.summary(queue)).waiting
    assert "{oops" == (await stored.get("orders", "message-1")).dead_letter.body
    with pytest.raises(TaskNotFoundError):
        await stored.delete("jobs", "message-1", "ann")
    await stored.delete("orders", "message-1", "ann")
    assert 1 == (await stored.summary("tasks")).waiting


async def test_one_comes_with_payload_and_attempts(kit: DeadLetterKit) -> None:
    """The attempts are those of its generation."""
    stored, _ = kit.stored()
    assert kit.ledger is not None
    task = a_task(payload={"n": 1}, redrive_count=1)
    await kit.ledger.executions.record(an_end(replace(task, redrive_count=0), TaskStatus.DEAD_LETTERED))
    await kit.ledger.executions.record(an_end(task, TaskStatus.DEAD_LETTERED, error="it broke", response_status=503))
    await kit.store(a_dead_letter(task))
    details = await stored.get("tasks", task.id)
    assert details.dead_letter.task is not None
    assert {"n": 1} == details.dead_letter.task.payload
    assert [(1, 1, "it broke", 503)] == [
        (attempt.redrive_count, attempt.attempt, attempt.error, attempt.response_status) for attempt in details.attempts
    ]


async def test_redriven_task_begins_anew_under_its_id(kit: DeadLetterKit) -> None:
    """It goes back with all its attempts before it; its dead letter is closed and says who did it."""
    stored, _ = kit.stored()
    assert kit.ledger is not None
    task = a_task(payload=1, retry_count=3, scheduled_for=START)
    await kit.store(a_dead_letter(task))
    enqueued = await stored.redrive_one("tasks", task.id, AS_IT_WAS, "ann")
    [sent] = await kit.sent("tasks")
    assert (task.id, 0, 1, None, 1) == (
        sent.id,
        sent.retry_count,
        sent.redrive_count,
        sent.scheduled_for,
        sent.payload,
    )
    assert (TaskStatus.QUEUED, task.id) == (enqueued.status, enqueued.task.id)
    assert {"tasks": 1} == kit.metrics.sent
    view = await kit.ledger.tasks.get(task.id)
    assert view is not None
    assert (TaskStatus.QUEUED, "ann") == (view.status, view.dead_letters[0].closed_by)
    with pytest.raises(TaskNotFoundError):
        await stored.redrive_one("tasks", task.id, AS_IT_WAS, "ann")


async def test_redriven_fifo_task_keeps_its_group_under_a_new_deduplication_id(kit: DeadLetterKit) -> None:
    """Otherwise it would be swallowed as a copy of its first send."""
    stored, _ = kit.stored()
    task = a_task("t", queue="orders", group="g", deduplication_id="mine")
    await kit.orders.enqueue(task)
    await kit.sent("orders")
    await kit.store(a_dead_letter(task))
    await stored.redrive_one("orders", "t", AS_IT_WAS, "ann")
    [sent] = await kit.sent("orders")
    assert ("g", "t.1") == (sent.group, sent.deduplication_id)


async def test_edits_replace_what_they_name(kit: DeadLetterKit) -> None:
    """The rest stays; ``null`` is a value."""
    stored, _ = kit.stored()
    task = a_task(type="job", payload=1, metadata={"a": "1"}, callback_url="https://example.com/old", max_retries=3)
    await kit.store(a_dead_letter(task))
    edits = DeadLetterEdits.model_validate({"payload": None, "callback_url": None, "max_retries": 0})
    await stored.redrive_one("tasks", task.id, edits, "ann")
    [sent] = await kit.sent("tasks")
    assert (None, {"a": "1"}, None, 0) == (sent.payload, sent.metadata, sent.callback_url, sent.max_retries)


async def test_edited_members_keep_to_the_rules_of_new_tasks(kit: DeadLetterKit) -> None:
    """Where one breaks a rule, the dead letter stays where it is."""
    stored, _ = kit.stored()
    task = a_task(payload={"never": "fitted"})
    await kit.store(a_dead_letter(task))
    for wrong, loc in (
        ({"payload": {}}, ("body", "payload", "text")),
        ({"callback_url": "http://127.0.0.1/"}, ("body", "callback_url")),
    ):
        with pytest.raises(InvalidTaskError) as refusal:
            await stored.redrive_one("tasks", task.id, DeadLetterEdits.model_validate(wrong), "ann")
        assert loc == refusal.value.errors[0].loc
    assert 1 == (await stored.summary("tasks")).waiting
    edits = DeadLetterEdits.model_validate({"metadata": {"b": "2"}, "callback_url": "https://example.com/new"})
    await stored.redrive_one("tasks", task.id, edits, "ann")
    [sent] = await kit.sent("tasks")
    assert ({"b": "2"}, {"never": "fitted"}) == (sent.metadata, sent.payload)


async def test_body_that_is_no_task_can_only_be_deleted(kit: DeadLetterKit) -> None:
    """The refusal says so."""
    stored, _ = kit.stored()
    await kit.store(no_task())
    with pytest.raises(InvalidTaskError, match="it can only be deleted"):
        await stored.redrive_one("tasks", "message-1", AS_IT_WAS, "ann")
    done = await stored.redrive_many(ALL, "ann")
    assert isinstance(done, RedriveOutcome)
    assert (1, 0, ["message-1"]) == (done.matched, done.redriven, [refusal.task_id for refusal in done.refused])
    await stored.delete("tasks", "message-1", "ann")
    assert 0 == (await stored.summary("tasks")).waiting


async def test_queue_that_takes_nothing_leaves_the_dead_letter(kit: DeadLetterKit) -> None:
    """The caller may try later: nothing has happened."""
    stored, _ = kit.stored()
    [dead_letter] = dead_letters(1)
    await kit.store(dead_letter)
    kit.tasks.refusals = {dead_letter.task_id: QueueFullError()}
    with pytest.raises(QueueFullError):
        await stored.redrive_one("tasks", dead_letter.task_id, AS_IT_WAS, "ann")
    await kit.purges.begin("tasks")
    with pytest.raises(BackendUnavailableError, match="was purged"):
        await stored.redrive_one("tasks", dead_letter.task_id, AS_IT_WAS, "ann")
    assert 1 == (await stored.summary("tasks")).waiting


async def test_sent_task_is_redriven_even_where_it_cannot_be_marked(
    kit: DeadLetterKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is on its way, and whoever runs it closes its dead letter: to repeat the redrive would duplicate it."""
    stored, _ = kit.stored()
    assert kit.ledger is not None

    async def away(*_: object) -> None:
        raise LedgerUnavailableError

    [dead_letter] = dead_letters(1)
    await kit.store(dead_letter)
    monkeypatch.setattr(kit.ledger.dead_letters, "mark_redriven", away)
    await stored.redrive_one("tasks", dead_letter.task_id, AS_IT_WAS, "ann")
    assert [dead_letter.task_id] == [task.id for task in await kit.sent("tasks")]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (ALL, {"a", "b", "c"}),
        (replace(ALL, ids=("a", "c", "nobody")), {"a", "c"}),
        (replace(ALL, reason="time"), {"a"}),
        (replace(ALL, type="other"), {"b"}),
    ],
)
async def test_many_are_redriven_by_ids_by_filter_or_all(
    kit: DeadLetterKit, query: DeadLetterFilter, expected: set[str]
) -> None:
    """What is not meant stays; a dry run says how many are meant and does nothing."""
    stored, _ = kit.stored()
    await kit.store(
        a_dead_letter(a_task("a"), failure_reason="timeout"),
        a_dead_letter(a_task("b", type="other")),
        a_dead_letter(a_task("c")),
    )
    rehearsal = await stored.redrive_many(query, "ann", dry_run=True)
    assert RedriveOutcome(matched=len(expected)) == rehearsal
    assert 3 == (await stored.summary("tasks")).waiting
    done = await stored.redrive_many(query, "ann")
    assert RedriveOutcome(matched=len(expected), redriven=len(expected)) == done
    assert expected == {task.id for task in await kit.sent("tasks")}
    assert 3 - len(expected) == (await stored.summary("tasks")).waiting


async def test_many_are_redriven_page_by_page_the_oldest_first(kit: DeadLetterKit) -> None:
    """A refused one is told of and left behind; it holds up nobody."""
    stored, _ = kit.stored()
    batch = dead_letters(120)
    await kit.store(*batch)
    refused = batch[60].task_id
    kit.tasks.refusals = {refused: InvalidTaskError("no")}
    done = await stored.redrive_many(ALL, "ann")
    assert isinstance(done, RedriveOutcome)
    assert (120, 119, [refused]) == (done.matched, done.redriven, [refusal.task_id for refusal in done.refused])
    assert [dead_letter.task_id for dead_letter in batch if dead_letter.task_id != refused] == [
        task.id for task in await kit.sent("tasks")
    ]


async def test_outage_ends_a_redrive_early(kit: DeadLetterKit) -> None:
    """Where nothing was sent, the caller is told to try later; else, what was."""
    stored, _ = kit.stored()
    batch = dead_letters(120)
    await kit.store(*batch)
    kit.tasks.outage = BackendUnavailableError()
    with pytest.raises(BackendUnavailableError):
        await stored.redrive_many(ALL, "ann")
    assert 1 == len(kit.tasks.sends)
    kit.tasks.outage, kit.tasks.refusals = None, {dead_letter.task_id: QueueFullError() for dead_letter in batch[50:]}
    done = await stored.redrive_many(ALL, "ann")
    assert isinstance(done, RedriveOutcome)
    assert (120, 50, 50) == (done.matched, done.redriven, len(done.refused))


async def test_more_than_a_thousand_go_on_in_the_background(kit: DeadLetterKit) -> None:
    """The answer is a resource to watch; whoever runs jobs does the work."""
    stored, runner = kit.stored()
    await kit.store(*dead_letters(1001))
    progress = await stored.redrive_many(ALL, "ann")
    assert isinstance(progress, RedriveProgress)
    assert (RedriveStatus.RUNNING, 1001, 0) == (progress.status, progress.matched, progress.redriven)
    async with runner.running():
        while (progress := await stored.redrive(progress.id)).status is RedriveStatus.RUNNING:
            await kit.written()
    assert (RedriveStatus.COMPLETED, 1001, 0) == (progress.status, progress.redriven, progress.failed)
    assert 1001 == len(await kit.sent("tasks"))


async def test_redrive_of_nothing_is_no_redrive(kit: DeadLetterKit) -> None:
    """A redrive that is not remembered is not found."""
    stored, _ = kit.stored()
    for call in (stored.redrive, stored.cancel_redrive):
        with pytest.raises(NotFoundError):
            await call("nobody")


async def test_purge_closes_what_waits(kit: DeadLetterKit) -> None:
    """Letters of other queues stay, and closed ones are not opened again."""
    stored, _ = kit.stored()
    batch = dead_letters(3)
    await kit.store(*batch, *dead_letters(1, queue="orders"))
    assert 3 == await stored.purge("tasks", "ann")
    await kit.store(*batch)
    assert (0, 1) == ((await stored.summary("tasks")).waiting, (await stored.summary("orders")).waiting)


async def test_ages_are_those_of_the_oldest_dead_letters(kit: DeadLetterKit) -> None:
    """A queue where none waits has none."""
    assert kit.ledger is not None
    await kit.store(a_dead_letter(a_task(), failed_at=START - HOUR), a_dead_letter(a_task(), failed_at=START - MINUTE))
    await watch_ages(kit.ledger.dead_letters, kit.sources, kit.metrics, kit.clock).do()
    assert {"tasks": timedelta(hours=1), "orders": None, "jobs": None} == kit.metrics.ages
