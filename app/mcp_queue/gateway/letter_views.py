"""Answers about dead letters as JSON."""

from mcp_queue.domain.dead_letters import (
    LetterDetails,
    LetterPage,
    LetterSummary,
    RedriveOutcome,
    RedriveProgress,
    Refusal,
)
from mcp_queue.domain.failed_tasks import FailedTask
from mcp_queue.domain.ledger import Page
from mcp_queue.domain.operators import AuditEntry
from mcp_queue.domain.serialization import format_time
from mcp_queue.gateway.problems import problem_of
from mcp_queue.gateway.views import attempt_members


def summary_members(summary: LetterSummary) -> dict[str, object]:
    """Return how many letters of a queue wait."""
    oldest = summary.oldest_failed_at
    return {
        "queue_name": summary.queue,
        "approximate_messages": summary.waiting,
        "oldest_failed_at": None if oldest is None else format_time(oldest),
    }


def list_members(page: LetterPage, queue: str) -> dict[str, object]:
    """Return a part of the letters of ``queue``."""
    members: dict[str, object] = {
        "tasks": [letter_members(letter, queue) for letter in page.letters],
        "next_cursor": page.next_cursor,
    }
    return {**members, "sampled": True} if page.sampled else members


def letter_members(letter: FailedTask, queue: str) -> dict[str, object]:
    """Return a letter of ``queue`` without its payload."""
    task = letter.task
    return {
        "id": letter.task_id,
        "type": task and task.type,
        "failure_reason": letter.failure_reason,
        "failed_at": format_time(letter.failed_at),
        # A letter that nobody can place is kept under the name of its dead-letter queue.
        "original_queue": queue if letter.queue == queue else None,
        "attempts": letter.attempts,
        "response_status": letter.response_status,
        "redrive_count": letter.redrive_count,
        "priority": task and task.priority,
        "metadata": task and task.metadata,
        "created_at": task and format_time(task.created_at),
        "max_retries": task and task.max_retries,
        "callback_url": task and task.callback_url,
        "group": task and task.group,
    }


def details_members(details: LetterDetails, queue: str) -> dict[str, object]:
    """Return a letter of ``queue`` with its payload and attempts."""
    letter = details.letter
    content = {"payload": letter.task.payload} if letter.task is not None else {"payload": None, "body": letter.body}
    history = [attempt_members(attempt) for attempt in details.attempts]
    return {**letter_members(letter, queue), **content, "history": history}


def outcome_members(outcome: RedriveOutcome) -> dict[str, object]:
    """Return what became of many letters."""
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


def _refusal_members(refusal: Refusal) -> dict[str, object]:
    problem = problem_of(refusal.error)
    if problem is None:
        raise refusal.error
    return {"id": refusal.task_id, "code": problem.code, "detail": problem.detail}
