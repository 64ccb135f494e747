"""What a ``DeadLetterStore`` promises, on every database."""

import asyncio
from dataclasses import replace

import pytest

from mcp_queue.adapters.ledger.ledger import Ledger
from mcp_queue.domain.dead_letters.dead_letter import DeadLetter, DeadLetterCount, DeadLetterFilter
from mcp_queue.domain.task import TaskStatus
from tests.support.clock import HOUR, MINUTE, SECOND, START
from tests.support.ledger import LedgerHarness
from tests.support.tasks import a_dead_letter, a_task, an_end, an_execution

ALL = DeadLetterFilter(queue="tasks")


async def test_dead_letter_comes_back_with_its_payload(ledger: Ledger) -> None:
    """What failed can be read, reason and all, without the product's own notes in its metadata."""
    task = a_task(payload={"a": 1}, metadata={"tenant": "a"}, group="g", retry_count=2)
    noted = replace(task, metadata={**task.metadata, "failure_reason": "x", "failed_at": "y", "original_queue": "z"})
    assert [True] == list(await ledger.dead_letters.store_dead_letters([a_dead_letter(noted, response_status=500)]))
    found = await ledger.dead_letters.get_dead_letter("tasks", task.id)
    assert found is not None
    assert found.task is not None
    assert ({"a": 1}, {"tenant": "a"}) == (found.task.payload, found.task.metadata)
    assert ("it broke", START, 3, 500) == (
        found.failure_reason,
        found.failed_at,
        found.attempts,
        found.response_status,
    )


async def test_unreadable_body_is_kept_as_it_came(ledger: Ledger) -> None:
    """A message that is no task has no type and no task, but its body."""
    dead_letter = DeadLetter(
        task_id="message-1",
        redrive_count=0,
        queue="tasks",
        failure_reason="not JSON",
        failed_at=START,
        body="{oops",
        attempts=1,
    )
    assert [True] == list(await ledger.dead_letters.store_dead_letters([dead_letter]))
    assert dead_letter == await ledger.dead_letters.get_dead_letter("tasks", "message-1")
    assert [None] == [item.body for item in (await ledger.dead_letters.list_dead_letters(ALL, limit=5)).items]


async def test_storing_a_dead_letter_ends_its_task(ledger: Ledger) -> None:
    """A message that the backend's own policy moved tells the ledger that its task has failed."""
    task = a_task()
    await ledger.tasks.record_enqueued([task])
    await ledger.dead_letters.store_dead_letters([a_dead_letter(task)])
    view = await ledger.tasks.get(task.id)
    assert view is not None
    assert view.result is not None
    assert (TaskStatus.DEAD_LETTERED, "it broke") == (view.status, view.result.error)


async def test_ledgers_own_count_of_attempts_is_the_one_that_shows(ledger: Ledger) -> None:
    """A message knows less than the attempts that were recorded, be it a moment after the dead letter was stored."""
    task = a_task(group="g")
    await ledger.executions.record(an_end(task, TaskStatus.RETRYING, attempt=1, response_status=500))
    await ledger.dead_letters.store_dead_letters([a_dead_letter(task)])
    await ledger.executions.record(an_end(task, TaskStatus.DEAD_LETTERED, attempt=2, response_status=418))
    found = await ledger.dead_letters.get_dead_letter("tasks", task.id)
    assert found is not None
    assert (2, 418) == (found.attempts, found.response_status)


async def test_second_copy_is_not_new(ledger: Ledger) -> None:
    """Queues deliver twice; a dead letter is stored once."""
    dead_letter = a_dead_letter(a_task())
    assert [True, False] == list(await ledger.dead_letters.store_dead_letters([dead_letter, dead_letter]))
    assert [False] == list(await ledger.dead_letters.store_dead_letters([dead_letter]))
    assert 1 == await ledger.dead_letters.count_dead_letters(ALL)


@pytest.mark.parametrize("status", [TaskStatus.COMPLETED, TaskStatus.CANCELED, TaskStatus.EXPIRED])
async def test_task_that_ended_otherwise_is_not_dead_lettered(ledger: Ledger, status: TaskStatus) -> None:
    """A duplicate that failed does not turn a success into a failure."""
    task = a_task()
    await ledger.executions.record(an_end(task, status))
    assert [False] == list(await ledger.dead_letters.store_dead_letters([a_dead_letter(task)]))
    assert 0 == await ledger.dead_letters.count_dead_letters(ALL)


