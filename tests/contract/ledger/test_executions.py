"""What an ``ExecutionLog`` promises when it is a ledger, on every database."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from mcp_queue.adapters.ledger.ledger import Ledger
from mcp_queue.domain.task import Task, TaskStatus
from mcp_queue.domain.task_states import RecordedAttempt, RecordedTask, TaskFilter
from mcp_queue.ports import Admission, DecidedEnd
from tests.support.clock import HOUR, MINUTE, SECOND, START
from tests.support.tasks import a_dead_letter, a_task, an_end, an_execution


async def test_known_task_starts_with_the_attempt_of_its_message(ledger: Ledger) -> None:
    """Where the message carries the count, the ledger believes it."""
    task = a_task(retry_count=2)
    await ledger.tasks.record_enqueued([task])
    assert [Admission(3)] == list(await ledger.executions.start([an_execution(task)]))
    assert TaskStatus.RUNNING == (await _view(ledger, task)).status


async def test_unknown_task_is_entered_by_its_start(ledger: Ledger) -> None:
    """A message that somebody else sent is in the ledger from its start on, payload and all."""
    task = a_task(payload={"from": "elsewhere"})
    assert [Admission(1)] == list(await ledger.executions.start([an_execution(task)]))
    view = await _view(ledger, task)
    assert (TaskStatus.RUNNING, task) == (view.status, view.task)


async def test_running_never_stands_against_a_start(ledger: Ledger) -> None:
    """The worker that runs a task may be gone: the next delivery starts all the same."""
    task = a_task()
    await ledger.executions.start([an_execution(task)])
    assert [Admission(1, suspect=True)] == list(await ledger.executions.start([an_execution(task)]))


@pytest.mark.parametrize("status", [TaskStatus.COMPLETED, TaskStatus.DEAD_LETTERED, TaskStatus.EXPIRED])
async def test_ended_task_is_refused(ledger: Ledger, status: TaskStatus) -> None:
    """A second delivery of a task that ended is settled without running."""
    task = a_task()
    await ledger.executions.record(an_end(task, status))
    assert [Admission(1, refused=status)] == list(await ledger.executions.start([an_execution(task)]))


@pytest.mark.parametrize("status", [TaskStatus.RETRYING, TaskStatus.DEAD_LETTERED])
async def test_end_that_a_queue_could_not_take_is_told_to_the_next_delivery(ledger: Ledger, status: TaskStatus) -> None:
    """It is settled as it was decided, by any consumer; a cancel meanwhile ends the task at once."""
    task = a_task()
    await ledger.executions.start([an_execution(task)])
    due = START + HOUR if status is TaskStatus.RETRYING else None
    end = an_end(task, status, error="no", response_status=500, next_at=due, confirmed=False, postponed=True)
    await ledger.executions.record(end)
    decided = DecidedEnd(
        status=status, error="no", started_at=START, duration=end.duration, response_status=500, next_at=due
    )
    assert [Admission(1, decided=decided)] == list(await ledger.executions.start([an_execution(task)]))
    await ledger.executions.record(replace(end, confirmed=True, postponed=False))
    [following] = await ledger.executions.start([an_execution(task.next_attempt())])
    assert following.decided is None
    assert (following.refused is None) == (status is TaskStatus.RETRYING)


async def test_starts_of_a_suspect_are_counted(ledger: Ledger) -> None:
    """Each that was not settled since; a released one ended no process, and another attempt begins at none."""
    task = a_task()
    start = an_execution(task)
    await ledger.executions.start([start])
    [again] = await ledger.executions.start([start])
    assert again.suspect
    assert [0, 1] == [await ledger.executions.mark_suspect(start) for _ in range(2)]
    await ledger.executions.record(an_end(task, TaskStatus.QUEUED))
    assert 1 == await ledger.executions.mark_suspect(start)
    assert 0 == await ledger.executions.mark_suspect(an_execution(task.next_attempt()))


async def test_answers_come_in_the_order_asked(ledger: Ledger) -> None:
    """Many starts go in one statement; each gets its own answer."""
    tasks = [a_task(retry_count=number % 3) for number in range(100)]
    ended = tasks[::7]
    await asyncio.gather(*(ledger.executions.record(an_end(task)) for task in ended))
    admissions = await ledger.executions.start([an_execution(task) for task in tasks])
    expected = [
        Admission(task.retry_count + 1, refused=TaskStatus.COMPLETED if task in ended else None) for task in tasks
    ]
    assert expected == list(admissions)


async def test_copy_of_an_attempt_whose_successor_was_sent_is_stale(ledger: Ledger) -> None:
    """Once the backend confirmed the retry, the older message is a leftover."""
    task = a_task()
    await ledger.executions.start([an_execution(task)])
    await ledger.executions.record(an_end(task, TaskStatus.RETRYING, next_at=START + MINUTE))
    successor = task.next_attempt()
    admissions = await ledger.executions.start([an_execution(task), an_execution(successor)])
    assert [Admission(1, stale=True), Admission(2)] == list(admissions)


async def test_copy_of_an_attempt_whose_retry_was_not_confirmed_runs_again(ledger: Ledger) -> None:
    """A lease lost before the retry was sent brings the same message again: it must not be dropped."""
    task = a_task()
    await ledger.executions.start([an_execution(task)])
    await ledger.executions.record(an_end(task, TaskStatus.RETRYING, confirmed=False))
    assert [Admission(1)] == list(await ledger.executions.start([an_execution(task)]))


async def test_older_copy_moves_a_running_retry_not_back(ledger: Ledger) -> None:
    """After a crash between sending a retry and deleting its predecessor both run; the newer is what shows."""
    task = a_task()
    newer = task.next_attempt()
    await ledger.executions.start([an_execution(newer)])
    assert [Admission(1)] == list(await ledger.executions.start([an_execution(task)]))
    assert 1 == (await _view(ledger, task)).task.retry_count


async def test_copy_of_an_earlier_generation_is_stale(ledger: Ledger) -> None:
    """A redrive leaves what the generation before it still says behind."""
    task = a_task()
    redriven = replace(task, redrive_count=1)
    await ledger.executions.start([an_execution(redriven)])
    assert [Admission(1, stale=True)] == list(await ledger.executions.start([an_execution(task)]))


async def test_new_generation_starts_where_the_old_one_had_ended(ledger: Ledger) -> None:
    """A redriven task runs although its earlier generation was dead-lettered and canceled."""
    task = a_task()
    await ledger.executions.record(an_end(task, TaskStatus.DEAD_LETTERED, error="broke"))
    redriven = replace(task, redrive_count=1, payload="edited")
    assert [Admission(1)] == list(await ledger.executions.start([an_execution(redriven)]))
    view = await _view(ledger, task)
    assert (TaskStatus.RUNNING, "edited", 1) == (view.status, view.task.payload, view.task.redrive_count)
    await ledger.executions.record(an_end(redriven))
    assert TaskStatus.COMPLETED == (await _view(ledger, task)).status


async def test_fifo_attempts_are_counted_by_the_ledger(ledger: Ledger) -> None:
    """Where the message always says the same, the ledger counts what it saw end, and a crash does not count."""
    task = a_task(group="g")
    copy = an_execution(task, counts_itself=False)
    assert [Admission(1)] == list(await ledger.executions.start([copy]))
    await ledger.executions.record(an_end(task, TaskStatus.RETRYING, attempt=1))
    assert [Admission(2)] == list(await ledger.executions.start([copy]))
    assert [Admission(2, suspect=True)] == list(await ledger.executions.start([copy]))
    await ledger.executions.record(an_end(task, TaskStatus.RETRYING, attempt=2))
    assert [Admission(3)] == list(await ledger.executions.start([copy]))


async def test_fifo_attempts_begin_anew_with_a_redrive(ledger: Ledger) -> None:
    """Every generation has all its attempts."""
    task = a_task(group="g")
    await ledger.executions.record(an_end(task, TaskStatus.DEAD_LETTERED, attempt=4))
    copy = an_execution(replace(task, redrive_count=1), counts_itself=False)
    assert [Admission(1)] == list(await ledger.executions.start([copy]))


async def test_same_task_twice_at_the_same_moment_gets_two_answers(ledger: Ledger) -> None:
    """Two copies in one statement are decided about one after the other."""
    task = a_task()
    admissions = await ledger.executions.start([an_execution(task), an_execution(task)])
    assert [Admission(1), Admission(1, suspect=True)] == list(admissions)


async def test_attempts_tell_their_story(ledger: Ledger) -> None:
    """Every attempt keeps its start, duration, outcome, error and the status of the callback's answer."""
    task = a_task()
    await ledger.executions.record(
        an_end(task, TaskStatus.RETRYING, error="HTTP 503", response_status=503, next_at=START + MINUTE)
    )
    retry = task.next_attempt()
    await ledger.executions.record(an_end(retry, started_at=START + MINUTE, duration=timedelta(seconds=0.25)))
    first = RecordedAttempt(
        redrive_count=0,
        attempt=1,
        started_at=START,
        duration=SECOND * 2,
        status=TaskStatus.RETRYING,
        error="HTTP 503",
        response_status=503,
    )
    second = RecordedAttempt(
        redrive_count=0,
        attempt=2,
        started_at=START + MINUTE,
        duration=timedelta(seconds=0.25),
        status=TaskStatus.COMPLETED,
    )
    assert (first, second) == (await _view(ledger, task)).attempts


