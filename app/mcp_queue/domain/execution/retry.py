"""Decides what happens after an attempt; randomness and time come in as arguments."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from mcp_queue.domain.dead_letters.notes import failure_notes, without_notes
from mcp_queue.domain.delivery import DeadLetterMessage
from mcp_queue.domain.errors import PermanentError, RetryableError
from mcp_queue.domain.task import Task, cut_reason


@dataclass(frozen=True, slots=True)
class ExponentialBackoff:
    """``base * factor ** retry_count``, at most ``maximum``; with full jitter a uniform share of that."""

    base: timedelta = timedelta(seconds=1)
    maximum: timedelta = timedelta(minutes=5)
    factor: float = 2.0
    jitter: bool = True

    def ceiling(self, retry_count: int) -> timedelta:
        """Return the longest delay before the retry that follows ``retry_count`` earlier ones."""
        try:
            seconds = self.base.total_seconds() * self.factor**retry_count
        except OverflowError:
            return self.maximum
        # Compared as floats first: a timedelta cannot hold what the power can.
        return timedelta(seconds=seconds) if seconds < self.maximum.total_seconds() else self.maximum

    def delay(self, retry_count: int, random: float) -> timedelta:
        """Return the delay before the next attempt; ``random`` lies in [0, 1].

        Full jitter, since it spreads a burst of failures best:
        https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
        """
        ceiling = self.ceiling(retry_count)
        return ceiling * random if self.jitter else ceiling


@dataclass(frozen=True, slots=True)
class Retry:
    """Run ``task`` again after ``delay``."""

    task: Task
    delay: timedelta


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Decides between another attempt and the dead-letter queue."""

    backoff: ExponentialBackoff = ExponentialBackoff()

    def after_failure(self, task: Task, error: BaseException, random: float, *, attempt: int) -> Retry | str:
        """Return the retry, or the reason to dead-letter ``task``, whose ``attempt`` (from 1) ended with ``error``."""
        reason = describe(error)
        if not is_retryable(error):
            return reason
        if attempt > task.max_retries:
            return f"{reason} (attempt {attempt} of {task.max_retries + 1})"
        asked = error.delay if isinstance(error, RetryableError) else None
        return Retry(task.next_attempt(), self.backoff.delay(attempt - 1, random) if asked is None else asked)


def is_retryable(error: BaseException) -> bool:
    """Whether another attempt may succeed, decided by type alone.

    What says so itself is believed. A handler's other exceptions are retried: most are a passing state of the
    world around it, and ``max_retries`` bounds those that are not.
    """
    return not isinstance(error, PermanentError)


def describe(error: BaseException) -> str:
    """Return the error as a reason for people, in at most 1 KiB."""
    name = type(error).__name__
    try:
        text = str(error)
    except Exception:  # noqa: BLE001  # a handler's own exception may fail even at this
        text = ""
    return cut_reason(
        text if isinstance(error, RetryableError | PermanentError) else f"{name}: {text}" if text else name
    )


def fit_delay(retry: Retry, longest: timedelta | None, now: datetime) -> Retry:
    """Return ``retry`` for a backend that holds no longer delay than ``longest``: the rest is waited in hops."""
    if longest is None or retry.delay <= longest:
        return retry
    return Retry(replace(retry.task, scheduled_for=now + retry.delay), longest)


def revived(task: Task) -> Task:
    """Return a task that the backend's own redrive moved back to its queue as what it is: a new generation.

    Such a message still carries the notes of its dead letter; the product's own redrive removes them.
    """
    if "failed_at" not in task.metadata:
        return task
    return replace(without_notes(task), retry_count=0, redrive_count=task.redrive_count + 1)


def dead_letter_message(task: Task, reason: str, failed_at: datetime, original_queue: str) -> DeadLetterMessage:
    """Return ``task`` as it goes into the dead-letter queue, with the three reserved metadata members set."""
    reason = cut_reason(reason)
    notes = failure_notes(reason, failed_at, original_queue)
    marked = replace(task, metadata={**task.metadata, **notes}, scheduled_for=None)
    return DeadLetterMessage(task=marked, reason=reason, failed_at=failed_at, original_queue=original_queue)