async def test_dead_letter_of_a_run_is_stored_though_a_second_copy_expired_meanwhile(ledger: Ledger) -> None:
    """A copy received after ``expires_at`` ends nothing while the first one runs."""
    task = a_task()
    await ledger.executions.start([an_execution(task)])
    await ledger.executions.record(an_end(task, TaskStatus.EXPIRED, attempt=0))
    assert [True] == list(await ledger.dead_letters.store_dead_letters([a_dead_letter(task)]))
    assert 1 == await ledger.dead_letters.count_dead_letters(ALL)


async def test_late_copy_opens_no_closed_dead_letter_again(ledger: Ledger) -> None:
    """Deleted and redriven dead letters stay as tombstones."""
    deleted, redriven = a_task(), a_task()
    await ledger.dead_letters.store_dead_letters([a_dead_letter(deleted), a_dead_letter(redriven)])
    await ledger.dead_letters.delete_dead_letter("tasks", deleted.id, "ann")
    await ledger.dead_letters.mark_redriven([replace(redriven, redrive_count=1)], "ann")
    late = await ledger.dead_letters.store_dead_letters([a_dead_letter(deleted), a_dead_letter(redriven)])
    assert [False, False] == list(late)
    assert {} == await ledger.dead_letters.summaries()


async def test_redriven_task_can_fail_again(ledger: Ledger) -> None:
    """Every generation has a dead letter of its own, and the history tells of all."""
    task = a_task(payload=1)
    await ledger.dead_letters.store_dead_letters([a_dead_letter(task)])
    second = replace(task, redrive_count=1, payload=2)
    await ledger.dead_letters.mark_redriven([second], "ann")
    assert [True] == list(await ledger.dead_letters.store_dead_letters([a_dead_letter(second)]))
    view = await ledger.tasks.get(task.id)
    assert view is not None
    assert [("redriven", "ann"), ("waiting", None)] == [(line.state, line.closed_by) for line in view.dead_letters]
    found = await ledger.dead_letters.get_dead_letter("tasks", task.id)
    assert found is not None
    assert found.task is not None
    assert (1, 2) == (found.redrive_count, found.task.payload)


async def test_redrive_queues_the_task_again_with_its_edits(ledger: Ledger) -> None:
    """The new generation begins with all its attempts and what the operator changed."""
    task = a_task(payload="wrong", retry_count=3)
    await ledger.executions.record(an_end(task, TaskStatus.DEAD_LETTERED))
    await ledger.dead_letters.store_dead_letters([a_dead_letter(task)])
    await ledger.dead_letters.mark_redriven([replace(task, redrive_count=1, retry_count=0, payload="right")], "ann")
    view = await ledger.tasks.get(task.id)
    assert view is not None
    assert (TaskStatus.QUEUED, "right", 0, None) == (
        view.status,
        view.task.payload,
        view.task.retry_count,
        view.result,
    )


async def test_redrive_is_signed_also_when_the_consumer_was_faster(ledger: Ledger) -> None:
    """The send comes before the mark: a consumer may see the new generation in between."""
    task = a_task()
    await ledger.dead_letters.store_dead_letters([a_dead_letter(task)])
    redriven = replace(task, redrive_count=1)
    await ledger.executions.record(an_end(redriven))
    await ledger.dead_letters.mark_redriven([redriven], "ann")
    view = await ledger.tasks.get(task.id)
    assert view is not None
    assert (TaskStatus.COMPLETED, "ann") == (view.status, view.dead_letters[0].closed_by)


async def test_list_shows_the_newest_first_without_payloads(ledger: Ledger) -> None:
    """A list is for looking around; reading for a redrive has payloads and begins with the oldest."""
    old, new = a_task(payload=1), a_task(payload=2)
    await ledger.dead_letters.store_dead_letters([a_dead_letter(old), a_dead_letter(new, failed_at=START + SECOND)])
    listed = (await ledger.dead_letters.list_dead_letters(ALL, limit=5)).items
    assert [(new.id, None), (old.id, None)] == [(item.task_id, item.task and item.task.payload) for item in listed]
    read = (await ledger.dead_letters.read_dead_letters(ALL, limit=5)).items
    assert [(old.id, 1), (new.id, 2)] == [(item.task_id, item.task and item.task.payload) for item in read]


