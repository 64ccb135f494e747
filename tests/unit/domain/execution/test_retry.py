"""What happens after an attempt."""

import sys
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_queue.domain.errors import (
    AttemptTimeoutError,
    CallbackFailedError,
    CallbackRejectedError,
    InvalidPayloadError,
    PermanentError,
    RefusedAddressError,
    RetryableError,
    UnknownTaskTypeError,
)
from mcp_queue.domain.execution.retry import (
    ExponentialBackoff,
    Retry,
    RetryPolicy,
    dead_letter_message,
    describe,
    fit_delay,
    is_retryable,
    revived,
)
from mcp_queue.domain.task import MAX_REASON_BYTES, Task, cut_reason
from tests.support.clock import HOUR, MINUTE, NOW, SECOND, START
from tests.support.strategies import TASKS

DURATIONS = st.timedeltas(NOW, timedelta(days=365))
BACKOFFS = st.builds(
    ExponentialBackoff, base=DURATIONS, maximum=DURATIONS, factor=st.floats(1, sys.float_info.max), jitter=st.booleans()
)
COUNTS = st.integers(0, 2**63)
FRACTIONS = st.floats(0, 1)
TASK = Task(id="t-1", type="echo", queue="tasks", created_at=START, max_retries=3)
POLICY = RetryPolicy(ExponentialBackoff(jitter=False))


@given(BACKOFFS, COUNTS)
def test_backoff_is_bounded(backoff: ExponentialBackoff, count: int) -> None:
    """No number of retries overflows, or asks for more than the maximum."""
    assert NOW <= backoff.ceiling(count) <= backoff.maximum


@given(BACKOFFS, COUNTS, COUNTS)
def test_backoff_never_falls(backoff: ExponentialBackoff, one: int, other: int) -> None:
    """Later retries wait at least as long."""
    assert backoff.ceiling(min(one, other)) <= backoff.ceiling(max(one, other))


@given(BACKOFFS, COUNTS, FRACTIONS)
def test_jitter_stays_below_the_ceiling(backoff: ExponentialBackoff, count: int, random: float) -> None:
    """With jitter any share of the ceiling is waited, without it all of it."""
    delay, ceiling = backoff.delay(count, random), backoff.ceiling(count)
    assert NOW <= delay <= ceiling
    assert backoff.jitter or delay == ceiling


def test_backoff_doubles_up_to_the_maximum() -> None:
    """The defaults: 1 s, 2 s, 4 s … 5 min."""
    backoff = ExponentialBackoff()
    assert [1, 2, 4, 8] == [backoff.ceiling(count).total_seconds() for count in range(4)]
    assert 5 * MINUTE == backoff.ceiling(9)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RetryableError(), True),
        (AttemptTimeoutError(), True),
        (CallbackFailedError(), True),
        (ValueError(), True),
        (KeyError("x"), True),
        (PermanentError(), False),
        (UnknownTaskTypeError(), False),
        (InvalidPayloadError(), False),
        (RefusedAddressError(), False),
        (CallbackRejectedError(), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_type_of_the_failure_decides(error: Exception, expected: object) -> None:
    """What says that it is permanent is; everything else may be a passing state."""
    assert expected == is_retryable(error)


def test_retry_is_the_same_task_one_retry_on() -> None:
    """The counter lives in the task; the wait grows with the attempt."""
    retry = POLICY.after_failure(TASK, ValueError("x"), 0.5, attempt=3)
    assert Retry(TASK.next_attempt(), 4 * SECOND) == retry


@given(TASKS, st.integers(1, 10**6), FRACTIONS)
def test_number_of_attempts_is_bounded(task: Task, attempt: int, random: float) -> None:
    """There are ``max_retries`` + 1 attempts, never another."""
    decision = RetryPolicy().after_failure(task, ValueError("x"), random, attempt=attempt)
    assert isinstance(decision, Retry) == (attempt <= task.max_retries)


@given(TASKS, st.integers(1, 10**6))
def test_permanent_failure_is_never_retried(task: Task, attempt: int) -> None:
    """The reason is the failure's own words."""
    assert "no" == RetryPolicy().after_failure(task, PermanentError("no"), 0.5, attempt=attempt)


def test_exhausted_retries_are_part_of_the_reason() -> None:
    """Whoever reads a dead letter sees that it was tried."""
    assert "ValueError: x (attempt 4 of 4)" == POLICY.after_failure(TASK, ValueError("x"), 0.5, attempt=4)


@pytest.mark.parametrize(
    ("asked", "expected"), [(HOUR, HOUR), (NOW, NOW), (-HOUR, NOW), (timedelta.max, timedelta(days=365))]
)
def test_delay_that_the_failure_asks_for_replaces_the_backoff(asked: timedelta, expected: timedelta) -> None:
    """It may be longer than the backoff's maximum, but lies never in the past, nor where no queue can hold it."""
    decision = POLICY.after_failure(TASK, RetryableError("later", delay=asked), 0.5, attempt=1)
    assert isinstance(decision, Retry)
    assert expected == decision.delay


def test_delay_that_is_no_duration_is_refused_where_it_is_asked_for() -> None:
    """The handler fails by it, and not what settles its attempt."""
    with pytest.raises(TypeError):
        RetryableError("later", delay=5)  # type: ignore[arg-type]  # that is the mistake


class WordlessError(Exception):
    """An exception that fails when it is asked what is wrong."""

    def __str__(self) -> str:
        """Fail."""
        raise RuntimeError


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("no"), "ValueError: no"),
        (ValueError(), "ValueError"),
        (WordlessError(), "WordlessError"),
        (RetryableError("no"), "no"),
        (PermanentError(), "The attempt failed, and every further one would."),
    ],
)
def test_reason_is_for_people(error: Exception, reason: str) -> None:
    """The product's own failures speak for themselves; others are named."""
    assert reason == describe(error)