async def test_retry_shows_while_it_waits(ledger: Ledger) -> None:
    """Between two attempts a task is retrying, with the error of the last."""
    task = a_task()
    await ledger.executions.start([an_execution(task)])
    await ledger.executions.record(an_end(task, TaskStatus.RETRYING, error="no answer"))
    view = await _view(ledger, task)
    assert view.result is not None
    assert (TaskStatus.RETRYING, "no answer") == (view.status, view.result.error)


@pytest.mark.parametrize(
    "later",
    [TaskStatus.RETRYING, TaskStatus.DEAD_LETTERED, TaskStatus.CANCELED, TaskStatus.EXPIRED],
)
async def test_nothing_turns_completed_back(ledger: Ledger, later: TaskStatus) -> None:
    """A duplicate that ends otherwise, later, changes neither the status nor the result."""
    task = a_task()
    await ledger.executions.record(an_end(task, result="done"))
    await ledger.executions.record(an_end(task, later, error="duplicate"))
    view = await _view(ledger, task)
    assert view.result is not None
    assert (TaskStatus.COMPLETED, "done", None) == (view.status, view.result.result, view.result.error)


async def test_late_record_of_an_earlier_attempt_changes_nothing_but_its_own_line(ledger: Ledger) -> None:
    """Records may overtake each other on the way."""
    task = a_task()
    await ledger.executions.record(an_end(task.next_attempt(), TaskStatus.DEAD_LETTERED, error="second"))
    await ledger.executions.record(an_end(task, TaskStatus.RETRYING, error="first"))
    view = await _view(ledger, task)
    assert view.result is not None
    assert (TaskStatus.DEAD_LETTERED, "second") == (view.status, view.result.error)
    assert ["first", "second"] == [attempt.error for attempt in view.attempts]


