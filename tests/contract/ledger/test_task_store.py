"""What a ``TaskStore`` promises, on every database."""

import asyncio
from datetime import timedelta

import pytest

from mcp_queue.adapters.ledger.ledger import Ledger
from mcp_queue.domain.dead_letters.dead_letter import DeadLetterFilter
from mcp_queue.domain.errors import InvalidCursorError, TaskAlreadyEndedError, TaskNotFoundError
from mcp_queue.domain.task import Task, TaskResult, TaskStatus
from mcp_queue.domain.task_states import TaskFilter, encode_cursor
from mcp_queue.testing import FakeClock
from tests.support.clock import HOUR, MINUTE, SECOND, START
from tests.support.ledger import LedgerHarness
from tests.support.tasks import a_dead_letter, a_task, an_end, an_execution


async def test_unknown_task_is_none(ledger: Ledger) -> None:
    """Asking for a task that nobody told of finds nothing."""
    assert await ledger.tasks.get("nobody") is None


async def test_every_member_of_a_task_survives(ledger: Ledger) -> None:
    """What was recorded comes back whole, members that this version does not know included."""
    task = a_task(
        payload={"text": "ünïcode \u0000", "deep": [1, 2.5, None, {"a": True}]},
        priority=3,
        metadata={"tenant": "a"},
        expires_at=START + HOUR,
        max_retries=7,
        visibility_timeout=timedelta(seconds=1.5),
        callback_url="https://example.com/hook",
        group="g",
        deduplication_id="d",
        extra={"later": [1]},
        traceparent="00-1-2-01",
    )
    await ledger.tasks.record_enqueued([task])
    view = await ledger.tasks.get(task.id)
    assert view is not None
    assert (task, TaskStatus.QUEUED) == (view.task, view.status)


async def test_task_with_a_time_ahead_is_scheduled(ledger: Ledger) -> None:
    """A task that its queue holds until later is scheduled, not queued."""
    task = a_task(scheduled_for=START + MINUTE)
    await ledger.tasks.record_enqueued([task])
    assert TaskStatus.SCHEDULED == await _status(ledger, task)


async def test_scheduled_task_of_a_queue_is_queued_once_it_is_due(ledger: Ledger, clock: FakeClock) -> None:
    """Nobody tells the ledger when a queue's own delay is over: the ledger sees the time itself."""
    task = a_task(scheduled_for=START + MINUTE)
    await ledger.tasks.record_enqueued([task])
    await clock.advance(MINUTE)
    assert [] == list(await ledger.held.due(10, MINUTE))
    assert TaskStatus.QUEUED == await _status(ledger, task)


async def test_gateway_that_is_slower_than_the_consumer_undoes_nothing(ledger: Ledger) -> None:
    """A task that completed before its gateway told of it stays completed."""
    task = a_task(payload=1)
    await ledger.executions.start([an_execution(task)])
    await ledger.executions.record(an_end(task))
    await ledger.tasks.record_enqueued([task])
    assert TaskStatus.COMPLETED == await _status(ledger, task)


async def test_many_tasks_at_once_are_all_found(ledger: Ledger) -> None:
    """Concurrent calls and large batches lose nothing."""
    tasks = [a_task() for _ in range(300)]
    await asyncio.gather(
        ledger.tasks.record_enqueued(tasks[:150]), *(ledger.tasks.record_enqueued([task]) for task in tasks[150:])
    )
    found = await _all(ledger, TaskFilter())
    assert {task.id for task in tasks} == set(found)


async def test_same_task_twice_in_one_batch_is_one_task(ledger: Ledger) -> None:
    """Two copies that arrive in one statement are as good as one."""
    task = a_task()
    await ledger.tasks.record_enqueued([task, task])
    assert [task.id] == await _all(ledger, TaskFilter())


async def test_characters_that_no_database_takes_do_not_lose_the_task(ledger: Ledger) -> None:
    """A foreign message with NUL characters or halves of a character in its names is remembered without them."""
    task = a_task("nul\0id", type="a\0b\ud800", group="g\0", metadata={"k\0": "v\0"}, payload="p\0")
    await ledger.tasks.record_enqueued([task])
    view = await ledger.tasks.get("nul\0id")
    assert view is not None
    assert ("nul\N{REPLACEMENT CHARACTER}id", "a\N{REPLACEMENT CHARACTER}b?") == (view.task.id, view.task.type)
    assert ({"k\0": "v\0"}, "p\0") == (view.task.metadata, view.task.payload)


