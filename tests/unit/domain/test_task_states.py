"""How the state of a task may change: in one direction, whatever comes twice, late or out of order."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_queue.domain.errors import InvalidCursorError
from mcp_queue.domain.formats.strict_json import loads
from mcp_queue.domain.task import JsonValue, Task, TaskStatus
from mcp_queue.domain.task_states import (
    MAX_RESULT_BYTES,
    AdmissionDecision,
    AttemptEnd,
    DeliveredAttempt,
    TaskState,
    admit,
    cancel,
    conclude,
    decode_cursor,
    encode_cursor,
    ended_position,
    enqueued,
    kept_result,
    microseconds,
    moment,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ENDS = (TaskStatus.DEAD_LETTERED, TaskStatus.CANCELED, TaskStatus.EXPIRED)

Event = DeliveredAttempt | AttemptEnd | None

copies = st.builds(DeliveredAttempt, st.integers(0, 2), st.integers(1, 4), st.booleans())
ends = st.builds(
    AttemptEnd,
    redrive_count=st.integers(0, 2),
    attempt=st.integers(0, 4),
    status=st.sampled_from([TaskStatus.QUEUED, TaskStatus.COMPLETED, TaskStatus.RETRYING, *ENDS]),
    started_at=st.just(NOW),
    at=st.just(NOW),
    confirmed=st.booleans(),
    redelivered=st.booleans(),
    postponed=st.booleans(),
)


def an_end(status: TaskStatus, attempt: int = 1, redrive_count: int = 0, *, confirmed: bool = True) -> AttemptEnd:
    """Return the end of an attempt."""
    return AttemptEnd(
        redrive_count=redrive_count, attempt=attempt, status=status, started_at=NOW, at=NOW, confirmed=confirmed
    )


def step(state: TaskState, event: Event) -> TaskState:
    """Return the state after ``event``; none is a cancel. As the ledger does, begin a new generation first."""
    if event is None:
        return state if state.status.ended else cancel(state, NOW)
    if event.redrive_count > state.redrive_count:
        state = TaskState(status=TaskStatus.QUEUED, redrive_count=event.redrive_count)
    return admit(state, event, NOW).state if isinstance(event, DeliveredAttempt) else conclude(state, event)


def test_positions_rise_as_a_task_goes_on() -> None:
    """Scheduled, queued, each attempt and its retry, an end, success; and any state of a later generation."""
    states = [
        TaskState(status=TaskStatus.SCHEDULED),
        TaskState(status=TaskStatus.QUEUED),
        TaskState(status=TaskStatus.RUNNING, attempt=1),
        TaskState(status=TaskStatus.RETRYING, attempt=1),
        TaskState(status=TaskStatus.RUNNING, attempt=2),
        TaskState(status=TaskStatus.RETRYING, attempt=1_000_001),
        TaskState(status=TaskStatus.EXPIRED),
        TaskState(status=TaskStatus.COMPLETED),
        TaskState(status=TaskStatus.SCHEDULED, redrive_count=1),
        TaskState(status=TaskStatus.COMPLETED, redrive_count=1_000_000),
    ]
    positions = [state.position for state in states]
    assert sorted(set(positions)) == positions
    assert positions[-1] < 1 << 63


@pytest.mark.parametrize("status", ENDS)
def test_all_ends_but_success_have_one_position(status: TaskStatus) -> None:
    """So the first of them wins."""
    assert ended_position(3) == TaskState(status=status, redrive_count=3, attempt=2).position


@given(st.lists(st.one_of(copies, ends, st.none()), max_size=12))
def test_no_event_ever_moves_a_task_back(events: list[Event]) -> None:
    """Whatever comes, in whatever order: the position never falls, and completed stays in its generation."""
    state = TaskState(status=TaskStatus.SCHEDULED)
    for event in events:
        after = step(state, event)
        assert after.position >= state.position
        assert after.recorded >= state.recorded or after.redrive_count > state.redrive_count
        if state.status is TaskStatus.COMPLETED and after.redrive_count == state.redrive_count:
            assert after.status is TaskStatus.COMPLETED
        state = after


@given(st.lists(st.one_of(copies, ends, st.none()), max_size=12), copies)
def test_running_alone_never_stands_against_a_copy(events: list[Event], copy: DeliveredAttempt) -> None:
    """A copy is refused only where the task ended or was to be canceled, stale only where a successor or redrive is."""
    state = TaskState(status=TaskStatus.QUEUED)
    for event in events:
        state = step(state, event)
    if copy.redrive_count > state.redrive_count:
        return
    verdict = admit(state, copy, NOW)
    if verdict.stale:
        assert copy.redrive_count < state.redrive_count or copy.attempt <= state.superseded
    elif verdict.refused is not None:
        assert state.status.ended or state.cancel_requested
    else:
        assert TaskStatus.RUNNING == verdict.state.status or verdict.state.position >= state.position


@given(st.lists(st.one_of(copies, ends), max_size=8), ends)
def test_repeating_a_record_changes_nothing(events: list[DeliveredAttempt | AttemptEnd], end: AttemptEnd) -> None:
    """A write that is done again after a lost answer is as good as once."""
    state = TaskState(status=TaskStatus.QUEUED)
    for event in events:
        state = step(state, event)
    once = step(state, end)
    assert once == step(once, end)


def test_task_that_was_given_back_waits_again() -> None:
    """It may run as the same attempt again; who gave it back late takes it from nobody."""
    running = admit(TaskState(status=TaskStatus.QUEUED), DeliveredAttempt(0, 2, counts_itself=True), NOW).state
    waiting = conclude(running, an_end(TaskStatus.QUEUED, 2))
    assert (TaskStatus.QUEUED, 2) == (waiting.status, waiting.attempt)
    later = NOW + timedelta(seconds=1)
    again = admit(waiting, DeliveredAttempt(0, 2, counts_itself=True), later).state
    assert (TaskStatus.RUNNING, later) == (again.status, again.started_at)
    assert again == conclude(again, an_end(TaskStatus.QUEUED, 2))
    to_be_canceled = conclude(cancel(running, NOW), an_end(TaskStatus.QUEUED, 2))
    assert TaskStatus.CANCELED == to_be_canceled.status


def test_task_with_a_time_ahead_is_scheduled() -> None:
    """A time that has come is none to wait for."""
    task = Task(id="t", type="x", queue="q", created_at=NOW, redrive_count=2)
    later = replace(task, scheduled_for=NOW + timedelta(seconds=1))
    assert TaskState(status=TaskStatus.SCHEDULED, redrive_count=2) == enqueued(later, NOW)
    assert TaskState(status=TaskStatus.QUEUED, redrive_count=2) == enqueued(replace(task, scheduled_for=NOW), NOW)


def test_unconfirmed_retry_leaves_the_task_as_it_is() -> None:
    """The backend delivers the same attempt again: it must neither look stale nor ended."""
    running = TaskState(status=TaskStatus.RUNNING, attempt=1)
    for status in (TaskStatus.RETRYING, TaskStatus.DEAD_LETTERED):
        after = conclude(running, an_end(status, confirmed=False))
        assert (TaskStatus.RUNNING, 1, 0) == (after.status, after.recorded, after.superseded)


def test_unconfirmed_success_is_a_success() -> None:
    """It happened; the message that comes again is settled without running."""
    after = conclude(TaskState(status=TaskStatus.RUNNING, attempt=1), an_end(TaskStatus.COMPLETED, confirmed=False))
    assert TaskStatus.COMPLETED == after.status


def test_copy_that_came_too_late_does_not_end_the_one_that_runs() -> None:
    """The run ends the task, be it with a dead letter; after a crash nothing runs beside what comes back."""
    running = TaskState(status=TaskStatus.RUNNING, attempt=1)
    expired = an_end(TaskStatus.EXPIRED, attempt=0)
    assert running == conclude(running, expired)
    assert TaskStatus.DEAD_LETTERED == conclude(conclude(running, expired), an_end(TaskStatus.DEAD_LETTERED)).status
    assert TaskStatus.EXPIRED == conclude(running, replace(expired, redelivered=True)).status


@pytest.mark.parametrize("counts_itself", [True, False])
@pytest.mark.parametrize("status", [TaskStatus.RETRYING, TaskStatus.DEAD_LETTERED])
def test_attempt_whose_queue_could_not_take_its_end_does_not_run_again(
    status: TaskStatus, *, counts_itself: bool
) -> None:
    """The next delivery of it is settled, and what follows is as if the queue had taken it at once."""
    delivered = DeliveredAttempt(0, 1, counts_itself=counts_itself)
    running = admit(TaskState(status=TaskStatus.QUEUED), delivered, NOW).state
    waiting = conclude(running, replace(an_end(status, confirmed=False), postponed=True))
    assert AdmissionDecision(waiting, 1, decided=True) == admit(waiting, delivered, NOW)
    settled = conclude(waiting, an_end(status))
    assert status == settled.status
    assert not admit(settled, DeliveredAttempt(0, 2, counts_itself=counts_itself), NOW).decided


@pytest.mark.parametrize("counts_itself", [True, False])
def test_what_ran_and_was_not_settled_is_a_suspect(*, counts_itself: bool) -> None:
    """It may have ended its process. What was released, retried or never started is none."""
    delivered = DeliveredAttempt(0, 1, counts_itself=counts_itself)
    first = admit(TaskState(status=TaskStatus.QUEUED), delivered, NOW)
    assert not first.suspect
    assert admit(first.state, delivered, NOW).suspect
    assert not admit(conclude(first.state, an_end(TaskStatus.QUEUED)), delivered, NOW).suspect
    retried = conclude(first.state, an_end(TaskStatus.RETRYING))
    assert not admit(retried, DeliveredAttempt(0, 2, counts_itself=counts_itself), NOW).suspect


def test_cancel_wish_for_a_later_attempt_does_not_end_it_by_an_earlier_record() -> None:
    """The record of the first attempt may come when the second, which is to be stopped, runs already."""
    running = TaskState(status=TaskStatus.RUNNING, attempt=2, cancel_requested=True)
    after = conclude(running, an_end(TaskStatus.RETRYING, attempt=1))
    assert (TaskStatus.RUNNING, 1) == (after.status, after.superseded)


def test_none_is_no_result() -> None:
    """A handler that returns nothing leaves nothing."""
    assert kept_result(None) is None


@pytest.mark.parametrize("value", ["x" * 70_000, ["ü" * 30_000], {"quotes": '"\\' * 40_000}])
def test_long_result_is_cut_to_the_limit_and_says_so(value: JsonValue) -> None:
    """What is kept is JSON of at most 64 KiB that tells the size of the whole."""
    kept = kept_result(value)
    assert kept is not None
    assert len(kept) <= MAX_RESULT_BYTES
    cut = loads(kept)
    assert isinstance(cut, dict)
    assert True is cut["truncated"]


@given(st.datetimes(min_value=datetime(1, 1, 1), max_value=datetime(9999, 12, 31), timezones=st.just(UTC)))  # noqa: DTZ001  # hypothesis wants them naive
def test_times_survive_as_microseconds(time: datetime) -> None:
    """Nothing is rounded."""
    assert time == moment(microseconds(time))


@given(st.tuples(st.integers(-(1 << 63) + 1, (1 << 63) - 1), st.text()))
def test_cursor_gives_back_its_key(key: tuple[int, str]) -> None:
    """Whatever the id looks like."""
    assert key == decode_cursor(encode_cursor(*key), int, str)


@given(st.text())
def test_any_other_text_is_no_cursor(text: str) -> None:
    """It is refused, never an error of another kind."""
    try:
        key = decode_cursor(text, int, str)
    except InvalidCursorError:
        return
    assert [int, str] == [type(part) for part in key]


@pytest.mark.parametrize("key", [(1,), ("a", 1), (True, "a"), (1, "a", 2), (1 << 63, "a"), (1.5, "a")])
def test_cursor_of_another_list_is_refused(key: tuple[str | int, ...]) -> None:
    """Its parts must be of the kinds that the list sorts by."""
    with pytest.raises(InvalidCursorError):
        decode_cursor(encode_cursor(*key), int, str)