@given(st.text(), st.integers(10, 2000))
def test_reasons_are_cut_between_characters(text: str, limit: int) -> None:
    """At most so many bytes of UTF-8, and marked as cut."""
    cut = cut_reason(text, limit)
    whole = text.encode("utf-8", "replace").decode()
    assert len(cut.encode()) <= limit
    assert cut == whole or (cut.endswith("…") and whole.startswith(cut[:-1]))


@given(st.text())
def test_any_reason_has_at_most_a_kibibyte(text: str) -> None:
    """Whatever an exception says."""
    assert len(describe(ValueError(text)).encode()) <= MAX_REASON_BYTES


@pytest.mark.parametrize("longest", [None, HOUR, 2 * HOUR])
def test_delay_that_fits_is_left_alone(longest: timedelta | None) -> None:
    """A backend that holds it waits all of it."""
    assert Retry(TASK, HOUR) == fit_delay(Retry(TASK, HOUR), longest, START)


def test_delay_that_does_not_fit_is_waited_in_hops() -> None:
    """The backend holds what it can; the task says when it is due."""
    retry = fit_delay(Retry(TASK, HOUR), MINUTE, START)
    assert (MINUTE, START + HOUR) == (retry.delay, retry.task.scheduled_for)


@given(TASKS)
def test_revived_dead_letter_is_a_new_generation(task: Task) -> None:
    """Moved back by the backend's own redrive, it starts over without the notes of its death."""
    plain = revived(task) if "failed_at" in task.metadata else task
    dead_letter = dead_letter_message(plain, "reason", START, "tasks").task
    assert dead_letter is not None
    back = revived(dead_letter)
    assert (0, plain.redrive_count + 1, None) == (back.retry_count, back.redrive_count, back.scheduled_for)
    assert set() == {"failure_reason", "failed_at", "original_queue"} & back.metadata.keys()


@given(TASKS)
def test_task_that_never_died_is_not_revived(task: Task) -> None:
    """It is the same task."""
    assert "failed_at" in task.metadata or task is revived(task)


def test_dead_letter_tells_its_story() -> None:
    """Reason, time and origin travel in the metadata, beside the client's own."""
    task = Task(id="t", type="a", queue="tasks", created_at=START, metadata={"k": "v"}, scheduled_for=START)
    dead_letter = dead_letter_message(task, "x" * 2000, START, "tasks")
    assert dead_letter.task is not None
    assert {"k": "v", "failure_reason": dead_letter.reason, "failed_at": "2026-01-01T00:00:00.000000Z"}.items() <= (
        dead_letter.task.metadata.items()
    )
    assert ("tasks", None) == (dead_letter.task.metadata["original_queue"], dead_letter.task.scheduled_for)
    assert MAX_REASON_BYTES == len(dead_letter.reason.encode())