async def test_list_shows_the_newest_first_and_leaves_payloads_out(ledger: Ledger) -> None:
    """A list is for looking around: what may be large is only in the single view."""
    old, new = a_task(payload=1), a_task(payload=2, created_at=START + SECOND)
    await ledger.tasks.record_enqueued([old, new])
    page = await ledger.tasks.list_tasks(TaskFilter(), limit=10)
    assert [(new.id, None), (old.id, None)] == [(view.task.id, view.task.payload) for view in page.items]
    assert page.next_cursor is None


async def test_pages_follow_each_other_without_gap_or_repeat(ledger: Ledger) -> None:
    """Tasks of one moment, and tasks that arrive between two pages, upset no paging."""
    tasks = [a_task(created_at=START + SECOND * (number // 4)) for number in range(18)]
    await ledger.tasks.record_enqueued(tasks)
    first = await ledger.tasks.list_tasks(TaskFilter(), limit=5)
    await ledger.tasks.record_enqueued([a_task(created_at=START + HOUR)])
    seen = [view.task.id for view in first.items]
    cursor = first.next_cursor
    while cursor is not None:
        page = await ledger.tasks.list_tasks(TaskFilter(), limit=5, cursor=cursor)
        seen += [view.task.id for view in page.items]
        cursor = page.next_cursor
    newest_first = sorted(tasks, key=lambda task: (task.created_at, task.id), reverse=True)
    assert [task.id for task in newest_first] == seen


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (TaskFilter(queue="q2"), ["b"]),
        (TaskFilter(type="other"), ["c"]),
        (TaskFilter(status=TaskStatus.SCHEDULED), ["d"]),
        (TaskFilter(group="g"), ["a"]),
        (TaskFilter(created_after=START + SECOND), ["d", "c"]),
        (TaskFilter(created_before=START + SECOND), ["a"]),
        (TaskFilter(queue="tasks", status=TaskStatus.QUEUED, type="embedding"), ["a"]),
        (TaskFilter(queue="tasks", group="none"), []),
    ],
)
async def test_list_filters(ledger: Ledger, query: TaskFilter, expected: list[str]) -> None:
    """Each filter narrows, and all of them together."""
    await ledger.tasks.record_enqueued(
        [
            a_task("a", group="g"),
            a_task("b", queue="q2", created_at=START + SECOND),
            a_task("c", type="other", created_at=START + SECOND * 2),
            a_task("d", scheduled_for=START + HOUR, created_at=START + SECOND * 3),
        ]
    )
    assert expected == await _all(ledger, query)


@pytest.mark.parametrize("cursor", ["", "?", "e30", "WzEsMl0", "WzkyMjMzNzIwMzY4NTQ3NzU4MDcsImEiXQ", "ü", "A" * 5000])
async def test_cursor_of_nobody_is_refused(ledger: Ledger, cursor: str) -> None:
    """A cursor that no list gave out is the caller's mistake, not the database's failure."""
    with pytest.raises(InvalidCursorError):
        await ledger.tasks.list_tasks(TaskFilter(), limit=5, cursor=cursor)


@pytest.mark.parametrize("text", ["\0", "a\0b", "\ud800"])
async def test_search_for_what_no_database_can_hold_finds_nothing(ledger: Ledger, text: str) -> None:
    """Whatever a client puts into a path or a query, the answer is none, not a failure."""
    await ledger.tasks.record_enqueued([a_task()])
    assert await ledger.tasks.get(text) is None
    assert [] == await _all(ledger, TaskFilter(queue=text, type=text, group=text))
    cursor = encode_cursor("created_at", 0, text)
    assert () == (await ledger.tasks.list_tasks(TaskFilter(), limit=5, cursor=cursor)).items
    query = DeadLetterFilter(queue=text, type=text, reason=text, ids=(text,))
    assert () == (await ledger.dead_letters.list_dead_letters(query, limit=5)).items
    assert frozenset() == await ledger.tasks.cancel_requests([text])
    assert await ledger.schedules.get(text) is None


async def test_canceled_task_never_starts(ledger: Ledger) -> None:
    """A cancel that came before the start wins."""
    task = a_task()
    await ledger.tasks.record_enqueued([task])
    assert TaskStatus.CANCELED == await ledger.tasks.cancel(task.id)
    [admission] = await ledger.executions.start([an_execution(task)])
    assert TaskStatus.CANCELED == admission.refused
    assert TaskStatus.CANCELED == await _status(ledger, task)


async def test_canceling_a_running_task_asks_its_consumer(ledger: Ledger) -> None:
    """A running task goes on until its consumer, which asks for such wishes, stops it."""
    task, other = a_task(), a_task()
    await ledger.executions.start([an_execution(task), an_execution(other)])
    assert TaskStatus.RUNNING == await ledger.tasks.cancel(task.id)
    assert frozenset({task.id}) == await ledger.tasks.cancel_requests([task.id, other.id])
    await ledger.executions.record(an_end(task, TaskStatus.CANCELED))
    assert TaskStatus.CANCELED == await _status(ledger, task)


async def test_cancel_wish_outlives_the_consumer(ledger: Ledger) -> None:
    """When the consumer dies before it stopped the task, the next delivery is refused."""
    task = a_task()
    await ledger.executions.start([an_execution(task)])
    await ledger.tasks.cancel(task.id)
    [admission] = await ledger.executions.start([an_execution(task)])
    assert TaskStatus.CANCELED == admission.refused
    assert TaskStatus.CANCELED == await _status(ledger, task)


async def test_nobody_asks_about_no_tasks(ledger: Ledger) -> None:
    """An idle consumer gets an empty answer."""
    assert frozenset() == await ledger.tasks.cancel_requests([])


async def test_ended_and_unknown_tasks_cannot_be_canceled(ledger: Ledger) -> None:
    """There is nothing to withdraw, and the caller learns why."""
    task = a_task()
    await ledger.executions.start([an_execution(task)])
    await ledger.executions.record(an_end(task))
    with pytest.raises(TaskAlreadyEndedError):
        await ledger.tasks.cancel(task.id)
    with pytest.raises(TaskNotFoundError):
        await ledger.tasks.cancel("nobody")


async def test_purge_cancels_what_waits_and_came_before(ledger: Ledger) -> None:
    """Waiting, delayed, retrying and scheduled tasks end; running ones, later ones and other queues' do not."""
    queued, scheduled, held, retrying, running, later = (a_task(created_at=START) for _ in range(6))
    later = a_task(created_at=START + MINUTE)
    elsewhere = a_task(queue="other")
    await ledger.tasks.record_enqueued([queued, _at(scheduled, START + HOUR), later, elsewhere])
    await ledger.held.hold([_at(held, START + HOUR)])
    await ledger.executions.start([an_execution(running), an_execution(retrying)])
    await ledger.executions.record(an_end(retrying, TaskStatus.RETRYING))

    assert 4 == await ledger.tasks.cancel_waiting("tasks", START + MINUTE)

    statuses = [await _status(ledger, task) for task in (queued, scheduled, held, retrying)]
    assert [TaskStatus.CANCELED] * 4 == statuses
    statuses = [await _status(ledger, task) for task in (running, later, elsewhere)]
    assert [TaskStatus.RUNNING, TaskStatus.QUEUED, TaskStatus.QUEUED] == statuses


async def test_purged_task_that_was_held_is_never_promoted(ledger: Ledger, clock: FakeClock) -> None:
    """A purge takes scheduled tasks out of the ledger's own hands too."""
    await ledger.held.hold([a_task(scheduled_for=START + MINUTE)])
    await ledger.tasks.cancel_waiting("tasks", START + SECOND)
    await clock.advance(HOUR)
    assert [] == list(await ledger.held.due(10, MINUTE))


async def test_age_of_the_oldest_waiting_task(ledger: Ledger) -> None:
    """Only what waits to be received counts, and only in its own queue."""
    done, waiting, later = a_task(), a_task(created_at=START + SECOND), a_task(created_at=START + MINUTE)
    await ledger.tasks.record_enqueued([done, waiting, later, a_task(queue="other")])
    await ledger.executions.start([an_execution(done)])
    assert START + SECOND == await ledger.tasks.oldest_waiting("tasks")
    assert await ledger.tasks.oldest_waiting("nobody's") is None


async def test_retention_forgets_what_ended_long_ago(ledger: Ledger) -> None:
    """Ended tasks go with their attempts; what has not ended, or not long ago, stays."""
    old, recent, waiting = a_task(), a_task(), a_task()
    await ledger.tasks.record_enqueued([waiting])
    await ledger.executions.record(an_end(old))
    await ledger.executions.record(an_end(recent, started_at=START + HOUR))

    assert 1 == await ledger.tasks.prune(START + MINUTE, None)
    assert 0 == await ledger.tasks.prune(START + MINUTE, None)

    assert await ledger.tasks.get(old.id) is None
    assert [waiting.id, recent.id] == sorted(await _all(ledger, TaskFilter()), reverse=True)


async def test_retention_forgets_what_nobody_will_ever_end(ledger: Ledger) -> None:
    """A task whose consumer was killed and whose message was purged is not shown as running for ever."""
    old, recent = a_task(), a_task(created_at=START + HOUR)
    await ledger.executions.start([an_execution(old), an_execution(recent, started_at=START + HOUR)])
    assert 1 == await ledger.tasks.prune(START + MINUTE, None)
    assert [recent.id] == await _all(ledger, TaskFilter())


async def test_retention_spares_dead_letters_that_wait_for_a_person(ledger: Ledger) -> None:
    """A dead letter has a retention of its own; until it is closed, its task stays too."""
    task = a_task()
    await ledger.dead_letters.store_dead_letters([a_dead_letter(task)])
    assert 0 == await ledger.tasks.prune(START + HOUR, None)
    await ledger.dead_letters.delete_dead_letter("tasks", task.id, "ann")
    await ledger.tasks.prune(START + HOUR, None)
    assert await ledger.tasks.get(task.id) is None


async def test_dead_letters_have_a_retention_of_their_own(ledger: Ledger) -> None:
    """Where one is set, dead letters that nobody looked at are closed, and then forgotten as others are."""
    task = a_task()
    await ledger.dead_letters.store_dead_letters([a_dead_letter(task)])
    while await ledger.tasks.prune(START + HOUR, START + MINUTE):
        pass
    assert await ledger.tasks.get(task.id) is None
    assert {} == await ledger.dead_letters.summaries()


async def test_result_of_the_last_attempt_is_shown(ledger: Ledger) -> None:
    """A completed task shows what its handler returned, how long it took and when that was."""
    task = a_task()
    await ledger.executions.record(an_end(task, result={"vector": [1, 2]}))
    view = await ledger.tasks.get(task.id)
    assert view is not None
    expected = TaskResult(
        task_id=task.id,
        status=TaskStatus.COMPLETED,
        timestamp=START + SECOND * 2,
        duration=SECOND * 2,
        result={"vector": [1, 2]},
    )
    assert expected == view.result


async def test_task_that_ended_without_running_shows_why(ledger: Ledger) -> None:
    """An expired task has a result without a duration."""
    task = a_task()
    await ledger.executions.record(an_end(task, TaskStatus.EXPIRED, attempt=0, duration=timedelta(0), error="too late"))
    view = await ledger.tasks.get(task.id)
    assert view is not None
    assert view.result is not None
    assert (TaskStatus.EXPIRED, "too late", ()) == (view.result.status, view.result.error, view.attempts)


async def test_result_that_is_too_long_is_cut_and_marked(ledger: Ledger) -> None:
    """Of a result over 64 KiB the beginning is kept, and the view says so."""
    task = a_task()
    await ledger.executions.record(an_end(task, result="x" * 100_000))
    view = await ledger.tasks.get(task.id)
    assert view is not None
    assert view.result is not None
    assert isinstance(view.result.result, dict)
    assert (True, 100_002) == (view.result.result["truncated"], view.result.result["size"])


async def test_two_processes_see_the_same_tasks(harness: LedgerHarness) -> None:
    """What one process records, another finds."""
    task = a_task()
    async with harness.another() as other:
        await harness.ledger.tasks.record_enqueued([task])
        assert TaskStatus.QUEUED == await _status(other, task)


def _at(task: Task, moment: object) -> Task:
    return a_task(task.id, created_at=task.created_at, scheduled_for=moment)


async def _status(ledger: Ledger, task: Task) -> TaskStatus | None:
    view = await ledger.tasks.get(task.id)
    return None if view is None else view.status


async def _all(ledger: Ledger, query: TaskFilter) -> list[str]:
    found: list[str] = []
    cursor = None
    while True:
        page = await ledger.tasks.list_tasks(query, limit=200, cursor=cursor)
        found += [view.task.id for view in page.items]
        cursor = page.next_cursor
        if cursor is None:
            return found