async def test_records_of_one_task_in_one_statement_keep_the_outcome_of_the_furthest(ledger: Ledger) -> None:
    """Coalescing writes loses nothing of what each said."""
    task = a_task()
    ends = [
        an_end(task, TaskStatus.RETRYING, error="first"),
        an_end(task.next_attempt(), result="second"),
        an_end(task, TaskStatus.RETRYING, error="first again"),
    ]
    await asyncio.gather(*(ledger.executions.record(end) for end in ends))
    view = await _view(ledger, task)
    assert view.result is not None
    assert (TaskStatus.COMPLETED, "second") == (view.status, view.result.result)
    assert [1, 2] == [attempt.attempt for attempt in view.attempts]


async def test_first_of_two_ends_wins(ledger: Ledger) -> None:
    """Dead-lettered, canceled and expired do not replace each other."""
    task = a_task()
    await ledger.executions.record(an_end(task, TaskStatus.EXPIRED, attempt=0))
    await ledger.executions.record(an_end(task, TaskStatus.DEAD_LETTERED))
    assert TaskStatus.EXPIRED == (await _view(ledger, task)).status


async def test_retry_of_a_task_that_was_to_be_canceled_ends_it(ledger: Ledger) -> None:
    """A callback under way is let finish; when it fails, there is no further attempt."""
    task = a_task()
    await ledger.executions.start([an_execution(task)])
    await ledger.tasks.cancel(task.id)
    await ledger.executions.record(an_end(task, TaskStatus.RETRYING, error="HTTP 503"))
    assert TaskStatus.CANCELED == (await _view(ledger, task)).status
    [admission] = await ledger.executions.start([an_execution(task.next_attempt())])
    assert TaskStatus.CANCELED == admission.refused