async def test_pages_cover_every_dead_letter_in_both_directions(ledger: Ledger) -> None:
    """Letters of one moment are paged like any others."""
    dead_letters = [a_dead_letter(a_task(), failed_at=START + SECOND * (number // 3)) for number in range(10)]
    await ledger.dead_letters.store_dead_letters(dead_letters)
    expected = sorted((dead_letter.failed_at, dead_letter.task_id) for dead_letter in dead_letters)
    for pages, wanted in (
        (ledger.dead_letters.read_dead_letters, expected),
        (ledger.dead_letters.list_dead_letters, expected[::-1]),
    ):
        seen, cursor, more = [], None, True
        while more:
            page = await pages(ALL, limit=4, cursor=cursor)
            seen += [(item.failed_at, item.task_id) for item in page.items]
            cursor, more = page.next_cursor, page.next_cursor is not None
        assert wanted == seen


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (DeadLetterFilter(queue="tasks", type="other"), {"b"}),
        (DeadLetterFilter(queue="tasks", reason="TIME"), {"a"}),
        (DeadLetterFilter(queue="tasks", reason="100%_"), {"c"}),
        (DeadLetterFilter(queue="tasks", failed_after=START), {"c"}),
        (DeadLetterFilter(queue="tasks", failed_before=START + SECOND), {"a", "b"}),
        (DeadLetterFilter(queue="tasks", ids=("a", "c", "nobody")), {"a", "c"}),
        (DeadLetterFilter(queue="tasks", ids=()), set()),
        (DeadLetterFilter(queue="other"), {"d"}),
    ],
)
async def test_filters_narrow_lists_and_counts_alike(
    ledger: Ledger, query: DeadLetterFilter, expected: set[str]
) -> None:
    """What a count promises is what a list shows."""
    await ledger.dead_letters.store_dead_letters(
        [
            a_dead_letter(a_task("a"), failure_reason="timeout"),
            a_dead_letter(a_task("b", type="other")),
            a_dead_letter(a_task("c"), failure_reason="100%_", failed_at=START + MINUTE),
            a_dead_letter(a_task("d", queue="other")),
        ]
    )
    assert expected == {item.task_id for item in (await ledger.dead_letters.list_dead_letters(query, limit=9)).items}
    assert len(expected) == await ledger.dead_letters.count_dead_letters(query)


async def test_summaries_tell_what_waits_by_queue(ledger: Ledger) -> None:
    """Closed dead letters are not counted, and a queue without any is not named."""
    first, second, closed = a_task(), a_task(), a_task(queue="other")
    await ledger.dead_letters.store_dead_letters(
        [a_dead_letter(first, failed_at=START + HOUR), a_dead_letter(second), a_dead_letter(closed)]
    )
    await ledger.dead_letters.delete_dead_letter("other", closed.id, "ann")
    assert {"tasks": DeadLetterCount(2, START)} == await ledger.dead_letters.summaries()


async def test_dead_letter_is_deleted_by_its_own_queue_alone(ledger: Ledger) -> None:
    """An action on one queue touches no dead letter of another."""
    task = a_task()
    await ledger.dead_letters.store_dead_letters([a_dead_letter(task)])
    assert not await ledger.dead_letters.delete_dead_letter("other", task.id, "ann")
    assert await ledger.dead_letters.get_dead_letter("other", task.id) is None
    assert await ledger.dead_letters.delete_dead_letter("tasks", task.id, "ann")
    assert not await ledger.dead_letters.delete_dead_letter("tasks", task.id, "ann")


async def test_purge_closes_what_failed_before(ledger: Ledger) -> None:
    """Letters that arrive during a purge, and other queues' dead letters, are spared."""
    dead_letters = [a_dead_letter(a_task()) for _ in range(5)]
    later, elsewhere = a_dead_letter(a_task(), failed_at=START + HOUR), a_dead_letter(a_task(queue="other"))
    await ledger.dead_letters.store_dead_letters([*dead_letters, later, elsewhere])
    assert 5 == await ledger.dead_letters.purge_dead_letters("tasks", "ann", START + MINUTE)
    assert {"tasks": 1, "other": 1} == {
        queue: summary.waiting for queue, summary in (await ledger.dead_letters.summaries()).items()
    }


async def test_two_processors_store_a_dead_letter_once(harness: LedgerHarness) -> None:
    """Two copies at the same moment in two processes: one is new."""
    dead_letters = [a_dead_letter(a_task()) for _ in range(30)]
    async with harness.another() as other:
        answers = await asyncio.gather(
            *(
                store.dead_letters.store_dead_letters(dead_letters[start : start + 10])
                for start in (0, 10, 20)
                for store in (harness.ledger, other)
            )
        )
    assert 30 == sum(new for answer in answers for new in answer)
