"""Turns dead letters into rows, and rows into dead letters."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, func, literal_column, select

from mcp_queue.adapters.ledger.tables import attempts, tasks
from mcp_queue.adapters.ledger.tables import dead_letters as dead_letter_table
from mcp_queue.adapters.ledger.tasks.rows import SUMMARY, task_of
from mcp_queue.domain.dead_letters.dead_letter import DeadLetter, DeadLetterFilter, DeadLetterState

#: A dead letter waits. Its state stands in the text: only so do the databases use the partial indexes.
WAITING = dead_letter_table.c.state == literal_column(f"'{DeadLetterState.WAITING}'")


def _of_last_attempt(column: ColumnElement[Any]) -> ColumnElement[Any]:
    return (
        select(column)
        .where(
            attempts.c.task_id == dead_letter_table.c.task_id,
            attempts.c.redrive_count == dead_letter_table.c.redrive_count,
        )
        .order_by(attempts.c.attempt.desc())
        .limit(1)
        .scalar_subquery()
    )


# Read when they are shown: a dead letter may be stored before its last attempt is recorded.
_COUNTED = {
    "attempts": _of_last_attempt(attempts.c.attempt),
    "response_status": _of_last_attempt(attempts.c.response_status),
}
_DEAD_LETTER = tuple(
    (func.coalesce(_COUNTED[column.name], column) if column.name in _COUNTED else column).label(
        f"dead_letter_{column.name}"
    )
    for column in dead_letter_table.c
    if column.name not in {"body", "notified", "stored_at", "closed_at", "closed_by"}
)


def dead_letter_values(dead_letter: DeadLetter, now: datetime) -> dict[str, Any]:
    """Return the row of a new dead letter."""
    return {
        "task_id": dead_letter.task_id,
        "redrive_count": dead_letter.redrive_count,
        "queue": dead_letter.queue,
        "type": None if dead_letter.task is None else dead_letter.task.type,
        "state": DeadLetterState.WAITING,
        "failure_reason": dead_letter.failure_reason,
        "failed_at": dead_letter.failed_at,
        "attempts": dead_letter.attempts,
        "response_status": dead_letter.response_status,
        "stored_at": now,
        "body": dead_letter.body if dead_letter.task is None else None,
    }


def waiting(query: DeadLetterFilter, *, payloads: bool) -> Select[Any]:
    """Return the statement for the waiting dead letters that ``query`` means."""
    content = (*tasks.c, dead_letter_table.c.body.label("dead_letter_body")) if payloads else SUMMARY
    return select(*_DEAD_LETTER, *content).select_from(_dead_letters_with_tasks()).where(*conditions(query))


def conditions(query: DeadLetterFilter) -> Iterator[ColumnElement[bool]]:
    """Return the conditions that dead letters of ``query`` meet."""
    yield WAITING
    # An expression keeps SQLite off the index of all that waits in the queue: the ids are far fewer.
    name = dead_letter_table.c.queue if query.ids is None else dead_letter_table.c.queue.concat("")
    shared = query.shared_dead_letter_queue
    yield name == query.queue if shared is None else name.in_((query.queue, shared))
    if query.type is not None:
        yield dead_letter_table.c.type == query.type
    if query.reason is not None:
        yield dead_letter_table.c.failure_reason.icontains(query.reason, autoescape=True)
    if query.failed_after is not None:
        yield dead_letter_table.c.failed_at > query.failed_after
    if query.failed_before is not None:
        yield dead_letter_table.c.failed_at < query.failed_before
    if query.ids is not None:
        yield dead_letter_table.c.task_id.in_(query.ids)


def dead_letter_of(row: Row[Any]) -> DeadLetter:
    """Return the dead letter in a row of ``waiting``."""
    return DeadLetter(
        task_id=row.dead_letter_task_id,
        redrive_count=row.dead_letter_redrive_count,
        queue=row.dead_letter_queue,
        failure_reason=row.dead_letter_failure_reason,
        failed_at=row.dead_letter_failed_at,
        task=None if row.id is None else task_of(row),
        body=getattr(row, "dead_letter_body", None),
        attempts=row.dead_letter_attempts,
        response_status=row.dead_letter_response_status,
    )


def _dead_letters_with_tasks() -> Any:
    # A body that is no task has none.
    return dead_letter_table.outerjoin(tasks, tasks.c.id == dead_letter_table.c.task_id)
