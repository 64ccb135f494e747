"""Dead letters as rows, and back."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, func, literal_column, select

from mcp_queue.adapters.ledger.tables import attempts, dead_letters, tasks
from mcp_queue.adapters.ledger.task_rows import SUMMARY, task_of
from mcp_queue.domain.failed_tasks import FailedTask, FailedTaskFilter, LetterState

#: A letter waits. Its state stands in the text: only so do the databases use the partial indexes.
WAITING = dead_letters.c.state == literal_column(f"'{LetterState.WAITING}'")


def _of_last_attempt(column: ColumnElement[Any]) -> ColumnElement[Any]:
    return (
        select(column)
        .where(attempts.c.task_id == dead_letters.c.task_id, attempts.c.redrive_count == dead_letters.c.redrive_count)
        .order_by(attempts.c.attempt.desc())
        .limit(1)
        .scalar_subquery()
    )


# Looked up when they are shown: a letter may be stored before its last attempt is recorded.
_COUNTED = {
    "attempts": _of_last_attempt(attempts.c.attempt),
    "response_status": _of_last_attempt(attempts.c.response_status),
}
_LETTER = tuple(
    (func.coalesce(_COUNTED[column.name], column) if column.name in _COUNTED else column).label(f"letter_{column.name}")
    for column in dead_letters.c
    if column.name not in {"body", "notified", "stored_at", "closed_at", "closed_by"}
)


def letter_values(letter: FailedTask, now: datetime) -> dict[str, Any]:
    """Return the row of a new letter."""
    return {
        "task_id": letter.task_id,
        "redrive_count": letter.redrive_count,
        "queue": letter.queue,
        "type": None if letter.task is None else letter.task.type,
        "state": LetterState.WAITING,
        "failure_reason": letter.failure_reason,
        "failed_at": letter.failed_at,
        "attempts": letter.attempts,
        "response_status": letter.response_status,
        "stored_at": now,
        "body": letter.body if letter.task is None else None,
    }


def waiting(query: FailedTaskFilter, *, payloads: bool) -> Select[Any]:
    """Return the statement for the waiting letters that ``query`` means."""
    content = (*tasks.c, dead_letters.c.body.label("letter_body")) if payloads else SUMMARY
    return select(*_LETTER, *content).select_from(_letters_with_tasks()).where(*conditions(query))


def conditions(query: FailedTaskFilter) -> Iterator[ColumnElement[bool]]:
    """Return the conditions that letters of ``query`` meet."""
    yield WAITING
    # An expression keeps SQLite off the index of all that waits in the queue: the ids are far fewer.
    home = dead_letters.c.queue if query.ids is None else dead_letters.c.queue.concat("")
    yield home == query.queue if query.shelf is None else home.in_((query.queue, query.shelf))
    if query.type is not None:
        yield dead_letters.c.type == query.type
    if query.reason is not None:
        yield dead_letters.c.failure_reason.icontains(query.reason, autoescape=True)
    if query.failed_after is not None:
        yield dead_letters.c.failed_at > query.failed_after
    if query.failed_before is not None:
        yield dead_letters.c.failed_at < query.failed_before
    if query.ids is not None:
        yield dead_letters.c.task_id.in_(query.ids)


def failed_task(row: Row[Any]) -> FailedTask:
    """Return the letter in a row of ``waiting``."""
    return FailedTask(
        task_id=row.letter_task_id,
        redrive_count=row.letter_redrive_count,
        queue=row.letter_queue,
        failure_reason=row.letter_failure_reason,
        failed_at=row.letter_failed_at,
        task=None if row.id is None else task_of(row),
        body=getattr(row, "letter_body", None),
        attempts=row.letter_attempts,
        response_status=row.letter_response_status,
    )


def _letters_with_tasks() -> Any:
    # A body that is no task has none.
    return dead_letters.outerjoin(tasks, tasks.c.id == dead_letters.c.task_id)
