"""Reading dead letters, whoever sent them."""

from dataclasses import replace
from typing import Any

import pytest

from mcp_queue.domain.dead_letters.dead_letter import DeadLetter, DeadLetterFilter
from mcp_queue.domain.dead_letters.reading import dead_letter_of, matches, next_generation, source_of
from mcp_queue.domain.delivery import Delivery
from mcp_queue.domain.errors import InvalidTaskError
from mcp_queue.domain.formats.serialization import format_time
from mcp_queue.domain.queues import Backend, QueueKind, QueueSpec
from mcp_queue.domain.task import Task
from tests.support.clock import HOUR, SECOND, START

TASK = Task(id="t", type="job", queue="tasks", created_at=START)
NOTES = {"failure_reason": "it broke", "failed_at": format_time(START - HOUR), "original_queue": "tasks"}
STANDARD = QueueSpec(name="tasks", kind=QueueKind.STANDARD, backend=Backend.MEMORY)
BOTH = frozenset({"tasks", "orders"})
LETTER = DeadLetter(task_id="t", redrive_count=2, queue="tasks", failure_reason="It Broke", failed_at=START, task=TASK)
QUERY = DeadLetterFilter(queue="tasks")


def delivery(task: Task | None = TASK, **members: Any) -> Delivery:
    """Return a receipt of a dead letter."""
    given: dict[str, Any] = {"queue": "dlq", "message_id": "m", "receipt_handle": "r", "body": "{", "receive_count": 1}
    return Delivery(**{**given, "leased_at": 0.0, "task": task, **members})


def test_our_own_dead_letter_tells_everything() -> None:
    """Reason and time are in its notes, which do not stay in the task; it failed with its last attempt."""
    task = replace(TASK, metadata={"team": "a", **NOTES}, retry_count=3, redrive_count=1)
    dead_letter = dead_letter_of(delivery(task), "tasks", START)
    assert ("t", 1, "it broke", START - HOUR, 4) == (
        dead_letter.task_id,
        dead_letter.redrive_count,
        dead_letter.failure_reason,
        dead_letter.failed_at,
        dead_letter.attempts,
    )
    assert dead_letter.task is not None
    assert {"team": "a"} == dead_letter.task.metadata


def test_dead_letter_of_another_program_failed_when_it_was_found() -> None:
    """Nobody says when or why; nobody knows of an attempt."""
    dead_letter = dead_letter_of(delivery(), "tasks", START)
    assert (START, 0) == (dead_letter.failed_at, dead_letter.attempts)
    assert "another program" in dead_letter.failure_reason


def test_dead_letter_of_the_backends_own_policy_says_so() -> None:
    """Its worker is the suspect."""
    assert "worker crashed" in dead_letter_of(delivery(source_queue="tasks"), "tasks", START).failure_reason


def test_body_that_is_no_task_keeps_its_notes_beside_it() -> None:
    """It is known by its message."""
    dead_letter = dead_letter_of(delivery(None, poison="not JSON", attributes=NOTES), "tasks", START)
    assert ("m", None, "{", "it broke", START - HOUR) == (
        dead_letter.task_id,
        dead_letter.task,
        dead_letter.body,
        dead_letter.failure_reason,
        dead_letter.failed_at,
    )


def test_time_that_is_none_is_not_believed() -> None:
    """Attributes may come from anybody."""
    assert START == dead_letter_of(delivery(None, attributes={"failed_at": "never"}), "tasks", START).failed_at


@pytest.mark.parametrize(
    ("members", "sources", "home"),
    [
        ({"attributes": NOTES}, BOTH, "tasks"),
        ({"attributes": {"original_queue": "gone"}, "source_queue": "orders"}, BOTH, "orders"),
        ({"task": replace(TASK, queue="orders")}, BOTH, "orders"),
        ({"task": None}, BOTH, None),
        ({"task": None}, {"tasks"}, "tasks"),
    ],
)
def test_home_is_where_the_notes_the_backend_or_the_task_say(
    members: dict[str, Any], sources: set[str], home: str | None
) -> None:
    """In this order; with one source there is no doubt."""
    assert home == source_of(delivery(**{"task": None, **members}), sources)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (QUERY, True),
        (replace(QUERY, type="job"), True),
        (replace(QUERY, type="other"), False),
        (replace(QUERY, reason="broke"), True),
        (replace(QUERY, reason="time"), False),
        (replace(QUERY, failed_after=START), False),
        (replace(QUERY, failed_after=START - SECOND, failed_before=START + SECOND), True),
        (replace(QUERY, failed_before=START), False),
        (replace(QUERY, ids=("t",)), True),
        (replace(QUERY, ids=()), False),
    ],
)
def test_filter_means_dead_letters_that_meet_all_of_it(query: DeadLetterFilter, *, expected: bool) -> None:
    """As the ledger's own filter does."""
    assert expected is matches(LETTER, query)


def test_next_generation_starts_anew() -> None:
    """It keeps id, group and content, and has all its attempts before it."""
    dead_letter = replace(LETTER, task=replace(TASK, retry_count=3, scheduled_for=START, group="g", queue="elsewhere"))
    task = next_generation(dead_letter, STANDARD)
    assert ("t", 0, 3, None, "g", "tasks") == (
        task.id,
        task.retry_count,
        task.redrive_count,
        task.scheduled_for,
        task.group,
        task.queue,
    )


def test_next_generation_has_its_own_deduplication_id_on_fifo_queues() -> None:
    """One for each generation, so that a repeated redrive is swallowed and the first is not."""
    dead_letter = replace(LETTER, task=replace(TASK, deduplication_id="mine"))
    assert "mine" == next_generation(dead_letter, STANDARD).deduplication_id
    assert "t.3" == next_generation(dead_letter, replace(STANDARD, kind=QueueKind.FIFO)).deduplication_id


def test_body_that_is_no_task_has_no_next_generation() -> None:
    """The reason says what can be done with it."""
    with pytest.raises(InvalidTaskError, match="can only be deleted"):
        next_generation(replace(LETTER, task=None, body="{"), STANDARD)
