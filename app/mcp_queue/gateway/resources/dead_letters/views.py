"""Answers about dead letters as JSON."""

from mcp_queue.domain.dead_letters.dead_letter import DeadLetter
from mcp_queue.domain.dead_letters.reading import (
    DeadLetterDetails,
    DeadLetterPage,
    DeadLetterSummary,
    RedriveOutcome,
    RedriveProgress,
    RedriveRefusal,
)
from mcp_queue.domain.formats.serialization import format_time
from mcp_queue.domain.operators.audit import AuditEntry
from mcp_queue.domain.task_states import Page
from mcp_queue.gateway.problems import problem_of
from mcp_queue.gateway.resources.views import attempt_members


def summary_members(summary: DeadLetterSummary) -> dict[str, object]:
    """Return how many dead letters of a queue wait."""
    oldest = summary.oldest_failed_at
    return {
        "queue_name": summary.queue,
        "approximate_messages": summary.waiting,
        "oldest_failed_at": None if oldest is None else format_time(oldest),
    }


def list_members(page: DeadLetterPage, queue: str) -> dict[str, object]:
    """Return a part of the dead letters of ``queue``."""
    members: dict[str, object] = {
        "tasks": [letter_members(dead_letter, queue) for dead_letter in page.dead_letters],
        "next_cursor": page.next_cursor,
    }
    return {**members, "sampled": True} if page.sampled else members


def letter_members(dead_letter: DeadLetter, queue: str) -> dict[str, object]:
    """Return a dead letter of ``queue`` without its payload."""
    task = dead_letter.task
    return {
        "id": dead_letter.task_id,
        "type": task and task.type,
        "failure_reason": dead_letter.failure_reason,
        "failed_at": format_time(dead_letter.failed_at),
        # A dead letter that nobody can place is kept under the name of its dead-letter queue.
        "original_queue": queue if dead_letter.queue == queue else None,
        "attempts": dead_letter.attempts,
        "response_status": dead_letter.response_status,
        "redrive_count": dead_letter.redrive_count,
        "priority": task and task.priority,
        "metadata": task and task.metadata,
        "created_at": task and format_time(task.created_at),
        "max_retries": task and task.max_retries,
        "callback_url": task and task.callback_url,
        "group": task and task.group,
    }


def details_members(details: DeadLetterDetails, queue: str) -> dict[str, object]:
    """Return a dead letter of ``queue`` with its payload and attempts."""
    dead_letter = details.dead_letter
    content = (
        {"payload": dead_letter.task.payload}
        if dead_letter.task is not None
        else {"payload": None, "body": dead_letter.body}
    )
    history = [attempt_members(attempt) for attempt in details.attempts]
    return {**letter_members(dead_letter, queue), **content, "history": history}


def outcome_members(outcome: RedriveOutcome) -> dict[str, object]:
    """Return what became of many dead letters."""
    members: dict[str, object] = {
        "matched": outcome.matched,
        "redriven": outcome.redriven,
        "failed": [_refusal_members(refusal) for refusal in outcome.refused],
    }
    return {**members, "sampled": True} if outcome.sampled else members


def progress_members(progress: RedriveProgress) -> dict[str, object]:
    """Return how far a redrive in the background came."""
    return {
        "id": progress.id,
        "status": progress.status,
        "matched": progress.matched,
        "redriven": progress.redriven,
        "failed": progress.failed,
    }


def audit_members(page: Page[AuditEntry]) -> dict[str, object]:
    """Return a part of what operators did."""
    entries = [
        {
            "at": format_time(entry.at),
            "actor": entry.actor,
            "action": entry.action,
            "target": entry.target,
            "count": entry.count,
        }
        for entry in page.items
    ]
    return {"entries": entries, "next_cursor": page.next_cursor}


def _refusal_members(refusal: RedriveRefusal) -> dict[str, object]:
    problem = problem_of(refusal.error)
    if problem is None:
        raise refusal.error
    return {"id": refusal.task_id, "code": problem.code, "detail": problem.detail}