async def test_late_success_closes_its_dead_letter(ledger: Ledger) -> None:
    """A task that succeeded after all waits for nobody."""
    task = a_task()
    await ledger.executions.start([an_execution(task)])
    await ledger.dead_letters.store_dead_letters([a_dead_letter(task)])
    await ledger.executions.record(an_end(task))
    assert {} == await ledger.dead_letters.summaries()
    view = await _view(ledger, task)
    assert (TaskStatus.COMPLETED, ["completed"]) == (
        view.status,
        [dead_letter.state for dead_letter in view.dead_letters],
    )


async def test_late_success_of_a_redriven_generation_leaves_the_new_one_alone(ledger: Ledger) -> None:
    """The redrive has happened: the old generation's word does not count any more."""
    task = a_task()
    await ledger.dead_letters.store_dead_letters([a_dead_letter(task)])
    await ledger.dead_letters.mark_redriven([replace(task, redrive_count=1)], "ann")
    await ledger.executions.record(an_end(task))
    assert TaskStatus.QUEUED == (await _view(ledger, task)).status


async def test_backends_own_redrive_closes_the_dead_letter(ledger: Ledger) -> None:
    """A new generation that simply arrives says that its dead letter was redriven, by whomever."""
    task = a_task()
    await ledger.dead_letters.store_dead_letters([a_dead_letter(task)])
    await ledger.executions.start([an_execution(replace(task, redrive_count=1))])
    assert {} == await ledger.dead_letters.summaries()
    view = await _view(ledger, task)
    assert [("redriven", None)] == [(dead_letter.state, dead_letter.closed_by) for dead_letter in view.dead_letters]


async def test_result_that_is_no_json_spoils_nothing(ledger: Ledger) -> None:
    """A handler that returns what JSON has no form for leaves a note, and holds up no other record."""
    strange, plain = a_task(), a_task()
    await asyncio.gather(
        ledger.executions.record(an_end(strange, result=float("nan"))),
        ledger.executions.record(an_end(plain, result="fine")),
    )
    view = await _view(ledger, strange)
    assert view.result is not None
    assert isinstance(view.result.result, dict)
    assert (TaskStatus.COMPLETED, ["not_json"]) == (view.status, list(view.result.result))
    assert TaskStatus.COMPLETED == (await _view(ledger, plain)).status


async def test_task_that_was_given_back_waits_again_and_can_be_purged(ledger: Ledger) -> None:
    """A drain leaves nothing that seems to run; no attempt is told of."""
    task, stays = a_task(), a_task()
    await ledger.executions.start([an_execution(task), an_execution(stays)])
    await ledger.executions.record(an_end(task, TaskStatus.QUEUED))
    view = await ledger.tasks.get(task.id)
    assert view is not None
    assert (TaskStatus.QUEUED, ()) == (view.status, view.attempts)
    assert 1 == await ledger.tasks.cancel_waiting(task.queue, START + HOUR)
    views = [await ledger.tasks.get(each.id) for each in (task, stays)]
    assert [TaskStatus.CANCELED, TaskStatus.RUNNING] == [view.status for view in views if view is not None]


async def test_start_of_nothing_answers_nothing(ledger: Ledger) -> None:
    """An empty question is no statement."""
    assert [] == list(await ledger.executions.start([]))


async def test_thousand_tasks_run_through(ledger: Ledger) -> None:
    """Large groups go through every step."""
    tasks = [a_task(created_at=START - HOUR) for _ in range(1000)]
    await ledger.tasks.record_enqueued(tasks)
    await ledger.executions.start([an_execution(task) for task in tasks])
    await asyncio.gather(*(ledger.executions.record(an_end(task)) for task in tasks))
    page = await ledger.tasks.list_tasks(TaskFilter(status=TaskStatus.COMPLETED), limit=200)
    assert 200 == len(page.items)
    assert page.next_cursor is not None


async def _view(ledger: Ledger, task: Task) -> RecordedTask:
    view = await ledger.tasks.get(task.id)
    assert view is not None
    return view
